"""Watches everything that happens, and says which promise is broken by it."""

import json
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from executor.contract.artifacts import GcsUri, parse_gcs_uri
from executor.ports import ModelRequest
from infra.ops.dead_letters.letter import DeadLetter
from shared.domain.documents import DocumentRef
from shared.domain.errors import InternalError
from shared.domain.messages import REPLAY_OF, OutgoingMessage
from tests.simulation.bucket import Bucket
from tests.simulation.delivery import FLOW_RUNS
from tests.simulation.fullness import Fullness
from tests.simulation.ledger import CallSeen, Claim, LeaseTaken, Ledger, Recorded, StepKey
from tests.simulation.model import CANARY, marker_of
from tests.simulation.process import DIED, OPERATOR, REQUEST, Process, Request
from tests.simulation.promises import (
    CLOSED,
    JobChange,
    Promise,
    Violation,
    act_on_job_violations,
    act_violations,
    foreign_violations,
    job_violations,
    leased,
    owner_of,
    run_violations,
)
from tests.simulation.provider import Provider
from tests.simulation.records import Change, Records
from tests.simulation.world import World

JOBS = "llm_jobs"
#: The budgets that the contract promises by default.
MAX_ATTEMPTS = 5
MAX_CALLS = 5
#: The longest time that an invocation may last (INVOCATION_TIMEOUT_SECONDS).
INVOCATION_SECONDS = 540.0


