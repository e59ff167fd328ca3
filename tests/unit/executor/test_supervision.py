"""Work that ends with its lease, with its instance, or by itself; in virtual time."""

import asyncio
from dataclasses import dataclass, field

import pytest

from executor.contract.artifacts import GcsUri
from executor.jobs.lease import HeldJob, LeaseLost
from executor.jobs.outcome import (
    AnswerPending,
    Failed,
    Interrupted,
    Outcome,
    Pending,
    StoredReport,
    Succeeded,
    WorkFailed,
)
from executor.jobs.supervision import STORING_SECONDS, supervised
from shared.domain.errors import RateLimited
from tests.support.held_job import RENEW, START, Documents, held, virtually

SUCCESS = Succeeded(
    report=StoredReport(uri=GcsUri("b", "r.json"), sha256=None, size_bytes=1), answer=None
)

LIMITED = RateLimited("429")


@dataclass(slots=True)
class Call:
    """A model call that takes so many seconds, and knows when it was cancelled."""

    seconds: float
    fails_with: Exception | None = None
    cancelled_at: float | None = None
    draining: asyncio.Event = field(default_factory=asyncio.Event)

    async def work(self) -> Succeeded:
        try:
            await asyncio.sleep(self.seconds)
        except asyncio.CancelledError:
            self.cancelled_at = asyncio.get_running_loop().time()
            raise
        if self.fails_with:
            raise self.fails_with
        return SUCCESS

    async def run(self, job: HeldJob) -> Outcome | Interrupted | Pending:
        return await supervised(
            self.work(), held=job, renew_every=RENEW, draining=self.draining
        )


def test_work_longer_than_its_lease_ends_well_while_the_lease_is_renewed() -> None:
    async def scene() -> None:
        documents = Documents()
        job = await held(documents)

        assert await Call(300).run(job) == SUCCESS
        assert documents.commits > 10

    virtually(scene())


@pytest.mark.parametrize("trouble", ["hang", "down"])
def test_work_is_cancelled_within_a_second_of_its_lease_s_end(trouble: str) -> None:
    call = Call(1_000)

    async def scene() -> None:
        documents = Documents()
        job = await held(documents)
        documents.faults, documents.down_reads = [trouble] * 999, 999
        with pytest.raises(LeaseLost):
            await call.run(job)

    virtually(scene())
    assert call.cancelled_at is not None
    assert 60 <= call.cancelled_at <= 61


def test_work_is_cancelled_when_another_holder_is_noticed() -> None:
    call = Call(1_000)

    async def scene() -> None:
        documents = Documents()
        job = await held(documents)
        running = asyncio.create_task(call.run(job))
        await asyncio.sleep(30)
        await documents.stolen()
        with pytest.raises(LeaseLost):
            await running

    virtually(scene())
    assert call.cancelled_at == 40


def test_work_is_cancelled_at_once_when_the_instance_is_stopped() -> None:
    call = Call(1_000)

    async def scene() -> Outcome | Interrupted | Pending:
        job = await held(Documents())
        running = asyncio.create_task(call.run(job))
        await asyncio.sleep(7)
        call.draining.set()
        return await running

    assert virtually(scene()) == Interrupted()
    assert call.cancelled_at == 7


@pytest.mark.parametrize("upload_seconds", [2, 9])
def test_a_stopped_instance_first_stores_the_answer_that_it_has(
    upload_seconds: float,
) -> None:
    call = Call(7 + upload_seconds)

    async def scene() -> Outcome | Interrupted | Pending:
        job = await held(Documents())
        with job.answer_in_hand():
            running = asyncio.create_task(call.run(job))
            await asyncio.sleep(7)
            call.draining.set()
            return await running

    kept = upload_seconds < STORING_SECONDS
    assert virtually(scene()) == (SUCCESS if kept else Interrupted())
    assert call.cancelled_at == (None if kept else 7 + STORING_SECONDS)


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (WorkFailed(LIMITED, None), Failed(error=LIMITED)),
        (AnswerPending(START), Pending(look_at=START)),
    ],
    ids=["failed", "pending"],
)
def test_how_work_ends_is_a_value(error: Exception, outcome: Outcome | Pending) -> None:
    async def scene() -> Outcome | Interrupted | Pending:
        return await Call(1, fails_with=error).run(await held(Documents()))

    assert virtually(scene()) == outcome


class Surprise(Exception):
    """An error whose text no log and no document may repeat."""


def test_a_defect_fails_the_attempt_and_is_named_without_its_text() -> None:
    async def scene() -> None:
        documents = Documents()
        job = await held(documents)

        ended = await Call(1, fails_with=Surprise("the prompt")).run(job)
        before = documents.commits
        await asyncio.sleep(100)

        assert isinstance(ended, Failed)
        assert (ended.error.code, ended.error.retryable) == ("INTERNAL_ERROR", True)
        assert ended.error.message.startswith(
            "Surprise in executor.jobs.supervision.supervised"
        )
        assert documents.commits == before, "nobody renews the lease any more"

    virtually(scene())
