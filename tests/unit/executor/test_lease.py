"""Holding a job: renewals, lost answers, and losing it; in virtual time."""

import asyncio
from datetime import timedelta

import pytest

from executor.lease import HeldJob, LeaseLost
from shared.domain.attempts import CallPurpose
from shared.domain.errors import FirestoreUnavailable
from shared.domain.jobs import JobRecord, JobState
from tests.held_job import LEASE, RENEW, START, Documents, held, queued, virtually


def test_a_lease_is_taken_and_counted_in_one_commit() -> None:
    async def scene() -> None:
        documents = Documents()
        job = await held(documents, reserve_call=True)

        assert documents.commits == 1
        stored = await documents.stored()
        assert stored == job.record
        assert (stored.state, stored.attempt, stored.llm_calls) == (JobState.RUNNING, 1, 1)

    virtually(scene())


@pytest.mark.parametrize("fault", ["lost", "down"])
def test_a_lease_whose_answer_is_lost_is_read_back(fault: str) -> None:
    async def scene() -> None:
        documents = Documents(faults=[fault])
        job = await held(documents)

        assert await documents.stored() == job.record
        assert job.record.attempt == 1

    virtually(scene())


def test_who_is_slower_does_not_get_the_lease() -> None:
    async def scene() -> None:
        documents = Documents()
        first = await held(documents)
        late = HeldJob(
            documents=documents,
            clock=first._clock,
            record=queued(),
            version=first.version,
            owner="late",
            lease_for=LEASE,
        )
        late.version = type(first.version)(first.version - 1)
        with pytest.raises(LeaseLost):
            await late.acquire(reserve_call=False)

        assert (await documents.stored()).lease == first.record.lease

    virtually(scene())


def test_a_kept_lease_never_expires() -> None:
    async def scene() -> None:
        documents = Documents()
        job = await held(documents)
        keeping = asyncio.create_task(job.keep(RENEW))
        await asyncio.sleep(1_000)
        keeping.cancel()

        stored = await documents.stored()
        assert stored.lease is not None
        assert stored.lease.expires_at >= START + timedelta(seconds=1_000) + LEASE - RENEW
        # One to take it, and one for each renewal.
        assert documents.commits == 1 + 1_000 // 20

    virtually(scene())


def test_a_renewal_that_fails_once_is_made_again_in_time() -> None:
    async def scene() -> None:
        documents = Documents()
        job = await held(documents)
        documents.faults, documents.down_reads = ["down", "down", "down"], 3
        keeping = asyncio.create_task(job.keep(RENEW))
        await asyncio.sleep(100)

        assert not keeping.done()
        keeping.cancel()

    virtually(scene())


@pytest.mark.parametrize("trouble", ["hangs", "fails"])
def test_a_lease_that_cannot_be_renewed_is_lost_when_it_expires(trouble: str) -> None:
    async def scene() -> float:
        documents = Documents()
        job = await held(documents)
        if trouble == "hangs":
            documents.faults = ["hang"] * 99
        else:
            documents.faults, documents.down_reads = ["down"] * 999, 999
        with pytest.raises(LeaseLost):
            await job.keep(RENEW)
        return asyncio.get_running_loop().time()

    # Not before, as a successor cannot be there; and within a second.
    assert 60 <= virtually(scene()) <= 61


def test_a_stolen_lease_is_noticed_at_the_next_renewal_and_left_alone() -> None:
    async def scene() -> float:
        documents = Documents()
        job = await held(documents)
        keeping = asyncio.create_task(job.keep(RENEW))
        await asyncio.sleep(30)
        await documents.stolen()
        theirs = await documents.stored()
        with pytest.raises(LeaseLost):
            await keeping
        with pytest.raises(LeaseLost):
            await job.update(lambda record: record.book_llm_call())

        assert await documents.stored() == theirs
        return asyncio.get_running_loop().time()

    assert virtually(scene()) == 40


def test_a_new_claim_fences_off_the_holder_of_the_former_one() -> None:
    async def scene() -> None:
        documents = Documents()
        job = await held(documents)
        await documents.change(
            lambda record: record.claimed_again(
                claim_id=type(record.claim_id)("c2"),
                event_id="e2",
                now=START,
                wake_at=START + LEASE,
            )
        )
        with pytest.raises(LeaseLost):
            await job.book_llm_call(CallPurpose.REPORT)

    virtually(scene())


def test_a_call_that_was_reserved_with_the_lease_costs_no_second_commit() -> None:
    async def scene() -> None:
        documents = Documents()
        job = await held(documents, reserve_call=True)
        assert (job.settled.llm_calls, job.settled.call_open) == (0, False)
        await job.book_llm_call(CallPurpose.REPORT)

        assert documents.commits == 1
        assert (job.settled.llm_calls, job.settled.call_open) == (1, True)
        await job.book_llm_call(CallPurpose.REPORT)
        assert documents.commits == 2
        assert (await documents.stored()).llm_calls == 2

    virtually(scene())


def test_a_note_travels_with_the_next_write_and_survives_a_failed_one() -> None:
    async def scene() -> None:
        documents = Documents()
        job = await held(documents)
        job.note(lambda record: record.note_inputs("digest"))
        assert job.settled.input_digest == "digest"
        assert (await documents.stored()).input_digest is None
        documents.faults, documents.down_reads = ["down"], 1
        with pytest.raises(FirestoreUnavailable):
            await job.update(_unchanged)
        assert (await documents.stored()).input_digest is None
        await job.update(_unchanged)

        assert (await documents.stored()).input_digest == "digest"

    virtually(scene())


def test_renewals_and_other_writes_do_not_overwrite_one_another() -> None:
    async def scene() -> None:
        documents = Documents()
        job = await held(documents)
        documents.faults = ["lost", "", "down", "", "lost"]
        keeping = asyncio.create_task(job.keep(timedelta(milliseconds=1)))
        for _ in range(3):
            await job.book_llm_call(CallPurpose.REPORT)
            await asyncio.sleep(0.002)
        keeping.cancel()

        assert (await documents.stored()).llm_calls == 3
        assert await documents.stored() == job.record

    virtually(scene())


def test_a_renewal_of_ours_that_was_cut_off_does_not_look_like_a_thief() -> None:
    async def scene() -> None:
        documents = Documents()
        job = await held(documents)
        # Applied, with nobody there any more to take the answer.
        await documents.change(lambda record: record.renew(now=START, lease_for=LEASE * 2))
        await job.book_llm_call(CallPurpose.REPORT)

        stored = await documents.stored()
        assert stored.llm_calls == 1
        assert stored.lease is not None
        assert stored.lease.expires_at == START + LEASE * 2

    virtually(scene())


def _unchanged(record: JobRecord) -> JobRecord:
    return record
