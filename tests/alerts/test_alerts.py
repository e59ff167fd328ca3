"""Prometheus itself evaluates every alert, on series where it must fire and must not fire.

It needs promtool (a failure, not a skip, when CI is set): `make promtool`.
"""

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.alert_rules import promtool, rule_text, rules

_CASES: Mapping[str, Sequence[Mapping[str, Any]]] = yaml.safe_load(
    (Path(__file__).parent / "cases.yaml").read_text()
)
#: Alerts for which a missing series is the fault itself.
_FIRES_WITHOUT_SERIES = {"sweep-silent"}
_EVERY_ALERT = pytest.mark.parametrize("alert", sorted(rules()))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder that holds the rules as Prometheus reads them."""
    if shutil.which("promtool") is None:
        reason = "promtool is needed: make promtool"
        if os.environ.get("CI"):
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    (tmp_path / "alerts.yaml").write_text(rule_text())
    return tmp_path


def expanded(alert: str, case: Mapping[str, Any], rule: Mapping[str, Any]) -> dict[str, Any]:
    """A case in the form that promtool takes."""
    seen = {
        "exp_labels": rule["labels"],
        "exp_annotations": rule["annotations"],
    }
    return {
        "name": case["name"],
        "interval": "1m",
        "input_series": [
            {"series": series, "values": values} for series, values in case["series"].items()
        ],
        "alert_rule_test": [
            {"eval_time": f"{minute}m", "alertname": alert, "exp_alerts": exp}
            for minutes, exp in ((case.get("fires", ()), [seen]), (case["silent"], []))
            for minute in minutes
        ],
    }


def test_prometheus_accepts_the_rules(folder: Path) -> None:
    done = promtool(folder, "check", "rules", "alerts.yaml")

    assert done.returncode == 0, done.stdout + done.stderr


@_EVERY_ALERT
def test_an_alert_fires_when_it_must_and_no_longer(folder: Path, alert: str) -> None:
    rule = rules()[alert]
    document = {
        "rule_files": ["alerts.yaml"],
        "evaluation_interval": "1m",
        "tests": [expanded(alert, case, rule) for case in _CASES[alert]],
    }
    (folder / "test.yaml").write_text(yaml.safe_dump(document))

    done = promtool(folder, "test", "rules", "test.yaml")

    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_has_cases_and_there_are_no_others() -> None:
    assert set(_CASES) == set(rules())


@_EVERY_ALERT
def test_an_alert_is_seen_firing_resolving_and_without_any_series(alert: str) -> None:
    cases = _CASES[alert]

    without = [case for case in cases if not case["series"]]
    assert [bool(case.get("fires")) for case in without] == [alert in _FIRES_WITHOUT_SERIES]
    assert any(
        max(case["silent"]) > max(case["fires"])
        for case in cases
        if case["series"] and case.get("fires")
    )


@_EVERY_ALERT
def test_an_alert_that_never_fires_would_be_noticed(folder: Path, alert: str) -> None:
    """The threshold decides each time: with another threshold, promtool fails."""
    for broken in _broken(rules()[alert]["expr"]):
        text = yaml.safe_load(rule_text())
        for rule in text["groups"][0]["rules"]:
            if rule["alert"] == alert:
                rule["expr"] = broken
        (folder / "alerts.yaml").write_text(yaml.safe_dump(text))
        with pytest.raises(AssertionError):
            test_an_alert_fires_when_it_must_and_no_longer(folder, alert)


def _broken(expr: str) -> Iterator[str]:
    yield f"({expr}) and vector(0) > 1"
    yield "vector(1)"
