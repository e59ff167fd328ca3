"""The ledger's two documents, field by field, and its patience with others; in virtual time."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any

import pytest

from executor.billing.day import DayBudget
from executor.billing.ledger import Reservation, SpendLedger
from executor.billing.prices import MicroUsd, Price
from executor.contract.profile import parse_profile
from executor.jobs.deadline import Deadline
from executor.ports import ModelRequest
from shared.domain.attempts import Attempt, CallPurpose, ModelCall
from shared.domain.documents import DocumentRef
from shared.domain.errors import CostCeilingExceeded, FirestoreUnavailable, LlmProfileInvalid
from shared.domain.identifiers import ClaimId, StepId
from shared.domain.jobs import BackgroundCall, JobRecord
from tests.support.held_job import RUN_ID, START, Documents, VirtualClock, queued, virtually

DAY = START.date()
RUN_ACCOUNT = DocumentRef("llm_spend", f"run~{RUN_ID}")
DAY_ACCOUNT = DocumentRef("llm_spend", "day~2026-01-05")
#: The beginning of each call's name, under the first claim of the first step.
CLAIM = "2026-01-05/20260105-090000_BTCUSD_held~llm_report_1d/c1/"
PRICE = Price(
    valid_from=date(2026, 1, 1),
    input=Decimal(0),
    output=Decimal(1),
    cached=Decimal(0),
    thought=Decimal(1),
)


class Longest(Random):
    """Draws the longest wait, and remembers the shortest that it might have drawn."""

    def __init__(self) -> None:
        super().__init__()
        self.shortest: set[float] = set()

    def uniform(self, a: float, b: float) -> float:
        self.shortest.add(a)
        return b


def request(model: str = "gemini-a", most_output: int | None = 10) -> ModelRequest:
    profile = parse_profile({"modelName": model, "jsonSchema": {}})
    return ModelRequest(
        profile=profile.model_copy(update={"max_output_tokens": most_output}),
        system_instruction="",
        user_text="",
        images=(),
        json_schema={},
    )


def ledger(
    documents: Documents, *, per_run: int = 1000, random: Random | None = None
) -> SpendLedger:
    return SpendLedger(
        documents=documents,
        clock=VirtualClock(),
        random=random or Longest(),
        prices={"gemini-a": [PRICE]},
        per_run=MicroUsd(per_run),
        day=None,
    )


async def account(documents: Documents, ref: DocumentRef) -> Mapping[str, Any] | None:
    [found] = await documents.inner.read([ref], timeout_seconds=1)
    return found.data if found else None


def deadline(seconds: float = 480) -> Deadline:
    clock = VirtualClock()
    return Deadline(clock=clock, ends_at=clock.monotonic() + seconds, reserve_seconds=0)


def called(*usages: Mapping[str, Any] | None) -> JobRecord:
    """A job whose former holder made these calls."""
    calls = tuple(
        ModelCall(
            number=number,
            purpose=CallPurpose.REPORT,
            started_at=START,
            ended_at=START,
            model_name="gemini-a",
            usage=usage,
        )
        for number, usage in enumerate(usages, start=1)
    )
    attempt = Attempt(number=1, started_at=START, calls=calls)
    return replace(queued(), llm_calls=len(calls), attempt=1, history=(attempt,))


def test_a_reservation_stands_in_the_run_s_account_for_400_days() -> None:
    async def scene() -> None:
        documents = Documents()
        reservation = await ledger(documents).reserve(request(), queued(), deadline())

        held = {
            "spentMicroUsd": 0,
            "reservedMicroUsd": {CLAIM + "1": 10},
            "expireAt": START + timedelta(days=400),
        }
        assert await account(documents, RUN_ACCOUNT) == {"scope": "run", **held}
        # Without a ceiling for the day, its account is not written.
        assert await account(documents, DAY_ACCOUNT) is None
        assert reservation == Reservation(
            call=CLAIM + "1", run_id=RUN_ID, day=DAY, amount=MicroUsd(10), price=PRICE
        )

    virtually(scene())


def test_the_same_call_is_held_for_once_and_written_once() -> None:
    async def scene() -> None:
        documents = Documents()
        spending = ledger(documents)
        first = await spending.reserve(request(), queued(), deadline())
        await asyncio.sleep(60)

        assert await spending.reserve(request(), queued(), deadline()) == first
        assert documents.commits == 1

    virtually(scene())


def test_what_a_call_cost_stands_in_the_run_s_account_for_400_days_more() -> None:
    async def scene() -> None:
        documents = Documents()
        spending = ledger(documents)
        reservation = await spending.reserve(request(), queued(), deadline())
        await asyncio.sleep(60)
        spending.charge(reservation, MicroUsd(7))
        await spending.settle(queued(), deadline())

        spent = {
            "spentMicroUsd": 7,
            "reservedMicroUsd": {},
            "expireAt": START + timedelta(days=400, seconds=60),
        }
        assert await account(documents, RUN_ACCOUNT) == {"scope": "run", **spent}

    virtually(scene())


def test_former_calls_of_the_claim_are_charged_as_known_and_in_full_where_unknown() -> None:
    async def scene() -> None:
        documents = Documents()
        spending = ledger(documents)
        known = {"promptTokenCount": 5, "candidatesTokenCount": 3, "totalTokenCount": 8}
        usages = [known, None]
        for number in range(3):
            await spending.reserve(request(), called(*usages[:number]), deadline())

        found = await account(documents, RUN_ACCOUNT)
        assert found is not None
        # The first is known to have cost 3; of the second only its reservation is known.
        assert found["spentMicroUsd"] == 3 + 10
        assert found["reservedMicroUsd"] == {CLAIM + "3": 10}

    virtually(scene())


@pytest.mark.parametrize("other", [{"step_id": StepId("other")}, {"claim_id": ClaimId("c10")}])
def test_calls_of_other_steps_and_claims_are_left_as_they_are(other: dict[str, Any]) -> None:
    async def scene() -> None:
        documents = Documents()
        spending = ledger(documents)
        theirs = await spending.reserve(request(), replace(queued(), **other), deadline())
        await spending.reserve(request(), queued(), deadline())

        found = await account(documents, RUN_ACCOUNT)
        assert found is not None
        assert found["spentMicroUsd"] == 0
        assert found["reservedMicroUsd"] == {theirs.call: 10, CLAIM + "1": 10}

    virtually(scene())


def test_a_call_that_ends_on_another_day_is_settled_all_the_same() -> None:
    async def scene() -> None:
        documents = Documents()
        spending = ledger(documents)
        held = await spending.reserve(request(), queued(), deadline())
        await asyncio.sleep(24 * 3600)
        standing = spending.standing(request(), replace(queued(), llm_calls=1), DAY)
        spending.charge(standing, MicroUsd(4))
        await spending.settle(queued(), deadline())

        assert standing == held
        found = await account(documents, RUN_ACCOUNT)
        assert found is not None
        assert (found["spentMicroUsd"], found["reservedMicroUsd"]) == (4, {})

    virtually(scene())


def test_what_a_dead_holder_left_is_settled_when_the_job_has_ended() -> None:
    async def scene() -> None:
        documents = Documents()
        await ledger(documents).reserve(request(), queued(), deadline())
        usage = {"promptTokenCount": 5, "candidatesTokenCount": 3, "totalTokenCount": 8}

        await ledger(documents).settle(called(usage), deadline())

        found = await account(documents, RUN_ACCOUNT)
        assert found is not None
        assert (found["spentMicroUsd"], found["reservedMicroUsd"]) == (3, {})

    virtually(scene())


def test_a_call_under_way_in_the_background_stays_reserved() -> None:
    async def scene() -> None:
        documents = Documents()
        spending = ledger(documents)
        await spending.reserve(request(), queued(), deadline())
        begun = BackgroundCall(id="i", begun_at=START, input_digest="d")

        await spending.settle(replace(queued(), llm_calls=1, interaction=begun), deadline())

        found = await account(documents, RUN_ACCOUNT)
        assert found is not None
        assert found["reservedMicroUsd"] == {CLAIM + "1": 10}

    virtually(scene())


def test_the_same_call_with_a_larger_worst_case_raises_what_is_held() -> None:
    async def scene() -> None:
        documents = Documents()
        spending = ledger(documents)
        await spending.reserve(request(), queued(), deadline())
        await spending.reserve(request(most_output=25), queued(), deadline())
        await spending.reserve(request(), queued(), deadline())

        found = await account(documents, RUN_ACCOUNT)
        assert found is not None
        assert found["reservedMicroUsd"] == {CLAIM + "1": 25}

    virtually(scene())


def test_no_try_begins_after_the_deadline() -> None:
    async def scene() -> float:
        documents = Documents(faults=["down"] * 99)
        with pytest.raises(FirestoreUnavailable):
            await ledger(documents).reserve(request(), queued(), deadline(3))
        return VirtualClock().monotonic()

    assert virtually(scene()) < 3 + 2


def test_half_a_second_is_time_enough_to_try() -> None:
    async def scene() -> None:
        held = await ledger(Documents()).reserve(request(), queued(), deadline(0.5))
        assert held.amount == 10

    virtually(scene())


@pytest.mark.parametrize("handed_over", [False, True])
def test_a_call_that_is_handed_over_counts_in_full_under_the_day_s_ceiling(
    *, handed_over: bool
) -> None:
    """The instance may not see the call's end, and gives back what is merely held."""

    async def scene() -> None:
        documents = Documents()
        day = DayBudget(
            documents=documents,
            clock=VirtualClock(),
            random=Longest(),
            ceiling=MicroUsd(1000),
            holder="us",
        )
        spending = replace(ledger(documents), per_run=None, day=day)
        held = await spending.reserve(request(), queued(), deadline())
        if handed_over:
            spending.hand_over(held)
        else:
            spending.release(held)
        await spending.settle(queued(), deadline())

        found = await account(documents, DAY_ACCOUNT)
        assert found is not None
        assert found["spentMicroUsd"] == (10 if handed_over else 0)

    virtually(scene())


