"""Small runs, each of which exercises another part of the code."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from executor.contract.artifacts import GcsUri
from executor.contract.canonical import canonical_hash
from infra.local.scenario.single import tiny_png
from tests.simulation.model import CANARY

BUCKET = "simulated"
PROMPT_ID = "llm_prompt_1d_report_v1_0"
SCHEMA_ID = "llm_schema_1d_report_v1_0"
RUN_IDS = ("20260105-090000_BTCUSDT_aaa", "20260105-090000_BTCUSDT_bbb")
TIMEFRAME = "1d"

_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["summary", "details"],
    "properties": {
        "summary": {
            "type": "object",
            "required": ["markdown"],
            "properties": {"markdown": {"type": "string"}},
        },
        "details": {"type": "object"},
    },
}

PROMPT: Mapping[str, Any] = {
    "schemaVersion": 1,
    "systemInstruction": f"{CANARY} of the prompt",
    "userPrompt": f"{CANARY} of the prompt",
}
SCHEMA: Mapping[str, Any] = {
    "schemaId": SCHEMA_ID,
    "kind": "LLM_REPORT_OUTPUT",
    "jsonSchema": _SCHEMA,
    "sha256": canonical_hash(_SCHEMA),
}
_LLM = {
    "promptId": PROMPT_ID,
    "llmProfile": {
        "modelName": "simulated",
        "responseMimeType": "application/json",
        "structuredOutput": {"schemaId": SCHEMA_ID, "kind": "LLM_REPORT_OUTPUT"},
    },
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One LLM_REPORT step."""

    step_id: str
    after: tuple[str, ...] = ()
    status: str = "READY"
    prompt_id: str = PROMPT_ID


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """What is stored at the beginning."""

    name: str
    #: The reports, by run id.
    runs: Mapping[str, Sequence[Report]]
    #: How each report ends if nothing goes wrong; a report that is not listed ends as
    #: SUCCEEDED.
    ends: Mapping[str, str] = field(default_factory=dict)


_ONE, _TWO = RUN_IDS
SCENARIOS: Mapping[str, Scenario] = {
    scenario.name: scenario
    for scenario in (
        Scenario(name="single", runs={_ONE: [Report(step_id="a:1d")]}),
        Scenario(name="pair", runs={_ONE: [Report(step_id="a"), Report(step_id="b")]}),
        Scenario(
            name="chain", runs={_ONE: [Report(step_id="a"), Report(step_id="b", after=("a",))]}
        ),
        Scenario(
            name="two_runs",
            runs={_ONE: [Report(step_id="a")], _TWO: [Report(step_id="a")]},
        ),
        Scenario(
            name="bad_steps",
            runs={
                _ONE: [
                    Report(step_id="a"),
                    Report(step_id="nowhere", after=("missing",)),
                    Report(step_id="promptless", prompt_id="llm_prompt_1d_report_v9_0"),
                ]
            },
            ends={"nowhere": "FAILED", "promptless": "FAILED"},
        ),
    )
}

#: Scenarios with so many steps that a quota matters. Cases with a quota have seeds of their
#: own, and choose among these: one more scenario above would give the older seeds new meanings.
CROWDS: Mapping[str, Scenario] = {
    scenario.name: scenario
    for scenario in (
        Scenario(
            name="crowd",
            runs={run: [Report(step_id=each) for each in "abcd"] for run in RUN_IDS},
        ),
        Scenario(
            name="crowd_in_turn",
            runs={
                _ONE: [Report(step_id=each) for each in "abc"],
                _TWO: [
                    Report(step_id="a"),
                    *(Report(step_id=each, after=("a",)) for each in "bcd"),
                ],
            },
        ),
    )
}


def candles_uri(run_id: str, step_id: str, version: int) -> GcsUri:
    """Where the candles of a report are stored."""
    return GcsUri(BUCKET, f"inputs/{run_id}/{step_id}-{version}.json")


def candles(run_id: str, step_id: str, version: int) -> bytes:
    """Candles that show which run and step they belong to."""
    marker = f"{run_id}|{step_id}|{version}"
    return json.dumps(
        {"marker": marker, "note": f"{CANARY} of the context"}, separators=(",", ":")
    ).encode()


IMAGE_URI = GcsUri(BUCKET, "inputs/chart.png")
MANIFEST_URI = GcsUri(BUCKET, "inputs/manifest.json")
IMAGE = tiny_png()
MANIFEST = json.dumps(
    {"items": [{"png_gcs_uri": str(IMAGE_URI), "description": "a chart"}]}
).encode()


def run_document(run_id: str, reports: Sequence[Report]) -> dict[str, Any]:
    """The run, with one finished export step for each input."""
    steps: dict[str, Any] = {"charts": _export("CHART_EXPORT", MANIFEST_URI)}
    for report in reports:
        candles_id = f"candles-{report.step_id}"
        steps[candles_id] = _export("OHLCV_EXPORT", candles_uri(run_id, report.step_id, 1))
        steps[report.step_id] = {
            "stepType": "LLM_REPORT",
            "status": report.status,
            "timeframe": TIMEFRAME,
            "dependsOn": [candles_id, "charts", *report.after],
            "inputs": {
                "llm": {**_LLM, "promptId": report.prompt_id},
                "ohlcvStepId": candles_id,
                "chartsManifestStepId": "charts",
            },
            "outputs": {},
        }
    return {
        "runId": run_id,
        "flowKey": "simulated_v1",
        "status": "RUNNING",
        "scope": {"symbol": "BTCUSDT"},
        "steps": steps,
    }


def _export(step_type: str, uri: GcsUri) -> dict[str, Any]:
    return {"stepType": step_type, "status": "SUCCEEDED", "outputs": {"gcs_uri": str(uri)}}
