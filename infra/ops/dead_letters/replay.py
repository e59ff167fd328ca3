"""Replaying dead letters: the records first, then the message, and the acknowledgement last.

If the tool is killed between any two of these, the letter comes back after a while, and the
next replay does what is still to be done. Where the job has ended meanwhile, that is to
acknowledge the letter.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from random import Random

from infra.ops.dead_letters.box import BoxUnavailable, DeadLetterBox, HeldLetter
from infra.ops.dead_letters.letter import (
    DeadLetter,
    ReplayPlan,
    ReplayRules,
    Verdict,
    plan_replay,
)
from infra.ops.runs.reading import CALL_SECONDS, NotFound
from infra.ops.steps.acts import TRIES, StepRecords, read_records
from shared.domain.attempts import OperatorAct
from shared.domain.documents import DocumentRef
from shared.domain.job_documents import parse_job_record
from shared.domain.messages import JobMessage
from shared.guarded import Done, guarded
from shared.ports import (
    Clock,
    Conflict,
    DocumentStore,
    Queue,
    QueueUnavailable,
    StoreUnavailable,
)

_WORK = frozenset({Verdict.REPLAY, Verdict.RERUN})


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """What becomes, or became, of one letter."""

    letter: DeadLetter
    plan: ReplayPlan


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """Replays held letters one after the other."""

    documents: DocumentStore
    #: The collection of the runs.
    flow_runs: str
    jobs: Queue
    box: DeadLetterBox
    clock: Clock
    rules: ReplayRules
    #: Who replays, and with what.
    author: str | None = None
    via: str | None = None

    async def preview(self, letters: Sequence[DeadLetter]) -> Sequence[Replayed]:
        """What `run` would do now; nothing is changed.

        Raises:
            StoreUnavailable: Firestore did not answer.
        """
        done: set[JobMessage] = set()
        planned: list[Replayed] = []
        for letter in letters:
            plan = _repeated(letter, done) or await self._planned(letter, self._act(letter))
            planned.append(Replayed(letter=letter, plan=plan))
            _note(letter, plan, done)
        return planned

    async def run(
        self, held: dict[str, HeldLetter], chosen: Sequence[DeadLetter], *, per_second: float
    ) -> AsyncIterator[Replayed]:
        """Replay the chosen ones; what was acknowledged is taken out of `held`.

        Raises:
            BoxUnavailable: a publish or an acknowledgement was not confirmed; the letter
                stays, or may come again.
            StoreUnavailable: Firestore did not answer; the letter stays.
        """
        done: set[JobMessage] = set()
        for letter in chosen:
            plan = _repeated(letter, done) or await self._applied(letter)
            if plan.verdict is Verdict.REPLAY:
                await self._publish(letter)
            if plan.verdict is not Verdict.KEEP:
                await self.box.acknowledge([held[letter.message_id].ack_id])
                del held[letter.message_id]
            _note(letter, plan, done)
            yield Replayed(letter=letter, plan=plan)
            if plan.verdict in _WORK:
                await asyncio.sleep(1 / per_second)

    async def _publish(self, letter: DeadLetter) -> None:
        try:
            await self.jobs.publish([letter.replayed()], timeout_seconds=CALL_SECONDS)
        except QueueUnavailable as problem:
            raise BoxUnavailable(
                f"the jobs topic did not confirm a message: {problem}"
            ) from None

    async def _applied(self, letter: DeadLetter) -> ReplayPlan:
        """The plan whose commit, if it has one, was applied."""
        act = self._act(letter)
        tried: ReplayPlan | None = None

        async def commit(records: StepRecords | None) -> Done[ReplayPlan] | None:
            nonlocal tried
            if tried is not None and _remembers(records, act):
                return Done(tried)  # It was applied, and only the answer was lost.
            tried = plan_replay(letter, records, self.rules, act)
            if not tried.writes:
                return Done(tried)
            try:
                await self.documents.commit(tried.writes, timeout_seconds=CALL_SECONDS)
            except (Conflict, StoreUnavailable):
                return None
            return Done(tried)

        async def read_back(_: StepRecords | None) -> StepRecords | None:
            return await self._records(letter)

        return await guarded(
            await self._records(letter),
            commit=commit,
            read_back=read_back,
            tries=TRIES,
            random=Random(),  # noqa: S311 -- jitter is no secret
            exhausted=lambda: StoreUnavailable(
                f"the job or its run changed during each of {TRIES.limit} tries"
            ),
        )

    async def _planned(self, letter: DeadLetter, act: OperatorAct) -> ReplayPlan:
        return plan_replay(letter, await self._records(letter), self.rules, act)

    async def _records(self, letter: DeadLetter) -> StepRecords | None:
        if letter.job is None:
            return None
        run_ref = DocumentRef(self.flow_runs, letter.job.run_id)
        try:
            return await read_records(self.documents, run_ref, letter.job.step_id)
        except NotFound:
            return None

    def _act(self, letter: DeadLetter) -> OperatorAct:
        reason = f"dead letter {letter.message_id}: {letter.reason}"[:500]
        return OperatorAct(
            act=str(Verdict.REPLAY),
            at=self.clock.now(),
            reason=reason,
            by=self.author,
            via=self.via,
        )


def _remembers(records: StepRecords | None, act: OperatorAct) -> bool:
    if records is None or records.job is None:
        return False
    acts = parse_job_record(records.job.data).operator_acts
    return any((known.at, known.reason) == (act.at, act.reason) for known in acts)


def _note(letter: DeadLetter, plan: ReplayPlan, done: set[JobMessage]) -> None:
    if letter.job is not None and plan.verdict in _WORK:
        done.add(letter.job)


def _repeated(letter: DeadLetter, done: set[JobMessage]) -> ReplayPlan | None:
    """The plan for a further letter of a job that was replayed just now."""
    if letter.job not in done:
        return None
    return ReplayPlan(verdict=Verdict.ACKNOWLEDGE, why="another letter of its job was replayed")
