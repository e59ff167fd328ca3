"""What makes two states the same: stores, messages, time, and what each process was told."""

from collections.abc import Sequence
from hashlib import blake2b
from typing import Any

from shared.domain.documents import DocumentRef, Snapshot
from tests.schedules.held import HeldWorld
from tests.schedules.platform import Item
from tests.schedules.visited import STATE_BYTES
from tests.simulation.bucket import Bucket
from tests.simulation.checker import Checker
from tests.simulation.ledger import Claim
from tests.simulation.process import Process, Request
from tests.simulation.provider import Provider
from tests.simulation.records import Change, Records


class StateDigest:
    """Computes the names of states.

    The state of a process is all that its operations were answered, and when: its code does
    nothing that these do not decide. Update times differ between orders of unrelated commits,
    so a version counts as the number of the document's changes.
    """

    def __init__(
        self,
        world: HeldWorld,
        records: Records,
        checker: Checker,
        bucket: Bucket,
        provider: Provider | None,
    ) -> None:
        self._world = world
        self._records = records
        self._checker = checker
        self._bucket = bucket
        self._provider = provider
        self._ranks: dict[tuple[DocumentRef, int], int] = {}
        self._newest: dict[DocumentRef, int] = {}
        self._texts: dict[tuple[DocumentRef, int], str] = {}
        records.tell(self)
        world.told = self._told

    def committed(self, who: Process | None, changes: Sequence[Change]) -> None:
        """See `records.Reader`."""
        del who
        for change in changes:
            if change.new is not None:
                rank = self._newest[change.ref] = self._newest.get(change.ref, 0) + 1
                self._ranks[change.ref, change.new.update_time] = rank

    def of(
        self,
        processes: Sequence[Process],
        current: Process | None,
        items: Sequence[Item],
        rest: object,
    ) -> bytes:
        """The digest of the present state."""
        state = (
            round(self._world.loop.time(), 6),
            self._documents(),
            sorted(uri.name for uri in self._bucket.blobs),
            self._calls_kept(),
            sorted(_item(item) for item in items if not item.done),
            sorted(self._process(process) for process in processes),
            current.name if current else None,
            self._seen(),
            rest,
        )
        return blake2b(repr(state).encode(), digest_size=STATE_BYTES).digest()

    def documents(self, *collections: str) -> Sequence[DocumentRef]:
        """The documents that were ever written in these collections, in order."""
        found = (ref for ref in self._newest if ref.collection in collections)
        return sorted(found, key=lambda ref: (ref.collection, ref.document_id))

    def _documents(self) -> list[Any]:
        return [
            (ref.document_id, self._newest[ref], self._text(ref))
            for ref in self.documents("flow_runs", "llm_jobs", "llm_sweeps")
        ]

    def _text(self, ref: DocumentRef) -> str:
        found = self._records.present(ref)
        if found is None:
            return ""
        key = (ref, found.update_time)
        if key not in self._texts:
            self._texts[key] = _digest(found.fields)
        return self._texts[key]

    def _calls_kept(self) -> object:
        if self._provider is None:
            return None
        kept = self._provider.kept.items()
        return [(name, call.ready_at) for name, call in kept], list(self._provider.forgotten)

    def _process(self, process: Process) -> Any:
        waiting = [
            (pending.call.kind, pending.call.target, pending.issued_at)
            for pending in self._world.ready(process)
        ]
        stopped = process in self._world.loop.stopped
        return (process.name, self._world.heard.get(process.name), waiting, stopped)

    def _seen(self) -> object:
        ledger = self._checker.ledger
        return (
            [_claim(claim) for claim in ledger.claims.values()],
            sorted(str(uri) for uri in ledger.stored_at),
            sorted(self._checker._replayed),
        )

    def _told(self, answer: object) -> object:
        match answer:
            case Snapshot(ref=ref, version=version):
                return (ref, self._ranks.get((ref, version)))
            case list() | tuple():
                return [self._told(part) for part in answer]
            case int():
                ranks = [(k[0], rank) for k, rank in self._ranks.items() if k[1] == answer]
                return sorted(ranks, key=repr)
            case _:
                return repr(answer)


def _item(item: Item) -> Any:
    under_way = item.request.process.name if item.request else ""
    return (item.kind, item.delivery.name, item.attempt, item.original, under_way)


def _claim(claim: Claim) -> object:
    return (
        claim.key,
        claim.claim_id,
        [(_name(call.request), call.free, call.answered) for call in claim.calls],
        [(x.owner, _name(x.request), x.attempt, x.at_seconds) for x in claim.leases],
        {name: until.isoformat() for name, until in claim.held_until.items()},
        {name: (_name(x.request), x.at_seconds) for name, x in claim.recorded.items()},
        (claim.booked, claim.published, claim.ended, claim.reused),
    )


def _name(request: Request | None) -> str:
    if request is None:
        return ""
    return f"{request.process.name} {request.process.alive} {request.answer.done()}"


def _digest(fields: object) -> str:
    return blake2b(repr(_in_order(fields)).encode(), digest_size=12).hexdigest()


def _in_order(value: object) -> object:
    """The value with its maps as lists: their order is another one in each process."""
    match value:
        case dict():
            return sorted((key, _in_order(inner)) for key, inner in value.items())
        case list():
            return [_in_order(item) for item in value]
        case _:
            return value
