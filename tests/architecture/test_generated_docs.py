"""The generated pages of the reference are what the code would write today."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from infra.docs import variables
from infra.docs.diagram import Arrow
from infra.docs.pages import FOLDER, pages
from infra.docs.states import JOB_PICTURE, STEP_PICTURE, WAITS, job_arrows, step_arrows
from infra.docs.variables import settings_page
from shared.domain import jobs, steps
from shared.domain.errors import ErrorCode
from shared.domain.jobs import JobState
from shared.domain.steps import StepStatus
from shared.log import LogEvent


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
    assert [
        code for code in ErrorCode if f"`{code}`" not in written["reference/errors.md"]
    ] == []
    assert [
        event for event in LogEvent if f"`{event}`" not in written["reference/log-events.md"]
    ] == []
    for state in (*StepStatus, *JobState):
        assert f"| `{state}` |" in written["reference/states.md"]


def test_what_a_job_waits_for_is_told_by_fields_that_its_record_has() -> None:
    job = json.loads((FOLDER / "reference/contracts/llm_job.schema.json").read_text())
    known = {*job["properties"]}
    for part in (*job["properties"].values(), *job["$defs"].values()):
        known |= {*part.get("properties", {})}
    told = re.findall(r"`([a-z][A-Za-z.\[\]]+)`", " ".join(" ".join(row) for row in WAITS))

    assert {"queue", "waiting.slotUntil", "interaction", "cutOffAt"} <= {*told}
    for field in told:
        assert {part.removesuffix("[]") for part in field.split(".")} <= known, field


@pytest.mark.parametrize(
    ("picture", "arrows"), [(STEP_PICTURE, step_arrows()), (JOB_PICTURE, job_arrows())]
)
def test_every_move_is_drawn_and_told(
    written: Mapping[str, str], picture: str, arrows: Sequence[Arrow]
) -> None:
    svg, told = written[f"images/{picture}"], written["reference/states.md"]

    for arrow in arrows:
        start = arrow.start or "begin"
        assert f"<title>{start}&#45;&gt;{arrow.end}</title>" in svg
        assert arrow.label in svg
        assert arrow.start is None or f"{start} to {arrow.end} ({arrow.label})" in told


def test_the_pictures_show_every_move_of_the_tables() -> None:
    moves = {(arrow.start, arrow.end) for arrow in (*step_arrows(), *job_arrows())}

    tables: Sequence[Mapping[Any, Mapping[Any, str]]]
    tables = (steps.TRANSITIONS, steps.OPERATOR_TRANSITIONS, jobs.TRANSITIONS)
    for table in tables:
        assert moves >= {(start, end) for start, to in table.items() for end in to.values()}


def test_no_page_needs_a_script_to_draw() -> None:
    assert [page for page in FOLDER.rglob("*.md") if "```mermaid" in page.read_text()] == []


def test_every_variable_that_is_read_has_a_meaning_and_no_other_has(
    monkeypatch: pytest.MonkeyPatch, written: Mapping[str, str]
) -> None:
    monkeypatch.delitem(variables._MEANINGS, "GCP_PROJECT")
    with pytest.raises(KeyError, match="GCP_PROJECT"):
        settings_page()
    monkeypatch.undo()
    for name in variables._MEANINGS:
        assert f"| `{name}` |" in written["reference/settings.md"]
