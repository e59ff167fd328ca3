"""What is refused, or only warned of, before the model is called: through both stages."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from infra.local.gemini.faults import FaultKind, FaultRule
from infra.local.scenario.runs import MODEL_NAME
from tests.support.one_report import OneReport, one_report

SCHEMA_ID = "llm_schema_1M_report_v1_0"
WRONG = "0" * 64


def in_days(days: int) -> str:
    return str((datetime.now(UTC) + timedelta(days=days)).date())  # noqa: TID251 - as the worker's clock


async def refused(report: OneReport) -> str:
    step = await report.execute()
    assert report.calls() == 0
    assert step["status"] == "FAILED"
    assert step["error"]["code"] == "LLM_PROFILE_INVALID"
    message: str = step["error"]["message"]
    return message


async def succeeds(report: OneReport) -> None:
    step = await report.execute()
    assert step["status"] == "SUCCEEDED", step.get("error")


def profile(report: OneReport) -> dict[str, Any]:
    found: dict[str, Any] = report.step["inputs"]["llm"]["llmProfile"]
    return found


async def test_a_model_that_is_not_listed_is_never_called(tmp_path: Path) -> None:
    async with one_report(tmp_path, environ={"GEMINI_ALLOWED_MODELS": "gemini-a"}) as report:
        assert f"{MODEL_NAME} is not in GEMINI_ALLOWED_MODELS" in await refused(report)


async def test_a_retired_model_is_never_called(tmp_path: Path) -> None:
    allowed = f"{MODEL_NAME}:{in_days(-2)}"
    async with one_report(tmp_path, environ={"GEMINI_ALLOWED_MODELS": allowed}) as report:
        assert "was retired after" in await refused(report)


@pytest.mark.parametrize(("days", "warnings"), [(25, 1), (35, 0)])
async def test_a_model_that_retires_within_thirty_days_is_called_with_a_warning(
    days: int, warnings: int, tmp_path: Path
) -> None:
    allowed = f"{MODEL_NAME}:{in_days(days)}"
    async with one_report(tmp_path, environ={"GEMINI_ALLOWED_MODELS": allowed}) as report:
        await succeeds(report)

        entries = report.events("prompt_fetch_finished")
    found = [entry for entry in entries if entry["severity"] == "WARNING"]
    assert len(found) == warnings
    assert all(entry["lastDay"] == in_days(days) for entry in found)


async def test_more_output_than_the_cap_is_never_asked_for(tmp_path: Path) -> None:
    async with one_report(tmp_path, environ={"MAX_OUTPUT_TOKENS": "4096"}) as report:
        assert "maxOutputTokens: 8192, at most 4096" in await refused(report)


async def test_an_unknown_field_of_the_profile_is_an_error_with_its_path(
    tmp_path: Path,
) -> None:
    async with one_report(tmp_path) as report:
        profile(report)["thinkingConfig"] = {"thinkingBudget": 1024}

        assert "llmProfile.thinkingConfig.thinkingBudget" in await refused(report)


@pytest.mark.parametrize("stated_by", ["registry", "profile"])
async def test_a_drifted_hash_is_warned_of_and_the_recomputed_one_recorded(
    stated_by: str, tmp_path: Path
) -> None:
    async with one_report(tmp_path) as report:
        drift(report, stated_by)
        await succeeds(report)

        [entry] = report.events("structured_output_schema_invalid")
    assert entry["severity"] == "WARNING"
    assert entry["policy"] == "warn"
    assert "1267bf2982c5b2ab" in entry["message"]


@pytest.mark.parametrize("stated_by", ["registry", "profile"])
async def test_a_drifted_hash_is_refused_where_the_policy_says_so(
    stated_by: str, tmp_path: Path
) -> None:
    async with one_report(tmp_path, environ={"SCHEMA_HASH_POLICY": "enforce"}) as report:
        drift(report, stated_by)

        assert "its hash is 1267bf2982c5b2ab" in await refused(report)


def drift(report: OneReport, stated_by: str) -> None:
    if stated_by == "registry":
        report.schemas[SCHEMA_ID]["sha256"] = WRONG
        del profile(report)["structuredOutput"]["schemaSha256"]
    else:
        profile(report)["structuredOutput"]["schemaSha256"] = WRONG


@pytest.mark.parametrize(
    ("details", "message"),
    [
        ({"$ref": "https://example.com/x"}, "must lead to a subschema of this schema"),
        ({"$ref": "#/properties/details"}, "contains itself"),
        ({"type": "object", "unevaluatedProperties": False}, "is not supported"),
        ({"type": "objekt"}, "not a draft 2020-12 schema"),
        ({"type": "string", "pattern": "(?<=a)b"}, "not a regular expression of RE2"),
    ],
)
async def test_a_schema_that_cannot_be_used_ends_the_step_before_the_call(
    details: dict[str, Any], message: str, tmp_path: Path
) -> None:
    async with one_report(tmp_path) as report:
        report.schemas[SCHEMA_ID]["jsonSchema"]["properties"]["details"] = details

        assert message in await refused(report)


async def test_a_keyword_that_gemini_ignores_is_reported_before_the_call(
    tmp_path: Path,
) -> None:
    async with one_report(tmp_path) as report:
        schema = report.schemas[SCHEMA_ID]
        schema["jsonSchema"]["properties"]["details"]["minProperties"] = 0
        await report.execute()

        entries = report.events("structured_output_schema_invalid")
    warnings = [warning for entry in entries for warning in entry.get("warnings", [])]
    assert warnings == [
        "minProperties at /properties/details: Gemini ignores it; the answer is checked for it"
    ]


async def test_a_hostile_pattern_in_the_registry_does_not_hold_the_executor(
    tmp_path: Path,
) -> None:
    """Python's own engine would be busy with this answer until long after the universe ends."""
    async with one_report(tmp_path) as report:
        summary = report.schemas[SCHEMA_ID]["jsonSchema"]["properties"]["summary"]
        summary["properties"]["markdown"]["pattern"] = "^(a+)+$"
        says = FaultRule(kind=FaultKind.NONE, says="a" * 60 + "!", times=9)
        report.stand_in.state.faults.add([says])
        step = await report.execute()

    assert step["error"]["code"] == "INVALID_STRUCTURED_OUTPUT"
    assert step["error"]["details"]["errors"] == [
        {"path": "summary/markdown", "error": "pattern"}
    ]
