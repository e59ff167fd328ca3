"""Validation in bounded work, even against a schema that was written to be slow.

The validator is the `jsonschema` library's; around every keyword stands a meter. The few
keywords that hand the work to Python's `re`, compare everything with everything, or keep every
failed choice with its text in memory, are done here. The bound is a number of steps, not of
seconds: the same answer is judged alike on a fast machine and on a throttled one.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, TypeAlias

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from jsonschema.validators import extend

from executor.validation.formats import FORMATS
from executor.validation.patterns import compile_pattern

#: About a second on an idle machine, in a thread of its own. A report of
#: 170 KB with 10,000 checked values takes a little over half of it.
MAX_STEPS = 200_000
#: Characters that cost about as much as one step: errors quote what they are about.
_CHARS_PER_STEP = 64
_NODES_PER_STEP = 16

_Check: TypeAlias = Callable[
    [Any, Any, Any, Mapping[str, Any]], Iterator[ValidationError] | None
]
#: Keywords that may check the whole value once for each of their members.
_EACH_TIMES_ALL = frozenset({"allOf", "anyOf", "enum", "oneOf"})
#: The dialect and the id of the root say nothing about the value; the first would choose
#: another validator than this one.
_IDENTITY = frozenset({"$schema", "$id"})


class Undecided(Exception):
    """It takes too many steps, or numbers too large, to tell whether the value is valid."""


def first_errors(
    value: Any, schema: Mapping[str, Any], *, limit: int, max_steps: int = MAX_STEPS
) -> Sequence[ValidationError]:
    """What is wrong with the value, at most `limit` errors.

    The schema must have passed `output_schema`, and the value's depth must be bounded.

    Raises:
        Undecided: it cannot be told in bounded work.
    """
    meter = _Meter(max_steps)
    meter.measure(value)
    anonymous = {name: item for name, item in schema.items() if name not in _IDENTITY}
    validator = _METERED(anonymous, format_checker=FORMATS)
    spending = _METER.set(meter)
    try:
        return list(islice(validator.iter_errors(value), limit))
    except RecursionError:
        raise Undecided("the check goes too deep") from None
    except ArithmeticError:
        raise Undecided("a number is too large to be checked") from None
    finally:
        _METER.reset(spending)


@dataclass(slots=True)
class _Meter:
    """Counts steps, and knows the size of every part of the value."""

    left: int
    #: By identity: the value lives, unchanged, as long as the meter.
    _nodes: dict[int, int] = field(default_factory=dict)

    def measure(self, value: Any) -> int:
        """The size of the value and of all its parts, in nodes."""
        nodes = 1
        if isinstance(value, str):
            return nodes + len(value) // _CHARS_PER_STEP
        if isinstance(value, dict):
            nodes += sum(1 + self.measure(item) for item in value.values())
        elif isinstance(value, list):
            nodes += sum(self.measure(item) for item in value)
        self._nodes[id(value)] = nodes
        return nodes

    def spend(self, steps: int) -> None:
        self.left -= steps
        if self.left < 0:
            raise Undecided("the check takes too many steps")

    def size(self, instance: Any) -> int:
        """The steps that it takes to look through the instance once."""
        if isinstance(instance, str):
            return 1 + len(instance) // _CHARS_PER_STEP
        if not isinstance(instance, dict | list):
            return 1
        return 1 + len(instance) + self._nodes.get(id(instance), 0) // _NODES_PER_STEP


#: What the check that is under way may still spend. The validator's class knows no instance of
#: it, since making the class takes as long as checking a report.
_METER: ContextVar[_Meter] = ContextVar("_METER")


def _counted(keyword: str, check: _Check) -> _Check:
    def counted(
        validator: Any, argument: Any, instance: Any, schema: Mapping[str, Any]
    ) -> Iterator[ValidationError] | None:
        meter = _METER.get()
        members = len(argument) if isinstance(argument, dict | list) else 0
        once = meter.size(instance)
        meter.spend(once * (1 + members) if keyword in _EACH_TIMES_ALL else once + members)
        return check(validator, argument, instance, schema)

    return counted


def _pattern(
    _validator: Any, pattern: str, instance: Any, _schema: Any
) -> Iterator[ValidationError]:
    if isinstance(instance, str) and not _matches(pattern, instance):
        yield ValidationError("does not match")


def _pattern_properties(
    validator: Any, patterns: Mapping[str, Any], instance: Any, _schema: Any
) -> Iterator[ValidationError]:
    meter = _METER.get()
    for pattern, subschema in patterns.items():
        for name, item in _members(instance):
            if _matches(pattern, name):
                meter.spend(meter.size(item))
                yield from validator.descend(item, subschema, path=name)


def _additional_properties(
    validator: Any, subschema: Any, instance: Any, schema: Mapping[str, Any]
) -> Iterator[ValidationError]:
    known = schema.get("properties", {})
    patterns = schema.get("patternProperties", ())
    for name, item in _members(instance):
        if name in known or any(_matches(pattern, name) for pattern in patterns):
            continue
        if subschema is False:
            yield ValidationError("is not allowed", path=(name,))
        else:
            yield from validator.descend(item, subschema, path=name)


def _unique_items(
    _validator: Any, wanted: Any, instance: Any, _schema: Any
) -> Iterator[ValidationError]:
    if wanted and isinstance(instance, list):
        meter = _METER.get()
        meter.spend(meter.size(instance))
        if len({_comparable(item) for item in instance}) < len(instance):
            yield ValidationError("has equal items")


def _matches(pattern: str, text: str) -> bool:
    compiled = compile_pattern(pattern)
    _METER.get().spend(compiled.cost(text))
    return compiled.found_in(text)


def _any_of(
    validator: Any, choices: Any, instance: Any, _schema: Any
) -> Iterator[ValidationError]:
    if next(_matching(validator, choices, instance), None) is None:
        yield ValidationError("matches none of the choices")


def _one_of(
    validator: Any, choices: Any, instance: Any, _schema: Any
) -> Iterator[ValidationError]:
    if len(list(islice(_matching(validator, choices, instance), 2))) != 1:
        yield ValidationError("does not match exactly one of the choices")


def _matching(validator: Any, choices: Any, instance: Any) -> Iterator[Any]:
    return (choice for choice in choices if validator.evolve(schema=choice).is_valid(instance))


def _members(instance: Any) -> Iterable[tuple[str, Any]]:
    return instance.items() if isinstance(instance, dict) else ()


def _comparable(value: Any) -> object:
    """A hashable that is equal exactly where JSON Schema says that the values are."""
    if isinstance(value, bool):
        return ("boolean", value)
    if isinstance(value, dict):
        return frozenset((name, _comparable(item)) for name, item in value.items())
    if isinstance(value, list):
        return tuple(_comparable(item) for item in value)
    return value


#: Keywords that the library does with `re`, by comparing each with each, or by keeping every
#: failed choice.
_OWN: Mapping[str, _Check] = {
    "additionalProperties": _additional_properties,
    "anyOf": _any_of,
    "oneOf": _one_of,
    "pattern": _pattern,
    "patternProperties": _pattern_properties,
    "uniqueItems": _unique_items,
}
_METERED: Any = extend(  # type: ignore[no-untyped-call]
    Draft202012Validator,
    {
        keyword: _counted(keyword, check)
        for keyword, check in {**Draft202012Validator.VALIDATORS, **_OWN}.items()
    },
)
