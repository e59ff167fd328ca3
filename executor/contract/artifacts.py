"""Where reports lie, and what they are made of."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shared.domain.identifiers import RunId, StepId, Timeframe

CONTENT_TYPE = "application/json"
#: https://cloud.google.com/storage/docs/objects#naming
MAX_OBJECT_NAME_BYTES = 1_024
#: Object metadata: the digest of everything that the report was made from.
INPUT_DIGEST_KEY = "input-digest"
#: Object metadata: the parts of that digest, so that a change can be named.
INPUT_RECEIPT_KEY = "input-receipt"
#: Object metadata: the claim under which the report was made.
CLAIM_KEY = "claim-id"
#: Object metadata: the SHA-256 of the report's bytes.
SHA256_KEY = "sha256"

#: https://cloud.google.com/storage/docs/buckets#naming
BUCKET_NAME = re.compile(r"^[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]$")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


@dataclass(frozen=True, slots=True, order=True)
class GcsUri:
    """The place of an object, `gs://<bucket>/<name>`."""

    bucket: str
    name: str

    def __str__(self) -> str:
        return f"gs://{self.bucket}/{self.name}"


def parse_gcs_uri(text: object) -> GcsUri:
    """The place that a `gs://` URI names.

    Raises:
        ValueError: no such URI, with the reason; the text itself is not repeated.
    """
    if not isinstance(text, str) or not text.startswith("gs://"):
        raise ValueError("must be a gs:// URI")
    bucket, _, name = text.removeprefix("gs://").partition("/")
    if not BUCKET_NAME.fullmatch(bucket):
        raise ValueError("the bucket's name is malformed")
    _check_object_name(name)
    return GcsUri(bucket, name)


def normalize_prefix(prefix: str) -> str:
    """The prefix with single slashes between its segments and none at its ends.

    Raises:
        ValueError: a segment is `.` or `..`, or holds a control character.
    """
    segments = [segment for segment in prefix.split("/") if segment]
    if any(segment in {".", ".."} for segment in segments) or _CONTROL.search(prefix):
        raise ValueError("a prefix has no . or .. segment and no control character")
    return "/".join(segments)


def artifact_uri(
    *, bucket: str, prefix: str, run_id: RunId, timeframe: Timeframe, step_id: StepId
) -> GcsUri:
    """The deterministic place of a step's report: the same step always writes there.

    Raises:
        ValueError: the object's name would be longer than Cloud Storage allows.
    """
    parts = [normalize_prefix(prefix), run_id, timeframe, f"{step_id}.json"]
    name = "/".join(part for part in parts if part)
    _check_object_name(name)
    return GcsUri(bucket, name)


def _check_object_name(name: str) -> None:
    if name in {".", ".."}:
        # Cloud Storage has no such object, and on its way there a URL's path would be
        # shortened by it: to the bucket itself.
        raise ValueError("an object's name is neither . nor ..")
    if not name or _CONTROL.search(name):
        raise ValueError("the object's name is empty or holds a control character")
    try:
        length = len(name.encode())
    except UnicodeEncodeError:
        raise ValueError("the object's name is not valid Unicode") from None
    if length > MAX_OBJECT_NAME_BYTES:
        raise ValueError(
            f"the object's name has {length} bytes, at most {MAX_OBJECT_NAME_BYTES}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportInputs:
    """The sources of a report, as its metadata names them."""

    ohlcv: GcsUri
    charts_manifest: GcsUri
    previous_reports: Sequence[GcsUri] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportMetadata:
    """The worker-owned part of a report."""

    schema_version: int
    run_id: RunId
    step_id: StepId
    created_at: str
    finished_at: str
    symbol: str
    timeframe: Timeframe
    prompt_id: str
    model_name: str
    schema_id: str | None
    schema_sha256: str
    llm_profile: Mapping[str, Any]
    model_version: str | None
    finish_reason: str
    usage: Mapping[str, Any] | None
    inputs: ReportInputs


def report_document(metadata: ReportMetadata, output: Mapping[str, Any]) -> dict[str, Any]:
    """The report: worker-owned `metadata` and model-owned `output`, no other key."""
    llm = {
        "promptId": metadata.prompt_id,
        "modelName": metadata.model_name,
        "schemaId": metadata.schema_id,
        "schemaSha256": metadata.schema_sha256,
        "llmProfile": dict(metadata.llm_profile),
        "modelVersion": metadata.model_version,
        "finishReason": metadata.finish_reason,
        "usageMetadata": metadata.usage,
    }
    inputs: dict[str, Any] = {
        "ohlcv_gcs_uri": str(metadata.inputs.ohlcv),
        "charts_outputsManifestGcsUri": str(metadata.inputs.charts_manifest),
    }
    if metadata.inputs.previous_reports:
        inputs["report_gcs_uris"] = [str(uri) for uri in metadata.inputs.previous_reports]
    return {
        "metadata": {
            "schemaVersion": metadata.schema_version,
            "runId": metadata.run_id,
            "stepId": metadata.step_id,
            "createdAt": metadata.created_at,
            "finishedAt": metadata.finished_at,
            "symbol": metadata.symbol,
            "timeframe": metadata.timeframe,
            "llm": {name: value for name, value in llm.items() if value is not None},
            "inputs": inputs,
        },
        "output": dict(output),
    }
