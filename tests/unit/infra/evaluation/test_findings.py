"""Measures, verdicts, stated losses, differences, and what the market did."""

import random
from typing import Any

import pytest

from infra.ops.checks.subject import Candle
from infra.ops.evaluation.asking.answers import CellAnswer, answer_of
from infra.ops.evaluation.findings.fail_if import (
    ConditionInvalid,
    conditions_met,
    parse_condition,
)
from infra.ops.evaluation.findings.market import later_of
from infra.ops.evaluation.findings.measures import MEASURES, measured
from infra.ops.evaluation.findings.verdicts import Judgement, MeasureVerdict, verdicts

ACCOUNTING = {
    "calls": 1,
    "tokens": {"input": 4000, "cached": 0, "output": 900, "thought": 100},
    "latencyMs": 1500,
    "costUsd": 0.0125,
    "modelVersions": ["gemini-x-001"],
}
REPORT = b'{"output": {"summary": {"markdown": "up"}, "details": {}}}'


def job(*purposes: str) -> dict[str, Any]:
    return {"history": [{"calls": [{"purpose": purpose} for purpose in purposes]}]}


def answer(*purposes: str, code: str | None = None) -> CellAnswer:
    error = {"code": code, "message": "m"} if code else None
    execution = {"accounting": {**ACCOUNTING, "calls": len(purposes)}}
    return answer_of(execution, job(*purposes), None if code else REPORT, error)


def test_an_answer_is_read_from_the_records_that_the_worker_writes() -> None:
    found = answer("report")

    assert (found.tokens_in, found.tokens_out, found.cost_usd) == (4000, 1000, 0.0125)
    assert found.output == {"summary": {"markdown": "up"}, "details": {}}
    assert measured(found, {"levels": [], "sum": ["they sum to 2"]}) == {
        "succeeded": 1,
        "blocked": 0,
        "valid": 1,
        "tokens": 5000,
        "price": 0.0125,
        "latency": 1500,
        "checks": 0,
        "check.levels": 1,
        "check.sum": 0,
    }


@pytest.mark.parametrize(
    ("found", "valid", "succeeded", "blocked"),
    [
        (answer("report", "repair"), 0, 1, 0),
        # A second try after a refusal does not count as a repair.
        (answer("report", "report"), 1, 1, 0),
        (answer("report", "repair", code="INVALID_STRUCTURED_OUTPUT"), 0, 0, 0),
        (answer("report", code="LLM_SAFETY_BLOCK"), 0, 0, 1),
    ],
)
def test_what_the_model_made_of_it_is_told_apart(
    found: CellAnswer, valid: float, succeeded: float, blocked: float
) -> None:
    values = measured(found, {})

    assert (values["valid"], values["succeeded"], values["blocked"]) == (
        valid,
        succeeded,
        blocked,
    )


@pytest.mark.parametrize(
    "code", ["GEMINI_REQUEST_FAILED", "CALL_OUTCOME_UNKNOWN", "COST_CEILING_EXCEEDED"]
)
def test_a_failure_that_is_not_the_model_s_says_nothing_of_the_prompt(code: str) -> None:
    assert measured(answer("report", code=code), {}) == {}


def test_without_a_job_record_two_calls_may_have_been_a_repair() -> None:
    execution = {"accounting": {**ACCOUNTING, "calls": 2}}

    assert "valid" not in measured(answer_of(execution, None, REPORT, None), {})
    assert measured(answer_of({"accounting": ACCOUNTING}, None, REPORT, None), {})["valid"] == 1


def values(**measures: list[float]) -> dict[str, dict[str, float]]:
    """The values of cases 0, 1, …, a list for each measure."""
    size = len(next(iter(measures.values())))
    return {str(n): {name: each[n] for name, each in measures.items()} for n in range(size)}


def verdict_on(name: str, before: list[float], after: list[float]) -> MeasureVerdict:
    [found] = verdicts(MEASURES, values(**{name: before}), values(**{name: after}), seed=1)
    return found


