"""The demo's scenario keeps the data contracts, and builds the same way every time."""

import io
import json
import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from itertools import pairwise
from typing import Any

import pandas as pd
import pytest
import rfc8785
from jsonschema import Draft202012Validator
from PIL import Image

from executor.contract.canonical import sha256_hex
from infra.local.scenario import (
    REFERENCE_SCHEMA_ID,
    Document,
    Scenario,
    SeedObject,
    build_scenario,
    prompt_documents,
    report_profile,
    schema_documents,
    single_report_run,
    tiny_png,
)
from infra.local.scenario import indicators as ind
from infra.local.scenario.figures import hourly_candles
from infra.local.scenario.market import INSTRUMENTS, load_series, ohlcv_document
from infra.local.scenario.runs import parse_stamp
from shared.domain import identifiers
from shared.domain.errors import ErrorCode

BUCKET = "artifacts"
JSON_LIMIT, IMAGE_LIMIT = 65_536, 262_144
REFERENCE_HASH = "1267bf2982c5b2ab8991ffe70894134f0357f0bc7deb8a61d9959fa886a24797"
RUN_FIELDS = {
    *("schemaVersion", "runId", "flowKey", "status", "createdAt", "updatedAt", "finishedAt"),
    *("trigger", "scope", "progress", "steps", "error"),
}
STEP_FIELDS = {
    *("stepType", "status", "timeframe", "createdAt", "finishedAt", "dependsOn"),
    *("inputs", "outputs", "error"),
}
PROFILE_FIELDS = {
    *("modelName", "temperature", "topP", "topK", "maxOutputTokens", "stopSequences"),
    *("candidateCount", "responseMimeType", "structuredOutput", "thinkingConfig"),
}
#: The keywords that https://ai.google.dev/gemini-api/docs/structured-output lists and that
#: occur here.
GEMINI_KEYWORDS = {
    *("type", "enum", "description", "properties", "required", "additionalProperties"),
    *("items", "minItems", "maxItems", "minimum", "maximum"),
}


@pytest.fixture(scope="module")
def scenario() -> Scenario:
    return build_scenario(bucket=BUCKET)


@pytest.fixture(scope="module")
def objects(scenario: Scenario) -> Mapping[str, SeedObject]:
    return {written.uri: written for written in scenario.objects}


def steps_of(scenario: Scenario) -> Iterator[tuple[Document, str, Document]]:
    for run in scenario.runs.values():
        for step_id, step in run["steps"].items():
            yield run, step_id, step


def reports_of(scenario: Scenario) -> Iterator[tuple[Document, str, Document]]:
    for run, step_id, step in steps_of(scenario):
        if step["stepType"] == "LLM_REPORT":
            yield run, step_id, step


def export_uri(run: Document, step_id: str) -> str:
    outputs = run["steps"][step_id]["outputs"]
    uri: str = outputs.get("gcs_uri") or outputs["outputsManifestGcsUri"]
    return uri


def expected_code(scenario: Scenario, run: Document, step_id: str) -> str | None:
    for expected in scenario.expectations:
        if (expected.run_id, expected.step_id) == (run["runId"], step_id):
            return expected.error_code
    raise AssertionError(f"nothing expected of {step_id}")


def keywords_of(schema: Any) -> Iterator[str]:
    yield from schema
    for child in [*schema.get("properties", {}).values(), schema.get("items")]:
        if child is not None:
            yield from keywords_of(child)


def test_every_run_keeps_to_the_contracts_fields_and_patterns(scenario: Scenario) -> None:
    for document_id, run in scenario.runs.items():
        assert identifiers.is_run_id(document_id)
        assert run["runId"] == document_id
        assert run.keys() <= RUN_FIELDS
        assert run["status"] == "RUNNING"
        assert re.fullmatch(identifiers.FLOW_KEY_PATTERN, run["flowKey"])
        assert run["trigger"]["type"] in {"SCHEDULER", "USER", "SYSTEM", "DEBUG_HTTP"}
        assert run["scope"]["symbol"] == document_id.split("_")[1]
        assert parse_stamp(document_id[:15]) == datetime.fromisoformat(run["createdAt"])


