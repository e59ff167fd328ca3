"""A report's `details` as fields, tables and lists, by the schema of its model. Pure.

The schema decides the order and says what a field is; what it does not know is shown all the
same. Numbers stand as they are stored, digit by digit.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, TypeAlias

from executor.validation.property_order import property_order

_MOST_ROWS = 200
_DEEPEST = 8
_MOST_REFERENCES = 16
_WORDS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|[_\-\s]+")
#: Fields of these names are shares of 1, and shown as percents.
_SHARES = re.compile(r"probabilit|confidence|likelihood", re.IGNORECASE)
_HUNDRED = Decimal(100)
_NOTHING: Mapping[str, Any] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A value as it is shown."""

    text: str
    is_number: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Fields with one value each."""

    title: str
    rows: Sequence[tuple[str, Cell]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """A list of objects: a row for each, a column for each field."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    #: Rows that are not shown.
    left_out: int = 0

    @property
    def numeric(self) -> Sequence[bool]:
        """Which columns hold numbers alone."""
        return [
            any(row[index].text for row in self.rows)
            and all(row[index].is_number or not row[index].text for row in self.rows)
            for index in range(len(self.columns))
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bullets:
    """A list of single values."""

    title: str
    items: Sequence[Cell]
    left_out: int = 0


Block: TypeAlias = Facts | Grid | Bullets


def blocks_of(details: object, output_schema: Mapping[str, Any] | None = None) -> list[Block]:
    """What is in `output.details`, in the order of the schema of `output`."""
    root = output_schema or _NOTHING
    schema = _property(root, root, "details")
    return list(_blocks("", details, schema, root, 0))


def label(name: str) -> str:
    """The name of a field as words: `supportLevels` is `Support levels`."""
    words = [word for word in _WORDS.split(name) if word]
    text = " ".join(word if word.isupper() else word.lower() for word in words) or name
    return text[:1].upper() + text[1:]


def cell_of(value: object, name: str = "", schema: Mapping[str, Any] = _NOTHING) -> Cell:
    """One value as it is shown: a share of 1 as percents, null as an empty cell."""
    if isinstance(value, int | float | Decimal) and not isinstance(value, bool):
        return Cell(text=_number(value, name, schema), is_number=True)
    return Cell(text=_text(value))


def _text(value: object) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case list():
            return ", ".join(cell_of(item).text for item in value[:_MOST_ROWS])
        case Mapping():
            parts = (f"{label(str(key))}: {cell_of(item).text}" for key, item in value.items())
            return "; ".join(parts)
        case _:
            return str(value)


def _number(value: float | Decimal, name: str, schema: Mapping[str, Any]) -> str:
    exact = value if isinstance(value, Decimal) else Decimal(str(value))
    if not exact.is_finite():
        return str(value)
    is_share = _SHARES.search(name) or (schema.get("minimum"), schema.get("maximum")) == (0, 1)
    if is_share and 0 <= exact <= 1:
        return f"{(exact * _HUNDRED).normalize():f} %"
    return f"{exact:f}"


def _blocks(
    title: str, value: object, schema: Mapping[str, Any], root: Mapping[str, Any], depth: int
) -> Iterator[Block]:
    if depth > _DEEPEST:
        yield Facts(title=title, rows=[("…", cell_of(value))])
    elif isinstance(value, Mapping):
        yield from _object(title, value, schema, root, depth)
    elif isinstance(value, list):
        yield from _list(title, value, schema, root)
    elif value is not None:
        yield Facts(title=title, rows=[(title or "Value", cell_of(value, title, schema))])


def _object(
    title: str,
    value: Mapping[str, Any],
    schema: Mapping[str, Any],
    root: Mapping[str, Any],
    depth: int,
) -> Iterator[Block]:
    names = _in_order(value, schema)
    plain = [name for name in names if not isinstance(value[name], Mapping | list)]
    if plain:
        rows = [
            (label(name), cell_of(value[name], name, _property(schema, root, name)))
            for name in plain
        ]
        yield Facts(title=title, rows=rows)
    for name in names:
        if name not in plain:
            inner = f"{title} · {label(name)}" if title else label(name)
            yield from _blocks(
                inner, value[name], _property(schema, root, name), root, depth + 1
            )


def _list(
    title: str, value: list[Any], schema: Mapping[str, Any], root: Mapping[str, Any]
) -> Iterator[Block]:
    items = _resolved(schema.get("items"), root)
    shown = value[:_MOST_ROWS]
    left_out = len(value) - len(shown)
    if shown and all(isinstance(item, Mapping) for item in shown):
        names = _columns(shown, items)
        yield Grid(
            title=title,
            columns=[label(name) for name in names],
            rows=[
                [cell_of(row.get(name), name, _property(items, root, name)) for name in names]
                for row in shown
            ],
            left_out=left_out,
        )
    else:
        cells = [cell_of(item, title, items) for item in shown]
        yield Bullets(title=title, items=cells, left_out=left_out)


def _columns(rows: Sequence[Mapping[str, Any]], items: Mapping[str, Any]) -> Sequence[str]:
    every = {name: None for row in rows for name in row}
    return _in_order(every, items)


def _in_order(value: Mapping[str, Any], schema: Mapping[str, Any]) -> Sequence[str]:
    # Firestore keeps no order of a schema's maps: its lists say in which order to read.
    known = [name for name in property_order(schema) if name in value]
    return [*known, *(name for name in value if name not in known)]


def _property(
    schema: Mapping[str, Any], root: Mapping[str, Any], name: str
) -> Mapping[str, Any]:
    properties = schema.get("properties")
    found = properties.get(name) if isinstance(properties, Mapping) else None
    return _resolved(found, root)


def _resolved(schema: object, root: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema that a reference within the document leads to."""
    for _ in range(_MOST_REFERENCES):
        if not isinstance(schema, Mapping):
            return _NOTHING
        reference = schema.get("$ref")
        if not isinstance(reference, str):
            return schema
        schema = root
        for part in reference.removeprefix("#").strip("/").split("/"):
            if part:
                schema = schema.get(part) if isinstance(schema, Mapping) else None
    return _NOTHING
