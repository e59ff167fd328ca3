"""What steps cost, and that the reference shows these figures."""

import json
import statistics
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.docs.cost import (
    HandedOver,
    Load,
    Prices,
    QuietMonth,
    cost,
    firestore_writes,
    handed_over_table,
    idle_month,
    idle_table,
    instances_cost,
    table,
)
from tests.support.alert_rules import evaluation_seconds, rules

_REFERENCE = Path(__file__).parents[3] / "docs/reference/cost.md"
_MARKS = ("<!-- table: infra/docs/cost.py -->\n", "\n<!-- end -->")
_BACKGROUND_MARK = "<!-- background: infra/docs/cost.py -->\n"
_MEASURED = Path(__file__).parents[3] / "docs/benchmarks.json"
_IDLE_MARK = "<!-- idle month: infra/docs/cost.py -->\n"


def test_the_reference_shows_what_the_formula_gives() -> None:
    """To renew the table, put what this test prints between the two marks."""
    shown = _REFERENCE.read_text().split(_MARKS[0])[1].split(_MARKS[1])[0]

    assert shown == table(durations=(20, 60), concurrencies=(1, 4, 8))


def test_the_reference_shows_what_a_month_without_steps_costs() -> None:
    """To renew the table, put what this test prints between the two marks."""
    shown = _REFERENCE.read_text().split(_IDLE_MARK)[1].split(_MARKS[1])[0]

    assert shown == idle_table()


def measured() -> dict[float, HandedOver]:
    """The medians of `make bench PARTS=waiting`, by the model's time."""
    waiting = json.loads(_MEASURED.read_text())["waiting"]["figures"]
    return {
        float(seconds): HandedOver(
            executor=statistics.median(of_one["executor_seconds"]),
            dispatcher=statistics.median(of_one["dispatcher_seconds"]),
            notify=statistics.median(of_one["notify_seconds"]),
        )
        for seconds, of_one in waiting.items()
    }


def test_the_reference_shows_what_was_measured_of_calls_in_the_background() -> None:
    """To renew the table, put what this test prints between the two marks."""
    shown = _REFERENCE.read_text().split(_BACKGROUND_MARK)[1].split(_MARKS[1])[0]

    assert shown == handed_over_table(measured())


def test_compute_for_a_thousand_steps_of_a_minute_each_costs_three_cents_at_most() -> None:
    assert sum(instances_cost(measured()[60.0], Prices()).values()) <= 0.03


def test_what_is_handed_over_costs_what_was_reckoned_by_hand() -> None:
    """0.4 s at 0.0000265 USD a second, and 0.3 s at 0.00002525 USD, a thousand times."""
    handed = HandedOver(executor=0.4, dispatcher=0.2, notify=0.1)

    shares = instances_cost(handed, Prices())

    assert shares["executor instances"] == pytest.approx(0.0106)
    assert shares["dispatcher instances"] == pytest.approx(0.00505)
    assert sum(shares.values()) == pytest.approx(0.0106 + 0.3 * 0.02525)


def test_every_alert_of_the_module_is_in_the_bill() -> None:
    intervals = sorted(evaluation_seconds(rule) for rule in rules().values())

    assert intervals == sorted(QuietMonth().alert_intervals)


def test_a_month_without_steps_costs_what_was_reckoned_by_hand() -> None:
    """16 conditions at 0.10 USD; 43,200 sweeps of 0.5 s at 0.00002525 USD a second."""
    month = idle_month(QuietMonth(), Prices())

    assert month["16 alert conditions"] == pytest.approx(1.60)
    sweep = next(value for name, value in month.items() if name.startswith("sweep"))
    assert sweep == pytest.approx(43_200 * (0.5 * 0.00002525 + 4e-7 + 3 * 3e-7))


def test_a_known_load_costs_what_was_reckoned_by_hand() -> None:
    """20 s on 1 vCPU and 1 GiB: 20,000 s at 0.0000265 USD; 4 reads and 7 writes a step."""
    shares = cost(replace(Load(), concurrency=1), Prices())

    assert shares["executor instances"] == pytest.approx(0.53)
    assert shares["Firestore"] == pytest.approx(1_000 * (4 * 3e-7 + 7 * 9e-7))
    assert shares["requests"] == pytest.approx(0.0016)
    assert shares["Cloud Storage"] == pytest.approx(0.005 + 8 * 0.0004)


def test_a_long_step_renews_its_lease() -> None:
    assert firestore_writes(Load(seconds=65)) - firestore_writes(Load(seconds=10)) == 2


@given(seconds=st.floats(1, 480), concurrency=st.integers(1, 99))
def test_sharing_an_instance_makes_waiting_cheaper_and_nothing_dearer(
    seconds: float, concurrency: int
) -> None:
    alone = cost(Load(seconds=seconds, concurrency=concurrency), Prices())
    shared = cost(Load(seconds=seconds, concurrency=concurrency + 1), Prices())

    assert shared["executor instances"] < alone["executor instances"]
    assert {k: v for k, v in shared.items() if k != "executor instances"} == {
        k: v for k, v in alone.items() if k != "executor instances"
    }
