"""A replay under way: its order, and what an interruption leaves for the next replay."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest

from infra.local.embedded.documents import EmbeddedDocuments
from infra.local.embedded.queue import KeptMessages
from infra.ops.dead_letters.box import BoxUnavailable, pulled
from infra.ops.dead_letters.letter import DeadLetter, ReplayRules, Verdict
from infra.ops.dead_letters.replay import Replay, Replayed
from shared.adapters.clock import SystemClock
from shared.domain.documents import Create, DocumentRef, Version, Write
from shared.domain.finalize import ending_writes, exhausted
from shared.domain.identifiers import ClaimId, RunId, StepId
from shared.domain.job_documents import create_job, job_ref, parse_job_record
from shared.domain.jobs import JobRecord, JobState
from shared.domain.messages import JobMessage, OutgoingMessage
from shared.ports import QueueUnavailable, StoreUnavailable
from tests.support.kept_letters import KeptLetters

NOW = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)
RULES = ReplayRules(rerun=False, call_budget=5, wake_after=timedelta(seconds=120))
STEP = StepId("1d:report")
TIMEOUT, FAST = 1.0, 10_000.0


class Killed(BaseException):
    """Stands for a kill: no code catches it."""


class Documents(EmbeddedDocuments):
    """Loses the answers to commits when told to."""

    lost_answers = 0

    async def commit(self, writes: Sequence[Write], *, timeout_seconds: float) -> Version:
        """See the class."""
        version = await super().commit(writes, timeout_seconds=timeout_seconds)
        if self.lost_answers:
            self.lost_answers -= 1
            raise StoreUnavailable("DeadlineExceeded")
        return version


@dataclass(slots=True)
class Jobs(KeptMessages):
    """The jobs topic; it may refuse, or the tool may die before or after it took a message."""

    failure: BaseException | None = None
    takes_first: bool = False

    async def publish(
        self, messages: Sequence[OutgoingMessage], *, timeout_seconds: float
    ) -> None:
        """See the class."""
        failure, self.failure = self.failure, None
        if failure is None or self.takes_first:
            # super() does not work here: a slotted dataclass is another class than the one in
            # this body.
            await KeptMessages.publish(self, messages, timeout_seconds=timeout_seconds)
        if failure is not None:
            raise failure


@dataclass(slots=True)
class Site:
    """Dead letters, their records, and the topic that they go back to."""

    box: KeptLetters = field(default_factory=KeptLetters)
    documents: Documents = field(default_factory=Documents)
    jobs: Jobs = field(default_factory=Jobs)

    async def dead(self, number: int, *, copies: int = 1, attempt: int = 5) -> RunId:
        """Make a running step whose job's message is a dead letter."""
        run_id = RunId(f"20260105-09000{number}_BTCUSDT_abc")
        step = {"stepType": "LLM_REPORT", "status": "RUNNING"}
        run = Create(
            ref=DocumentRef("flow_runs", run_id),
            data={"status": "RUNNING", "steps": {STEP: step}},
        )
        record = JobRecord(
            run_id=run_id,
            step_id=STEP,
            claim_id=ClaimId(f"claim-{number}"),
            event_id="event",
            claimed_at=NOW,
            state=JobState.QUEUED,
            attempt=attempt,
            wake_at=NOW,
        )
        await self.documents.commit([run, create_job(record)], timeout_seconds=TIMEOUT)
        message = JobMessage(run_id=run_id, step_id=STEP, claim_id=record.claim_id).encode()
        self.box.letters += [
            DeadLetter(
                message_id=f"{number}-{copy}",
                published_at=NOW,
                data=message.data,
                attributes=message.attributes,
            )
            for copy in range(copies)
        ]
        return run_id

    def replay(self, rules: ReplayRules = RULES) -> Replay:
        """A replay with these surroundings."""
        return Replay(
            documents=self.documents,
            flow_runs="flow_runs",
            jobs=self.jobs,
            box=self.box,
            clock=SystemClock(),
            rules=rules,
        )

    async def run(self, rules: ReplayRules = RULES) -> list[Replayed]:
        """Replay all letters that nobody holds."""
        async with pulled(self.box, 100) as held:
            letters = [one.letter for one in held.values()]
            running = self.replay(rules).run(held, letters, per_second=FAST)
            return [result async for result in running]

    async def job(self, run_id: RunId) -> JobRecord:
        """The job record."""
        [found] = await self.documents.read([job_ref(run_id, STEP)], timeout_seconds=TIMEOUT)
        assert found is not None
        return parse_job_record(found.data)

    @property
    def published(self) -> list[str]:
        """The letters of which messages were published."""
        return [message.attributes["replayOf"] for message in self.jobs.messages]