def test_every_step_keeps_to_the_contracts_fields_and_patterns(scenario: Scenario) -> None:
    for run, step_id, step in steps_of(scenario):
        assert identifiers.is_step_id(step_id)
        assert identifiers.is_timeframe(step["timeframe"])
        assert step.keys() <= STEP_FIELDS
        assert set(step["dependsOn"]) <= run["steps"].keys() - {step_id}
        assert run["createdAt"] <= step.get("finishedAt", run["createdAt"]) <= run["updatedAt"]


def test_exports_have_succeeded_and_reports_are_ready(scenario: Scenario) -> None:
    statuses = {(step["stepType"], step["status"]) for _, _, step in steps_of(scenario)}

    assert statuses == {
        ("OHLCV_EXPORT", "SUCCEEDED"),
        ("CHART_EXPORT", "SUCCEEDED"),
        ("LLM_REPORT", "READY"),
    }


def test_progress_counts_the_steps(scenario: Scenario) -> None:
    for run in scenario.runs.values():
        counts = dict(run["progress"]["stepCounts"])

        assert counts.pop("total") == sum(counts.values()) == len(run["steps"])
        assert run["steps"][run["progress"]["currentStepId"]]["status"] == "READY"


def test_every_report_finds_its_sources(
    scenario: Scenario, objects: Mapping[str, SeedObject]
) -> None:
    for run, _, step in reports_of(scenario):
        inputs = step["inputs"]

        assert export_uri(run, inputs["ohlcvStepId"]) in objects
        assert export_uri(run, inputs["chartsManifestStepId"]) in objects
        assert set(inputs.get("previousReportStepIds", [])) <= set(step["dependsOn"])


def test_every_report_finds_its_prompt_and_schema_unless_it_must_not(
    scenario: Scenario,
) -> None:
    for run, step_id, step in reports_of(scenario):
        llm, code = step["inputs"]["llm"], expected_code(scenario, run, step_id)
        profile = llm["llmProfile"]
        wanted = profile["structuredOutput"]

        assert identifiers.is_prompt_id(llm["promptId"])
        assert (llm["promptId"] in scenario.prompts) is (code != "PROMPT_NOT_FOUND")
        assert (profile.keys() <= PROFILE_FIELDS) is (code != "LLM_PROFILE_INVALID")
        assert scenario.schemas[wanted["schemaId"]]["sha256"] == wanted["schemaSha256"]


def test_the_expectations_cover_every_report_once(scenario: Scenario) -> None:
    expected = [(each.run_id, each.step_id) for each in scenario.expectations]

    assert sorted(expected) == sorted(
        (run["runId"], step_id) for run, step_id, _ in reports_of(scenario)
    )


def test_a_failure_is_expected_with_a_documented_code(scenario: Scenario) -> None:
    for expected in scenario.expectations:
        assert (expected.status, expected.error_code is None) in {
            ("SUCCEEDED", True),
            ("FAILED", False),
        }
    codes = {each.error_code for each in scenario.expectations} - {None}
    assert codes == {"INVALID_STEP_INPUTS", "PROMPT_NOT_FOUND", "LLM_PROFILE_INVALID"}
    assert codes <= {code.value for code in ErrorCode}


def test_the_daily_report_waits_for_the_weekly_one(scenario: Scenario) -> None:
    steps = scenario.runs["20260105-090000_GOOG_demo"]["steps"]

    assert "llm_report_1w" in steps["llm_report_1d"]["dependsOn"]
    assert steps["llm_report_1d"]["inputs"]["previousReportStepIds"] == ["llm_report_1w"]


def test_sources_are_within_the_limits_but_for_the_one_too_large(scenario: Scenario) -> None:
    for written in scenario.objects:
        limit = IMAGE_LIMIT if written.content_type == "image/png" else JSON_LIMIT
        if written.name.endswith("_too_large.json"):
            assert len(written.data) == JSON_LIMIT + 1
        else:
            assert len(written.data) <= limit


def test_object_names_are_unique(scenario: Scenario) -> None:
    assert len({written.uri for written in scenario.objects}) == len(scenario.objects)


def test_every_image_is_a_readable_png(scenario: Scenario) -> None:
    images = [each for each in scenario.objects if each.content_type == "image/png"]

    for written in images:
        with Image.open(io.BytesIO(written.data)) as image:
            image.load()
            assert (image.format, image.size) == ("PNG", (1000, 600))
    assert len(images) == 10


