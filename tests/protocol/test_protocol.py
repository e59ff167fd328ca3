"""The model names real code, has no error, and allows just what simulated runs do."""

import importlib
import os
import re
from functools import reduce

import pytest

from tests.protocol.checks import CHECKS, ILLEGAL, Check
from tests.protocol.events import Event
from tests.protocol.recording import recorded
from tests.protocol.spin import MODEL, installed, refused, verified


@pytest.fixture(autouse=True)
def _spin(request: pytest.FixtureRequest) -> None:
    if installed() or "names" in request.node.name:
        return
    if os.environ.get("CI"):
        pytest.fail("spin or gcc is not installed: make spin")
    pytest.skip("spin or gcc is not installed: make spin")


@pytest.mark.parametrize("place", sorted(set(re.findall(r"@ (\S+:\S+)", MODEL.read_text()))))
def test_what_the_model_names_is_there(place: str) -> None:
    module, _, path = place.partition(":")

    assert callable(reduce(getattr, path.split("."), importlib.import_module(module)))


@pytest.mark.parametrize("event", Event)
def test_the_model_and_the_recorder_have_the_same_names(event: Event) -> None:
    assert f"#define E_{event.name} {event.value}\n" in MODEL.read_text()


@pytest.mark.parametrize("check", [check for check in CHECKS if check.small], ids=str)
def test_all_states_are_as_they_should_be(check: Check) -> None:
    verdict = verified(check.defines)

    assert bool(verdict.errors) is check.has_error, verdict
    assert check.has_error or verdict.exhaustive


# This is half a minute of work, which a loaded machine may take ten times as long for.
@pytest.mark.timeout(600)
def test_the_model_allows_what_simulated_runs_do() -> None:
    # Sixty seeds used to have as many different traces as these seeds have now.
    traces = recorded(0, 120)

    assert len(set(traces)) > 20
    assert not refused(sorted(set(traces)))


def test_the_model_allows_no_illegal_trace() -> None:
    assert list(refused(ILLEGAL)) == list(ILLEGAL)
