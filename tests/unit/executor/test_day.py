"""An instance's part in the day's ceiling: how large its slices are, and when it writes."""

import asyncio
from collections.abc import Awaitable, Mapping
from random import Random
from typing import Any

import pytest

from executor.billing.day import MAX_TRIES, DayBudget
from executor.billing.escrow import LARGEST_PART, LEAST_CALLS, SLICE_LASTS, fresh_amount
from executor.billing.prices import MicroUsd
from executor.jobs.deadline import Deadline
from shared.domain.documents import DocumentRef
from shared.domain.errors import CostCeilingExceeded, CostCeilingHeld, FirestoreUnavailable
from tests.support.held_job import START, Documents, VirtualClock, virtually

DAY = START.date()
DAY_ACCOUNT = DocumentRef("llm_spend", f"day~{DAY}")
WORST, COST = MicroUsd(110), MicroUsd(20)


def budget(documents: Documents, ceiling: int, holder: str = "a") -> DayBudget:
    return DayBudget(
        documents=documents,
        clock=VirtualClock(),
        random=Random(1),
        ceiling=MicroUsd(ceiling),
        holder=holder,
    )


async def account(documents: Documents) -> Mapping[str, Any]:
    [stored] = await documents.inner.read([DAY_ACCOUNT], timeout_seconds=1)
    assert stored is not None
    return stored.data


async def given_up(work: Awaitable[None], documents: Documents, fault: str) -> None:
    """Let the store do so to the last commit of this work, and refuse all before it."""
    documents.faults = [*["down"] * (MAX_TRIES - 1), fault]
    with pytest.raises(FirestoreUnavailable):
        await work


def deadline() -> Deadline:
    clock = VirtualClock()
    return Deadline(clock=clock, ends_at=clock.monotonic() + 540, reserve_seconds=60)


@pytest.mark.parametrize(
    ("room", "at_work", "expected"),
    [
        (WORST * LEAST_CALLS * LARGEST_PART * 2, True, WORST * LEAST_CALLS * 2),
        (WORST * LEAST_CALLS * LARGEST_PART * 2, False, WORST * LEAST_CALLS * 2),
        (WORST * LEAST_CALLS * 3, True, WORST * LEAST_CALLS),
        (WORST * LARGEST_PART, False, WORST),
        (WORST * 2, True, WORST * 2),
        (WORST, True, WORST),
    ],
    ids=[
        "plenty",
        "plenty for a newcomer",
        "a few calls at least",
        "one for a newcomer",
        "what there is",
        "the last",
    ],
)
def test_a_slice_is_for_several_calls_and_shrinks_towards_the_ceiling(
    *, room: int, at_work: bool, expected: int
) -> None:
    wanted = MicroUsd(10**9)

    found = fresh_amount(MicroUsd(room), need=WORST, wanted=wanted, at_work=at_work)

    assert found == expected


def test_a_call_waits_for_those_of_its_instance_and_is_made_from_what_they_leave() -> None:
    documents = Documents()

    async def scene() -> None:
        mine = budget(documents, ceiling=LEAST_CALLS * WORST)
        for number in range(LEAST_CALLS):
            await mine.grant(f"c{number}", DAY, WORST, deadline())
        waiting = asyncio.create_task(mine.grant("next", DAY, WORST, deadline()))
        for number in range(2):
            await asyncio.sleep(3)
            assert not waiting.done()
            mine.charge(f"c{number}", COST)
        # The first slice is one call, as for any newcomer, and the second is all that is left;
        # the call that waited takes no slice.
        assert documents.commits == 2
        await waiting
        assert documents.commits == 2

    virtually(scene())


def test_a_call_waits_for_others_no_longer_than_its_job_would() -> None:
    documents = Documents()

    async def scene() -> None:
        mine = budget(documents, ceiling=WORST)
        await mine.grant("c1", DAY, WORST, deadline())
        before = mine.clock.monotonic()
        with pytest.raises(CostCeilingHeld):
            await mine.grant("c2", DAY, WORST, deadline())
        assert 15 <= mine.clock.monotonic() - before <= 30

    virtually(scene())


