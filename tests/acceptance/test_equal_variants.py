"""A against A: 200 evaluations of 200 cases on the stand-in's answers make few findings."""

import json
from collections.abc import Mapping, Sequence

import pytest

from infra.local.gemini.effects import Effect, Effects
from infra.local.gemini.generation import output_text, stopped_answer
from infra.local.gemini.requests import GenerateRequest
from infra.ops.evaluation.asking.answers import CellAnswer
from infra.ops.evaluation.findings.fail_if import conditions_met, parse_condition
from infra.ops.evaluation.findings.measures import MEASURES, measured
from infra.ops.evaluation.findings.verdicts import Judgement, verdicts

EVALUATIONS = CASES = 200
SCHEMA = {
    "type": "object",
    "properties": {
        "summary": {"type": "object", "properties": {"markdown": {"type": "string"}}},
        "details": {"type": "object", "properties": {"confidence": {"type": "number"}}},
    },
}
#: These shares are far from perfect: where nothing ever fails, nothing is found by mistake.
INVALID, OUTSIDE = 0.06, 0.04


def answer(case: int, draw: int) -> Mapping[str, float]:
    """The measures of one draw; both variants are the same."""
    body = {
        "contents": [{"role": "user", "parts": [{"text": f"case {case}, draw {draw}"}]}],
        "generationConfig": {"responseJsonSchema": SCHEMA},
    }
    asked = GenerateRequest(model="gemini-x", credential="k", body=body)
    effect = Effect(contains="case", invalid_share=INVALID, seed=draw)
    given = Effects(planted=[effect]).played(asked, stopped_answer(asked, output_text(asked)))
    report = json.loads(given["candidates"][0]["content"]["parts"][0]["text"])
    valid = isinstance(report["summary"]["markdown"], str)
    confidence = report["details"].get("confidence", 0)
    found = CellAnswer(
        error_code=None,
        error_message=None,
        output=report,
        repaired=not valid,
        calls=1 if valid else 2,
        tokens_in=4_000,
        # Long answers are long for both variants: a pair shares the length of its case.
        tokens_out=800 + 10 * (case % 40) + round(confidence),
        cost_usd=None,
        latency_ms=900 + (case * 37 + draw * 101) % 400,
        model_versions=(),
    )
    problems: Mapping[str, Sequence[str]] = {
        "levels": ["outside"] if confidence > 100 * (1 - OUTSIDE) else []
    }
    return measured(found, problems)


@pytest.mark.timeout(900)
def test_equal_variants_are_told_apart_no_more_often_than_the_stated_error_rate() -> None:
    condition = parse_condition("valid < -1%", MEASURES)
    found = failed = 0
    for number in range(EVALUATIONS):
        before, after = (
            {str(case): answer(case, draw) for case in range(CASES)}
            for draw in (2 * number, 2 * number + 1)
        )
        compared = verdicts(MEASURES, before, after, seed=number)
        found += any(each.finding in {Judgement.BETTER, Judgement.WORSE} for each in compared)
        failed += bool(conditions_met([condition], compared))

    # Each may be 5 % at most: 10 are expected, and 23 or more come once in 10,000 times.
    assert found <= 22
    assert failed <= 22
    # The test itself can fail: some findings do come, as they must.
    assert found + failed > 0
