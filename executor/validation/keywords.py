"""Which keywords of a schema Gemini enforces, and which only the check of the answer does."""

from collections.abc import Iterator, Mapping
from typing import Any

from executor.validation.formats import CHECKED_FORMATS
from executor.validation.patterns import PatternInvalid, compile_pattern
from executor.validation.structure import Subschema

DIALECT = "https://json-schema.org/draft/2020-12/schema"

#: What Gemini documents as supported in `responseJsonSchema`
#: (https://ai.google.dev/api/generate-content#GenerationConfig).
_SUPPORTED = frozenset(
    {
        "$anchor",
        "$defs",
        "$id",
        "$ref",
        "additionalProperties",
        "anyOf",
        "description",
        "enum",
        "format",
        "items",
        "maxItems",
        "maximum",
        "minItems",
        "minimum",
        "oneOf",
        "prefixItems",
        "properties",
        "propertyOrdering",
        "required",
        "title",
        "type",
    }
)
#: Asserts nothing, so nothing is lost where it is not understood.
_ANNOTATIONS = frozenset(
    {
        "$comment",
        "$schema",
        "default",
        "definitions",
        "deprecated",
        "examples",
        "readOnly",
        "writeOnly",
    }
)
#: Only the validation of the answer holds the model to these.
_CHECKED_HERE = frozenset(
    {
        "allOf",
        "const",
        "contains",
        "dependentRequired",
        "dependentSchemas",
        "else",
        "exclusiveMaximum",
        "exclusiveMinimum",
        "if",
        "maxContains",
        "maxLength",
        "maxProperties",
        "minContains",
        "minLength",
        "minProperties",
        "multipleOf",
        "not",
        "pattern",
        "patternProperties",
        "propertyNames",
        "then",
        "uniqueItems",
    }
)
#: Their meaning depends on how the validation came to a place: not to be bounded beforehand.
_REFUSED = frozenset(
    {
        "$dynamicAnchor",
        "$dynamicRef",
        "$recursiveAnchor",
        "$recursiveRef",
        "$vocabulary",
        "unevaluatedItems",
        "unevaluatedProperties",
    }
)


class KeywordInvalid(ValueError):
    """A keyword that cannot be used; says which and where."""


def check_keywords(subschema: Subschema) -> Iterator[str]:
    """One line for each keyword that the model is not held to by Gemini.

    Raises:
        KeywordInvalid: a keyword that Gemini would refuse, or that cannot be checked in
            bounded time.
    """
    where = subschema.place
    keywords = subschema.keywords
    _check_identity(keywords, where)
    _check_reference(keywords, where)
    for keyword in keywords:
        if keyword in _REFUSED:
            raise KeywordInvalid(f"{keyword} at {where} is not supported")
    for pattern in _patterns(keywords):
        try:
            compile_pattern(pattern)
        except PatternInvalid as problem:
            raise KeywordInvalid(f"the pattern at {where} is {problem}") from None
    yield from _unsupported(keywords, where)


def _check_identity(keywords: Mapping[str, Any], where: str) -> None:
    # An inner $id would move what `#` means; an inner or other $schema, what keywords mean.
    if keywords.get("$schema", DIALECT) != DIALECT or (where != "/" and "$schema" in keywords):
        raise KeywordInvalid(f"$schema at {where}: only {DIALECT}, and only at the top")
    if where != "/" and "$id" in keywords:
        raise KeywordInvalid(f"$id at {where}: only at the top")


def _check_reference(keywords: Mapping[str, Any], where: str) -> None:
    # "If $ref is set on a sub-schema, no other properties, except for than those starting as
    # a $, may be set" (source as above).
    if "$ref" in keywords and any(not keyword.startswith("$") for keyword in keywords):
        raise KeywordInvalid(f"$ref at {where} must stand alone: Gemini refuses other keywords")


def _patterns(keywords: Mapping[str, Any]) -> Iterator[str]:
    if isinstance(pattern := keywords.get("pattern"), str):
        yield pattern
    if isinstance(by_pattern := keywords.get("patternProperties"), Mapping):
        yield from by_pattern


def _unsupported(keywords: Mapping[str, Any], where: str) -> Iterator[str]:
    for keyword, value in keywords.items():
        if keyword in _CHECKED_HERE or (keyword == "enum" and not _is_plain_enum(value)):
            yield f"{keyword} at {where}: Gemini ignores it; the answer is checked for it"
        elif keyword == "format" and value not in CHECKED_FORMATS:
            yield f"format at {where}: not one that the answer's check knows"
        elif keyword not in _SUPPORTED | _ANNOTATIONS:
            yield f"{keyword[:64]} at {where}: nothing enforces it"


def _is_plain_enum(value: object) -> bool:
    """Gemini documents `enum` for strings and numbers."""
    return isinstance(value, list) and all(
        isinstance(item, str | int | float) and not isinstance(item, bool) for item in value
    )