def test_nobody_waits_where_no_call_of_the_instance_is_under_way() -> None:
    documents = Documents()

    async def scene() -> None:
        await budget(documents, ceiling=WORST, holder="b").grant("c1", DAY, WORST, deadline())
        mine = budget(documents, ceiling=WORST)
        before = mine.clock.monotonic()
        with pytest.raises(CostCeilingHeld):
            await mine.grant("c2", DAY, WORST, deadline())
        assert mine.clock.monotonic() == before

    virtually(scene())


def test_a_refusal_writes_nothing_while_calls_are_under_way_and_all_is_settled_after() -> None:
    documents = Documents()

    async def scene() -> None:
        mine = budget(documents, ceiling=2 * WORST)
        await mine.grant("c1", DAY, WORST, deadline())
        await mine.grant("c2", DAY, WORST, deadline())
        mine.charge("c1", WORST)
        written = documents.commits
        with pytest.raises(CostCeilingExceeded):
            await mine.grant("c3", DAY, MicroUsd(2 * WORST), deadline())
        assert documents.commits == written
        mine.charge("c2", COST)
        await mine.settle(deadline())
        stored = await account(documents)
        assert (stored["spentMicroUsd"], stored["slices"]) == (WORST + COST, {})

    virtually(scene())


@pytest.mark.parametrize("fault", ["lost", "late"])
def test_a_slice_whose_write_was_given_up_is_given_back(fault: str) -> None:
    documents = Documents()

    async def scene() -> None:
        mine = budget(documents, ceiling=WORST)
        await given_up(mine.grant("c1", DAY, WORST, deadline()), documents, fault)
        await mine.settle(deadline())
        stored = await account(documents)
        assert (stored["spentMicroUsd"], stored["slices"]) == (0, {})

    virtually(scene())


@pytest.mark.parametrize("settled", [True, False])
def test_a_slice_whose_write_was_given_up_is_no_larger_than_it_is(*, settled: bool) -> None:
    documents = Documents()

    async def scene() -> None:
        mine = budget(documents, ceiling=3 * WORST)
        await given_up(mine.grant("c1", DAY, WORST, deadline()), documents, "lost")
        if settled:
            documents.down_reads = MAX_TRIES
            with pytest.raises(FirestoreUnavailable):
                await mine.settle(deadline())
        with pytest.raises(CostCeilingExceeded):
            await mine.grant("c1", DAY, MicroUsd(4 * WORST), deadline())
        await mine.grant("c1", DAY, MicroUsd(2 * WORST), deadline())
        stored = await account(documents)
        assert stored["slices"]["a"]["microUsd"] >= 2 * WORST

    virtually(scene())


def test_what_is_spent_while_a_write_is_under_way_is_told_with_the_next() -> None:
    documents = Documents()

    async def scene() -> None:
        mine = budget(documents, ceiling=2 * WORST)
        await mine.grant("c1", DAY, WORST, deadline())
        documents.faults = ["late"]
        second = asyncio.create_task(mine.grant("c2", DAY, WORST, deadline()))
        await asyncio.sleep(0.5)
        mine.charge("c1", COST)
        await second
        mine.charge("c2", COST)
        await mine.settle(deadline())
        stored = await account(documents)
        assert (stored["spentMicroUsd"], stored["slices"]) == (2 * COST, {})

    virtually(scene())


def test_nothing_is_granted_from_a_slice_that_may_have_been_given_back() -> None:
    documents = Documents()

    async def scene() -> None:
        mine = budget(documents, ceiling=2 * WORST)
        await mine.grant("c1", DAY, WORST, deadline())
        mine.charge("c1", MicroUsd(0))
        await given_up(mine.settle(deadline()), documents, "lost")
        await mine.grant("c2", DAY, WORST, deadline())
        assert (await account(documents))["slices"]["a"]["microUsd"] == WORST

    virtually(scene())


def test_a_call_whose_slice_has_expired_is_held_for_anew() -> None:
    documents = Documents()

    async def scene() -> None:
        mine, other = budget(documents, 9 * WORST), budget(documents, 9 * WORST, holder="b")
        await mine.grant("c1", DAY, WORST, deadline())
        await asyncio.sleep(SLICE_LASTS.total_seconds())
        await other.grant("c2", DAY, WORST, deadline())
        await mine.grant("c1", DAY, MicroUsd(2 * WORST), deadline())
        stored = await account(documents)
        assert stored["spentMicroUsd"] == WORST
        assert stored["slices"]["a"]["microUsd"] >= 2 * WORST

    virtually(scene())
