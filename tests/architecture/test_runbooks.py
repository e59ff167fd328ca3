"""Every alert has its runbook, and every runbook its alert."""

import re
from pathlib import Path

import pytest

from tests.support.alert_rules import rules
from tests.support.terraform_module import ROOT

_RUNBOOKS = ROOT / "docs/how-to/runbooks"
_LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")
_PARTS = ("**What it means.**", "**How bad it is.**", "**What to look at.**", "**What to do")


def alerts() -> set[str]:
    """The runbooks that the alerts link to."""
    return {rule["annotations"]["runbook"] for rule in rules().values()}


def runbooks() -> list[Path]:
    return sorted(path for path in _RUNBOOKS.glob("*.md") if path.stem != "README")


def test_alerts_and_runbooks_are_the_same_set() -> None:
    assert {path.stem for path in runbooks()} == alerts()


@pytest.mark.parametrize("path", runbooks(), ids=lambda path: path.stem)
def test_a_runbook_has_the_four_parts(path: Path) -> None:
    text = path.read_text()

    places = [text.find(part) for part in _PARTS]
    assert -1 not in places
    assert places == sorted(places)


def test_the_list_of_runbooks_names_each() -> None:
    assert {
        Path(link).stem for link in _LINK.findall((_RUNBOOKS / "README.md").read_text())
    } == {path.stem for path in runbooks()}
