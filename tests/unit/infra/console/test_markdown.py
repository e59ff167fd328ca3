"""Report text is shown, never obeyed."""

from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.ops.reports.safe_markdown import rendered

HARMLESS = {
    *("h3", "h4", "h5", "h6", "p", "br", "hr", "blockquote", "pre", "code", "ul", "ol", "li"),
    *("strong", "em", "s", "del", "sub", "sup"),
    *("table", "thead", "tbody", "tr", "th", "td"),
}


class _Seen(HTMLParser):
    """Notes every element, and every attribute."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += attrs


def seen(html: str) -> _Seen:
    parser = _Seen()
    parser.feed(html)
    parser.close()
    return parser


def test_markdown_becomes_headings_below_the_pages_own_lists_and_tables() -> None:
    html = rendered("# Trend\n\n- **up**\n\n| a | b |\n|---|---|\n| 1 | 2 |")

    assert "<h3>Trend</h3>" in html
    assert "<li><strong>up</strong></li>" in html
    assert "<td>2</td>" in html


@pytest.mark.parametrize(
    "hostile",
    [
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        '<a href="javascript:alert(1)">x</a>',
        "[x](javascript:alert(1))",
        "![x](https://evil.example/pixel.png)",
        "[sign in again](https://evil.example/login)",
        "<iframe srcdoc='<script>1</script>'></iframe>",
        "<form action=/runs/x method=post><button>go</button></form>",
        "<style>*{display:none}</style>",
        "<svg/onload=alert(1)>",
        "<math><mtext></form><form><mglyph><style></math><img src onerror=alert(1)>",
        "<meta http-equiv=refresh content='0;url=https://evil.example'>",
        "```html\n<script>alert(1)</script>\n```",
        '<p style="position:fixed">x</p>',
        "&lt;script&gt;alert(1)&lt;/script&gt;",
        "<base href=https://evil.example>",
    ],
)
def test_hostile_text_becomes_neither_element_nor_attribute(hostile: str) -> None:
    found = seen(rendered(f"before\n\n{hostile}\n\nafter"))

    assert found.tags <= HARMLESS
    assert found.attributes == []


def test_a_link_says_where_it_would_have_led_and_leads_nowhere() -> None:
    html = rendered("[Sign **in**](https://evil.example/login)")

    assert "Sign <strong>in</strong>" in html
    assert "https://evil.example/login" in html
    assert "href" not in html


def test_columns_are_aligned_and_a_wide_table_scrolls_in_a_box_of_its_own() -> None:
    html = rendered("| a | b | c |\n|---|--:|:-:|\n| 1.10450 | 64 250 | 1.1-1.2 |")

    assert '<div class="scroll" tabindex="0" role="region"' in html
    assert '<th class="right">b</th>' in html
    assert "<td>1.10450</td>" in html
    assert '<td class="right figure">64 250</td>' in html
    assert '<td class="center figure">1.1-1.2</td>' in html


@given(st.text())
def test_no_text_becomes_more_than_harmless_elements(text: str) -> None:
    found = seen(rendered(text))

    assert found.tags <= HARMLESS | {"div"}
    names = {name for name, _ in found.attributes}
    assert names <= {"class", "tabindex", "role", "aria-label"}
