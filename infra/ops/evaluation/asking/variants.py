"""Variants: what is asked otherwise than it was, and how that changes a case."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from executor.contract.profile import KIND
from executor.validation.strict_json import NotJson, parse_strict_json
from infra.failures import CannotBeDone
from infra.ops.evaluation.cases.case import (
    MEDIA_RESOLUTION,
    Case,
    prompt_ref,
    schema_ref,
)
from infra.ops.registry.files import Entry, read_prompt, read_schema
from shared.domain.documents import DocumentRef
from shared.domain.identifiers import is_prompt_id, is_schema_id

#: The report that the step has: nothing is asked.
STORED = "stored"
#: The step's own prompt, schema and profile, asked again.
CURRENT = "current"
_FIELDS = frozenset({"prompt", "schema", "llmProfile"})


class VariantInvalid(CannotBeDone):
    """A variant cannot be understood; the message names it and says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """What differs from the case's own prompt, schema and profile."""

    name: str
    prompt: Entry | None = None
    schema: Entry | None = None
    #: Fields of the profile that replace the case's; null takes one away.
    profile: Mapping[str, Any] = field(default_factory=dict)
    #: Whether the stored report is the answer.
    stored: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedCase:
    """A case as a variant asks it: the run, and the registry that goes with it."""

    run: Mapping[str, Any]
    registry: Mapping[DocumentRef, Mapping[str, Any]]


def read_variant(text: str) -> Variant:
    """The variant that an option names.

    `stored` and `current`, or a file: a prompt or schema as it is published, named by its id,
    or a JSON object with the paths `prompt` and `schema` (beside the file) and `llmProfile`.

    Raises:
        VariantInvalid: it is none of these.
        FileInvalid: a prompt or schema cannot be published.
        OSError: a file cannot be read.
    """
    if text in {STORED, CURRENT}:
        return Variant(name=text, stored=text == STORED)
    name, _, file = text.rpartition("=")
    path = Path(file)
    if not path.is_file():
        raise VariantInvalid(f"{text}: neither {STORED} nor {CURRENT} nor a file")
    if is_prompt_id(path.stem):
        return Variant(name=name or path.stem, prompt=read_prompt(path))
    if is_schema_id(path.stem):
        return Variant(name=name or path.stem, schema=read_schema(path))
    return _described(name or path.stem, path)


def asked_by(variant: Variant, case: Case) -> AskedCase:
    """The case with the variant's prompt, schema and profile in the place of its own."""
    llm = dict(case.llm)
    profile = {**llm.get("llmProfile", {}), **variant.profile}
    registry: dict[DocumentRef, Mapping[str, Any]] = {}
    if case.prompt is not None:
        registry[prompt_ref(str(llm.get("promptId")))] = case.prompt
    structured = profile.get("structuredOutput")
    if case.schema is not None and isinstance(structured, Mapping):
        registry[schema_ref(str(structured.get("schemaId")))] = case.schema
    if variant.prompt is not None:
        llm["promptId"] = variant.prompt.entry_id
        registry[prompt_ref(variant.prompt.entry_id)] = variant.prompt.document
    if variant.schema is not None:
        schema = variant.schema
        for inline in ("jsonSchema", "responseSchema"):
            profile.pop(inline, None)
        profile["structuredOutput"] = {
            "schemaId": schema.entry_id,
            "schemaSha256": schema.sha256,
            "kind": KIND,
        }
        registry[schema_ref(schema.entry_id)] = schema.document
    llm["llmProfile"] = {name: value for name, value in profile.items() if value is not None}
    return AskedCase(run=_with_llm(case, llm), registry=registry)


def as_the_report(variant: Variant, case: Case) -> Variant:
    """The variant that looks at images as closely as the stored report did.

    Where neither the step's profile nor the variant says how closely, the environment did when
    the report was made; what it says today would compare something else.
    """
    former = case.stored and case.stored.parts.get(MEDIA_RESOLUTION)
    profile = {**case.llm.get("llmProfile", {}), **variant.profile}
    if former is None or MEDIA_RESOLUTION in profile:
        return variant
    return replace(variant, profile={**variant.profile, MEDIA_RESOLUTION: former})


def _with_llm(case: Case, llm: Mapping[str, Any]) -> Mapping[str, Any]:
    step = {**case.step, "inputs": {**case.step.get("inputs", {}), "llm": llm}}
    return {**case.run, "steps": {**case.run["steps"], case.step_id: step}}


def _described(name: str, path: Path) -> Variant:
    try:
        document = parse_strict_json(path.read_bytes())
    except NotJson as problem:
        raise VariantInvalid(f"{path}: {problem}") from None
    if not isinstance(document, dict) or not document.keys() <= _FIELDS:
        raise VariantInvalid(f"{path}: a variant has {', '.join(sorted(_FIELDS))}, at will")
    profile = document.get("llmProfile", {})
    if not isinstance(profile, dict):
        raise VariantInvalid(f"{path}: llmProfile must be an object")
    prompt, schema = (_beside(path, document.get(each)) for each in ("prompt", "schema"))
    return Variant(
        name=name,
        prompt=read_prompt(prompt) if prompt else None,
        schema=read_schema(schema) if schema else None,
        profile=profile,
    )


def _beside(path: Path, named: object) -> Path | None:
    if named is None:
        return None
    if not isinstance(named, str):
        raise VariantInvalid(f"{path}: prompt and schema are paths of files")
    return path.parent / named
