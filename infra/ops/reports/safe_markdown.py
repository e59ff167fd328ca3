"""Report text as harmless HTML: whatever a model wrote, it is neither run nor fetched."""

import itertools
import re
from collections.abc import Sequence

import nh3
from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup

#: Below the page's own headings.
_DEEPER = 2
_DEEPEST = 6
_TAGS = frozenset(
    {
        *("h3", "h4", "h5", "h6", "p", "br", "hr", "blockquote", "pre", "code"),
        *("ul", "ol", "li", "strong", "em", "s", "del", "sub", "sup"),
        *("table", "thead", "tbody", "tr", "th", "td"),
    }
)
#: These are only set here: HTML in the text is not taken for HTML.
_ATTRIBUTES = {"th": {"class"}, "td": {"class"}}
#: A price, a share, a range of prices, with its sign, currency or unit.
_NUMBER = re.compile(
    r"[-+\u2212~\u2248<>\u2264\u2265$\u20ac\u00a3\u00a5 ]*\d[\d.,']*(?: \d{3})*"
    r"(?: ?[-\u2013] ?\d[\d.,]*)? ?(?:%|[A-Za-z]{1,4})?"
)
_MOST_NUMBER_CHARS = 40
_ALIGNED = {"text-align:right": "right", "text-align:center": "center"}


def is_number(text: str) -> bool:
    """Whether the text is one number, which must not be broken into two."""
    text = text.strip()
    return len(text) <= _MOST_NUMBER_CHARS and _NUMBER.fullmatch(text) is not None


def _may_break(text: str) -> bool:
    """Whether a browser would break the number, at a space or behind a hyphen."""
    return is_number(text) and any(sign in text.strip() for sign in " -\u2013")


def rendered(text: str) -> Markup:
    """The Markdown as HTML without links, pictures, scripts, styles and foreign attributes.

    A link shows its text and where it would have led: a report asks nobody to sign in. Each
    table scrolls in a box of its own, its columns aligned as they were written.
    """
    parser = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])
    tokens = parser.parse(text)
    for token in tokens:
        if token.tag in {"h1", "h2", "h3", "h4", "h5", "h6"}:
            token.tag = f"h{min(int(token.tag[1]) + _DEEPER, _DEEPEST)}"
        for child in token.children or ():
            _defuse(child)
    _mark_cells(tokens)
    html = parser.renderer.render(tokens, parser.options, {})
    # Nothing else should be left by now; this makes sure of it.
    clean = nh3.clean(html, tags=set(_TAGS), attributes=_ATTRIBUTES)
    return Markup(_boxed(clean))  # noqa: S704


def _defuse(child: Token) -> None:
    if child.type == "link_close":
        child.type, child.content = "text", ""
    if child.type == "link_open":
        child.type, child.content = "text", f"[{child.attrGet('href')}] "
    if child.type == "image":
        child.type = "text"


def _mark_cells(tokens: Sequence[Token]) -> None:
    """Say by classes how a cell is aligned and whether it holds a number."""
    for cell, inside in itertools.pairwise(tokens):
        if cell.type not in {"th_open", "td_open"}:
            continue
        classes = [_ALIGNED.get(str(cell.attrGet("style")), "")]
        if cell.type == "td_open" and _may_break(inside.content):
            classes.append("figure")
        cell.attrs = {}
        if named := " ".join(filter(None, classes)):
            cell.attrSet("class", named)


def _boxed(html: str) -> str:
    numbers = itertools.count(1)

    def box(_match: re.Match[str]) -> str:
        label = f"Table {next(numbers)} of the report's text"
        return f'<div class="scroll" tabindex="0" role="region" aria-label="{label}"><table>'

    return re.sub("<table>", box, html).replace("</table>", "</table></div>")
