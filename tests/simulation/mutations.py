"""Deliberate breakages, each of which the simulation must catch.

They are applied to the running code, never to a file: to the writes on their way to the store
where a guard is taken away, and to a function where a decision is left out.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, TypeAlias

import pytest

import dispatcher.claiming
import dispatcher.planning
import dispatcher.service
import dispatcher.sweep
import executor.ending
import executor.jobs.lease
import executor.reports.making
import executor.reports.store
import executor.service
import executor.settings
from executor.jobs.lease import HeldJob, LeaseLost
from executor.model_calls.background import BackgroundCalls
from executor.model_calls.one_call import CallMaker
from executor.ports import ModelAnswer
from executor.push import Answer, Delivery
from executor.validation import answer as answers
from infra.ops.dead_letters import letter as letters
from infra.ops.dead_letters import replay as replays
from infra.ops.dead_letters.letter import DeadLetter
from infra.ops.dead_letters.replay import Replay
from shared.domain.attempts import OperatorAct
from shared.domain.documents import FieldPath, Update, Version, Write
from shared.domain.errors import InvalidStructuredOutput
from shared.domain.flow_run import FlowRun
from shared.domain.jobs import JobRecord
from shared.ports import QueueUnavailable, StoreUnavailable
from tests.simulation import stages
from tests.simulation.adapters import SimulatedDocuments, SimulatedQueue
from tests.simulation.bucket import Blob, Bucket
from tests.simulation.process import OPERATOR
from tests.simulation.records import ANY_VERSION

Patch: TypeAlias = pytest.MonkeyPatch


@dataclass(frozen=True, slots=True)
class Mutation:
    """One breakage."""

    name: str
    #: What is broken, as the table in docs/reliability.md says it.
    what: str
    apply: Callable[[Patch], None]


_Register: TypeAlias = Callable[[Callable[[Patch], None]], Callable[[Patch], None]]


def registering(mutations: dict[str, Mutation]) -> Callable[[str], _Register]:
    """Return a decorator that registers breakages there, given what each of them breaks."""

    def mutation(what: str) -> _Register:
        def register(apply: Callable[[Patch], None]) -> Callable[[Patch], None]:
            name = apply.__name__.strip("_")
            mutations[name] = Mutation(name, what, apply)
            return apply

        return register

    return mutation


MUTATIONS: dict[str, Mutation] = {}
_mutation = registering(MUTATIONS)


@contextmanager
def mutated(mutation: Mutation) -> Iterator[None]:
    """Run the block with one thing broken."""
    with pytest.MonkeyPatch.context() as patch:
        mutation.apply(patch)
        yield


def _status(write: Write) -> Any:
    """The status that an update gives to a step; None for any other write."""
    if not isinstance(write, Update):
        return None
    found = (value for path, value in write.changes.items() if _is_status(path))
    return next(found, None)


def _is_status(path: FieldPath) -> bool:
    return len(path) == 3 and path[0] == "steps" and path[2] == "status"


def _job_state(write: Write) -> Any:
    """The state that an update gives to a job record."""
    return write.changes.get(("state",)) if isinstance(write, Update) else None


def _unguard(patch: Patch, unguarded: Callable[[Write, str], bool]) -> None:
    """Take the precondition from some writes; `unguarded` is also given the process' name."""
    original = SimulatedDocuments.commit

    async def commit(
        self: SimulatedDocuments, writes: Sequence[Write], *, timeout_seconds: float
    ) -> Version:
        changed = [
            replace(write, guard=ANY_VERSION)
            if isinstance(write, Update) and unguarded(write, self.process.name)
            else write
            for write in writes
        ]
        return await original(self, changed, timeout_seconds=timeout_seconds)

    patch.setattr(SimulatedDocuments, "commit", commit)


@_mutation("the claim has no precondition on the run")
def _claim_unguarded(patch: Patch) -> None:
    _unguard(patch, lambda write, _: _status(write) == "RUNNING")


