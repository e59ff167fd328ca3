"""The schema that an answer must satisfy: from the registry, or inline in the profile."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError

from shared.domain.canonical import canonical_hash, canonical_json
from shared.domain.errors import LlmProfileInvalid
from shared.domain.identifiers import SchemaId, major_version
from shared.domain.profile import LlmProfile
from shared.domain.registry import SchemaDocument

MAX_SCHEMA_BYTES = 65_536
MAX_DEPTH = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputSchema:
    """A schema that was checked."""

    json_schema: Mapping[str, Any]
    schema_id: SchemaId | None
    #: Recomputed here, whatever the registry says.
    sha256: str
    #: What the registry or the profile claims, where it differs.
    drifted_from: str | None
    major: int


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
    sha256 = _checked_hash(json_schema, name)
    drift = next((claim for claim in claims if claim != sha256), None)
    return OutputSchema(
        json_schema=json_schema,
        schema_id=schema_id,
        sha256=sha256,
        drifted_from=drift,
        major=major,
    )


def _checked_hash(schema: Mapping[str, Any], name: str) -> str:
    try:
        size = len(canonical_json(schema))
    except ValueError:
        raise LlmProfileInvalid(f"{name}: has no canonical JSON") from None
    if size > MAX_SCHEMA_BYTES:
        raise LlmProfileInvalid(f"{name}: {size} bytes, at most {MAX_SCHEMA_BYTES} are allowed")
    _check_structure(schema, name, 0)
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        path = "/".join(str(part) for part in error.absolute_path)[:128]
        raise LlmProfileInvalid(f"{name}: not a draft 2020-12 schema at /{path}") from None
    required: tuple[tuple[str, ...], ...] = (
        ("summary",),
        ("details",),
        ("summary", "markdown"),
    )
    for field in required:
        if not _requires(schema, field):
            raise LlmProfileInvalid(f"{name}: must require {'.'.join(field)}")
    if _property(_property(schema, "summary"), "markdown").get("type") != "string":
        raise LlmProfileInvalid(f"{name}: summary.markdown must be a string")
    return canonical_hash(schema)


def _check_structure(value: object, name: str, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise LlmProfileInvalid(f"{name}: nested deeper than {MAX_DEPTH} levels")
    if isinstance(value, Mapping):
        reference = value.get("$ref")
        if isinstance(reference, str) and not reference.startswith("#"):
            raise LlmProfileInvalid(f"{name}: $ref must stay inside the schema")
        for item in value.values():
            _check_structure(item, name, depth + 1)
    elif isinstance(value, list):
        for item in value:
            _check_structure(item, name, depth + 1)


def _requires(schema: Mapping[str, Any], path: tuple[str, ...]) -> bool:
    for parent in path[:-1]:
        schema = _property(schema, parent)
    required = schema.get("required")
    return isinstance(required, list) and path[-1] in required


def _property(schema: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    properties = schema.get("properties")
    found = properties.get(name) if isinstance(properties, Mapping) else None
    return found if isinstance(found, Mapping) else {}