def test_the_ceiling_of_a_run_does_not_bind_the_day() -> None:
    async def scene() -> None:
        documents = Documents()
        with pytest.raises(CostCeilingExceeded) as refused:
            await ledger(documents, per_run=9).reserve(request(), queued(), deadline())

        assert refused.value.details is not None
        assert refused.value.details["scope"] == "run"
        assert await account(documents, RUN_ACCOUNT) is None
        assert await account(documents, DAY_ACCOUNT) is None

    virtually(scene())


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (
            request(model="gemini-b"),
            (
                "llmProfile.modelName: gemini-b has no price in MODEL_PRICES for 2026-01-05,"
                " and a cost ceiling is set"
            ),
        ),
        (
            request(most_output=None),
            "llmProfile.maxOutputTokens: required, as a cost ceiling is set",
        ),
    ],
    ids=["no price", "no limit"],
)
def test_a_call_whose_worst_case_is_not_known_is_refused(
    asked: ModelRequest, message: str
) -> None:
    async def scene() -> None:
        documents = Documents()
        with pytest.raises(LlmProfileInvalid) as refused:
            await ledger(documents).reserve(asked, queued(), deadline())

        assert refused.value.message == message
        assert await account(documents, RUN_ACCOUNT) is None

    virtually(scene())


@pytest.mark.parametrize("fault", ["down", "lost"])
def test_a_commit_that_failed_or_whose_answer_was_lost_holds_once(fault: str) -> None:
    async def scene() -> float:
        documents = Documents(faults=[fault])
        await ledger(documents).reserve(request(), queued(), deadline())

        found = await account(documents, RUN_ACCOUNT)
        assert found is not None
        assert found["reservedMicroUsd"] == {CLAIM + "1": 10}
        return VirtualClock().monotonic()

    assert virtually(scene()) == 0.05