@_mutation("finalizing does not look whether the step is still RUNNING")
def _finalize_over_cancelled(patch: Patch) -> None:
    _unguard(patch, lambda write, _: _status(write) in {"SUCCEEDED", "FAILED"})


@_mutation("finalizing is not fenced by the job record")
def _finalize_unfenced(patch: Patch) -> None:
    _unguard(patch, lambda write, _: _job_state(write) in {"SUCCEEDED", "FAILED"})


@_mutation("the lease is taken and renewed without a precondition")
def _lease_unguarded(patch: Patch) -> None:
    _unguard(patch, lambda write, _: _job_state(write) == "RUNNING")


@_mutation("the sweep wakes and ends jobs without a precondition")
def _sweep_unguarded(patch: Patch) -> None:
    _unguard(patch, lambda _, who: who.startswith("sweep"))


@_mutation("the upload replaces what stands")
def _upload_replaces(patch: Patch) -> None:
    def create(self: Bucket, uri: Any, data: bytes, metadata: Mapping[str, str]) -> None:
        self.blobs[uri] = Blob(data=data, metadata=metadata, generation=len(self.blobs) + 1)

    patch.setattr(Bucket, "create", create)


@_mutation("the message is acknowledged before the work is done")
def _acknowledged_first(patch: Patch) -> None:
    original = executor.service.Executor.handle
    working: set[asyncio.Task[Answer]] = set()

    async def handle(self: executor.service.Executor, delivery: Delivery) -> Answer:
        task = asyncio.create_task(original(self, delivery))
        working.add(task)
        await asyncio.sleep(1)
        return Answer.ACK

    patch.setattr(executor.service.Executor, "handle", handle)


@_mutation("whose lease it is does not matter when the record is read back")
def _owner_unchecked(patch: Patch) -> None:
    def adopt(self: HeldJob, record: JobRecord, version: Version) -> None:
        self.record, self.version = record, version

    patch.setattr(HeldJob, "adopt", adopt)


@_mutation("a live lease is taken over")
def _live_lease_taken(patch: Patch) -> None:
    patch.setattr(JobRecord, "leased_at", lambda _self, _now: False)


@_mutation("a call begins without another look at the lease")
def _lease_unlooked(patch: Patch) -> None:
    patch.setattr(HeldJob, "check_unexpired", lambda _self: None)


@_mutation("the lease is not renewed")
def _lease_not_renewed(patch: Patch) -> None:
    async def keep(_self: HeldJob, _every: object) -> None:
        await asyncio.Event().wait()

    patch.setattr(HeldJob, "keep", keep)


@_mutation("attempts have no budget")
def _attempts_unbounded(patch: Patch) -> None:
    original = stages.executor_settings

    def settings(call_mode: str) -> Any:
        found = original(call_mode)
        return replace(found, limits=replace(found.limits, max_attempts=1_000))

    patch.setattr(stages, "executor_settings", settings)
    sweeping = stages.dispatcher_settings()
    loose = replace(sweeping, sweep=replace(sweeping.sweep, max_attempts=1_000))
    patch.setattr(stages, "dispatcher_settings", lambda: loose)


@_mutation("model calls have no budget")
def _calls_unbounded(patch: Patch) -> None:
    patch.setattr(CallMaker, "left", lambda _self, _job: 1_000)


@_mutation("a model call is booked after it began")
def _call_booked_late(patch: Patch) -> None:
    original = HeldJob.acquire

    async def call(self: Any, request: Any, purpose: Any, work: Any) -> ModelAnswer:
        answer: ModelAnswer = await self.model.generate(request, timeout_seconds=100)
        await work.held.book_llm_call(purpose)
        return answer

    async def acquire(self: HeldJob, *, reserve_call: bool) -> None:
        del reserve_call
        await original(self, reserve_call=False)

    patch.setattr(CallMaker, "make", call)
    patch.setattr(HeldJob, "acquire", acquire)


