"""The order of a schema's properties, which is the order in which the model writes: pure.

A model that reasons before it judges judges better, so the author's order has to reach it
(https://ai.google.dev/gemini-api/docs/structured-output). A map in Firestore has no order, and
its client's maps are in another one in every process. What is kept are lists: an object's
`propertyOrdering`, and its `required`.
"""

import json
from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

from executor.contract.canonical import canonical_json
from executor.validation.structure import Subschema, subschemas

ORDERING = "propertyOrdering"


def property_order(schema: Mapping[str, Any]) -> Sequence[str]:
    """The names of an object's properties, always in the same order.

    First those that `propertyOrdering` names, then those that `required` names, each in that
    list's order; the rest by name.
    """
    properties = schema.get("properties")
    names = sorted(properties) if isinstance(properties, Mapping) else []
    listed = [*_names(schema, ORDERING), *_names(schema, "required"), *names]
    return [name for name in dict.fromkeys(listed) if name in names]


def in_order(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The same schema, from which every process makes the same bytes.

    All maps are sorted by name, but for `properties`, which are in `property_order`.

    Raises:
        ValueError: it has no canonical JSON.
        StructureInvalid: see `subschemas`.
    """
    ordered: dict[str, Any] = json.loads(canonical_json(schema))
    for each in subschemas(ordered).values():
        properties = each.keywords.get("properties")
        if isinstance(properties, dict):
            inner = [(name, properties[name]) for name in property_order(each.keywords)]
            properties.clear()
            properties.update(inner)
    return ordered


def with_ordering(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The same schema, with `propertyOrdering` wherever the order of its maps would be lost.

    Raises:
        StructureInvalid: see `subschemas`.
    """
    stated = deepcopy(dict(schema))
    for each in subschemas(stated).values():
        properties, keywords = each.keywords.get("properties"), each.keywords
        if (
            isinstance(keywords, dict)
            and isinstance(properties, Mapping)
            and ORDERING not in keywords
            and (_is_unordered(each) or [*properties] != property_order(keywords))
        ):
            keywords[ORDERING] = [*properties]
    return stated


def order_warnings(schema: Mapping[str, Any]) -> Sequence[str]:
    """One line for each object whose author's order is not known.

    Raises:
        StructureInvalid: see `subschemas`.
    """
    return [
        f"properties at {each.place}: their order is not stated, and the model writes"
        f" {' before '.join(map(repr, property_order(each.keywords)[:_SHOWN]))}: add"
        f" {ORDERING}"
        for each in subschemas(schema).values()
        if _is_unordered(each)
    ]


#: Enough names to see what is meant.
_SHOWN = 3


def _is_unordered(schema: Subschema) -> bool:
    order = property_order(schema.keywords)
    listed = {*_names(schema.keywords, ORDERING), *_names(schema.keywords, "required")}
    return len(order) > 1 and not set(order) <= listed


def _names(schema: Mapping[str, Any], keyword: str) -> Sequence[str]:
    names = schema.get(keyword)
    return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []
