"""Holding a job: renewals, lost answers, and losing it; in virtual time."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from random import Random

import pytest

from executor.jobs.lease import HeldJob, LeaseLost
from shared.domain.attempts import CallPurpose
from shared.domain.documents import Version
from shared.domain.errors import FirestoreUnavailable
from shared.domain.job_documents import parse_job_record
from shared.domain.jobs import JobRecord, JobState
from tests.support.held_job import (
    JOB,
    LEASE,
    RENEW,
    START,
    Documents,
    VirtualClock,
    held,
    queued,
    virtually,
)


def test_a_lease_is_taken_and_counted_in_one_commit() -> None:
    async def scene() -> None:
        documents = Documents()
        job = await held(documents, reserve_call=True)

        assert (documents.commits, documents.reads) == (1, 0)
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
            random=Random(0),
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
        # One commit takes the lease, and one follows for each renewal.
        assert documents.commits == 1 + 1_000 // 20

    virtually(scene())


def test_a_renewal_that_fails_once_is_made_again_in_time() -> None:
    async def scene() -> None:
        documents = Documents()
        job = await held(documents)
        documents.faults, documents.down_reads = ["down", "down", "down"], 3
        keeping = asyncio.create_task(job.keep(RENEW))
        await asyncio.sleep(23.5)
        lease = (await documents.stored()).lease
        assert lease is not None
        assert lease.expires_at == START + timedelta(seconds=23) + LEASE
        await asyncio.sleep(76.5)

        assert not keeping.done()
        keeping.cancel()
        # One commit takes the lease, four come at 20, 21, 22 and 23 seconds, and from there on
        # one comes every 20 seconds again.
        assert documents.commits == 1 + 4 + 3

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
        # One commit takes the lease; then one hangs, or one fails each second until the lease
        # expires.
        assert documents.commits == 1 + (1 if trouble == "hangs" else 40)
        return asyncio.get_running_loop().time()

    # The lease is not lost before it expires, as there can be no successor yet, and it is lost
    # within a second after that.
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
        theirs = await documents.stored()
        with pytest.raises(LeaseLost) as lost:
            await job.book_llm_call(CallPurpose.REPORT)

        assert lost.value.found == theirs
        # The error's message goes to the log, where nothing of the record belongs.
        assert str(lost.value) == ""

    virtually(scene())


def test_a_lease_that_another_holds_is_not_held_before_it_is_taken() -> None:
    async def scene() -> None:
        theirs = queued().take_lease(owner="them", now=START, lease_for=LEASE)
        job = HeldJob(
            documents=Documents(),
            clock=VirtualClock(),
            record=theirs,
            version=Version(1),
            owner="us",
            lease_for=LEASE,
            random=Random(0),
        )

        with pytest.raises(LeaseLost):
            job.check_unexpired()

    virtually(scene())


def test_a_call_that_was_reserved_with_the_lease_costs_no_second_commit() -> None:
    async def scene() -> None:
        documents = Documents()
        job = await held(documents, reserve_call=True)
        assert (job.with_notes.llm_calls, job.with_notes.call_open) == (0, False)
        await job.book_llm_call(CallPurpose.REPORT)

        assert documents.commits == 1
        assert (job.with_notes.llm_calls, job.with_notes.call_open) == (1, True)
        await job.book_llm_call(CallPurpose.REPORT)
        assert documents.commits == 2
        assert (await documents.stored()).llm_calls == 2

    virtually(scene())


def test_a_note_travels_with_the_next_write_and_survives_a_failed_one() -> None:
    async def scene() -> None:
        documents = Documents()
        job = await held(documents)
        job.note(lambda record: record.note_inputs("digest"))
        assert job.with_notes.input_digest == "digest"
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
        # The renewal was applied, but nobody was there any more to take the answer.
        await documents.change(lambda record: record.renew(now=START, lease_for=LEASE * 2))
        await job.book_llm_call(CallPurpose.REPORT)

        stored = await documents.stored()
        assert stored.llm_calls == 1
        assert stored.lease is not None
        assert stored.lease.expires_at == START + LEASE * 2

    virtually(scene())


@pytest.mark.parametrize("changes", [1, 2])
def test_what_a_renewal_carried_that_was_cut_off_is_not_applied_again(changes: int) -> None:
    async def scene() -> None:
        documents = Documents()
        job = await held(documents)
        await job.book_llm_call(CallPurpose.REPORT)
        job.note(JobRecord.call_refused)
        documents.faults = ["silent"]
        with suppress(TimeoutError):
            async with asyncio.timeout(1):
                await job.keep(timedelta(milliseconds=1))
        job.note(lambda record: record.note_inputs("digest"))
        for _ in range(changes):
            await job.update(_unchanged)

        stored = await documents.stored()
        assert (stored.llm_calls, stored.refusals, stored.input_digest) == (0, 1, "digest")
        assert stored == job.record == job.with_notes

    virtually(scene())


def test_what_a_finalize_finds_of_a_renewal_that_was_cut_off_is_not_applied_again() -> None:
    async def scene() -> None:
        documents = Documents()
        job = await held(documents)
        await job.book_llm_call(CallPurpose.REPORT)
        job.note(JobRecord.call_refused)
        documents.faults = ["silent"]
        with suppress(TimeoutError):
            async with asyncio.timeout(1):
                await job.keep(timedelta(milliseconds=1))
        [found] = await documents.read([JOB], timeout_seconds=1)
        assert found is not None
        job.adopt(parse_job_record(found.data), found.version)

        assert (job.with_notes.llm_calls, job.with_notes.refusals) == (0, 1)

    virtually(scene())


def test_a_lease_whose_first_write_is_applied_late_is_counted_once() -> None:
    async def scene() -> None:
        documents = Documents(faults=["late"])
        job = await held(documents, reserve_call=True)

        stored = await documents.stored()
        assert (stored.attempt, stored.llm_calls) == (1, 1)
        assert stored == job.record

    virtually(scene())


def test_a_write_that_is_refused_three_times_is_given_up_and_said_to_be() -> None:
    async def scene() -> None:
        documents = Documents()
        job = await held(documents)
        before, documents.commits = job.record, 0
        documents.faults = ["down"] * 99
        with pytest.raises(FirestoreUnavailable) as problem:
            await job.book_llm_call(CallPurpose.REPORT)

        assert problem.value.message == "job record: the write was not applied"
        assert documents.commits == 3
        assert await documents.stored() == job.record == before

    virtually(scene())


def test_a_write_that_cannot_be_read_back_is_said_to_be_so() -> None:
    async def scene() -> None:
        documents = Documents()
        job = await held(documents)
        documents.faults, documents.down_reads = ["down"], 1
        with pytest.raises(FirestoreUnavailable) as problem:
            await job.book_llm_call(CallPurpose.REPORT)

        assert problem.value.message == "job record: as told"

    virtually(scene())


def test_a_write_that_is_refused_for_good_is_not_tried_again() -> None:
    async def scene() -> None:
        documents = Documents()
        job = await held(documents)
        before, documents.commits = job.record, 0
        documents.faults = ["refused"]
        with pytest.raises(FirestoreUnavailable) as problem:
            await job.book_llm_call(CallPurpose.REPORT)

        assert problem.value.message == "job record: PERMISSION_DENIED"
        assert (documents.commits, documents.reads) == (1, 0)
        assert await documents.stored() == job.record == before

    virtually(scene())


def test_a_record_that_somebody_removed_is_not_held() -> None:
    async def scene() -> None:
        documents = Documents()
        job = await held(documents)
        documents.inner.delete(JOB)
        with pytest.raises(LeaseLost):
            await job.book_llm_call(CallPurpose.REPORT)

    virtually(scene())


@pytest.mark.parametrize("reserve_call", [True, False])
def test_a_lease_that_expired_allows_no_call_even_if_nobody_took_it(
    *, reserve_call: bool
) -> None:
    async def scene() -> None:
        job = await held(Documents(), reserve_call=reserve_call)
        await asyncio.sleep(59.999)
        job.check_unexpired()
        await asyncio.sleep(0.001)
        with pytest.raises(LeaseLost):
            job.check_unexpired()
        with pytest.raises(LeaseLost):
            await job.book_llm_call(CallPurpose.REPORT)

    virtually(scene())


def test_an_answer_is_in_hand_while_it_is_being_stored_and_no_longer() -> None:
    async def scene() -> None:
        job = await held(Documents())
        seen = [job.storing]
        with job.answer_in_hand():
            seen.append(job.storing)
        seen.append(job.storing)
        await asyncio.sleep(60)
        with pytest.raises(LeaseLost), job.answer_in_hand():
            job.check_unexpired()
        seen.append(job.storing)

        assert seen == [False, True, False, False]

    virtually(scene())


def test_a_note_is_written_once() -> None:
    async def scene() -> None:
        documents = Documents()
        job = await held(documents)
        job.note(lambda record: record.book_llm_call())
        await job.update(_unchanged)
        await job.update(_unchanged)

        assert (await documents.stored()).llm_calls == 1

    virtually(scene())


@pytest.mark.parametrize("call_open", [True, False])
def test_a_job_whose_lease_was_not_taken_stands_as_its_last_holder_left_it(
    *, call_open: bool
) -> None:
    async def scene() -> None:
        left = replace(queued(), llm_calls=1, call_open=call_open)
        job = HeldJob(
            documents=Documents(),
            clock=VirtualClock(),
            record=left,
            version=Version(1),
            owner="us",
            lease_for=LEASE,
            random=Random(0),
        )

        assert job.with_notes == left
        assert job.lost_call is call_open

    virtually(scene())


@pytest.mark.parametrize(("reserve_call", "calls"), [(True, 0), (False, 1)])
def test_a_job_is_given_back_without_the_call_that_was_reserved_and_not_begun(
    *, reserve_call: bool, calls: int
) -> None:
    async def scene() -> None:
        documents = Documents()
        record = queued() if reserve_call else queued().book_llm_call()
        job = await held(documents, record, reserve_call=reserve_call)
        await job.give_back(lambda record: record.note_inputs("digest"))

        stored = await documents.stored()
        assert stored == job.record == job.with_notes
        assert (stored.llm_calls, stored.input_digest) == (calls, "digest")

    virtually(scene())


def _unchanged(record: JobRecord) -> JobRecord:
    return record


@dataclass(slots=True)
class SetBack(VirtualClock):
    """A wall clock that somebody sets back; the monotonic one goes on."""

    by: timedelta = timedelta(0)

    def now(self) -> datetime:
        """See the port."""
        return VirtualClock.now(self) - self.by


def test_a_lease_that_expired_allows_no_call_though_the_clock_was_set_back() -> None:
    async def scene() -> None:
        clock = SetBack()
        job = await held(Documents(), clock=clock)

        await asyncio.sleep(LEASE.total_seconds() - 1)
        job.check_unexpired()
        clock.by = timedelta(minutes=5)
        await asyncio.sleep(1)

        with pytest.raises(LeaseLost):
            job.check_unexpired()

    virtually(scene())


def test_a_lease_is_renewed_in_time_though_the_clock_was_set_back() -> None:
    async def scene() -> None:
        clock = SetBack()
        job = await held(Documents(), clock=clock)
        keeping = asyncio.create_task(job.keep(RENEW))

        for _ in range(20):
            clock.by += LEASE
            await asyncio.sleep(RENEW.total_seconds() + 1)
            job.check_unexpired()

        keeping.cancel()

    virtually(scene())


def test_a_lease_that_expired_by_a_clock_set_forward_is_not_renewed() -> None:
    async def scene() -> None:
        clock, documents = SetBack(), Documents()
        job = await held(documents, clock=clock)
        clock.by = -LEASE

        with pytest.raises(LeaseLost):
            await job.keep(RENEW)
        assert documents.commits == 1

    virtually(scene())
