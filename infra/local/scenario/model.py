"""The parts of a scenario, as plain values."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

#: A Firestore document or a JSON object, not yet checked by anyone.
Document: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedObject:
    """An object that stands in the bucket before the first step runs."""

    bucket: str
    name: str
    data: bytes
    content_type: str

    @property
    def uri(self) -> str:
        """The object's `gs://` URI."""
        return f"gs://{self.bucket}/{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleChart:
    """A chart as the chart exporter draws it, with the texts of its manifest item."""

    template_id: str
    kind: str
    label: str
    description: str
    png: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """How one LLM_REPORT step must end; `error_code` only for a FAILED one."""

    run_id: str
    step_id: str
    status: str
    error_code: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """What to seed, and what must come of it. The mappings are keyed by document id."""

    prompts: Mapping[str, Document]
    schemas: Mapping[str, Document]
    objects: Sequence[SeedObject]
    runs: Mapping[str, Document]
    expectations: Sequence[Expectation]


def compact_json(document: Document) -> bytes:
    """The document as UTF-8 JSON without insignificant blanks, keys in their order."""
    return json.dumps(
        document, ensure_ascii=False, allow_nan=False, separators=(",", ":")
    ).encode()
