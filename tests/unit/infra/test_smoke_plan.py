"""What the smoke test writes, and how it judges."""

from datetime import UTC, datetime
from typing import Any

import pytest

from executor.contract.profile import parse_profile
from executor.contract.registry import parse_prompt, parse_schema_document
from executor.contract.report_inputs import parse_report_inputs
from executor.validation.report_schema import output_schema
from infra.ops.smoke.plan import STEP, SmokePlan, ended, plan_smoke, problems
from shared.domain.flow_run import parse_flow_run
from shared.domain.identifiers import SchemaId

NOW = datetime(2026, 11, 24, 15, 0, tzinfo=UTC)


@pytest.fixture
def plan() -> SmokePlan:
    return plan_smoke(bucket="a-bucket", model="gemini-3.8-flash", now=NOW, suffix="ab12")


def test_the_contract_accepts_all_that_is_written(plan: SmokePlan) -> None:
    registry = {ref.collection: (ref, data) for ref, data in plan.documents.items()}
    prompt, prompt_data = registry["llm_prompts"]
    schema, schema_data = registry["llm_schemas"]

    parse_prompt(prompt.document_id, prompt_data)  # type: ignore[arg-type]
    document = parse_schema_document(SchemaId(schema.document_id), schema_data)
    for ref in plan.run_refs:
        run = plan.documents[ref]
        parse_flow_run(ref.document_id, run)
        inputs = parse_report_inputs(run["steps"][STEP])
        profile = parse_profile(run["steps"][STEP]["inputs"]["llm"]["llmProfile"])
        assert output_schema(profile, document).drifted_from is None
        assert profile.model_name == "gemini-3.8-flash"
        assert (inputs.llm.prompt_id == prompt.document_id) == (ref == plan.run_refs[0])


def test_everything_that_is_written_is_removed_runs_first(plan: SmokePlan) -> None:
    assert set(plan.documents) < set(plan.leftovers)
    assert plan.leftovers[:2] == plan.run_refs
    assert {item.bucket for item in plan.objects} == {"a-bucket"}


def run(status: str, code: str | None = None) -> dict[str, Any]:
    error = {"error": {"code": code, "message": "why"}} if code else {}
    return {"steps": {STEP: {"status": status, **error}}}


GOOD, BAD = run("SUCCEEDED"), run("FAILED", "PROMPT_NOT_FOUND")


@pytest.mark.parametrize(
    ("positive", "negative", "count"),
    [
        (GOOD, BAD, 0),
        (run("FAILED", "RATE_LIMITED"), BAD, 1),
        (run("RUNNING"), BAD, 1),
        (GOOD, run("FAILED", "INVALID_STEP_INPUTS"), 1),
        (GOOD, GOOD, 1),
        ({}, {}, 2),
    ],
)
def test_each_run_has_one_right_ending(
    positive: dict[str, Any], negative: dict[str, Any], count: int
) -> None:
    assert len(problems(positive, negative)) == count


def test_a_problem_says_what_came_instead() -> None:
    [line] = problems(run("FAILED", "RATE_LIMITED"), BAD)

    assert line.endswith("FAILED RATE_LIMITED why")


def test_a_run_has_ended_with_its_step() -> None:
    assert ended(GOOD)
    assert ended(BAD)
    assert not ended(run("RUNNING"))
    assert not ended({})
