"""Pacing in one process: slots in blocks, refusals learned, and places in the queue."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from executor.billing.limits import CallLimit
from executor.contract.tiers import ServiceTier
from executor.model_calls.pacing import Pacing
from executor.model_calls.pools import Pool
from executor.model_calls.tiers import TierChoice
from shared.domain.documents import Snapshot
from shared.domain.errors import GeminiRequestFailed, NoSlot, RateLimited
from shared.domain.identifiers import StepId
from shared.domain.jobs import JobRecord
from shared.domain.pace_documents import pace_ref, pace_write, parse_pace
from shared.domain.pacing import Pace, first_refused, unknown
from shared.domain.waiting import Waiting
from tests.support.held_job import START, Documents, VirtualClock, pacing, queued, virtually

MODEL = "gemini-x"
PLACE = "gemini-x@ai_studio"
POOL = Pool(MODEL)
USUAL = TierChoice(tier=ServiceTier.STANDARD, may_reach=(ServiceTier.STANDARD,))
SECOND = timedelta(seconds=1)
TIMEOUT = 1.0
LIMITED = RateLimited("429")
RUN = {"status": "RUNNING", "steps": {}}


async def stored(documents: Documents) -> Snapshot:
    [found] = await documents.inner.read([pace_ref(PLACE)], timeout_seconds=TIMEOUT)
    assert found is not None
    return found


async def pace_of(documents: Documents) -> Pace:
    pace = parse_pace(PLACE, (await stored(documents)).data)
    assert pace is not None
    return pace


async def knowing(documents: Documents, pace: Pace) -> Pacing:
    """A process that has read this pace."""
    await documents.inner.commit([pace_write(pace, None)], timeout_seconds=TIMEOUT)
    process = pacing(documents)
    process.learn(await stored(documents))
    return process


def learned(rate: float) -> Pace:
    """A pace in force, whose bucket is empty at the beginning."""
    pace = replace(unknown(PLACE, START), peak=rate, steady=True)
    return replace(pace, growing_since=START - 20 * SECOND)


def waiting_job(**fields: object) -> JobRecord:
    now = VirtualClock().now()
    waiting = Waiting(
        place=PLACE, since=now, until=START + timedelta(hours=6), due_at=now, turn=now
    )
    return replace(queued(), waiting=replace(waiting, **fields))  # type: ignore[arg-type]


async def admitted(process: Pacing, count: int) -> int:
    """How many of so many new jobs may call now."""
    passed = 0
    for _ in range(count):
        try:
            await process.admit(queued(), POOL)
        except NoSlot:
            continue
        passed += 1
    return passed


def test_where_nothing_is_known_calls_are_made_and_nothing_is_asked() -> None:
    documents = Documents()

    async def scene() -> None:
        process = pacing(documents)
        assert not process.must_wait(queued(), POOL)
        assert await admitted(process, 50) == 50

    virtually(scene())
    assert (documents.reads, documents.commits) == (0, 0)


def test_slots_are_taken_in_blocks_and_no_more_than_the_pace_allows() -> None:
    documents = Documents()

    async def scene() -> None:
        process = await knowing(documents, learned(600))
        await asyncio.sleep(1)
        assert await admitted(process, 40) == 10
        assert documents.commits == 1
        assert process.must_wait(queued(), POOL)

    virtually(scene())


def test_slots_that_nobody_used_for_a_while_count_no_more() -> None:
    documents = Documents()

    async def scene() -> None:
        process = await knowing(documents, learned(60))
        await asyncio.sleep(2.1)
        assert await admitted(process, 1) == 1
        await asyncio.sleep(11)
        # These are the slots that the bucket holds; no spare slot is among them.
        assert await admitted(process, 9) == 6

    virtually(scene())


def test_two_processes_take_no_slot_twice() -> None:
    documents = Documents()

    async def scene() -> None:
        one = await knowing(documents, learned(60))
        other = pacing(documents)
        other.learn(await stored(documents))
        await asyncio.sleep(2.1)
        passed = await asyncio.gather(admitted(one, 5), admitted(other, 5))
        assert sum(passed) == 2

    virtually(scene())


def test_a_new_job_passes_none_that_waits() -> None:
    documents = Documents()

    async def scene() -> None:
        await asyncio.sleep(1)
        process = await knowing(documents, learned(600).seen_waiting(START + SECOND, 3))
        assert process.must_wait(queued(), POOL)
        assert await admitted(process, 3) == 0

    virtually(scene())


def test_a_job_with_a_slot_of_its_own_calls_whatever_the_pace_is() -> None:
    documents = Documents()

    async def scene() -> None:
        pace = first_refused(PLACE, START, delay=timedelta(minutes=5))
        process = await knowing(documents, pace)
        job = waiting_job(slot_until=START + 180 * SECOND)
        assert not process.must_wait(job, POOL)
        await process.admit(job, POOL)
        await asyncio.sleep(181)
        with pytest.raises(NoSlot):
            await process.admit(job, POOL)

    virtually(scene())


def test_a_limit_that_is_configured_holds_before_anything_was_refused() -> None:
    documents = Documents()

    async def scene() -> None:
        process = pacing(documents, limits={MODEL: CallLimit(requests=30)})
        assert await admitted(process, 5) == 1
        assert await admitted(pacing(documents), 5) == 5  # This process knows no limit.

    virtually(scene())


def test_a_limit_of_tokens_allows_the_fewer_calls_the_larger_they_are() -> None:
    documents = Documents()

    async def scene() -> None:
        process = pacing(documents, limits={MODEL: CallLimit(tokens=600_000)})
        await admitted(process, 1)
        first = (await pace_of(documents)).limit
        for _ in range(100):
            process.answered(POOL, 100_000)
        await asyncio.sleep(60)
        await admitted(process, 1)
        later = (await pace_of(documents)).limit
        assert first == 60
        assert later == pytest.approx(6, rel=0.01)

    virtually(scene())


def test_a_refusal_that_comes_alone_is_waited_for_and_teaches_nobody() -> None:
    documents = Documents()

    async def scene() -> None:
        process = pacing(documents)
        asked = RateLimited("429", retry_after=3 * SECOND)
        wait = await process.refused(queued(), POOL, asked)
        assert wait is not None
        assert 3.5 <= wait.total_seconds() <= 5

    virtually(scene())
    assert documents.commits == 0


@pytest.mark.parametrize(
    "error", [LIMITED, GeminiRequestFailed("503", refused=True)], ids=["429", "503"]
)
def test_the_second_refusal_in_a_minute_is_learned_by_all(error: RateLimited) -> None:
    documents = Documents()

    async def scene() -> None:
        process = pacing(documents)
        await process.refused(queued(), POOL, error)
        assert await process.refused(queued(), POOL, error) is None
        pace = await pace_of(documents)
        assert pace.in_force(VirtualClock().now())
        assert process.must_wait(queued(), POOL)

    virtually(scene())


def test_a_delay_too_long_to_wait_for_is_learned_at_once() -> None:
    documents = Documents()

    async def scene() -> None:
        error = RateLimited("429", retry_after=40 * SECOND)
        assert await pacing(documents).refused(queued(), POOL, error) is None
        assert (await pace_of(documents)).resume_at == START + 40 * SECOND

    virtually(scene())


def test_many_refusals_at_once_are_one_write_of_this_process() -> None:
    documents = Documents()

    async def scene() -> None:
        process = pacing(documents)
        await asyncio.gather(*(process.refused(queued(), POOL, LIMITED) for _ in range(20)))

    virtually(scene())
    assert documents.commits == 1


def test_what_a_job_with_a_slot_met_is_left_to_the_sweep() -> None:
    documents = Documents()

    async def scene() -> None:
        process = await knowing(documents, learned(60))
        job = waiting_job(slot_until=START + 180 * SECOND)
        assert await process.refused(job, POOL, LIMITED) is None

    virtually(scene())
    assert documents.commits == 0


def test_a_database_that_does_not_answer_is_no_reason_to_forget_a_refusal() -> None:
    documents = Documents()

    async def scene() -> None:
        process = pacing(documents)
        await process.refused(queued(), POOL, LIMITED)
        documents.faults, documents.down_reads = ["down"] * 9, 9
        await process.refused(queued(), POOL, LIMITED)
        assert process.must_wait(queued(), POOL)

    virtually(scene())


def test_the_place_in_the_queue_names_refusal_delay_and_those_before() -> None:
    documents = Documents()

    async def scene() -> None:
        process = await knowing(documents, learned(60).seen_waiting(START, 37))
        error = RateLimited("429", retry_after=20 * SECOND)
        refused = process.waiting(queued(), RUN, StepId("s0"), MODEL, USUAL, error)
        turned_away = process.waiting(
            queued(), RUN, StepId("s0"), MODEL, USUAL, NoSlot("later")
        )
        assert (refused.before, refused.refused_at) == (37, START)
        assert refused.retry_at == START + 20 * SECOND
        assert (turned_away.refused_at, turned_away.retry_at) == (None, None)
        assert refused.until == START + timedelta(hours=6)

    virtually(scene())


def test_a_job_that_waited_keeps_its_beginning_and_loses_its_slot() -> None:
    documents = Documents()

    async def scene() -> None:
        process = pacing(documents)
        job = waiting_job(slot_until=START + 180 * SECOND)
        await asyncio.sleep(5)
        again = process.waiting(job, RUN, StepId("s0"), MODEL, USUAL, LIMITED)
        assert (again.since, again.slot_until) == (START, None)

    virtually(scene())


def test_a_slot_is_likely_after_those_before_and_no_later_than_patience() -> None:
    documents = Documents()

    async def scene() -> None:
        process = await knowing(documents, learned(60).seen_waiting(START, 37))
        job = waiting_job(before=37)
        assert job.waiting is not None
        slot_at = process.slot_at(job.waiting)
        assert (slot_at - START).total_seconds() == pytest.approx(38, rel=0.01)
        short = replace(job.waiting, until=START + 10 * SECOND)
        assert process.slot_at(short) == short.until
        named = replace(job.waiting, retry_at=START + 300 * SECOND)
        assert process.slot_at(named) == START + 300 * SECOND

    virtually(scene())


def test_an_older_reading_is_not_taken_for_news() -> None:
    documents = Documents()

    async def scene() -> None:
        process = await knowing(documents, learned(60))
        old = await stored(documents)
        await asyncio.sleep(2.1)
        assert await admitted(process, 9) == 2
        process.learn(old)
        assert await admitted(process, 9) == 0

    virtually(scene())