def verdicts(results: Sequence[Replayed]) -> list[Verdict]:
    return [result.plan.verdict for result in results]


async def test_each_job_is_published_once_and_all_its_letters_go() -> None:
    site = Site()
    runs = [await site.dead(number, copies=2) for number in range(3)]

    results = await site.run()

    assert verdicts(results) == [Verdict.REPLAY, Verdict.ACKNOWLEDGE] * 3
    assert site.published == ["0-0", "1-0", "2-0"]
    assert site.box.letters == []
    for run_id in runs:
        job = await site.job(run_id)
        assert job.attempt == 0
        assert [act.act for act in job.operator_acts] == ["replay"]


async def test_a_preview_changes_nothing() -> None:
    site = Site()
    run_id = await site.dead(1, copies=2)
    before = await site.job(run_id)

    results = await site.replay().preview(site.box.letters)

    assert verdicts(results) == [Verdict.REPLAY, Verdict.ACKNOWLEDGE]
    assert await site.job(run_id) == before
    assert site.jobs.messages == []
    assert len(site.box.letters) == 2


@pytest.mark.parametrize("taken", [False, True], ids=["before the publish", "after it"])
async def test_a_tool_that_dies_leaves_the_letter_to_the_next_one(taken: bool) -> None:  # noqa: FBT001
    site = Site()
    run_id = await site.dead(1)
    site.jobs.failure, site.jobs.takes_first = Killed(), taken

    with pytest.raises(Killed):
        await site.run()

    assert len(site.box.letters) == 1
    assert verdicts(await site.run()) == [Verdict.REPLAY]
    # The second message, if there is one, finds the first one's lease or a closed job.
    assert site.published == ["1-0"] * (2 if taken else 1)
    assert site.box.letters == []
    assert (await site.job(run_id)).attempt == 0


async def test_a_publish_that_was_not_confirmed_keeps_the_letter_and_says_so() -> None:
    site = Site()
    await site.dead(1)
    site.jobs.failure = QueueUnavailable("ServiceUnavailable")

    with pytest.raises(BoxUnavailable, match="did not confirm"):
        await site.run()

    assert len(site.box.letters) == 1
    assert site.box.held == {}


async def test_a_commit_whose_answer_was_lost_is_remembered_once() -> None:
    site = Site()
    run_id = await site.dead(1)
    site.documents.lost_answers = 1

    assert verdicts(await site.run()) == [Verdict.REPLAY]

    assert len((await site.job(run_id)).operator_acts) == 1
    assert site.published == ["1-0"]


async def test_what_cannot_be_read_stays_and_does_not_stop_the_others() -> None:
    site = Site()
    await site.dead(1)
    broken = replace(site.box.letters[0], message_id="x", data=b"rubbish")
    site.box.letters.insert(0, broken)

    assert verdicts(await site.run()) == [Verdict.KEEP, Verdict.REPLAY]

    assert site.box.letters == [broken]


async def test_a_failed_step_is_reopened_only_when_that_was_asked_for() -> None:
    site = Site()
    run_id = await site.dead(1)
    await fail(site, run_id)

    assert verdicts(await site.run()) == [Verdict.KEEP]
    assert verdicts(await site.run(replace(RULES, rerun=True))) == [Verdict.RERUN]

    # The dispatcher claims the READY step, so it needs no message of the former claim.
    assert site.jobs.messages == []
    assert site.box.letters == []
    [run] = await site.documents.read(
        [DocumentRef("flow_runs", run_id)], timeout_seconds=TIMEOUT
    )
    assert run is not None
    assert run.data["steps"][STEP]["status"] == "READY"
    [act] = (await site.job(run_id)).operator_acts
    assert (act.act, act.reason.startswith("dead letter 1-0")) == ("rerun", True)


async def fail(site: Site, run_id: RunId) -> None:
    """End the step as the sweep does when its attempt budget is spent."""
    refs = [DocumentRef("flow_runs", run_id), job_ref(run_id, STEP)]
    run, job = await site.documents.read(refs, timeout_seconds=TIMEOUT)
    assert run is not None
    assert job is not None
    record = parse_job_record(job.data)
    writes = ending_writes(
        error=exhausted(record),
        run=run,
        job=record,
        job_version=job.version,
        now=NOW,
        keep_for=timedelta(days=30),
    )
    await site.documents.commit(writes, timeout_seconds=TIMEOUT)