def test_a_ledger_that_refuses_twenty_times_is_given_up_and_said_to_be() -> None:
    random = Longest()

    async def scene() -> float:
        documents = Documents(faults=["down"] * 99)
        with pytest.raises(FirestoreUnavailable) as problem:
            await ledger(documents, random=random).reserve(request(), queued(), deadline())

        assert problem.value.message == "the run's spending could not be written in time"
        assert documents.commits == 20
        assert await account(documents, RUN_ACCOUNT) is None
        return VirtualClock().monotonic()

    # The bounds double from 0.05 to 2 seconds, and every wait is drawn below them.
    doubled = sum(0.05 * 2**number for number in range(6))
    assert virtually(scene()) == pytest.approx(doubled + 14 * 2.0)
    assert random.shortest == {0}


def test_nothing_stays_reserved_by_a_write_that_is_applied_after_it_was_given_up() -> None:
    async def scene() -> None:
        documents = Documents(faults=["down"] * 19 + ["late"])
        spending = ledger(documents)
        with pytest.raises(FirestoreUnavailable):
            await spending.reserve(request(), queued(), deadline())
        await spending.settle(queued(), deadline())

        found = await account(documents, RUN_ACCOUNT)
        assert found is not None
        assert found["reservedMicroUsd"] == {}
        written = documents.commits
        await spending.settle(queued(), deadline())
        assert documents.commits == written

    virtually(scene())


