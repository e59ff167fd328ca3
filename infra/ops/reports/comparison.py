"""Two reports side by side, field by field, numbers with their difference. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from infra.ops.reports.details import Cell, cell_of, label

_MOST_FIELDS = 500
#: Fields by which an object of a list is found in the other list; otherwise by its place.
_NAMES = ("id", "name", "scenario", "label")


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldPair:
    """One field of both reports; None where one of them lacks it."""

    path: str
    before: Cell | None
    after: Cell | None
    #: The later number less the earlier one, with its sign.
    difference: str | None

    @property
    def changed(self) -> bool:
        """Whether the two differ."""
        if self.difference is not None:
            return Decimal(self.difference) != 0
        return self.before != self.after

    def as_json(self) -> dict[str, Any]:
        """The field as `report compare --json` prints it."""
        return {
            "path": self.path,
            "a": self.before and self.before.text,
            "b": self.after and self.after.text,
            "difference": self.difference,
            "changed": self.changed,
        }


def compared(before: object, after: object) -> list[FieldPair]:
    """The fields of both `details`, those of the first in their order, then the others."""
    first, second = dict(_flat(before, "", "")), dict(_flat(after, "", ""))
    paths = list(dict.fromkeys([*first, *second]))[:_MOST_FIELDS]
    return [_pair(path, first, second) for path in paths]


def _pair(
    path: str, first: Mapping[str, tuple[str, Any]], second: Mapping[str, tuple[str, Any]]
) -> FieldPair:
    before, after = first.get(path), second.get(path)
    return FieldPair(
        path=path,
        before=before and cell_of(before[1], before[0]),
        after=after and cell_of(after[1], after[0]),
        difference=_difference(before and before[1], after and after[1]),
    )


def _difference(before: object, after: object) -> str | None:
    one, other = _exact(before), _exact(after)
    return None if one is None or other is None else f"{other - one:+f}"


def _exact(value: object) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return None
    exact = Decimal(str(value))
    return exact if exact.is_finite() else None


def _flat(value: object, path: str, name: str) -> Iterator[tuple[str, tuple[str, Any]]]:
    """Each single value by its path, with the name of its field."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            shown = label(str(key))
            yield from _flat(item, f"{path} · {shown}" if path else shown, str(key))
    elif isinstance(value, list):
        for number, item in enumerate(value, start=1):
            yield from _flat(item, f"{path} {_known_as(item) or number}", name)
    else:
        yield path or "Value", (name, value)


def _known_as(item: object) -> str | None:
    if not isinstance(item, Mapping):
        return None
    found = (item.get(name) for name in _NAMES)
    return next((text for text in found if isinstance(text, str) and text), None)
