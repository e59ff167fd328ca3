"""Links of the documentation lead somewhere, and every question has its decision record."""

import re
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[2]
_LINK = re.compile(r"\]\(([^)\s#]+)(?:#[^)]*)?\)")
_DECISIONS = _ROOT / "docs" / "decisions"
_QUESTIONS = [f"spk-{number:03}" for number in range(1, 21)]


def _is_ours(page: Path) -> bool:
    """Whether the page belongs to the repository, and was not generated or installed in it."""
    folders = page.relative_to(_ROOT).parts
    return "build" not in folders and not any(name.startswith(".") for name in folders)


PAGES = sorted(filter(_is_ours, _ROOT.glob("**/*.md")))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(_ROOT)))
def test_every_link_to_a_file_leads_to_one(page: Path) -> None:
    targets = _LINK.findall(page.read_text(encoding="utf-8"))

    broken = [
        target
        for target in targets
        if "://" not in target
        and not target.startswith("mailto:")
        and not (page.parent / target).exists()
    ]
    assert broken == []


@pytest.mark.parametrize("question", _QUESTIONS)
def test_every_question_has_a_record_in_four_parts(question: str) -> None:
    record = (_DECISIONS / f"{question}.md").read_text(encoding="utf-8")

    assert record.startswith(f"# {question.upper()}: ")
    parts = [line for line in record.splitlines() if line.startswith("## ")]
    assert parts == ["## Context", "## Decision", "## Consequences", "## Where"]


def test_the_index_has_every_record() -> None:
    index = (_DECISIONS / "README.md").read_text(encoding="utf-8")
    records = {page.name for page in _DECISIONS.glob("*.md")} - {"README.md"}

    assert {f"{question}.md" for question in _QUESTIONS} <= records
    assert set(_LINK.findall(index)) == records


def test_every_page_is_reached_from_the_readme() -> None:
    seen: set[Path] = set()
    waiting = [_ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in seen or page.suffix != ".md":
            continue
        seen.add(page)
        targets = _LINK.findall(page.read_text(encoding="utf-8"))
        waiting += [
            (page.parent / target).resolve() for target in targets if "://" not in target
        ]

    pages = {page for page in PAGES if "docs" in page.parts}
    assert sorted(str(page.relative_to(_ROOT)) for page in pages - seen) == []
