"""The table that processes share knows what one process would know."""

from contextlib import nullcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.schedules.campaign import _run, pool
from tests.schedules.search import Bounds
from tests.schedules.visited import OwnVisited, SharedVisited, Spent

_SPENT = st.builds(Spent, st.integers(0, 3), st.integers(0, 3))
#: Names of which many begin, or end, alike.
_STATES = st.builds(lambda a, b: bytes([a, *[7] * 10, b]), st.integers(0, 3), st.integers(0, 3))
_STATE = b"a state name"


def _table(slots: int) -> SharedVisited:
    return SharedVisited(memoryview(bytearray(16 * slots)), nullcontext())


@given(st.lists(st.tuples(_STATES, _SPENT)))
def test_the_table_answers_as_a_dictionary_would(visits: list[tuple[bytes, Spent]]) -> None:
    own, shared, later = OwnVisited(), _table(64), _table(128)

    answers = [shared.visit(*visit) for visit in visits]
    later.take(b"".join(shared.slots()))

    assert answers == [own.visit(*visit) for visit in visits]
    assert not any(later.visit(*visit) for visit in visits)


def test_a_state_is_visited_again_with_less() -> None:
    table = _table(8)

    assert table.visit(_STATE, Spent(1, 1))
    assert not table.visit(_STATE, Spent(2, 1))
    assert table.visit(_STATE, Spent(2, 0))
    assert table.visit(_STATE, Spent(0, 1))
    assert not table.visit(_STATE, Spent(1, 1))


def test_a_full_table_says_so() -> None:
    table = _table(2)
    for number in range(2):
        table.visit(bytes([number, *[0] * 11]), Spent())

    with pytest.raises(MemoryError):
        table.visit(_STATE, Spent())


def test_a_table_that_was_cleared_knows_nothing() -> None:
    table = _table(2)
    table.visit(_STATE, Spent())

    table.clear()

    assert table.visit(_STATE, Spent())


def test_a_path_that_another_process_ran_leads_to_nothing_new() -> None:
    with pool() as workers:
        runs = [workers.processes.submit(_run, "step", [b""], Bounds()) for _ in range(4)]
        states = [found.states for run in runs for found in run.result()]

    assert sum(states) == max(states) > 0
