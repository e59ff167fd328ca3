"""Flow runs as the orchestrator and the two exporters leave them for the worker."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from infra.local.scenario.model import (
    Document,
    Expectation,
    SampleChart,
    SeedObject,
    compact_json,
)
from infra.local.scenario.prompts import prompt_id
from infra.local.scenario.schemas import schema_documents, schema_id

MODEL_NAME = "gemini-3.5-flash"
_STAMP = re.compile(r"[0-9]{8}-[0-9]{6}")
#: Seconds after the run's creation.
_CANDLES_AT, _CHARTS_AT, _READY_AT = 4, 11, 12
_STATUSES = ("pending", "ready", "running", "succeeded", "failed", "skipped", "cancelled")
_PROFILE_BY_TIMEFRAME: Mapping[str, Document] = {
    "1M": {"temperature": 0.2, "topP": 0.9, "thinkingConfig": {"thinkingLevel": "LOW"}},
    "1w": {"temperature": 0.2, "topP": 0.9, "topK": 40},
    "1d": {"temperature": 0.3, "candidateCount": 1},
    "4h": {
        "temperature": 0.4,
        "thinkingConfig": {"includeThoughts": False, "thinkingLevel": "LOW"},
    },
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RunHead:
    """What all parts of one run share."""

    bucket: str
    run_id: str
    symbol: str
    flow_key: str
    trigger: str = "SCHEDULER"

    def time(self, seconds: int) -> str:
        """The moment so many seconds after the run's creation, as RFC 3339."""
        moment = parse_stamp(self.run_id[:15]) + timedelta(seconds=seconds)
        return moment.strftime("%Y-%m-%dT%H:%M:%SZ")

    def seed_json(self, timeframe: str, step_id: str, document: bytes) -> SeedObject:
        """The JSON object that a step of this run has written."""
        return SeedObject(
            bucket=self.bucket,
            name=f"{self.run_id}/{timeframe}/{step_id}.json",
            data=document,
            content_type="application/json",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """A finished export step and the objects that it wrote."""

    step: Document
    objects: Sequence[SeedObject]


@dataclass(frozen=True, slots=True, kw_only=True)
class SeededRun:
    """A run's document, the objects it refers to, and how its reports must end."""

    document: Document
    objects: Sequence[SeedObject]
    expectations: Sequence[Expectation]


def parse_stamp(stamp: str) -> datetime:
    """The moment (UTC) of a run id's `YYYYMMDD-HHmmss`.

    Raises:
        ValueError: the stamp is no such moment.
    """
    # strptime alone would also take fields without their leading zeros.
    if _STAMP.fullmatch(stamp) is None:
        raise ValueError(f"not a YYYYMMDD-HHmmss stamp: {stamp!r}")
    return datetime.strptime(stamp, "%Y%m%d-%H%M%S").replace(tzinfo=UTC)


def report_profile(timeframe: str, *, schema: str | None = None) -> Document:
    """A complete `llmProfile` for a report, with its schema named by id and hash.

    Raises:
        KeyError: the registry has no such schema.
    """
    schema = schema or schema_id(timeframe)
    return {
        "modelName": MODEL_NAME,
        "maxOutputTokens": 8192,
        "responseMimeType": "application/json",
        "structuredOutput": {
            "schemaId": schema,
            "schemaSha256": schema_documents()[schema]["sha256"],
            "kind": "LLM_REPORT_OUTPUT",
        },
        **deepcopy(_PROFILE_BY_TIMEFRAME.get(timeframe, {})),
    }


def report_llm(timeframe: str) -> Document:
    """The `llm` inputs of the timeframe's report: its own prompt, profile and schema."""
    return {"promptId": prompt_id(timeframe), "llmProfile": report_profile(timeframe)}


def exported_candles(
    head: RunHead, *, step_id: str, timeframe: str, document: bytes
) -> Exported:
    """An OHLCV_EXPORT step that wrote this document."""
    written = head.seed_json(timeframe, step_id, document)
    step = _finished_export(head, "OHLCV_EXPORT", timeframe, finished_at=_CANDLES_AT)
    step["inputs"] = {"symbol": head.symbol, "timeframe": timeframe}
    step["outputs"] = {"gcs_uri": written.uri}
    return Exported(step=step, objects=(written,))


def exported_charts(
    head: RunHead,
    *,
    step_id: str,
    timeframe: str,
    ohlcv_step_id: str,
    charts: Sequence[SampleChart],
    output_field: str = "gcs_uri",
    failures: Sequence[Document] = (),
) -> Exported:
    """A CHART_EXPORT step with its manifest and images.

    `output_field` may be the older `outputsManifestGcsUri`, which the worker still reads.
    """
    folder = f"{head.run_id}/{timeframe}/{step_id}"
    images = [_image(head, folder, chart) for chart in charts]
    items = [
        _manifest_item(head, chart, image) for chart, image in zip(charts, images, strict=True)
    ]
    manifest: Document = {
        "schemaVersion": 1,
        "runId": head.run_id,
        "stepId": step_id,
        "createdAt": head.time(_CHARTS_AT),
        "symbol": head.symbol,
        "timeframe": timeframe,
        "minImages": 1,
        "requested": [{"chartTemplateId": entry["chartTemplateId"]} for entry in items]
        + [{"chartTemplateId": entry["chartTemplateId"]} for entry in failures],
        "items": items,
        "failures": list(failures),
    }
    written = head.seed_json(timeframe, step_id, compact_json(manifest))
    step = _finished_export(head, "CHART_EXPORT", timeframe, finished_at=_CHARTS_AT)
    step["dependsOn"] = [ohlcv_step_id]
    step["inputs"] = {"ohlcvStepId": ohlcv_step_id, "requested": manifest["requested"]}
    step["outputs"] = {output_field: written.uri}
    return Exported(step=step, objects=(written, *images))


def ready_report(
    head: RunHead,
    *,
    timeframe: str,
    ohlcv_step_id: str,
    charts_step_id: str,
    llm: Document,
    previous: Sequence[str] = (),
) -> Document:
    """An LLM_REPORT step that is READY; executable once the `previous` reports are there."""
    inputs: Document = {
        "llm": llm,
        "ohlcvStepId": ohlcv_step_id,
        "chartsManifestStepId": charts_step_id,
    }
    if previous:
        inputs["previousReportStepIds"] = list(previous)
    return {
        "stepType": "LLM_REPORT",
        "status": "READY",
        "timeframe": timeframe,
        "createdAt": head.time(0),
        "dependsOn": [ohlcv_step_id, charts_step_id, *previous],
        "inputs": inputs,
        "outputs": {},
    }


def run_document(head: RunHead, steps: Mapping[str, Document]) -> Document:
    """The RUNNING run with these steps."""
    return {
        "schemaVersion": 1,
        "runId": head.run_id,
        "flowKey": head.flow_key,
        "status": "RUNNING",
        "createdAt": head.time(0),
        "updatedAt": head.time(_READY_AT),
        "trigger": {"type": head.trigger, "source": "demo"},
        "scope": {"symbol": head.symbol},
        "progress": _progress(steps),
        "steps": dict(steps),
    }


def _progress(steps: Mapping[str, Document]) -> Document:
    counts = Counter(step["status"].lower() for step in steps.values())
    ready = (step_id for step_id, step in steps.items() if step["status"] == "READY")
    return {
        "currentStepId": next(ready, None),
        "stepCounts": {"total": len(steps)} | {status: counts[status] for status in _STATUSES},
    }


def _finished_export(
    head: RunHead, step_type: str, timeframe: str, *, finished_at: int
) -> Document:
    return {
        "stepType": step_type,
        "status": "SUCCEEDED",
        "timeframe": timeframe,
        "createdAt": head.time(0),
        "finishedAt": head.time(finished_at),
        "dependsOn": [],
    }


def _image(head: RunHead, folder: str, chart: SampleChart) -> SeedObject:
    return SeedObject(
        bucket=head.bucket,
        name=f"{folder}/{chart.template_id}.png",
        data=chart.png,
        content_type="image/png",
    )


def _manifest_item(head: RunHead, chart: SampleChart, image: SeedObject) -> Document:
    return {
        "chartTemplateId": chart.template_id,
        "kind": chart.kind,
        "generatedAt": head.time(_CHARTS_AT),
        "png_gcs_uri": image.uri,
        "label": chart.label,
        "description": chart.description,
    }
