"""Many short histories of the ledger: within each ceiling, no less than the bill, no leftovers.

`make simulate` lives through a hundred times as many.
"""

import pytest

from tests.simulation.ledger_campaign import (
    LEDGER_MUTATIONS,
    ledger_caught,
    tallied_histories,
)
from tests.simulation.ledger_histories import ledger_history


def test_no_history_passes_a_ceiling_or_forgets_a_bill_or_leaves_anything_held() -> None:
    tally = tallied_histories(range(1_500))

    assert tally.broken == []
    # A history without these events would show nothing.
    assert {
        "answers lost",
        "asked in an outage",
        "calls cut off",
        "calls not made",
        "costs unknown",
        "deaths",
        "growths",
        "midnights",
        "races lost",
        "refused by a ceiling",
        "writes refused",
    } <= {name for name, count in tally.seen.items() if count}


def test_a_seed_is_one_history() -> None:
    assert ledger_history(7) == ledger_history(7)


@pytest.mark.parametrize("name", LEDGER_MUTATIONS)
def test_the_histories_catch(name: str) -> None:
    assert ledger_caught(name).runs is not None, LEDGER_MUTATIONS[name].what