@_mutation("the job is published before the claim is committed")
def _published_before_commit(patch: Patch) -> None:
    original = dispatcher.claiming._Claiming._written

    async def written(self: Any, claim: Any) -> Any:
        messages = [job.encode() for job in claim.jobs]
        await self.claims.queue.publish(messages, timeout_seconds=3)
        return await original(self, claim)

    async def publish_nothing(_self: Any, jobs: Sequence[Any], _cause: Any) -> int:
        return len(jobs)

    patch.setattr(dispatcher.claiming._Claiming, "_written", written)
    patch.setattr(dispatcher.claiming.Claims, "publish", publish_nothing)


@_mutation("a failed claim is believed lost without reading back")
def _claim_not_read_back(patch: Patch) -> None:
    async def read(_self: Any, *_arguments: Any) -> None:
        return None

    patch.setattr(dispatcher.claiming._Claiming, "_read", read)


@_mutation("a failed write of the job record is believed lost without reading back")
def _lease_not_read_back(patch: Patch) -> None:
    async def read_back(_self: HeldJob, *_arguments: Any) -> None:
        raise LeaseLost

    patch.setattr(HeldJob, "_read_back", read_back)


@_mutation("a commit that nobody answered is believed applied")
def _unanswered_is_applied(patch: Patch) -> None:
    original = SimulatedDocuments.commit

    async def commit(
        self: SimulatedDocuments, writes: Sequence[Write], *, timeout_seconds: float
    ) -> Version:
        try:
            return await original(self, writes, timeout_seconds=timeout_seconds)
        except StoreUnavailable:
            return ANY_VERSION

    patch.setattr(SimulatedDocuments, "commit", commit)


@_mutation("the filter of our own changes drops those that make steps executable")
def _filter_too_wide(patch: Patch) -> None:
    def is_worker_owned(old: FlowRun | None, new: FlowRun) -> bool:
        steps = old.steps if old else {}
        changed = [
            (steps[name], step)
            for name, step in new.steps.items()
            if name in steps and steps[name] != step
        ]
        return bool(changed) and all(
            dispatcher.planning._our_move(before, after) for before, after in changed
        )

    patch.setattr(dispatcher.service, "is_worker_owned", is_worker_owned)


@_mutation("an event is acknowledged although publishing failed")
def _publish_failure_swallowed(patch: Patch) -> None:
    original = SimulatedQueue.publish

    async def publish(self: SimulatedQueue, messages: Any, *, timeout_seconds: float) -> None:
        try:
            await original(self, messages, timeout_seconds=timeout_seconds)
        except QueueUnavailable:
            return

    patch.setattr(SimulatedQueue, "publish", publish)


@_mutation("a delivery within the grace of a publisher at work is acknowledged")
def _publisher_believed(patch: Patch) -> None:
    patch.setattr(dispatcher.claiming, "published_elsewhere", lambda *_a, **_k: False)


@_mutation("a later attempt does not look for the report before it calls")
def _report_not_looked_for(patch: Patch) -> None:
    async def recovered(_self: Any, _work: Any) -> None:
        return None

    patch.setattr(executor.reports.making.ReportMaker, "recovered", recovered)
    patch.setattr(JobRecord, "may_have_artifact", property(lambda _: False))


@_mutation("a report that was made from other inputs is passed off as this one")
def _digest_unchecked(patch: Patch) -> None:
    async def with_digest(self: Any, uri: Any, _digest: str, work: Any) -> Any:
        found = await self._stat(uri, work)
        return found and executor.reports.store._recovered(uri, found, work)

    patch.setattr(executor.reports.store.ReportStore, "with_digest", with_digest)


@_mutation("a job that is given back is not to be woken")
def _released_for_ever(patch: Patch) -> None:
    original = JobRecord.release

    def release(self: JobRecord, **options: Any) -> JobRecord:
        return replace(original(self, **options), wake_at=None)

    patch.setattr(JobRecord, "release", release)