def test_a_ledger_that_cannot_be_read_is_tried_again_too() -> None:
    async def scene() -> None:
        documents = Documents(down_reads=2)
        await ledger(documents).reserve(request(), queued(), deadline())

        assert documents.commits == 1

    virtually(scene())


def test_a_price_is_that_of_the_day() -> None:
    async def scene() -> None:
        dearer = replace(PRICE, valid_from=date(2026, 1, 6), output=Decimal(2))
        spending = replace(ledger(Documents()), prices={"gemini-a": [dearer, PRICE]})
        assert (await spending.reserve(request(), queued(), deadline())).amount == 10
        await asyncio.sleep(24 * 3600)

        assert VirtualClock().now() == datetime(2026, 1, 6, 9, tzinfo=UTC)
        assert (await spending.reserve(request(), queued(), deadline())).amount == 20

    virtually(scene())


def test_a_call_that_may_begin_tomorrow_is_held_for_at_the_dearer_price() -> None:
    async def scene() -> None:
        later = replace(PRICE, valid_from=date(2026, 1, 6), output=Decimal(2))
        dearer = replace(ledger(Documents()), prices={"gemini-a": [later, PRICE]})
        later = replace(later, output=Decimal("0.5"))
        cheaper = replace(ledger(Documents()), prices={"gemini-a": [later, PRICE]})
        to_midnight = datetime(2026, 1, 6, tzinfo=UTC) - VirtualClock().now()
        await asyncio.sleep(to_midnight.total_seconds() - 630)
        assert (await dearer.reserve(request(), queued(), deadline())).amount == 10
        await asyncio.sleep(330)

        for spending, amount in ((dearer, 20), (cheaper, 10)):
            reservation = await spending.reserve(request(), queued(), deadline())
            assert (reservation.amount, reservation.day) == (amount, DAY)

    virtually(scene())


def test_a_free_call_does_not_pay_for_the_next_one_of_its_number() -> None:
    """The first call got an error answer and was free; the next had its number and was lost."""

    async def scene() -> None:
        documents = Documents()
        spending = ledger(documents)
        held = await spending.reserve(request(), queued(), deadline())
        spending.charge(held, MicroUsd(0))
        job = called(None)
        failed = replace(job.history[0].calls[0], code="GEMINI_REQUEST_FAILED")
        attempt = replace(job.history[0], calls=(failed,))

        await spending.settle(replace(job, history=(attempt,)), deadline())

        after = await account(documents, RUN_ACCOUNT)
        assert after is not None
        assert (after["spentMicroUsd"], after["reservedMicroUsd"]) == (10, {})

    virtually(scene())


def test_a_free_call_that_nobody_made_again_is_free() -> None:
    async def scene() -> None:
        documents = Documents()
        spending = ledger(documents)
        held = await spending.reserve(request(), queued(), deadline())
        spending.charge(held, MicroUsd(0))

        await spending.settle(queued(), deadline())

        after = await account(documents, RUN_ACCOUNT)
        assert after is not None
        assert (after["spentMicroUsd"], after["reservedMicroUsd"]) == (0, {})

    virtually(scene())
