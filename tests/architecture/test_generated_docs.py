"""The generated pages of the reference are what the code would write today."""

from collections.abc import Mapping

import pytest

from infra.docs import variables
from infra.docs.pages import FOLDER, pages
from infra.docs.variables import settings_page
from shared.domain.errors import ErrorCode
from shared.domain.jobs import TRANSITIONS, JobState
from shared.domain.steps import StepStatus
from shared.events import Event


@pytest.fixture(scope="module", name="written")
def pages_of_today() -> Mapping[str, str]:
    return pages()


def test_no_generated_page_is_stale(written: Mapping[str, str]) -> None:
    stale = [
        name
        for name, text in written.items()
        if (FOLDER / name).read_text(encoding="utf-8") != text
    ]

    assert stale == [], "run `make docs-generated`"


def test_every_code_every_event_and_every_state_is_there(written: Mapping[str, str]) -> None:
    assert [code for code in ErrorCode if f"`{code}`" not in written["errors.md"]] == []
    assert [event for event in Event if f"`{event}`" not in written["log-events.md"]] == []
    for state in (*StepStatus, *JobState):
        assert f"| `{state}` |" in written["states.md"]


def test_every_transition_of_a_job_is_drawn(written: Mapping[str, str]) -> None:
    for state, moves in TRANSITIONS.items():
        for move, target in moves.items():
            assert f"{state} --> {target}: {move}" in written["states.md"]


def test_every_variable_that_is_read_has_a_meaning_and_no_other_has(
    monkeypatch: pytest.MonkeyPatch, written: Mapping[str, str]
) -> None:
    monkeypatch.delitem(variables._MEANINGS, "GCP_PROJECT")
    with pytest.raises(KeyError, match="GCP_PROJECT"):
        settings_page()
    monkeypatch.undo()
    for name in variables._MEANINGS:
        assert f"| `{name}` |" in written["settings.md"]
