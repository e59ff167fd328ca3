"""Deliberate breakages of the order of things, each of which the enumeration must find."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.simulation.mutations import MUTATIONS, Mutation

#: What of the simulation's breakages no order of operations shows: budgets that only many
#: failures spend, texts, and what needs inputs that are bad from the beginning.
_NOT_OF_ORDER = frozenset(
    {
        "attempts_unbounded",
        "calls_unbounded",
        "text_in_error",
        "dependencies_ended",
        "digest_unchecked",
    }
)

BREAKAGES: dict[str, Mutation] = {
    name: mutation for name, mutation in MUTATIONS.items() if name not in _NOT_OF_ORDER
}


@contextmanager
def broken(name: str) -> Iterator[None]:
    """Run with one thing broken."""
    with pytest.MonkeyPatch.context() as patch:
        BREAKAGES[name].apply(patch)
        yield
