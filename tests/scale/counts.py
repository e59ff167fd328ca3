"""What a run asks of the cloud: counted, not timed."""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from shared.domain.documents import DocumentRef
from tests.simulation.nemesis import Kind
from tests.simulation.process import Process
from tests.simulation.promises import LLM_REPORT
from tests.simulation.records import Change

#: A rate counts as sustained when it lasts this many seconds.
WINDOW_SECONDS = 10
#: The indexes whose values only grow, by collection, as infra/terraform has them. The fields of
#: each are listed with the growing one last. Entries that differ in the other fields lie in
#: different places. The ids of runs and jobs grow too, as they begin with the time.
SEQUENTIAL: Mapping[str, Sequence[tuple[str, ...]]] = {
    "llm_jobs": (("shard", "wakeAt"), ("queue",), ("__name__",)),
    "flow_runs": (
        ("createdAt",),
        ("status", "createdAt"),
        ("flowKey", "createdAt"),
        ("scope", "createdAt"),
        ("runId",),
        ("__name__",),
    ),
}
_FIRESTORE = (Kind.READ, Kind.COMMIT, Kind.QUERY)


@dataclass(slots=True, kw_only=True)
class Counts:
    """Counts commits and their effects (implements `records.Reader`)."""

    seconds: Callable[[], float]
    calls: Counter[Kind] = field(default_factory=Counter)
    #: Calls of the sweep, which belong to no step.
    sweep_calls: Counter[Kind] = field(default_factory=Counter)
    messages: int = 0
    #: Executors' commits that end a step, including those that lost against another commit.
    ending_commits: int = 0
    ended: int = 0
    #: Seconds from the moment when a step is READY until its first lease.
    waits: list[float] = field(default_factory=list)
    _ready_at: dict[str, float] = field(default_factory=dict)
    _writes: dict[DocumentRef, Counter[int]] = field(
        default_factory=lambda: defaultdict(Counter)
    )
    #: By the name of the index, and by the place in it.
    _index_writes: dict[tuple[str, str], Counter[int]] = field(
        default_factory=lambda: defaultdict(Counter)
    )

    def operation(self, kind: Kind, who: str, target: str) -> None:
        """Count a call of a port."""
        ends = kind is Kind.COMMIT and "flow_runs/" in target and who.startswith("executor")
        self.ending_commits += ends
        (self.sweep_calls if who.startswith("sweep") else self.calls)[kind] += 1

    def committed(self, who: Process | None, changes: Sequence[Change]) -> None:
        """See `records.Reader`."""
        second = int(self.seconds())
        for change in changes:
            if who is not None:
                self._writes[change.ref][second] += 1
            old: Any = change.old.fields if change.old else {}
            new: Any = change.new.fields if change.new else {}
            for fields in SEQUENTIAL.get(change.ref.collection, ()):
                self._indexed(change.ref, fields, old, new, second)
            if change.ref.collection == "flow_runs":
                self._steps(change.ref.document_id, old.get("steps", {}), new.get("steps", {}))
            elif change.ref.collection == "llm_jobs" and new.get("lease"):
                self._leased(change.ref.document_id)

    def _indexed(
        self, ref: DocumentRef, fields: tuple[str, ...], old: Any, new: Any, second: int
    ) -> None:
        """Count what the change writes to the index of these fields."""
        name = f"{ref.collection}.{'+'.join(fields)}"
        before, after = ([_value(ref, data, field) for field in fields] for data in (old, new))
        if before == after:
            return
        # Removing the old entry and adding the new one are writes at the same moment.
        for entry in {str(each[:-1]) for each in (before, after) if each[-1] is not None}:
            self._index_writes[name, entry][second] += 1

    def _steps(self, run_id: str, old: Any, new: Any) -> None:
        for step_id, step in new.items():
            status = step["status"]
            if step["stepType"] != LLM_REPORT or old.get(step_id, {}).get("status") == status:
                continue
            if status == "READY":
                self._ready_at[f"{run_id}~{step_id}"] = self.seconds()
            self.ended += status in {"SUCCEEDED", "FAILED"}

    def _leased(self, key: str) -> None:
        ready_at = self._ready_at.pop(key, None)
        if ready_at is not None:
            self.waits.append(self.seconds() - ready_at)

    def calls_of_a_step(self) -> float:
        """Firestore calls of dispatcher and executor for each step that ended."""
        return sum(self.calls[kind] for kind in _FIRESTORE) / max(1, self.ended)

    def busiest(self, collection: str) -> float:
        """Writes a second to the document that is written most, sustained."""
        of_documents = (x for ref, x in self._writes.items() if ref.collection == collection)
        return max(map(_sustained, of_documents), default=0.0)

    def index_rates(self) -> dict[str, float]:
        """Writes a second to the busiest place of each sequential index, sustained."""
        rates: dict[str, float] = {}
        for (name, _), count in sorted(self._index_writes.items()):
            rates[name] = max(rates.get(name, 0.0), _sustained(count))
        return rates

    def p99_wait(self) -> float:
        """Seconds from READY to the lease: 99 in 100 steps wait no longer."""
        return sorted(self.waits)[len(self.waits) * 99 // 100] if self.waits else 0.0


def _value(ref: DocumentRef, data: Any, field: str) -> Any:
    if field == "__name__":
        return ref.document_id if data else None
    return data.get(field)


def _sustained(count: Counter[int]) -> float:
    most = 0
    for first in count:
        most = max(most, sum(count[first + later] for later in range(WINDOW_SECONDS)))
    return most / WINDOW_SECONDS