@_mutation("a lease does not say when it is to be looked at")
def _lease_for_ever(patch: Patch) -> None:
    original = JobRecord.take_lease

    def take_lease(self: JobRecord, **options: Any) -> JobRecord:
        return replace(original(self, **options), wake_at=None)

    patch.setattr(JobRecord, "take_lease", take_lease)


@_mutation("the sweep does not look for steps whose event was lost")
def _runs_not_swept(patch: Patch) -> None:
    async def sweep_runs(_self: Any, _report: Any, _ends_at: float) -> bool:
        return True

    patch.setattr(dispatcher.sweep.Sweep, "_sweep_runs", sweep_runs)


@_mutation("a step is claimed when its dependencies have ended, however they ended")
def _dependencies_ended(patch: Patch) -> None:
    def succeeded(self: FlowRun, step: Any) -> bool:
        return all(
            self.steps[name].status not in {"PENDING", "READY", "RUNNING"}
            for name in step.depends_on
        )

    patch.setattr(FlowRun, "dependencies_succeeded", succeeded)


@_mutation("steps of a run that is not RUNNING are claimed")
def _run_status_ignored(patch: Patch) -> None:
    def executable_steps(run: FlowRun) -> tuple[Any, ...]:
        steps = run.steps.items()
        return tuple(
            sorted(name for name, step in steps if dispatcher.planning._executable(run, step))
        )

    for module in (
        dispatcher.planning,
        dispatcher.service,
        dispatcher.claiming,
        dispatcher.sweep,
    ):
        patch.setattr(module, "executable_steps", executable_steps)


@_mutation("the text of a bad answer stands in the error")
def _text_in_error(patch: Patch) -> None:
    original = answers.read_output

    def read_output(answer: ModelAnswer, schema: Mapping[str, Any]) -> Any:
        try:
            return original(answer, schema)
        except InvalidStructuredOutput as problem:
            raise InvalidStructuredOutput(f"{problem.message}: {answer.text}") from None

    patch.setattr(executor.reports.making, "read_output", read_output)


@_mutation("where a call may be made once only, an unknown outcome is tried again")
def _unknown_tried_again(patch: Patch) -> None:
    patch.setattr(
        executor.reports.making.ReportMaker, "_check_call_policy", lambda _self, _work: None
    )


@_mutation("the provider's answer is deleted before the outcome is written")
def _answer_deleted_early(patch: Patch) -> None:
    original = executor.ending.Ending.end

    async def end(self: Any, outcome: Any, work: Any) -> Answer:
        await self.forget_call(work.held.with_notes, work.log, ended=True)
        return await original(self, outcome, work)

    patch.setattr(executor.ending.Ending, "end", end)


@_mutation("an operator acts on a step without a precondition")
def _act_unguarded(patch: Patch) -> None:
    _unguard(patch, lambda _, who: who.startswith(OPERATOR))


@_mutation("a dead letter is acknowledged before it is published again")
def _letter_acknowledged_first(patch: Patch) -> None:
    original = Replay._publish

    async def publish(self: Replay, letter: DeadLetter) -> None:
        await self.box.acknowledge([letter.message_id])
        await original(self, letter)

    patch.setattr(Replay, "_publish", publish)


@_mutation("a replay gives fresh attempts to a job that an executor works on")
def _replay_under_lease(patch: Patch) -> None:
    original = letters.plan_replay

    def plan_replay(letter: Any, records: Any, rules: Any, act: OperatorAct) -> Any:
        later = replace(act, at=act.at + timedelta(days=1))
        return original(letter, records, rules, later)

    patch.setattr(replays, "plan_replay", plan_replay)


@_mutation("a call that was begun in the background is not fetched by a later attempt")
def _background_call_not_fetched(patch: Patch) -> None:
    patch.setattr(BackgroundCalls, "resumable", lambda _self, _job: None)
