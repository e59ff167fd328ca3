"""A step's report: downloads, print view, verification, log, and two side by side."""

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response

from infra.ops.console.site import Site
from infra.ops.reports.comparison import compared
from infra.ops.reports.reading import read_charts, read_report, report_named
from infra.ops.reports.sheet import ReportSheet, html_file, read_sheet
from infra.ops.reports.verification import verify_report
from infra.ops.runs.reading import NotFound
from infra.ops.runs.view import RunView, StepView
from infra.ops.steps.logs import LogsUnavailable, log_entries

_MOST_ENTRIES = 500
_MOST_NAME_CHARS = 2_000


class ReportPages:
    """The pages about reports."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._files: dict[str, tuple[str, Callable[[ReportSheet], Awaitable[bytes]]]] = {
            "json": ("application/json", _as_json),
            "md": ("text/markdown; charset=utf-8", _as_markdown),
            "html": ("text/html; charset=utf-8", self._as_html),
        }

    async def download(self, request: Request) -> Response:
        """The report as a file: JSON as stored, Markdown, or one page that fetches nothing."""
        kind = self._files.get(request.path_params["kind"])
        if kind is None:
            raise NotFound("a report is there as json, md and html")
        run, step, sheet = await self._sheet(request)
        media_type, content = kind
        name = f"{run.run_id}_{step.step_id}".encode("ascii", "replace").decode()
        safe = "".join(char if char.isalnum() or char in "._-" else "_" for char in name)
        disposition = f'attachment; filename="{safe}.{request.path_params["kind"]}"'
        headers = {"content-disposition": disposition}
        return Response(await content(sheet), media_type=media_type, headers=headers)

    async def print_view(self, request: Request) -> Response:
        """The report alone, as it is printed."""
        run, step, sheet = await self._sheet(request)
        charts = await read_charts(self._site.connection, step)
        values = {"run": run, "step": step, "sheet": sheet, "charts": charts}
        return self._site.page("print.html", values)

    async def verification(self, request: Request) -> Response:
        """Whether the report's inputs are as they were."""
        run, step, sheet = await self._sheet(request)
        found = await verify_report(self._site.connection, sheet.report.uri)
        values = {"run": run, "step": step, "found": found}
        return self._site.page("verification.html", values)

    async def log(self, request: Request) -> Response:
        """What both functions logged about the step."""
        run, step = await self._site.step(request)
        entries, problem = [], None
        try:
            entries = list(
                await log_entries(
                    self._site.connection, run.run_id, step.step_id, _MOST_ENTRIES
                )
            )
        except LogsUnavailable as unavailable:
            problem = str(unavailable)
        values = {"run": run, "step": step, "entries": entries, "problem": problem}
        return self._site.page("log.html", values)

    async def compare(self, request: Request) -> Response:
        """Two reports, field by field."""
        names = [request.query_params.get(name, "")[:_MOST_NAME_CHARS] for name in ("a", "b")]
        values: dict[str, object] = {"names": names, "fields": None, "summaries": None}
        if all(names):
            before, after = [await report_named(self._site.connection, one) for one in names]
            sheets = [await read_sheet(self._site.connection, one) for one in (before, after)]
            values["fields"] = compared(before.details, after.details)
            values["summaries"] = [sheet.summary for sheet in sheets]
        return self._site.page("compare.html", values)

    async def _sheet(self, request: Request) -> tuple[RunView, StepView, ReportSheet]:
        run, step = await self._site.step(request)
        report = await read_report(self._site.connection, step)
        return run, step, await read_sheet(self._site.connection, report)

    async def _as_html(self, sheet: ReportSheet) -> bytes:
        html = await html_file(self._site.connection, sheet)
        return html.encode("utf-8", "replace")


async def _as_json(sheet: ReportSheet) -> bytes:
    return sheet.report.data


async def _as_markdown(sheet: ReportSheet) -> bytes:
    return sheet.markdown.encode("utf-8", "replace")
