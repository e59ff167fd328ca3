"""The generated pages of the reference are what the code would write today."""

import pytest

from infra.docs import variables
from infra.docs.pages import FOLDER, pages
from infra.docs.variables import settings_page
from shared.domain.errors import ErrorCode
from shared.domain.jobs import TRANSITIONS, JobState
from shared.domain.steps import StepStatus
from shared.events import Event

PAGES = pages()


@pytest.mark.parametrize("name", sorted(PAGES))
def test_no_generated_page_is_stale(name: str) -> None:
    current = (FOLDER / name).read_text(encoding="utf-8")

    assert current == PAGES[name], f"docs/reference/{name} is stale: run `make docs-generated`"


def test_every_code_every_event_and_every_state_is_there() -> None:
    assert [code for code in ErrorCode if f"`{code}`" not in PAGES["errors.md"]] == []
    assert [event for event in Event if f"`{event}`" not in PAGES["log-events.md"]] == []
    for state in (*StepStatus, *JobState):
        assert f"| `{state}` |" in PAGES["states.md"]


def test_every_transition_of_a_job_is_drawn() -> None:
    for state, moves in TRANSITIONS.items():
        for move, target in moves.items():
            assert f"{state} --> {target}: {move}" in PAGES["states.md"]


def test_every_variable_that_is_read_has_a_meaning_and_no_other_has(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delitem(variables._MEANINGS, "GCP_PROJECT")
    with pytest.raises(KeyError, match="GCP_PROJECT"):
        settings_page()
    monkeypatch.undo()
    for name in variables._MEANINGS:
        assert f"| `{name}` |" in PAGES["settings.md"]