def test_a_loss_a_gain_and_no_difference_are_called_so() -> None:
    high, low = [1.0] * 100, [1.0] * 88 + [0.0] * 12

    assert verdict_on("valid", high, low).finding is Judgement.WORSE
    assert verdict_on("valid", low, high).finding is Judgement.BETTER
    assert verdict_on("valid", high, high).finding is Judgement.EQUAL
    assert verdict_on("tokens", [100.0] * 50, [110.0] * 50).finding is Judgement.WORSE
    assert verdict_on("tokens", [100.0] * 50, [90.0] * 50).finding is Judgement.BETTER


def test_too_few_cases_cannot_tell_and_say_how_many_would() -> None:
    found = verdict_on("valid", [1.0] * 20, [1.0] * 18 + [0.0] * 2)

    assert found.finding is Judgement.CANNOT_TELL
    assert found.needed is not None
    assert 50 < found.needed < 100


def test_only_cases_that_have_both_values_are_compared() -> None:
    before, after = values(valid=[1.0, 1.0, 1.0]), values(valid=[1.0, 0.0])
    del before["0"]

    [found] = verdicts(MEASURES, before, after, seed=1)

    assert (found.difference.cases, found.baseline, found.candidate) == (1, 1, 0)
    assert verdicts(MEASURES, before, {}, seed=1) == []


def test_a_stated_loss_is_met_beyond_its_bound_and_beyond_chance_alone() -> None:
    condition = parse_condition("valid < -1%", MEASURES)
    lost = verdict_on("valid", [1.0] * 100, [1.0] * 94 + [0.0] * 6)
    chance = verdict_on("valid", [1.0] * 100, [1.0] * 97 + [0.0] * 3)
    gained = verdict_on("valid", [1.0] * 94 + [0.0] * 6, [1.0] * 100)

    assert conditions_met([condition], [lost]) == [condition]
    assert conditions_met([condition], [chance]) == []
    assert conditions_met([condition], [gained]) == []
    assert conditions_met([parse_condition("valid < -10%", MEASURES)], [lost]) == []


def test_bounds_of_amounts_are_relative_with_a_percent_sign_and_absolute_without() -> None:
    chance = random.Random(1)
    before = [chance.uniform(900, 1100) for _ in range(60)]
    after = [value * 1.08 for value in before]
    found = verdict_on("tokens", before, after)

    for text, met in (
        ("tokens > 5%", True),
        ("tokens>10%", False),
        ("tokens > 60", True),
        ("tokens > 100", False),
    ):
        condition = parse_condition(text, MEASURES)
        assert bool(conditions_met([condition], [found])) is met


@pytest.mark.parametrize(
    "text", ["valid", "valid > -1%", "valid < 1%", "tokens < 5%", "beauty < -1%", "valid < x"]
)
def test_what_states_no_loss_is_refused(text: str) -> None:
    with pytest.raises(ConditionInvalid, match="--fail-if"):
        parse_condition(text, MEASURES)


def candles(*closes: float, first_day: int = 1) -> list[Candle]:
    return [
        Candle(
            time=f"2026-01-{day:02}T00:00:00Z",
            open=close,
            high=close + 1,
            low=close - 1,
            close=close,
        )
        for day, close in enumerate(closes, start=first_day)
    ]


def test_what_the_market_did_is_read_from_series_that_go_on() -> None:
    own = candles(100, 102, 104)

    later = later_of(own, [candles(102, 104, 110, 130, first_day=2)])

    assert later is not None
    assert (later.candles, later.low, later.high) == (2, 109, 131)
    assert later.change_percent == pytest.approx(25)
    # A series that does not overlap may have another price adjustment, or leave a gap.
    assert later_of(own, [candles(110, 120, first_day=9)]) is None
    assert later_of(own, [own]) is None
    assert later_of([], [own]) is None
