"""A report as Markdown: the model's summary, then its details as tables and lists. Pure."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, assert_never

from infra.ops.environment.stored_documents import text_at
from infra.ops.reports.details import Bullets, Cell, Facts, Grid, blocks_of

#: Characters that Markdown or HTML would take for markup.
_SIGNS = re.compile(r"([\\`*_\[\]<>|#])")


def report_markdown(
    markdown: str, details: object, output_schema: Mapping[str, Any] | None
) -> str:
    """All that the model wrote."""
    parts = [markdown.rstrip(), *_details(details, output_schema)]
    return "\n\n".join(part for part in parts if part) + "\n"


def heading(metadata: Mapping[str, Any]) -> str:
    """Which report it is, as the first lines of a file."""
    names = ("symbol", "timeframe", "runId", "stepId", "finishedAt")
    which, where = names[:2], names[2:]
    title = [text for name in which if (text := text_at(metadata, name))]
    facts = [text for name in where if (text := text_at(metadata, name))]
    model = text_at(metadata, "llm", "modelVersion") or text_at(metadata, "llm", "modelName")
    lines = [f"# {_escaped(' · '.join(title) or 'Report')}"]
    lines += [_escaped(" · ".join([*facts, *([model] if model else [])]))]
    return "\n\n".join(line for line in lines if line)


def _details(details: object, schema: Mapping[str, Any] | None) -> Iterator[str]:
    blocks = blocks_of(details, schema)
    if blocks:
        yield "## Details"
    for block in blocks:
        if block.title:
            yield f"### {_escaped(block.title)}"
        match block:
            case Facts():
                rows = [[Cell(text=name), cell] for name, cell in block.rows]
                yield _table(["Field", "Value"], rows, [False, False])
            case Grid():
                yield _table(block.columns, block.rows, block.numeric)
            case Bullets():
                yield "\n".join(f"- {_escaped(item.text)}" for item in block.items)
            case _:
                assert_never(block)
        if not isinstance(block, Facts) and block.left_out:
            yield f"and {block.left_out} more: the JSON has all"


def _table(head: Sequence[str], rows: Sequence[Sequence[Cell]], numeric: Sequence[bool]) -> str:
    lines = [
        _row(head),
        "| " + " | ".join("---:" if is_number else "---" for is_number in numeric) + " |",
        *(_row([cell.text for cell in row]) for row in rows),
    ]
    return "\n".join(lines)


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(_escaped(cell) for cell in cells) + " |"


def _escaped(text: str) -> str:
    return _SIGNS.sub(r"\\\1", " ".join(text.split()))
