"""The shape of a JSON Schema: its subschemas, and how they lead to one another."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from typing import Any, TypeGuard
from urllib.parse import unquote

MAX_DEPTH = 32
MAX_SUBSCHEMAS = 1_000
#: Subschemas that apply to one and the same value, references followed. A few lines of nested
#: `allOf` and `$ref` could otherwise double the work with every line.
MAX_AT_ONE_VALUE = 1_000
MAX_REFERENCE_CHAIN = 16
_MAX_PLACE_CHARS = 128

#: Keywords whose subschemas apply to the very value that the schema applies to.
_IN_PLACE = frozenset(
    {"allOf", "anyOf", "oneOf", "not", "if", "then", "else", "dependentSchemas"}
)
_ONE = frozenset(
    {"additionalProperties", "contains", "else", "if", "items", "not", "propertyNames", "then"}
)
_LIST = frozenset({"allOf", "anyOf", "oneOf", "prefixItems"})
_MAP = frozenset(
    {"$defs", "definitions", "dependentSchemas", "patternProperties", "properties"}
)
#: Subschemas that apply to nothing until a reference leads to them.
_HELD = frozenset({"$defs", "definitions"})


class StructureInvalid(ValueError):
    """The schema is too large, or a reference leads where it must not; says where."""


@dataclass(frozen=True, slots=True)
class Edge:
    """A subschema that a schema applies."""

    target: str
    #: To the very value that the schema itself applies to.
    in_place: bool
    #: Through a property that may be left out.
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Subschema:
    """A schema inside the schema, at its JSON pointer."""

    pointer: str
    keywords: Mapping[str, Any]
    edges: list[Edge] = field(default_factory=list)

    @property
    def place(self) -> str:
        """The pointer as messages name it."""
        return _place(self.pointer)


def subschemas(schema: Mapping[str, Any]) -> Mapping[str, Subschema]:
    """All subschemas by pointer, the root at the empty one; `true` and `false` are left out.

    Raises:
        StructureInvalid: nested too deep, too many, a reference that does not lead to one of
            them, or that leads back to itself other than through an optional property.
    """
    _check_depth(schema)
    found: dict[str, Subschema] = {}
    waiting = [("", schema)]
    while waiting:
        pointer, keywords = waiting.pop()
        subschema = Subschema(pointer, keywords)
        found[pointer] = subschema
        if len(found) > MAX_SUBSCHEMAS:
            raise StructureInvalid(f"more than {MAX_SUBSCHEMAS} subschemas")
        for keyword, path, child in _children(keywords):
            if not isinstance(child, Mapping):
                continue
            target = f"{pointer}/{path}"
            waiting.append((target, child))
            if keyword not in _HELD:
                subschema.edges.append(_edge(keyword, path, target, keywords))
    _follow_references(found)
    return found


def _children(keywords: Mapping[str, Any]) -> Iterator[tuple[str, str, Any]]:
    for keyword, value in keywords.items():
        if keyword in _ONE:
            yield keyword, keyword, value
        elif keyword in _LIST and isinstance(value, list):
            for index, item in enumerate(value):
                yield keyword, f"{keyword}/{index}", item
        elif keyword in _MAP and isinstance(value, Mapping):
            for name, item in value.items():
                yield keyword, f"{keyword}/{_escaped(name)}", item


def _edge(keyword: str, path: str, target: str, keywords: Mapping[str, Any]) -> Edge:
    required = keywords.get("required")
    needed = required if isinstance(required, list) else []
    optional = keyword == "properties" and path not in {
        f"properties/{_escaped(name)}" for name in needed if isinstance(name, str)
    }
    return Edge(target, in_place=keyword in _IN_PLACE, optional=optional)


def _follow_references(found: Mapping[str, Subschema]) -> None:
    for subschema in found.values():
        reference = subschema.keywords.get("$ref")
        if reference is not None:
            target = _target(reference, subschema, found)
            subschema.edges.append(Edge(target, in_place=True))
    _check_work(_from_leaf_to_root(found))


def _target(reference: object, subschema: Subschema, found: Mapping[str, Subschema]) -> str:
    target = unquote(reference[1:]) if _is_local(reference) else None
    if target is None or target not in found:
        raise StructureInvalid(
            f"$ref at {subschema.place} must lead to a subschema of this schema, by a"
            " JSON pointer such as #/$defs/level"
        )
    return target


def _from_leaf_to_root(found: Mapping[str, Subschema]) -> Iterable[Subschema]:
    """Every subschema after those that it leads to.

    Raises:
        StructureInvalid: there is no such order. For Gemini a cycle "may only be used within
            non-required properties" (`responseJsonSchema` in
            https://ai.google.dev/api/generate-content#GenerationConfig), and one that does
            not enter a property would check the same value for ever.
    """
    graph = {
        subschema.pointer: [edge.target for edge in subschema.edges if not edge.optional]
        for subschema in found.values()
    }
    try:
        order = list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        where = min(error.args[1], key=len)
        raise StructureInvalid(
            f"{_place(where)} contains itself other than through an optional property"
        ) from None
    return [found[pointer] for pointer in order]


def _check_work(order: Iterable[Subschema]) -> None:
    invocation: dict[str, int] = {}
    chain: dict[str, int] = {}
    for subschema in order:
        same = [edge.target for edge in subschema.edges if edge.in_place]
        invocation[subschema.pointer] = 1 + sum(invocation[target] for target in same)
        chain[subschema.pointer] = 1 + max((chain[target] for target in same), default=0)
    if max(invocation.values()) > MAX_AT_ONE_VALUE:
        raise StructureInvalid(
            f"more than {MAX_AT_ONE_VALUE} subschemas apply to one value, references followed"
        )
    if max(chain.values()) > MAX_REFERENCE_CHAIN:
        raise StructureInvalid(
            f"more than {MAX_REFERENCE_CHAIN} subschemas lead to one another for one value"
        )


def _check_depth(schema: Mapping[str, Any]) -> None:
    level: list[Any] = [schema]
    for _ in range(MAX_DEPTH + 1):
        level = [child for value in level for child in _members(value)]
        if not level:
            return
    raise StructureInvalid(f"nested deeper than {MAX_DEPTH} levels")


def _members(value: Any) -> Iterable[Any]:
    if isinstance(value, Mapping):
        return value.values()
    return value if isinstance(value, list) else ()


def _is_local(reference: object) -> TypeGuard[str]:
    return isinstance(reference, str) and (reference == "#" or reference.startswith("#/"))


def _place(pointer: str) -> str:
    return pointer[:_MAX_PLACE_CHARS] or "/"


def _escaped(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")
