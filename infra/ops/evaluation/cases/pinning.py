"""Making a case of a past step: everything that it was made from is read once and kept."""

import json
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from executor.contract.artifacts import GcsUri, parse_gcs_uri
from executor.contract.canonical import sha256_hex
from executor.contract.report_inputs import Sources, parse_report_inputs, resolve_sources
from executor.inputs.charts import charts_of
from executor.inputs.context import CHART_IMAGE, CHARTS_MANIFEST, OHLCV, PREVIOUS_REPORT
from executor.ports import ObjectInfo, ObjectMissing, ObjectTooLarge, StoredObject
from executor.reports.receipt import StoredReceipt, parse_receipt
from infra.ops.environment.stored_documents import at, map_at, text_at
from infra.ops.evaluation.cases.case import (
    MEDIA_RESOLUTION,
    MODEL_FAILURES,
    Case,
    Source,
    StoredAnswer,
)
from shared.domain.errors import FlowRunInvalid, WorkerError
from shared.domain.flow_run import LLM_REPORT, parse_flow_run
from shared.domain.steps import StepStatus

_READ_SECONDS = 60.0
_MAX_OBJECT_BYTES = 8 * 1024 * 1024
_MAX_IMAGES = 1_000
_NO_PARTS: Mapping[str, str] = {}


class CaseExcluded(Exception):
    """The step cannot be a case; says what cannot be had any more, or was changed."""


class PastObjects(Protocol):
    """The half of an ObjectStore that reads; see there."""

    async def stat(self, uri: GcsUri, *, timeout_seconds: float) -> ObjectInfo | None:
        """What stands at this place."""
        ...

    async def read(
        self, uri: GcsUri, *, max_bytes: int, timeout_seconds: float
    ) -> StoredObject:
        """The object."""
        ...


