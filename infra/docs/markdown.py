"""What the generated pages have in common."""

import inspect
import re
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum

_MEMBER = re.compile(r'^    (\w+) = \(?\s*"[^"]*"\s+#: (.+)$', re.MULTILINE)
_SENTENCE_END = re.compile(r"(?<=\.) (?=[A-Z`*\[])")


def page(title: str, source: str, *parts: str) -> str:
    """A page that says where it comes from."""
    note = f"<!-- Written by `make docs-generated` from {source}: edit that. -->"
    return "\n\n".join([note, f"# {title}", *map(_sentences, parts)]) + "\n"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)


def member_comments(enum: type[StrEnum]) -> Mapping[str, str]:
    """The `#:` comment of each member, by the member's name."""
    return dict(_MEMBER.findall(inspect.getsource(enum)))


def one_line(text: str | None) -> str:
    """The text without its line breaks."""
    return " ".join((text or "").split())


def _sentences(part: str) -> str:
    """A paragraph with one sentence a line; tables and diagrams as they are."""
    return part if part[0] in "|`#" else _SENTENCE_END.sub("\n", part)


def _cell(text: str) -> str:
    return text.replace("|", r"\|")