def test_manifests_name_images_that_exist(
    scenario: Scenario, objects: Mapping[str, SeedObject]
) -> None:
    for run, step_id, step in steps_of(scenario):
        if step["stepType"] == "CHART_EXPORT":
            manifest = json.loads(objects[export_uri(run, step_id)].data)

            assert (manifest["runId"], manifest["stepId"]) == (run["runId"], step_id)
            assert {item["png_gcs_uri"] for item in manifest["items"]} <= objects.keys()
            assert bool(manifest["items"]) is not step_id.endswith("_without_images")
            assert manifest["requested"]


def test_the_intraday_report_has_three_charts_and_a_manifest_at_the_older_field(
    scenario: Scenario, objects: Mapping[str, SeedObject]
) -> None:
    outputs = scenario.runs["20260105-090000_EURUSD_demo"]["steps"]["4h:chart_export-1"][
        "outputs"
    ]

    manifest = json.loads(objects[outputs["outputsManifestGcsUri"]].data)

    assert len(manifest["items"]) == 3
    assert "gcs_uri" not in outputs


def test_two_builds_are_equal_to_the_byte(scenario: Scenario) -> None:
    assert build_scenario(bucket=BUCKET) == scenario


def test_another_bucket_and_stamp_change_the_references_alone(scenario: Scenario) -> None:
    other = build_scenario(bucket="elsewhere", run_stamp="20270203-040506")

    assert all(run_id.startswith("20270203-040506_") for run_id in other.runs)
    assert all(written.bucket == "elsewhere" for written in other.objects)
    assert "artifacts" not in json.dumps(other.runs)
    assert (other.prompts, other.schemas) == (scenario.prompts, scenario.schemas)


@pytest.mark.parametrize(
    "stamp", ["", "20260105", "20261305-090000", "2026015-090000", "20260105-090000_X"]
)
def test_a_stamp_that_is_no_moment_is_refused(stamp: str) -> None:
    with pytest.raises(ValueError, match=r"stamp|does not match"):
        build_scenario(bucket=BUCKET, run_stamp=stamp)


def test_prompts_are_complete_and_have_valid_ids() -> None:
    for document_id, prompt in prompt_documents().items():
        assert identifiers.is_prompt_id(document_id)
        assert prompt.keys() == {"schemaVersion", "systemInstruction", "userPrompt"}
        assert prompt["schemaVersion"] == 1
        assert len(prompt["userPrompt"]) > 200


def test_the_reference_schema_has_the_reference_hash() -> None:
    assert schema_documents()[REFERENCE_SCHEMA_ID]["sha256"] == REFERENCE_HASH


def test_schemas_are_valid_and_carry_their_hash() -> None:
    for document_id, document in schema_documents().items():
        schema = document["jsonSchema"]

        assert identifiers.is_schema_id(document_id)
        assert document["schemaId"] == document_id
        assert document["kind"] == "LLM_REPORT_OUTPUT"
        assert document["sha256"] == sha256_hex(rfc8785.dumps(schema))
        Draft202012Validator.check_schema(schema)
        assert set(schema["required"]) == {"summary", "details"}
        assert schema["properties"]["summary"]["properties"]["markdown"]["type"] == "string"


def test_schemas_use_only_keywords_that_the_model_supports() -> None:
    for document in schema_documents().values():
        assert set(keywords_of(document["jsonSchema"])) <= GEMINI_KEYWORDS


def test_documents_are_new_at_each_call() -> None:
    prompt_documents().popitem()[1].clear()
    schema_documents()[REFERENCE_SCHEMA_ID]["jsonSchema"].clear()
    report_profile("1M")["thinkingConfig"].clear()

    assert all(prompt_documents().values())
    assert schema_documents()[REFERENCE_SCHEMA_ID]["jsonSchema"]
    assert report_profile("1M")["thinkingConfig"] == {"thinkingLevel": "LOW"}


