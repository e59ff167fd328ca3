"""What a report was made from, read as it is now."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from executor.contract.artifacts import GcsUri, parse_gcs_uri
from executor.contract.canonical import canonical_hash, sha256_hex
from executor.contract.profile import LlmProfile, parse_profile
from executor.contract.registry import parse_prompt
from executor.contract.report_inputs import parse_report_inputs, resolve_sources
from executor.inputs.charts import charts_of
from executor.inputs.context import CHARTS_MANIFEST
from executor.inputs.sources import SourceDigest
from executor.ports import ObjectMissing, ObjectTooLarge
from infra.ops.environment.connection import Connection
from infra.ops.environment.stored_documents import map_at, text_at
from infra.ops.registry.documents import PROMPTS, SCHEMAS, RegistryKind, collection_of
from infra.ops.runs.reading import CALL_SECONDS, NotFound
from shared.domain.documents import DocumentRef
from shared.domain.errors import WorkerError
from shared.domain.identifiers import PromptId, is_run_id

MAX_OBJECT_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What a report was made from, as the run says now, or as the report says of itself."""

    prompt_id: PromptId
    profile: LlmProfile
    ohlcv: GcsUri
    manifest: GcsUri
    previous: Sequence[GcsUri]


async def what_it_was_made_from(connection: Connection, metadata: Mapping[str, Any]) -> Made:
    """By the flow run as it is now or, where that is gone, by the report's own metadata.

    Raises:
        NotFound: neither says it in a form that can be read.
        StoreUnavailable: Firestore did not answer.
    """
    run_id, step_id = text_at(metadata, "runId"), text_at(metadata, "stepId")
    steps: Mapping[str, Any] = {}
    if is_run_id(run_id):
        ref = DocumentRef(connection.flow_runs, run_id)
        [run] = await connection.documents.read([ref], timeout_seconds=CALL_SECONDS)
        steps = map_at(run.data, "steps") if run else {}
    try:
        return _by_run(steps, step_id or "") if step_id in steps else _by_itself(metadata)
    except (WorkerError, ValueError) as problem:
        raise NotFound(f"what the report was made from cannot be read: {problem}") from None


def _by_run(steps: Mapping[str, Any], step_id: str) -> Made:
    inputs = parse_report_inputs(steps[step_id])
    sources = resolve_sources(inputs, steps)
    return Made(
        prompt_id=PromptId(inputs.llm.prompt_id),
        profile=parse_profile(inputs.llm.llm_profile),
        ohlcv=sources.ohlcv,
        manifest=sources.charts_manifest,
        previous=[each.uri for each in sources.previous_reports],
    )


def _by_itself(metadata: Mapping[str, Any]) -> Made:
    llm, inputs = map_at(metadata, "llm"), map_at(metadata, "inputs")
    previous = inputs.get("report_gcs_uris", [])
    return Made(
        prompt_id=PromptId(text_at(llm, "promptId") or ""),
        profile=parse_profile(llm.get("llmProfile")),
        ohlcv=parse_gcs_uri(inputs.get("ohlcv_gcs_uri")),
        manifest=parse_gcs_uri(inputs.get("charts_outputsManifestGcsUri")),
        previous=[parse_gcs_uri(each) for each in previous],
    )


async def prompt_hash(connection: Connection, prompt_id: PromptId) -> str | None:
    """The published prompt's hash; None where there is none, empty where it is no prompt."""
    data = await _registered(connection, PROMPTS, prompt_id)
    try:
        return parse_prompt(prompt_id, data).sha256 if data is not None else None
    except WorkerError:
        return ""


async def schema_hash(connection: Connection, profile: LlmProfile) -> str | None:
    """The hash of the profile's schema; None where it is not published."""
    if profile.inline_schema is not None:
        return canonical_hash(profile.inline_schema)
    data = await _registered(connection, SCHEMAS, profile.schema_id or "")
    try:
        return canonical_hash(data.get("jsonSchema")) if data is not None else None
    except ValueError:
        return ""


async def _registered(
    connection: Connection, kind: RegistryKind, entry_id: str
) -> Mapping[str, Any] | None:
    ref = DocumentRef(collection_of(connection, kind), entry_id)
    [found] = await connection.documents.read([ref], timeout_seconds=CALL_SECONDS)
    return found.data if found else None


async def read_manifest(
    connection: Connection, uri: GcsUri
) -> tuple[SourceDigest | None, Sequence[GcsUri]]:
    """The charts manifest, None where it is gone, and the images that it leads to."""
    data, digest = await _read(connection, CHARTS_MANIFEST, uri)
    try:
        charts = charts_of(json.loads(data), uri=str(uri), max_images=1_000)
    except (WorkerError, ValueError, RecursionError):
        return digest, []
    return digest, [chart.uri for chart in charts]


async def source_digest(
    connection: Connection, role: str, uri: GcsUri, turn: asyncio.Semaphore
) -> SourceDigest | None:
    """The object as it is now, read when it is its turn; None where it is gone."""
    async with turn:
        return (await _read(connection, role, uri))[1]


async def _read(
    connection: Connection, role: str, uri: GcsUri
) -> tuple[bytes, SourceDigest | None]:
    try:
        stored = await connection.objects().read(
            uri, max_bytes=MAX_OBJECT_BYTES, timeout_seconds=CALL_SECONDS
        )
    except (ObjectMissing, ObjectTooLarge):
        return b"", None
    digest = SourceDigest(
        role=role,
        uri=uri,
        generation=stored.generation,
        sha256=sha256_hex(stored.data),
        size_bytes=len(stored.data),
    )
    return stored.data, digest
