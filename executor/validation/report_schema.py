"""The schema that an answer must satisfy: from the registry, or inline in the profile."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker
from jsonschema.exceptions import SchemaError

from executor.contract.canonical import canonical_json, sha256_hex
from executor.contract.profile import LlmProfile
from executor.contract.registry import SchemaDocument
from executor.validation.keywords import KeywordInvalid, check_keywords
from executor.validation.property_order import in_order, order_warnings
from executor.validation.structure import StructureInvalid, subschemas
from shared.domain.errors import LlmProfileInvalid
from shared.domain.identifiers import SchemaId, major_version

MAX_SCHEMA_BYTES = 65_536
#: Bounds what is remembered of checked schemas: at most this many of the size above.
_CHECKED_SCHEMAS = 64
#: The patterns are judged by the engine that will run them, not by the meta-schema's format.
_NO_FORMATS = FormatChecker(())


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputSchema:
    """A schema that was checked."""

    #: As it is sent: every process makes the same bytes of it.
    json_schema: Mapping[str, Any]
    schema_id: SchemaId | None
    #: Recomputed here, whatever the registry says.
    sha256: str
    #: What the registry or the profile claims, where it differs.
    drifted_from: str | None
    major: int
    #: What Gemini does not hold the model to, and where the order of properties is not known:
    #: one line for each place.
    warnings: tuple[str, ...]


def output_schema(profile: LlmProfile, document: SchemaDocument | None) -> OutputSchema:
    """The schema of the step's answer.

    Raises:
        LlmProfileInvalid: the schema is missing, malformed, too large, or does not require
            `summary.markdown` and `details`.
    """
    claims: list[str] = []
    json_schema: Mapping[str, Any]
    if profile.inline_schema is not None:
        name, schema_id, json_schema, major = "inline schema", None, profile.inline_schema, 1
    elif profile.structured_output is not None and document is not None:
        schema_id = SchemaId(profile.structured_output.schema_id)
        name, json_schema = f"schema {schema_id}", document.json_schema
        major = major_version(schema_id)
        claims = [document.sha256]
        if profile.structured_output.schema_sha256 is not None:
            claims.append(profile.structured_output.schema_sha256)
    else:
        raise LlmProfileInvalid(f"schema {profile.schema_id}: there is no such schema document")
    try:
        canonical = _canonical(json_schema)
        sha256, warnings = _checked(canonical)
        ordered, unordered = _ordered(canonical)
    except SchemaInvalid as problem:
        raise LlmProfileInvalid(f"{name}: {problem}") from None
    drift = next((claim for claim in claims if claim != sha256), None)
    return OutputSchema(
        json_schema=ordered,
        schema_id=schema_id,
        sha256=sha256,
        drifted_from=drift,
        major=major,
        warnings=(*unordered, *warnings),
    )


class SchemaInvalid(ValueError):
    """The schema cannot be used for reports; says why and where."""


def check_schema(schema: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
    """The canonical hash of a schema that is fit for reports, and warnings about it.

    Raises:
        SchemaInvalid: it is not, or a hostile one could keep the executor busy.
    """
    return _checked(_canonical(schema))


def _canonical(schema: Mapping[str, Any]) -> bytes:
    """Its canonical JSON; raises SchemaInvalid where there is none, or too much."""
    try:
        canonical = canonical_json(schema)
    except ValueError:
        raise SchemaInvalid("has no canonical JSON") from None
    if len(canonical) > MAX_SCHEMA_BYTES:
        raise SchemaInvalid(f"{len(canonical)} bytes, at most {MAX_SCHEMA_BYTES} are allowed")
    return canonical


@lru_cache(maxsize=_CHECKED_SCHEMAS)
def _checked(canonical: bytes) -> tuple[str, tuple[str, ...]]:
    """Published schemas never change: checking one takes longer than checking a report."""
    schema = json.loads(canonical)
    try:
        found = subschemas(schema)
        _check_dialect(schema)
        warnings = [line for each in found.values() for line in check_keywords(each)]
    except (StructureInvalid, KeywordInvalid) as problem:
        raise SchemaInvalid(str(problem)) from None
    _check_report(schema)
    return sha256_hex(canonical), tuple(warnings)


@lru_cache(maxsize=_CHECKED_SCHEMAS)
def _ordered(canonical: bytes) -> tuple[Mapping[str, Any], tuple[str, ...]]:
    """A checked schema as it is sent, and where its author's order is not known."""
    schema = in_order(json.loads(canonical))
    return schema, tuple(order_warnings(schema))


def _check_dialect(schema: Mapping[str, Any]) -> None:
    try:
        Draft202012Validator.check_schema(schema, format_checker=_NO_FORMATS)
    except SchemaError as error:
        path = "/".join(str(part) for part in error.absolute_path)[:128]
        raise SchemaInvalid(f"not a draft 2020-12 schema at /{path}") from None
    except RecursionError:
        raise SchemaInvalid("nested too deep") from None


def _check_report(schema: Mapping[str, Any]) -> None:
    required: tuple[tuple[str, ...], ...] = (
        ("summary",),
        ("details",),
        ("summary", "markdown"),
    )
    for path in required:
        if not _requires(schema, path):
            raise SchemaInvalid(f"must require {'.'.join(path)}")
    if _property(_property(schema, "summary"), "markdown").get("type") != "string":
        raise SchemaInvalid("summary.markdown must be a string")


def _requires(schema: Mapping[str, Any], path: tuple[str, ...]) -> bool:
    for parent in path[:-1]:
        schema = _property(schema, parent)
    required = schema.get("required")
    return isinstance(required, list) and path[-1] in required


def _property(schema: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    properties = schema.get("properties")
    found = properties.get(name) if isinstance(properties, Mapping) else None
    return found if isinstance(found, Mapping) else {}