class Past(Protocol):
    """Where past steps are read from."""

    @property
    def objects(self) -> PastObjects:
        """What they read and stored."""
        ...

    async def prompt(self, prompt_id: str) -> Mapping[str, Any] | None:
        """The registered prompt; None where there is none."""
        ...

    async def schema(self, schema_id: str) -> Mapping[str, Any] | None:
        """The registered schema; None where there is none."""
        ...

    async def job(self, run_id: str, step_id: str) -> Mapping[str, Any] | None:
        """The step's job record; None where it is gone."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Pinning:
    """Makes cases, and keeps their bytes in a folder by hash."""

    past: Past
    pinned: Path

    async def pin(self, run_id: str, step_id: str, run: Mapping[str, Any]) -> Case:
        """The case of a step, its bytes kept.

        Raises:
            CaseExcluded: it is no such step, or something that it was made from is gone.
            ObjectsUnavailable: Cloud Storage did not answer.
            StoreUnavailable: Firestore did not answer.
        """
        sources = _sources(run_id, step_id, run)
        step = map_at(run, "steps", step_id)
        llm = map_at(step, "inputs", "llm")
        schema_id = text_at(llm, "llmProfile", "structuredOutput", "schemaId")
        stored, receipt = await self._stored(run_id, step_id, step)
        return Case(
            run_id=run_id,
            step_id=step_id,
            run=_before_execution(run, step_id),
            prompt=await self.past.prompt(text_at(llm, "promptId") or ""),
            schema=await self.past.schema(schema_id) if schema_id else None,
            sources=await self._objects(sources, receipt),
            stored=stored,
        )

    async def _stored(
        self, run_id: str, step_id: str, step: Mapping[str, Any]
    ) -> tuple[StoredAnswer | None, StoredReceipt | None]:
        """How the step ended, and the receipt of its report; (None, None) before its end."""
        status, code = at(step, "status"), text_at(step, "error", "code")
        if status == StepStatus.READY:
            return None, None
        job = await self.past.job(run_id, step_id)
        if status == StepStatus.FAILED and code in MODEL_FAILURES:
            digest = text_at(job, "inputDigest")
            if digest is None:
                raise CaseExcluded("its job record is gone: its inputs cannot be proved")
            return _answer(step, job, digest=digest, code=code), None
        if status != StepStatus.SUCCEEDED:
            raise CaseExcluded(f"it is {status}{f' with {code}' if code else ''}")
        receipt, sha256 = await self._report(text_at(step, "outputs", "gcs_uri"))
        parts = {
            "prompt": receipt.prompt_sha256,
            "schema": receipt.schema_sha256,
            "profile": receipt.profile_sha256,
        }
        if receipt.media_resolution is not None:
            parts[MEDIA_RESOLUTION] = str(receipt.media_resolution)
        ended = _answer(step, job, digest=receipt.digest, sha256=sha256, parts=parts)
        return ended, receipt

    async def _report(self, uri: str | None) -> tuple[StoredReceipt, str]:
        try:
            place = parse_gcs_uri(uri)
            info = await self.past.objects.stat(place, timeout_seconds=_READ_SECONDS)
            receipt = parse_receipt(info.metadata if info else {})
        except ValueError:
            raise CaseExcluded("its report carries no receipt, or is gone") from None
        stored = await self._read("report", place)
        return receipt, kept(self.pinned, stored.data)

    async def _objects(
        self, sources: Sources, receipt: StoredReceipt | None
    ) -> Sequence[Source]:
        """The sources in the order of receipts: candles, manifest, images, previous reports."""
        manifest = await self._read(CHARTS_MANIFEST, sources.charts_manifest)
        places = [
            (OHLCV, sources.ohlcv),
            (CHARTS_MANIFEST, sources.charts_manifest),
            *((CHART_IMAGE, uri) for uri in _images(manifest.data, sources.charts_manifest)),
            *((PREVIOUS_REPORT, each.uri) for each in sources.previous_reports),
        ]
        stated: Sequence[tuple[int, str] | None] = [None] * len(places)
        if receipt is not None:
            if len(receipt.objects) != len(places):
                raise CaseExcluded(
                    f"{CHARTS_MANIFEST} {sources.charts_manifest}: it names other images by now"
                )
            stated = receipt.objects
        return [
            await self._source(kind, uri, before)
            for (kind, uri), before in zip(places, stated, strict=True)
        ]

    async def _source(self, kind: str, uri: GcsUri, before: tuple[int, str] | None) -> Source:
        stored = await self._read(kind, uri)
        sha256 = kept(self.pinned, stored.data)
        if before is not None and not sha256.startswith(before[1]):
            raise CaseExcluded(f"{kind} {uri}: changed since the report was made")
        # The same bytes, written again, are the input that the receipt speaks of.
        generation = before[0] if before is not None else stored.generation
        return Source(
            uri=uri, generation=generation, sha256=sha256, size_bytes=len(stored.data)
        )

    async def _read(self, kind: str, uri: GcsUri) -> StoredObject:
        try:
            return await self.past.objects.read(
                uri, max_bytes=_MAX_OBJECT_BYTES, timeout_seconds=_READ_SECONDS
            )
        except ObjectMissing:
            raise CaseExcluded(f"{kind} {uri}: is gone") from None
        except ObjectTooLarge as problem:
            raise CaseExcluded(f"{kind} {uri}: has {problem.size_bytes} bytes") from None


def kept(pinned: Path, data: bytes) -> str:
    """Keep the bytes in the folder by their hash, which is returned.

    Raises:
        OSError: nothing can be written there.
    """
    sha256 = sha256_hex(data)
    place = pinned / sha256
    if not place.exists():
        staged = place.with_suffix(".part")
        staged.write_bytes(data)
        staged.replace(place)
    return sha256


def _sources(run_id: str, step_id: str, run: Mapping[str, Any]) -> Sources:
    try:
        parsed = parse_flow_run(run_id, run)
        step = map_at(run, "steps", step_id)
        if step.get("stepType") != LLM_REPORT:
            raise CaseExcluded(f"it is no {LLM_REPORT} step")
        problem = parsed.dependency_problem(
            next(each for name, each in parsed.steps.items() if name == step_id)
        )
        if problem is not None:
            raise CaseExcluded(problem)
        return resolve_sources(parse_report_inputs(step), run["steps"])
    except FlowRunInvalid as problem:
        raise CaseExcluded(f"the flow run is invalid: {problem.message}") from None
    except WorkerError as problem:
        raise CaseExcluded(problem.message) from None


def _images(manifest: bytes, uri: GcsUri) -> Sequence[GcsUri]:
    try:
        charts = charts_of(json.loads(manifest), uri=str(uri), max_images=_MAX_IMAGES)
    except (WorkerError, ValueError, RecursionError):
        raise CaseExcluded(f"{CHARTS_MANIFEST} {uri}: leads to no image") from None
    return [chart.uri for chart in charts]


def _answer(
    step: Mapping[str, Any],
    job: Mapping[str, Any] | None,
    *,
    digest: str,
    sha256: str | None = None,
    parts: Mapping[str, str] = _NO_PARTS,
    code: str | None = None,
) -> StoredAnswer:
    return StoredAnswer(
        sha256=sha256,
        input_digest=digest,
        parts=parts,
        error_code=code,
        execution=map_at(step, "outputs", "execution"),
        job=job,
    )


def _before_execution(run: Mapping[str, Any], step_id: str) -> dict[str, Any]:
    """The run as it was when the step was READY."""
    before = deepcopy(dict(run))
    step = {
        name: value
        for name, value in before["steps"][step_id].items()
        if name not in {"outputs", "finishedAt", "error"}
    }
    before["steps"][step_id] = {**step, "status": str(StepStatus.READY), "outputs": {}}
    return {**before, "status": "RUNNING"}
