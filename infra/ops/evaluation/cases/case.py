"""A case: one past step with everything that it was made from, pinned by digest."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from executor.contract.artifacts import GcsUri, parse_gcs_uri
from infra.ops.environment.stored_documents import map_at, text_at
from infra.ops.evaluation.cases.document_json import from_json, to_json
from shared.domain.documents import DocumentRef
from shared.domain.errors import ErrorCode

_SCHEMA_VERSION = 1
_SHA256 = re.compile(r"[0-9a-f]{64}")
_PROMPTS, _SCHEMAS = "llm_prompts", "llm_schemas"
#: Ends that say something of the prompt; every other failure says nothing of it.
MODEL_FAILURES = frozenset({ErrorCode.INVALID_STRUCTURED_OUTPUT, ErrorCode.LLM_SAFETY_BLOCK})
#: The collections of prompts and schemas, as cases and variants call them.
REGISTRY = frozenset({_PROMPTS, _SCHEMAS})


#: What a receipt and a profile call it.
MEDIA_RESOLUTION = "mediaResolution"


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """An object that the step read."""

    uri: GcsUri
    generation: int
    sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredAnswer:
    """How the step ended, and what it took: a variant that costs nothing."""

    #: The hash of the report's bytes, which are pinned as the sources are; None of a failure.
    sha256: str | None
    #: The digest of what it was made from.
    input_digest: str
    #: Hashes of `prompt`, `schema` and `profile` in the report's receipt, and the resolution of
    #: images where it names one; empty of a failure.
    parts: Mapping[str, str]
    #: The step's error code; None of a report.
    error_code: str | None
    #: `outputs.execution` of the step.
    execution: Mapping[str, Any]
    #: The step's job record, where it is still there.
    job: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One past step, as it was before it was executed."""

    run_id: str
    step_id: str
    #: The flow run; only this step is ever executed.
    run: Mapping[str, Any]
    prompt: Mapping[str, Any] | None
    schema: Mapping[str, Any] | None
    sources: Sequence[Source]
    stored: StoredAnswer | None

    @property
    def case_id(self) -> str:
        """What the case is called: of one step, there is one case."""
        return f"{self.run_id}~{self.step_id}"

    @property
    def step(self) -> Mapping[str, Any]:
        """The step's document."""
        return map_at(self.run, "steps", self.step_id)

    @property
    def symbol(self) -> str:
        """What the report is about."""
        return text_at(self.run, "scope", "symbol") or ""

    @property
    def timeframe(self) -> str:
        """Of its candles."""
        return text_at(self.step, "timeframe") or ""

    @property
    def llm(self) -> Mapping[str, Any]:
        """The step's own prompt id and profile."""
        return map_at(self.step, "inputs", "llm")

    def source(self, uri: str) -> Source | None:
        """The pinned source with this URI."""
        return next((each for each in self.sources if str(each.uri) == uri), None)


def file_name_of(case_id: str) -> str:
    """What the case's file is called, whatever its ids hold."""
    return f"{quote(case_id, safe='~:')}.json"


def prompt_ref(prompt_id: str) -> DocumentRef:
    """Where a prompt is registered."""
    return DocumentRef(_PROMPTS, prompt_id)


def schema_ref(schema_id: str) -> DocumentRef:
    """Where a schema is registered."""
    return DocumentRef(_SCHEMAS, schema_id)


def case_text(case: Case) -> str:
    """The case as its file holds it."""
    stored = case.stored
    return to_json(
        {
            "schemaVersion": _SCHEMA_VERSION,
            "runId": case.run_id,
            "stepId": case.step_id,
            "run": case.run,
            "prompt": case.prompt,
            "schema": case.schema,
            "sources": [
                {
                    "uri": str(each.uri),
                    "generation": str(each.generation),
                    "sha256": each.sha256,
                    "bytes": each.size_bytes,
                }
                for each in case.sources
            ],
            "stored": stored
            and {
                "sha256": stored.sha256,
                "inputDigest": stored.input_digest,
                "parts": stored.parts,
                "errorCode": stored.error_code,
                "execution": stored.execution,
                "job": stored.job,
            },
        }
    )


def parse_case(text: str | bytes) -> Case:
    """The case that `case_text` wrote.

    Raises:
        ValueError: the text is another one.
    """
    try:
        data = from_json(text)
        stored = data["stored"]
        return Case(
            run_id=str(data["runId"]),
            step_id=str(data["stepId"]),
            run=data["run"],
            prompt=data["prompt"],
            schema=data["schema"],
            sources=[
                Source(
                    uri=parse_gcs_uri(each["uri"]),
                    generation=int(each["generation"]),
                    sha256=_sha256(each["sha256"]),
                    size_bytes=int(each["bytes"]),
                )
                for each in data["sources"]
            ],
            stored=stored
            and StoredAnswer(
                sha256=stored["sha256"] and _sha256(stored["sha256"]),
                input_digest=_sha256(stored["inputDigest"]),
                parts=stored["parts"],
                error_code=stored["errorCode"],
                execution=stored["execution"],
                job=stored["job"],
            ),
        )
    except (KeyError, TypeError, ValueError):
        raise ValueError("is no case of an evaluation") from None


def _sha256(text: str) -> str:
    """The hash, which becomes the name of a file: no other text may."""
    if not _SHA256.fullmatch(text):
        raise ValueError("no SHA-256")
    return text


def pinned_bytes(pinned: Path, sha256: str) -> bytes:
    """The bytes of a source or a report.

    Raises:
        OSError: they are not there.
    """
    return (pinned / sha256).read_bytes()
