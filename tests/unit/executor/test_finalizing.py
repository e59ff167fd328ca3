"""Writing the outcome: once, although others write too and answers are lost."""

import asyncio
import io
import json
from dataclasses import dataclass, field, replace
from datetime import timedelta
from random import Random
from typing import Any

import pytest

from executor.contract.artifacts import GcsUri
from executor.jobs.finalizing import TRIES, Finalizer
from executor.jobs.lease import HeldJob, LeaseLost
from executor.jobs.outcome import Failed, Outcome, StoredReport, Succeeded
from executor.jobs.rivals import StepTimes
from executor.jobs.run_locks import RunLocks
from shared.domain.document_size import MAX_DOCUMENT_BYTES, document_size
from shared.domain.documents import Snapshot, Update
from shared.domain.errors import (
    FirestoreFinalizeFailed,
    FirestoreUnavailable,
    InvalidStepInputs,
)
from shared.domain.flow_run import step_field
from shared.domain.jobs import JobMove, JobState
from tests.support.held_job import (
    RUN,
    STEP_ID,
    Documents,
    VirtualClock,
    held,
    invocation,
    logger,
    record_reader,
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
        self,
        outcome: Outcome,
        *,
        leased: bool = True,
        seconds: float = 60,
        locks: RunLocks | None = None,
        times: StepTimes | None = None,
        started: float | None = None,
    ) -> None:
        finalizer = Finalizer(
            documents=self.documents,
            records=record_reader(self.documents),
            clock=VirtualClock(),
            random=Random(0),
            run_locks=locks or RunLocks(),
            keep_for=DAYS,
            prices={},
            step_times=times or StepTimes(),
        )
        log = logger(self.log)
        ending = invocation(self.job, run=self.run, seconds=seconds, log=log)
        if started is not None:
            ending = replace(ending, started=started)
        await finalizer.finish(outcome, ending, leased=leased)

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


async def scene(data: dict[str, Any] | None = None) -> Scene:
    documents = Documents()
    run = await stored_run(documents, data)
    job = await held(documents)
    documents.commits = documents.reads = 0
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


def run_with(*others: str) -> dict[str, Any]:
    """Our step RUNNING, and others."""
    step = {"stepType": "LLM_REPORT", "status": "RUNNING", "outputs": {}}
    return {
        "status": "RUNNING",
        "steps": {STEP_ID: step, **{name: dict(step) for name in others}},
    }


@pytest.mark.parametrize(
    ("others", "written", "reads", "commits"),
    [
        ((), False, 0, 1),
        (("other",), False, 1, 1),
        (("other",), True, 1, 1),
        ((), True, 1, 2),
    ],
    ids=["alone", "others at work", "another ended first", "an unforeseen write"],
)
def test_a_run_on_which_others_work_is_read_again_before_it_is_written(
    others: tuple[str, ...], *, written: bool, reads: int, commits: int
) -> None:
    async def play() -> None:
        on = await scene(run_with(*others))
        if written:
            await on.write_run("timeframe", "1w")
        await on.finish(SUCCESS)

        assert (await on.step())["status"] == "SUCCEEDED"
        assert (on.documents.reads, on.documents.commits) == (reads, commits)

    virtually(play())


@pytest.mark.parametrize(
    ("slow_flow", "written", "reads", "commits"),
    [("daily", False, 0, 1), ("daily", True, 1, 2), ("weekly", False, 1, 1)],
)
def test_who_most_likely_ends_first_reads_only_if_that_was_wrong(
    *, slow_flow: str, written: bool, reads: int, commits: int
) -> None:
    async def play() -> None:
        on = await scene({**run_with("a", "b", "c"), "flowKey": "daily"})
        times = StepTimes()
        for _ in range(100):
            times.remember(10.0, flow=slow_flow)
        if written:
            await on.write_run("timeframe", "1w")
        await on.finish(SUCCESS, times=times)

        assert (await on.step())["status"] == "SUCCEEDED"
        assert (on.documents.reads, on.documents.commits) == (reads, commits)

    virtually(play())


def test_a_step_took_as_long_as_its_invocation_until_its_end() -> None:
    async def play() -> None:
        times, on = StepTimes(), await scene()
        await asyncio.sleep(7)
        await on.finish(SUCCESS, times=times, started=2.0)

        assert times.slower_than(4.9, flow=None) == 1 / 2
        assert times.slower_than(5.1, flow=None) == 0

    virtually(play())


def test_steps_of_a_process_tell_the_next_one_how_long_they_took() -> None:
    async def play() -> None:
        times = StepTimes()
        for _ in range(20):
            on = await scene()
            await on.finish(SUCCESS, times=times)

        assert times.slower_than(-0.1, flow=None) == 20 / 21
        assert times.slower_than(0.1, flow=None) == 0

    virtually(play())


