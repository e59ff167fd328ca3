"""Deliberate breakages of the order of things, each of which the enumeration must find."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.simulation.mutations import MUTATIONS, Mutation

#: The simulation's breakages that no order of operations shows: of budgets that only many
#: failures spend, of texts, and those that need inputs which are bad from the beginning.
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
    """Run the block with one thing broken."""
    with pytest.MonkeyPatch.context() as patch:
        BREAKAGES[name].apply(patch)
        yield
