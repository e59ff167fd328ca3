"""The project's own guides, rendered: a runbook is read where it is needed, offline too."""

from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

import nh3
from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup

from infra.local.processes.bundle import REPOSITORY

_DOCS = REPOSITORY / "docs"
#: The page with a section for each error code, and its section for what does not move.
MENDING = "how-to/mend-a-step.md"
STUCK = "stuck"
_HEADINGS = ("h1", "h2", "h3", "h4")
_TAGS = frozenset(
    {
        *(*_HEADINGS, "p", "a", "pre", "code", "ul", "ol", "li", "strong", "em"),
        *("table", "thead", "tbody", "tr", "th", "td", "blockquote", "hr", "br"),
    }
)
_ATTRIBUTES = {"a": {"href"}, **{heading: {"id"} for heading in _HEADINGS}}


def mending_path(section: str) -> str:
    """Where the console shows what to do about an error code, or about what is stuck."""
    return f"/docs/{MENDING}#{section.lower()}"


def guide(path: str) -> Markup | None:
    """The page of the docs as HTML; None where there is no such page."""
    file = (_DOCS / path).resolve()
    if file.suffix != ".md" or not file.is_relative_to(_DOCS) or not file.is_file():
        return None
    parser = MarkdownIt("commonmark", {"html": False}).enable("table").disable("image")
    tokens = parser.parse(file.read_text(encoding="utf-8"))
    for token, inside in zip(tokens, [*tokens[1:], None], strict=True):
        if token.type == "heading_open" and inside is not None:
            token.attrSet("id", inside.content.lower().replace(" ", "-").replace("`", ""))
        token.children = token.children and _linked(token.children, file.parent)
    html = parser.renderer.render(tokens, parser.options, {})
    clean = nh3.clean(
        html,
        tags=set(_TAGS),
        attributes=_ATTRIBUTES,
        # A long line scrolls in its own box, which the keyboard must reach.
        set_tag_attribute_values={"pre": {"tabindex": "0"}},
        link_rel=None,
    )
    return Markup(clean)  # noqa: S704 - the project's own text, and cleaned


def _linked(tokens: list[Token], folder: Path) -> list[Token]:
    """The tokens without links to pages that the console does not show."""
    kept, dropped = [], False
    for token in tokens:
        if token.type == "link_open":
            dropped = not _reachable(str(token.attrGet("href")), folder)
        if not (dropped and token.type in {"link_open", "link_close"}):
            kept.append(token)
    return kept


def _reachable(href: str, folder: Path) -> bool:
    parts = urlsplit(href)
    if parts.scheme or not parts.path:
        return not parts.scheme or parts.scheme == "https"
    target = (folder / PurePosixPath(parts.path)).resolve()
    return target.suffix == ".md" and target.is_relative_to(_DOCS) and target.is_file()