@dataclass(slots=True, kw_only=True)
class Checker:
    """A pure observer: it reads stores and is told of effects, and changes nothing."""

    world: World
    records: Records
    bucket: Bucket
    #: Whether a call must never be repeated when its outcome is unknown.
    at_most_once: bool
    #: The provider's store of background calls; None where calls are not made in the
    #: background.
    provider: Provider | None
    #: The documents that others keep.
    foreign: Collection[DocumentRef] = ()
    fullness: Fullness = field(init=False)
    ledger: Ledger = field(default_factory=Ledger)
    violations: list[Violation] = field(default_factory=list)
    #: The claims whose dead letters were published again.
    _replayed: set[tuple[StepKey, str]] = field(default_factory=set)
    _events_under_way: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.fullness = Fullness(self.records)

    def broken(self, promise: Promise, what: str) -> None:
        """Note that a promise is broken."""
        self._found(Violation(promise, what))

    def _found(self, violation: Violation) -> None:
        self.world.note("checker", f"VIOLATION {violation}")
        self.violations.append(violation)

    def committed(self, who: Process | None, changes: Sequence[Change]) -> None:
        """See `records.Reader`."""
        self.fullness.note(changes, self.world.loop.time())
        if who is None:
            return
        for change in changes:
            if change.ref in self.foreign:
                name = f"{change.ref.collection}/{change.ref.document_id}"
                for violation in foreign_violations(name, change.old, change.new):
                    self._found(violation)
        changes = [change for change in changes if change.ref not in self.foreign]
        jobs = [_job_change(change) for change in changes if change.ref.collection == JOBS]
        operated = who.name.startswith(OPERATOR)
        for job in jobs:
            (self._job_acted_on if operated else self._job_written)(who, job)
        for change in changes:
            if change.ref.collection == FLOW_RUNS:
                (self._run_acted_on if operated else self._run_written)(change, jobs)
            if change.new is not None and CANARY in repr(change.new.fields):
                self.broken(Promise.NOTHING_LEAKS, f"{change.ref} repeats what is secret")

    def _job_acted_on(self, who: Process, job: JobChange) -> None:
        for violation in act_on_job_violations(job, who.latest()):
            self._found(violation)

    def _run_acted_on(self, change: Change, jobs: Sequence[JobChange]) -> None:
        by_step = {job.new["stepId"]: job for job in jobs}
        for violation in act_violations(change.old, change.new, by_step):
            self._found(violation)

    def letter_acknowledged(self, letter: DeadLetter) -> None:
        """See `letters.LetterWitness`: no letter is done with before its job is cared for."""
        ids = letter.attributes
        key = StepKey(f"{ids['runId']}~{ids['stepId']}")
        run = self.records.present(DocumentRef(FLOW_RUNS, ids["runId"]))
        job = self._job(ids["runId"], ids["stepId"])
        if run is None or job is None or job["claimId"] != ids["claimId"]:
            return
        running = run.fields["steps"][ids["stepId"]]["status"] == "RUNNING"
        replayed = (key, ids["claimId"]) in self._replayed
        if running and job["state"] not in CLOSED and not replayed:
            what = f"{key}: a dead letter was acknowledged, and its job not published again"
            self.broken(Promise.EVERYTHING_ENDS, what)

    def _run_written(self, change: Change, jobs: Sequence[JobChange]) -> None:
        by_step = {job.new["stepId"]: job for job in jobs}
        full = self.fullness.may_refuse(change)
        for violation in run_violations(change.old, change.new, by_step, full=full):
            self._found(violation)
        if change.old is None or change.new is None:
            return
        before, after = change.old.fields["steps"], change.new.fields["steps"]
        for step_id, step in after.items():
            ended = step["status"] in {"SUCCEEDED", "FAILED"}
            if not ended or step == before.get(step_id) or step_id not in by_step:
                continue
            job = by_step[step_id]
            claim = self.ledger.claim(job.key, job.new)
            claim.ended = step["status"]
            claim.reused = bool(step["outputs"].get("execution", {}).get("reused"))
            if step["status"] == "SUCCEEDED":
                self._check_report(change.new.fields, step_id)

    def _check_report(self, run: Any, step_id: str) -> None:
        """Promise 3: the report that a SUCCEEDED step names exists, and is on its inputs."""
        step = run["steps"][step_id]
        blob = self.bucket.blobs.get(parse_gcs_uri(step["outputs"].get("gcs_uri")))
        if blob is None:
            self.broken(Promise.SUCCESS_HAS_REPORT, f"{step_id}: there is no report")
            return
        candles = run["steps"][step["inputs"]["ohlcvStepId"]]["outputs"]["gcs_uri"]
        shown = json.loads(self.bucket.blobs[parse_gcs_uri(candles)].data)["marker"]
        made_from = json.loads(blob.data)["output"]["details"]["marker"]
        if made_from != shown:
            what = f"{step_id}: the report is on {made_from}, not on {shown}"
            self.broken(Promise.SUCCESS_HAS_REPORT, what)

    def _job_written(self, who: Process, job: JobChange) -> None:
        claim = self.ledger.claim(job.key, job.new)
        request = REQUEST.get()
        held = claim.lease_of(request)
        holds = held is not None and job.old is not None and owner_of(job.old) == held.owner
        for violation in job_violations(
            job,
            holds=holds,
            now=who.latest(),
            max_attempts=MAX_ATTEMPTS,
            max_calls=MAX_CALLS,
        ):
            self._found(violation)
        claim.booked = job.new["llmCalls"]
        if claim.booked < len(claim.billable):
            self.broken(
                Promise.CALL_BUDGET,
                f"{job.key}: {len(claim.billable)} calls begun, {claim.booked} counted",
            )
        if self._put_off(job, claim, request):
            what = f"{job.key}: is tried again after a refusal for good"
            self.broken(Promise.EVERYTHING_ENDS, what)
        interaction, lease = job.new.get("interaction"), job.new.get("lease")
        if interaction:
            seen = Recorded(request=request, at_seconds=self.world.loop.time())
            claim.recorded.setdefault(interaction["id"], seen)
        if lease:
            claim.held_until[lease["owner"]] = lease["expiresAt"]
        if job.taken_by is not None:
            claim.leases.append(
                LeaseTaken(
                    owner=job.taken_by,
                    request=request,
                    attempt=job.new["attempt"],
                    at_seconds=self.world.loop.time(),
                )
            )

    def _put_off(self, job: JobChange, claim: Claim, request: Request | None) -> bool:
        """Whether the job waits for another attempt after a refusal for good."""
        last = claim.calls[-1] if claim.calls else None
        refused = last is not None and last.final and last.request is request
        stopped = request is None or request.process.retiring
        return refused and not stopped and job.new["state"] == "QUEUED"

    def stored(self, who: Process, uri: GcsUri) -> None:
        """See `adapters.Observer`."""
        if CANARY in uri.name:
            self.broken(Promise.NOTHING_LEAKS, f"the name {uri} repeats what is secret")
        if uri in self.ledger.stored_at:
            self.broken(Promise.SUCCESS_HAS_REPORT, f"{who.name} replaced {uri}")
        self.ledger.stored_at.setdefault(uri, self.world.loop.time())

    def called(self, who: Process, request: ModelRequest) -> CallSeen | None:
        """See `adapters.Observer`."""
        run_id, step_id, _ = marker_of(request).split("|")
        key = f"{run_id}~{step_id}"
        claim = self.ledger.leased_claim(key, REQUEST.get())
        if claim is None:
            self.broken(Promise.CALL_UNDER_LEASE, f"{who.name} called for {key} unleased")
            return None
        if self.at_most_once and not all(map(self._known, claim.calls)):
            what = f"{key}: called again although a former call may have been paid for"
            self.broken(Promise.CALL_BUDGET, what)
        if any(call.final and call.request is REQUEST.get() for call in claim.calls):
            self.broken(Promise.CALL_BUDGET, f"{key}: called again after a refusal for good")
        if self.fullness.was_full(run_id, REQUEST.get()):
            what = f"{key}: {who.name} called, and the run has no room for the outcome"
            self.broken(Promise.CALL_BUDGET, what)
        seen = CallSeen(request=REQUEST.get())
        claim.calls.append(seen)
        lease = claim.lease_of(REQUEST.get())
        if lease is not None and claim.held_until[lease.owner] <= who.now():
            what = f"{key}: {who.name} called after its lease had expired"
            self.broken(Promise.CALL_UNDER_LEASE, what)
        if len(claim.billable) > claim.booked:
            self.broken(Promise.CALL_BUDGET, f"{key}: {who.name} called before it was booked")
        if len(claim.billable) > MAX_CALLS:
            self.broken(Promise.CALL_BUDGET, f"{key}: call {len(claim.billable)}")
        self._check_need(claim, run_id, step_id)
        return seen

    def call_ended(self, call: CallSeen | None, *, free: bool) -> None:
        """See `adapters.Observer`."""
        if call is not None:
            call.free, call.answered = free, not free

    def _known(self, call: CallSeen) -> bool:
        """Whether the present caller can know how this call of its claim ended."""
        if call.free or not call.answered:
            return call.free
        shared = self.provider is not None
        return shared or call.request is REQUEST.get() or _lived(call.request)

    def _check_need(self, claim: Claim, run_id: str, step_id: str) -> None:
        """Promise 5: nobody pays for a report that its attempt could have found."""
        lease = claim.lease_of(REQUEST.get())
        stored = [
            at
            for uri, at in self.ledger.stored_at.items()
            if uri.name.startswith(f"{run_id}/") and uri.name.endswith(f"/{step_id}.json")
        ]
        if lease is not None and any(at < lease.at_seconds for at in stored):
            self.broken(
                Promise.NO_CALL_FOR_A_REPORT,
                f"{claim.key}: attempt {lease.attempt} called although the report stood",
            )
        for call_id, recorded in sorted(claim.recorded.items()):
            if self.provider and recorded.known_to(lease) and self.provider.has_report(call_id):
                what = f"{claim.key}: called although the answer of {call_id} could be fetched"
                self.broken(Promise.NO_CALL_FOR_A_REPORT, what)

    def published(self, who: Process, messages: Sequence[OutgoingMessage]) -> None:
        """See `adapters.Observer`."""
        for message in messages:
            ids = message.attributes
            key = StepKey(f"{ids['runId']}~{ids['stepId']}")
            claim = self.ledger.claims.get((key, ids["claimId"]))
            if claim is None:
                what = f"{who.name} published {key} before it was claimed"
                self.broken(Promise.CALL_UNDER_LEASE, what)
                continue
            claim.published += 1
            if REPLAY_OF in ids:
                self._replayed.add((key, ids["claimId"]))
            if CANARY.encode() in message.data:
                self.broken(Promise.NOTHING_LEAKS, f"a message of {key} repeats it")

    def answered(self, request: Request) -> None:
        """See `delivery.Witness`."""
        answer = request.answer.result() if request.answer.done() else None
        if answer == HTTPStatus.INTERNAL_SERVER_ERROR or isinstance(answer, InternalError):
            self.broken(Promise.EVERYTHING_ENDS, f"a defect: {answer!r}")
        process, took = request.process, self.world.loop.time() - request.begun_at
        stopped = not process.alive or process.resumes_at > request.begun_at
        if took > INVOCATION_SECONDS and not stopped:
            what = f"{process.name} was at work for {took:.0f} s"
            self.broken(Promise.EVERYTHING_ENDS, what)

    def swept(self, request: Request) -> None:
        """See `delivery.SweepWitness`: a sweep's report must say what went wrong."""
        answer = request.answer.result()
        if isinstance(answer, Exception):
            self.broken(Promise.EVERYTHING_ENDS, f"a sweep stopped at {answer!r}")

    def event_begins(self, event_id: str) -> None:
        """See `delivery.Witness`."""
        self._events_under_way[event_id] += 1

    def event_ends(self, event_id: str, *, acknowledged: bool) -> None:
        """See `delivery.Witness`: no event is done with before its jobs are published."""
        self._events_under_way[event_id] -= 1
        if not acknowledged or self._events_under_way[event_id]:
            return
        for claim in self.ledger.claims.values():
            if claim.event_id == event_id and not claim.published and self._waits(claim):
                what = f"{claim.key}: {event_id} was acknowledged, and no job published"
                self.broken(Promise.EVERYTHING_ENDS, what)

    def _waits(self, claim: Claim) -> bool:
        """Whether the claim's job still waits for its first lease."""
        job = self._job(*claim.key.split("~"))
        waits = job is not None and job["claimId"] == claim.claim_id and not claim.leases
        return waits and job["state"] == "QUEUED"

    def message_acknowledged(self, request: Request, message: OutgoingMessage) -> None:
        """See `delivery.Witness`: a message may be acknowledged only when its holder let go."""
        ids = message.attributes
        job = self._job(ids["runId"], ids["stepId"])
        if job is None or job["claimId"] != ids["claimId"]:
            return
        claim = self.ledger.claim(f"{ids['runId']}~{ids['stepId']}", job)
        held = claim.lease_of(request)
        if held is None or owner_of(job) != held.owner:
            return
        if request.process.resumes_at > held.at_seconds:
            # The process was stopped for so long that it cannot know what it still holds.
            return
        if leased(job, request.process.latest()):
            what = f"{claim.key}: its message was acknowledged by the holder of its lease"
            self.broken(Promise.EVERYTHING_ENDS, what)

    def _job(self, run_id: str, step_id: str) -> Any:
        found = self.records.present(DocumentRef(JOBS, f"{run_id}~{step_id}"))
        return found.fields if found else None


def _lived(request: Request | None) -> bool:
    """Whether the request ended by itself, and therefore wrote down what it knew."""
    return request is not None and request.answer.done() and request.answer.result() is not DIED


def _job_change(change: Change) -> JobChange:
    new = change.new.fields if change.new else {}
    old = change.old.fields if change.old else None
    return JobChange(key=change.ref.document_id, old=old, new=new)
