"""The documentation as a site: links hold there as they hold in the repository."""

import json
from pathlib import Path

import pytest

from infra.docs import site


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a repository with a page that has every kind of link."""
    root = tmp_path / "repository"
    (root / "docs/how-to").mkdir(parents=True)
    (root / "shared").mkdir()
    (root / "shared/rule.py").write_text("RULE = 1\n")
    for name in site._BESIDE:
        (root / name).write_text(f"# {name}\n\nsee [the docs](docs/index.md)\n")
    (root / "docs/index.md").write_text("# Home\n")
    monkeypatch.setattr(site, "REPOSITORY", root)
    monkeypatch.setattr(site, "_DOCS", root / "docs")
    return root


def staged(root: Path, text: str) -> tuple[str, list[str]]:
    """The page as the site has it, and which of its links are broken."""
    (root / "docs/how-to/page.md").write_text(text)
    target = root / "build/pages"
    broken = site.stage(target)
    return (target / "how-to/page.md").read_text(), [str(link) for link in broken]


def test_a_link_to_a_source_leads_to_a_copy_that_comes_along(repository: Path) -> None:
    page, broken = staged(repository, "the [rule](../../shared/rule.py#L1) holds\n")

    assert page == "the [rule](../source/shared/rule.py#L1) holds\n"
    assert (repository / "build/pages/source/shared/rule.py").read_text() == "RULE = 1\n"
    assert broken == []


def test_a_page_beside_the_docs_is_a_page_of_the_site(repository: Path) -> None:
    page, broken = staged(repository, "[start](../../README.md), [home](../index.md)\n")

    assert page == "[start](../about/readme.md), [home](../index.md)\n"
    assert "[the docs](../index.md)" in (repository / "build/pages/about/readme.md").read_text()
    assert broken == []


def test_a_folder_is_named_and_an_address_is_left_alone(repository: Path) -> None:
    page, broken = staged(repository, "[shared](../../shared) [x](https://example.com/a.b)\n")

    assert page == "shared [x](https://example.com/a.b)\n"
    assert broken == []


def test_a_link_that_leads_nowhere_is_named_with_its_page(repository: Path) -> None:
    _, broken = staged(repository, "[gone](../gone.md)\n\n```\n[not a link](x.md)\n```\n")

    assert broken == ["docs/how-to/page.md: there is no ../gone.md"]


def test_the_navigation_names_every_page_and_begins_with_the_overview(
    repository: Path,
) -> None:
    staged(repository, "# Do it\n")
    (repository / "build/pages/how-to/README.md").write_text("# Overview\n")

    nav = json.loads(site.settings(repository / "build/pages"))["nav"]

    assert nav[0] == {"Home": "index.md"}
    assert nav[1] == {
        "How-to guides": [{"Overview": "how-to/README.md"}, {"Do it": "how-to/page.md"}]
    }
    assert [*nav[2]] == ["About"]
