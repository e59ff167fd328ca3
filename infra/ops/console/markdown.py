"""Report text as harmless HTML: whatever a model wrote, it is neither run nor fetched."""

import nh3
from markdown_it import MarkdownIt
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


def rendered(text: str) -> Markup:
    """The Markdown as HTML without links, pictures, scripts, styles and attributes.

    A link shows its text and where it would have led: a report asks nobody to sign in.
    """
    parser = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])
    tokens = parser.parse(text)
    for token in tokens:
        if token.tag in {"h1", "h2", "h3", "h4", "h5", "h6"}:
            token.tag = f"h{min(int(token.tag[1]) + _DEEPER, _DEEPEST)}"
        for child in token.children or ():
            if child.type == "link_close":
                child.type, child.content = "text", ""
            if child.type == "link_open":
                child.type, child.content = "text", f"[{child.attrGet('href')}] "
            if child.type == "image":
                child.type = "text"
    html = parser.renderer.render(tokens, parser.options, {})
    # What stands above is the intention, this is the guarantee.
    return Markup(nh3.clean(html, tags=set(_TAGS), attributes={}))  # noqa: S704
