"""A report with all that its reader wants beside it, and the one HTML file of it."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from executor.inputs.images import image_type
from infra.ops.cli.terminal import shortened
from infra.ops.environment.connection import Connection
from infra.ops.environment.stored_documents import map_at, text_at
from infra.ops.reports.candles import CandlePicture, levels_of, picture_of
from infra.ops.reports.details import Block, blocks_of
from infra.ops.reports.reading import (
    ChartImage,
    Report,
    charts_at,
    output_schema_of,
    read_candles,
    read_object,
)
from infra.ops.reports.safe_markdown import rendered
from infra.ops.reports.text import heading, report_markdown
from infra.ops.runs.reading import NotFound

TEMPLATES = Path(__file__).parent / "templates"
MOST_IMAGE_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Something that the report was made from, or where and when it came to be."""

    name: str
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportSheet:
    """What is shown of a report."""

    report: Report
    output_schema: Mapping[str, Any] | None
    summary: Markup
    blocks: Sequence[Block]
    #: None where the candles are gone or of an unknown form.
    picture: CandlePicture | None

    @property
    def markdown(self) -> str:
        """All of it as a Markdown file."""
        text = report_markdown(self.report.markdown, self.report.details, self.output_schema)
        return f"{heading(self.report.metadata)}\n\n{text}"

    @property
    def title(self) -> str:
        """Which report it is."""
        names = ("symbol", "timeframe", "stepId", "runId")
        facts = (text_at(self.report.metadata, name) for name in names)
        return " · ".join(fact for fact in facts if fact) or "Report"

    @property
    def sources(self) -> Sequence[Origin]:
        """What it was made from, as far as the report says."""
        told, report = self.report.metadata, self.report
        profile = map_at(told, "llm", "llmProfile")
        fields = [
            f"{name}: {value}" for name, value in sorted(profile.items()) if _is_plain(value)
        ]
        previous = [("Previous report", uri) for uri in report.previous]
        found = [
            ("Finished", text_at(told, "finishedAt")),
            (
                "Model",
                text_at(told, "llm", "modelVersion") or text_at(told, "llm", "modelName"),
            ),
            ("Prompt", text_at(told, "llm", "promptId")),
            ("Schema", text_at(told, "llm", "schemaId")),
            ("Profile", ", ".join(fields)),
            ("Candles", text_at(told, "inputs", "ohlcv_gcs_uri")),
            ("Charts", text_at(told, "inputs", "charts_outputsManifestGcsUri")),
            *previous,
            ("Report", report.uri),
        ]
        return [Origin(name=name, value=value) for name, value in found if value]


def _is_plain(value: object) -> bool:
    return not isinstance(value, Mapping | list)


async def read_sheet(connection: Connection, report: Report) -> ReportSheet:
    """The report with its schema and its candles.

    Raises:
        ObjectsUnavailable: Cloud Storage did not answer.
        StoreUnavailable: Firestore did not answer.
    """
    schema, details = await output_schema_of(connection, report), report.details
    return ReportSheet(
        report=report,
        output_schema=schema,
        summary=rendered(report.markdown),
        blocks=blocks_of(details, schema),
        picture=picture_of(await read_candles(connection, report), levels_of(details)),
    )


async def html_file(connection: Connection, sheet: ReportSheet) -> str:
    """The report as one file that fetches nothing, with its candles and charts in it.

    Raises:
        ObjectsUnavailable: Cloud Storage did not answer.
    """
    place = text_at(sheet.report.metadata, "inputs", "charts_outputsManifestGcsUri")
    charts = [
        (chart.label, source)
        for chart in await charts_at(connection, place)
        if (source := await _inline(connection, chart)) is not None
    ]
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["shorten"] = shortened
    style = Markup((TEMPLATES / "report.css").read_text(encoding="utf-8"))  # noqa: S704 - our own
    values = {"sheet": sheet, "charts": charts, "style": style}
    return environment.get_template("report_file.html").render(**values)


async def _inline(connection: Connection, chart: ChartImage) -> str | None:
    """The chart as a data URI; None where it is gone or no image."""
    try:
        data = await read_object(connection, chart.uri, MOST_IMAGE_BYTES)
    except NotFound:
        return None
    kind = image_type(data)
    return kind and f"data:{kind};base64,{base64.b64encode(data).decode()}"