@pytest.mark.parametrize("instrument", INSTRUMENTS, ids=lambda each: each.timeframe)
def test_candles_are_ordered_and_consistent(instrument: Any) -> None:
    document = ohlcv_document(load_series(instrument.symbol, instrument.timeframe))
    candles = document["candles"]

    assert len(candles) == 150
    assert all(earlier["time"] < later["time"] for earlier, later in pairwise(candles))
    for candle in candles:
        assert candle.keys() == {"time", "open", "high", "low", "close", "volume"}
        assert candle["low"] <= min(candle["open"], candle["close"])
        assert candle["high"] >= max(candle["open"], candle["close"])
        assert candle["volume"] > 0


def test_a_week_of_days_becomes_one_candle() -> None:
    week = ohlcv_document(load_series("GOOG", "1w"), candles=1)["candles"][0]
    days = ohlcv_document(load_series("GOOG", "1d"), candles=5)["candles"]

    assert week["time"] == days[0]["time"] == "2013-02-25T00:00:00Z"
    assert (week["open"], week["close"]) == (days[0]["open"], days[-1]["close"])
    assert week["high"] == max(day["high"] for day in days)
    assert week["low"] == min(day["low"] for day in days)
    assert week["volume"] == sum(day["volume"] for day in days)


def test_unknown_market_data_is_refused() -> None:
    with pytest.raises(LookupError, match="GOOG 4h"):
        load_series("GOOG", "4h")


def test_candles_over_the_wanted_size_are_refused() -> None:
    with pytest.raises(ValueError, match="bytes over 1000"):
        hourly_candles(size_bytes=1000)


def test_indicators_agree_with_figures_worked_out_by_hand() -> None:
    close = pd.Series([10.0, 12.0, 9.0, 12.0])

    bands = ind.bollinger_bands(close, length=2)
    strength = ind.relative_strength(close, length=2)

    assert list(bands.middle[1:]) == [11.0, 10.5, 10.5]
    assert list(bands.upper[1:]) == [13.0, 13.5, 13.5]
    assert list(bands.lower[1:]) == [9.0, 7.5, 7.5]
    assert list(ind.drawdown_percent(close)) == [0.0, 0.0, -25.0, 0.0]
    # The changes +2, -3, +3 make mean gains of 2, 1, 2 and mean losses of 0, 1.5, 0.75.
    assert strength.iloc[-1] == pytest.approx(100 * 2 / 2.75)
    yearly = ind.volatility_percent(close, candles_per_year=4, length=2)
    assert yearly.iloc[-1] == pytest.approx(200 * pd.Series([-0.25, 1 / 3]).std())


def test_a_single_report_run_keeps_the_contract() -> None:
    run_id = "20260105-101500_BTC-USD_t3st"

    run, objects = single_report_run(
        bucket=BUCKET, run_id=run_id, step_id="a:b-ü", timeframe="4h", images=3
    )

    uris = {written.uri for written in objects}
    inputs = run["steps"]["a:b-ü"]["inputs"]
    assert identifiers.is_run_id(run["runId"])
    assert run["scope"]["symbol"] == "BTC-USD"
    assert run["createdAt"] == "2026-01-05T10:15:00Z"
    assert export_uri(run, inputs["ohlcvStepId"]) in uris
    assert export_uri(run, inputs["chartsManifestStepId"]) in uris
    assert len(uris) == 5
    assert inputs["llm"]["promptId"] in prompt_documents()
    assert inputs["llm"]["llmProfile"]["structuredOutput"]["schemaId"] in schema_documents()


def test_a_single_report_run_takes_the_callers_llm_inputs() -> None:
    llm = {"promptId": "llm_prompt_1d_report_v9_9", "llmProfile": {}}

    run, _ = single_report_run(bucket=BUCKET, run_id="20260105-101500_X_abc", llm=llm)

    assert run["steps"]["llm_report_1d"]["inputs"]["llm"] == llm


def test_a_single_report_run_without_images_has_an_empty_manifest() -> None:
    _, objects = single_report_run(bucket=BUCKET, run_id="20260105-101500_X_abc", images=0)

    assert [json.loads(each.data).get("items", "candles") for each in objects] == [
        "candles",
        [],
    ]


def test_the_tiny_png_is_a_png() -> None:
    with Image.open(io.BytesIO(tiny_png(size_pixels=3, shade=7))) as image:
        assert (image.format, image.size, image.getpixel((2, 2))) == ("PNG", (3, 3), 7)
