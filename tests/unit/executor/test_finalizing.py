"""Writing the outcome down: once, whoever else writes, and whatever answer is lost."""

import io
import json
from dataclasses import dataclass, field
from datetime import timedelta
from random import Random
from typing import Any

import pytest

from executor.finalizing import MAX_TRIES, Finalizer
from executor.lease import HeldJob, LeaseLost
from executor.outcome import Failed, Outcome, StoredReport, Succeeded
from executor.turns import RunTurns
from shared.domain.artifacts import GcsUri
from shared.domain.documents import Snapshot, Update
from shared.domain.errors import (
    FirestoreFinalizeFailed,
    FirestoreUnavailable,
    InvalidStepInputs,
)
from shared.domain.flow_run import step_field
from shared.domain.jobs import JobMove, JobState
from shared.ports import StoreUnavailable
from tests.held_job import (
    RUN,
    STEP_ID,
    Documents,
    VirtualClock,
    held,
    invocation,
    logger,
    stored_run,
    virtually,
)

DAYS = timedelta(days=30)
SUCCESS = Succeeded(
    report=StoredReport(uri=GcsUri("b", "r.json"), sha256="0" * 64, size_bytes=3), answer=None
)
FAILURE = Failed(error=InvalidStepInputs("no candles"))


@dataclass(slots=True, kw_only=True)
class Scene:
    """A leased job whose outcome is to be written."""

    job: HeldJob
    run: Snapshot
    documents: Documents
    log: io.StringIO = field(default_factory=io.StringIO)

    async def finish(
        self, outcome: Outcome, *, leased: bool = True, seconds: float = 60
    ) -> None:
        finalizer = Finalizer(
            documents=self.documents,
            read_documents=self._read,
            clock=VirtualClock(),
            random=Random(0),
            turns=RunTurns(),
            keep_for=DAYS,
        )
        work = invocation(self.job, run=self.run, seconds=seconds)
        await finalizer.finish(
            outcome, work.run, self.job, work.deadline, logger(self.log), leased=leased
        )

    async def _read(self, refs: Any) -> Any:
        try:
            return await self.documents.read(refs, timeout_seconds=10)
        except StoreUnavailable:
            raise FirestoreUnavailable("as told") from None

    async def step(self) -> dict[str, Any]:
        [found] = await self.documents.inner.read([RUN], timeout_seconds=10)
        assert found is not None
        return dict(found.data["steps"][STEP_ID])

    async def write_run(self, name: str, value: str) -> None:
        """Let the orchestrator write the same run."""
        [found] = await self.documents.inner.read([RUN], timeout_seconds=10)
        assert found is not None
        change = Update(
            ref=RUN, changes={step_field(STEP_ID, name): value}, guard=found.version
        )
        await self.documents.inner.commit([change], timeout_seconds=10)

    @property
    def events(self) -> list[str]:
        return [json.loads(line)["event"] for line in self.log.getvalue().splitlines()]


async def scene() -> Scene:
    documents = Documents()
    run = await stored_run(documents)
    job = await held(documents)
    documents.commits = 0
    return Scene(job=job, run=run, documents=documents)


@pytest.mark.parametrize(
    ("outcome", "status", "event"),
    [(SUCCESS, "SUCCEEDED", "step_completed"), (FAILURE, "FAILED", "step_failed")],
    ids=["success", "failure"],
)
@pytest.mark.parametrize("faults", [[], ["lost"], ["down"], ["down", "lost"]], ids=str)
def test_the_outcome_is_written_once_and_said_once(
    outcome: Outcome, status: str, event: str, faults: list[str]
) -> None:
    async def play() -> None:
        on = await scene()
        on.documents.faults = faults
        await on.finish(outcome)

        step, record = await on.step(), await on.documents.stored()
        assert (step["status"], record.state) == (status, JobState(status))
        assert on.events == [event]
        assert record.expire_at is not None

    virtually(play())


def test_others_who_write_the_run_only_cost_another_try() -> None:
    async def play() -> None:
        on = await scene()
        await on.write_run("timeframe", "1w")
        await on.finish(SUCCESS)

        assert await on.step() | {"outputs": None, "finishedAt": None} == {
            "stepType": "LLM_REPORT",
            "status": "SUCCEEDED",
            "timeframe": "1w",
            "outputs": None,
            "finishedAt": None,
        }

    virtually(play())


def test_a_cancelled_step_stays_cancelled_and_its_job_is_abandoned() -> None:
    async def play() -> None:
        on = await scene()
        await on.write_run("status", "CANCELLED")
        await on.finish(SUCCESS)

        assert (await on.step())["status"] == "CANCELLED"
        assert (await on.documents.stored()).state is JobState.ABANDONED
        assert on.events == ["job_noop"]

    virtually(play())


def test_whoever_lost_the_lease_writes_nothing() -> None:
    async def play() -> None:
        on = await scene()
        await on.documents.stolen()
        theirs = await on.documents.stored()
        with pytest.raises(LeaseLost):
            await on.finish(SUCCESS)

        assert (await on.step())["status"] == "RUNNING"
        assert await on.documents.stored() == theirs

    virtually(play())


def test_another_s_ending_is_not_taken_for_one_s_own() -> None:
    async def play() -> None:
        on = await scene()
        await on.documents.change(
            lambda job: job.close(JobMove.ABANDON, now=job.claimed_at, keep_for=DAYS)
        )
        await on.finish(SUCCESS)

        assert on.events == ["job_noop"]

    virtually(play())


def test_endless_trouble_ends_with_the_time_for_finalizing() -> None:
    async def play() -> float:
        on = await scene()
        on.documents.faults = ["down"] * 2 * MAX_TRIES
        with pytest.raises(FirestoreFinalizeFailed):
            await on.finish(SUCCESS, seconds=30)
        assert on.documents.commits < MAX_TRIES
        return VirtualClock().monotonic()

    assert 30 <= virtually(play()) < 34


def test_a_database_that_cannot_be_read_back_is_not_believed_to_have_failed() -> None:
    async def play() -> None:
        on = await scene()
        on.documents.faults, on.documents.down_reads = ["lost"], 1
        with pytest.raises(FirestoreUnavailable):
            await on.finish(SUCCESS)

        # It was written, and the next delivery finds it so.
        assert (await on.documents.stored()).state is JobState.SUCCEEDED

    virtually(play())


def test_who_ends_a_dead_holder_s_job_gives_way_to_anybody() -> None:
    async def play() -> None:
        on = await scene()
        on.documents.faults = ["down"]
        await on.documents.stolen()
        with pytest.raises(LeaseLost):
            await on.finish(FAILURE, leased=False)

        assert (await on.step())["status"] == "RUNNING"

    virtually(play())


def test_a_renewal_of_ours_that_nobody_waited_for_does_not_hinder_the_ending() -> None:
    async def play() -> None:
        on = await scene()
        await on.documents.change(lambda job: job.renew(now=job.claimed_at, lease_for=DAYS))
        await on.finish(SUCCESS)

        assert (await on.documents.stored()).state is JobState.SUCCEEDED

    virtually(play())