def test_steps_that_end_in_one_process_read_the_run_at_most_once() -> None:
    """The first step does not know that others in this process are about to end, too."""

    async def play() -> None:
        on = await scene(run_with("other"))
        locks = RunLocks()
        async with locks.at(RUN) as lock:
            waits = asyncio.create_task(on.finish(SUCCESS, locks=locks))
            await asyncio.sleep(0)
            await on.write_run("timeframe", "1w")
            [newest] = await on.documents.inner.read([RUN], timeout_seconds=10)
            assert newest is not None
            lock.written(newest, newest.version)
        await waits

        assert (on.documents.reads, on.documents.commits) == (0, 1)

    virtually(play())


@pytest.mark.parametrize(("others", "least", "most"), [(1, 0.0, 0.7), (100, 2.0, 20.0)])
def test_after_a_lost_race_a_step_waits_the_longer_the_more_rivals_it_has(
    others: int, least: float, most: float
) -> None:
    async def play() -> float:
        on = await scene(run_with(*(f"other_{number}" for number in range(others))))
        on.documents.faults = ["down"] * 3
        await on.finish(SUCCESS)
        return VirtualClock().monotonic()

    assert least <= virtually(play()) <= most


def test_a_cancelled_step_stays_cancelled_and_its_job_is_abandoned() -> None:
    async def play() -> None:
        on = await scene()
        await on.write_run("status", "CANCELLED")
        await on.finish(SUCCESS)

        assert (await on.step())["status"] == "CANCELLED"
        assert (await on.documents.stored()).state is JobState.ABANDONED
        assert on.events == ["job_noop"]

    virtually(play())


def test_an_executor_that_lost_the_lease_writes_nothing() -> None:
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
        on.documents.faults = ["down"] * 2 * TRIES.limit
        with pytest.raises(FirestoreFinalizeFailed):
            await on.finish(SUCCESS, seconds=30)
        assert on.documents.commits < TRIES.limit
        return VirtualClock().monotonic()

    assert 30 <= virtually(play()) < 34


def test_a_database_that_cannot_be_read_back_is_not_believed_to_have_failed() -> None:
    async def play() -> None:
        on = await scene()
        on.documents.faults, on.documents.down_reads = ["lost"], 1
        with pytest.raises(FirestoreUnavailable):
            await on.finish(SUCCESS)

        # The outcome was written, and the next delivery finds it written.
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


def filled(run: Snapshot, bytes_left: int) -> dict[tuple[str, ...], Any]:
    """The changes that fill the run's document until so many bytes are left."""
    pad = MAX_DOCUMENT_BYTES - document_size(run.ref, {**run.data, "pad": ""}) - bytes_left
    return {("pad",): "x" * pad}


@pytest.mark.parametrize(
    ("outcome", "status"), [(SUCCESS, "SUCCEEDED"), (FAILURE, "FAILED")], ids=["good", "bad"]
)
@pytest.mark.parametrize("bytes_left", [40, 120])
def test_an_outcome_that_does_not_fit_is_written_in_its_smallest_form(
    outcome: Outcome, status: str, bytes_left: int
) -> None:
    async def play() -> None:
        on = await scene()
        full = Update(ref=RUN, changes=filled(on.run, bytes_left), guard=on.run.version)
        await on.documents.inner.commit([full], timeout_seconds=10)

        await on.finish(outcome)

        step, job = await on.step(), await on.documents.stored()
        assert (step["status"], job.state) == (status, status)
        assert step.get("outputs", {}).get("execution") is None
        said = step["outputs"]["gcs_uri"] if outcome is SUCCESS else step["error"]["code"]
        assert said in {"gs://b/r.json", "INVALID_STEP_INPUTS"}

    virtually(play())


@pytest.mark.parametrize("outcome", [SUCCESS, FAILURE], ids=["good", "bad"])
def test_where_nothing_fits_the_job_closes_and_the_log_says_why(outcome: Outcome) -> None:
    async def play() -> None:
        on = await scene()
        on.documents.unfit_runs = True

        await on.finish(outcome)

        step, job = await on.step(), await on.documents.stored()
        assert (step["status"], job.state) == ("RUNNING", "FAILED")
        assert job.last_error is not None
        assert job.last_error.code == "RUN_TOO_LARGE"
        assert ("gs://b/r.json" in job.last_error.message) == (outcome is SUCCESS)
        assert on.events == ["step_failed"]

    virtually(play())


def test_an_outcome_that_we_may_not_write_is_an_error_and_not_tried_for_ever() -> None:
    async def play() -> None:
        on = await scene()
        on.documents.faults = ["refused"]

        with pytest.raises(FirestoreFinalizeFailed, match="PERMISSION_DENIED"):
            await on.finish(SUCCESS)

        assert on.documents.commits == 1

    virtually(play())
