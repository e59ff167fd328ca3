"""Stages the documentation for the site: `python -m infra.docs.site FOLDER`.

The pages link to files of the repository, for readers on the repository's host. The site is a
folder of its own, so what is linked comes along: other pages as pages, sources as they are. A
link that leads nowhere stops the build.
"""

import json
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from os.path import relpath
from pathlib import Path

from infra.local.processes.bundle import REPOSITORY

_DOCS = REPOSITORY / "docs"
#: Pages that stand beside the docs in the repository.
_BESIDE = ("README.md", "CONTRIBUTING.md", "CODE_OF_CONDUCT.md", "SECURITY.md", "CHANGELOG.md")
_LINK = re.compile(r"(?P<text>\[[^\]]*\])\((?P<path>[^)\s#:]+)(?P<anchor>#[^)\s]*)?\)")
_FENCE = re.compile(r"^(```|~~~)")
_SOURCES = "source"
_SETTINGS = REPOSITORY / "infra/docs/mkdocs.yml"
#: As https://diataxis.fr orders them; what is not named comes behind.
_SECTIONS = {
    "tutorial": "Tutorial",
    "how-to": "How-to guides",
    "reference": "Reference",
    "explanation": "Explanation",
    "decisions": "Decisions",
    "about": "About",
}
_HEADING = re.compile(r"^# (.+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokenLink:
    """A link that leads to nothing in the repository."""

    page: Path
    path: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(REPOSITORY)}: there is no {self.path}"


def stage(target: Path) -> list[BrokenLink]:
    """Write the site's pages and files below `target`, which is emptied first."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(_DOCS, target)
    broken: list[BrokenLink] = []
    for page in [*sorted(_DOCS.rglob("*.md")), *(REPOSITORY / name for name in _BESIDE)]:
        place = _place(page, target)
        text = "\n".join(_lines(page, place, target, broken))
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text + "\n", encoding="utf-8")
    return broken


def _lines(page: Path, place: Path, target: Path, broken: list[BrokenLink]) -> Iterator[str]:
    """The page's lines, with links that hold in the site."""

    def moved(match: re.Match[str]) -> str:
        linked = (page.parent / match["path"]).resolve()
        if not linked.exists():
            broken.append(BrokenLink(page=page, path=match["path"]))
            return match[0]
        if linked.is_dir():
            return match["text"][1:-1]
        there = _place(linked, target)
        if not there.exists():
            there.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(linked, there)
        return f"{match['text']}({relpath(there, place.parent)}{match['anchor'] or ''})"

    fenced = False
    for line in page.read_text(encoding="utf-8").splitlines():
        fenced ^= bool(_FENCE.match(line))
        yield line if fenced else _LINK.sub(moved, line)


def _place(file: Path, target: Path) -> Path:
    """Where a file of the repository is in the site."""
    if file.is_relative_to(_DOCS):
        return target / file.relative_to(_DOCS)
    if file.parent == REPOSITORY and file.name in _BESIDE:
        return target / "about" / file.name.replace("README", "readme")
    return target / _SOURCES / file.relative_to(REPOSITORY)


def settings(target: Path) -> str:
    """The site's settings, which name every page; JSON is YAML too."""
    nav: list[dict[str, object]] = [{"Home": "index.md"}]
    folders = [folder.name for folder in target.iterdir() if any(folder.rglob("*.md"))]
    for folder in sorted(folders, key=_rank):
        pages = sorted((target / folder).rglob("*.md"), key=_page_rank)
        named = [{_title(page): page.relative_to(target).as_posix()} for page in pages]
        nav.append({_SECTIONS.get(folder, folder.capitalize()): named})
    return json.dumps({"INHERIT": str(_SETTINGS), "docs_dir": str(target), "nav": nav})


def _rank(folder: str) -> tuple[int, str]:
    known = list(_SECTIONS)
    return known.index(folder) if folder in known else len(known), folder


def _page_rank(page: Path) -> tuple[bool, bool, str]:
    # Pages before the folders beside them, and in each folder its overview first.
    return any(page.parent.glob("*/*.md")) is False, page.name != "README.md", page.as_posix()


def _title(page: Path) -> str:
    heading = _HEADING.search(page.read_text(encoding="utf-8"))
    return heading[1].replace("`", "") if heading else page.stem


def main() -> None:
    """Stage into FOLDER/pages, and end with 1 if a link is broken."""
    folder = Path(sys.argv[1]).resolve()
    broken = stage(folder / "pages")
    (folder / "mkdocs.yml").write_text(settings(folder / "pages"), encoding="utf-8")
    for link in broken:
        sys.stderr.write(f"{link}\n")
    sys.exit(bool(broken))


if __name__ == "__main__":
    main()
