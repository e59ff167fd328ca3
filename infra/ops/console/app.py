"""The console's web application."""

from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from executor.inputs.images import image_type
from executor.ports import ObjectsUnavailable
from infra.ops.cli.options import EVALUATIONS
from infra.ops.console.dead_letters import DeadLetterPages, DeadLetterPlaces
from infra.ops.console.evaluation_pages import EvaluationPages
from infra.ops.console.graph import graph_of
from infra.ops.console.guides import guide
from infra.ops.console.pages import FOLDER
from infra.ops.console.plots import COST, TOKENS, per_day
from infra.ops.console.quota_page import QuotaPage
from infra.ops.console.reads import live_seconds
from infra.ops.console.registry_pages import RegistryPages
from infra.ops.console.report_pages import ReportPages
from infra.ops.console.runbooks import runbook_of
from infra.ops.console.runs_page import RunsPage
from infra.ops.console.security import Guard, Secrets
from infra.ops.console.site import Site
from infra.ops.console.step_acts import StepActs, acts_for
from infra.ops.console.timeline import timeline_of
from infra.ops.dead_letters.box import BoxUnavailable
from infra.ops.environment.author import AuthorUnknown
from infra.ops.environment.connection import Connection
from infra.ops.reports.reading import ChartImage, read_charts, read_object, read_report
from infra.ops.reports.sheet import MOST_IMAGE_BYTES, ReportSheet, read_sheet
from infra.ops.runs.advice import all_advice
from infra.ops.runs.finding import CursorInvalid
from infra.ops.runs.reading import NotFound, newest_runs, read_run
from infra.ops.runs.usage import usage_of
from infra.ops.runs.view import RunView, StepView
from shared.adapters.clock import SystemClock
from shared.ports import StoreUnavailable

_RUNS_COUNTED = 300
_RUN_SECONDS = 1.5


def create_app(
    connection: Connection,
    own: Secrets,
    places: DeadLetterPlaces,
    *,
    author: str | None = None,
    evaluations: Path = EVALUATIONS,
) -> ASGIApp:
    """The console of one environment, behind its guard.

    `author` is who acts in it; None takes the account of the credentials. `evaluations` is
    the folder whose evaluations it shows.
    """
    site = Site(connection, own, author)
    console, acts, letters = _Console(site), StepActs(site), DeadLetterPages(site, places)
    reports, registry = ReportPages(site), RegistryPages(site)
    evaluated = EvaluationPages(site, evaluations)
    step = "/runs/{run_id}/steps/{step_id}"
    application = Starlette(
        routes=[
            Route("/", RunsPage(site).show),
            Route("/runs/{run_id}", console.run),
            Route(step, console.step),
            Route(step + "/charts/{number:int}", console.chart),
            Route(step + "/acts/{move}", acts.ask, methods=["GET"]),
            Route(step + "/acts/{move}", acts.do, methods=["POST"]),
            Route(step + "/report.{kind}", reports.download),
            Route(step + "/print", reports.print_view),
            Route(step + "/verify", reports.verification),
            Route(step + "/log", reports.log),
            Route("/compare", reports.compare),
            Route("/dead-letters", letters.list),
            Route("/dead-letters/{message_id}/{move}", letters.ask, methods=["GET"]),
            Route("/dead-letters/{message_id}/{move}", letters.do, methods=["POST"]),
            Route("/evaluations", evaluated.list),
            Route("/evaluations/{name}", evaluated.show),
            Route("/quota", QuotaPage(site).show),
            Route("/usage", console.usage),
            Route("/errors", console.errors),
            Route("/docs/{path:path}", console.guide),
            Mount("/static", StaticFiles(directory=FOLDER / "static")),
            Route("/{plural}", registry.list),
            Route("/{plural}/{entry_id}", registry.show),
        ],
        exception_handlers={
            NotFound: site.not_found,
            AuthorUnknown: site.nobody,
            CursorInvalid: site.unusable,
            HTTPException: site.refused,
            BoxUnavailable: site.unavailable,
            StoreUnavailable: site.unavailable,
            ObjectsUnavailable: site.unavailable,
        },
    )
    return Guard(application, own)


class _Console:
    def __init__(self, site: Site) -> None:
        self._site = site
        self._clock = SystemClock()

    async def run(self, request: Request) -> Response:
        run = await read_run(self._site.connection, request.path_params["run_id"])
        values = {
            "run": run,
            "graph": graph_of(run),
            "timeline": timeline_of(run.steps, self._clock.now()),
            "live_seconds": None if run.ended else _live_seconds(run),
        }
        return self._site.page("run.html", values)

    async def step(self, request: Request) -> Response:
        run, step = await self._site.step(request)
        sheet, problem = await self._report(step)
        values = {
            "run": run,
            "step": step,
            "runbook": runbook_of(step),
            "acts": acts_for(step),
            "sheet": sheet,
            "problem": problem,
            "charts": await self._charts(step),
            "timeline": timeline_of([step], self._clock.now()),
            "live_seconds": None if step.ended else _live_seconds(run),
        }
        return self._site.page("step.html", values)

    async def chart(self, request: Request) -> Response:
        """One of the step's charts: an image by its bytes, or nothing."""
        _, step = await self._site.step(request)
        charts = await read_charts(self._site.connection, step)
        number = request.path_params["number"]
        if number >= len(charts):
            raise NotFound("the step has no such chart")
        data = await read_object(self._site.connection, charts[number].uri, MOST_IMAGE_BYTES)
        kind = image_type(data)
        if kind is None:
            raise NotFound(f"{charts[number].uri} is no image")
        return Response(data, media_type=kind)

    async def usage(self, _request: Request) -> Response:
        usage = usage_of(await newest_runs(self._site.connection, limit=_RUNS_COUNTED))
        measures = (TOKENS, COST) if usage.total.priced else (TOKENS,)
        values = {"usage": usage, "plots": [per_day(usage, one) for one in measures]}
        return self._site.page("usage.html", values, section="/usage")

    async def errors(self, _request: Request) -> Response:
        values = {"errors": list(all_advice().values())}
        return self._site.page("errors.html", values, section="/errors")

    async def guide(self, request: Request) -> Response:
        """A page of the project's own docs."""
        text = guide(request.path_params["path"])
        if text is None:
            raise NotFound("there is no such page; the whole documentation is in docs/")
        return self._site.page("guide.html", {"text": text}, section="/errors")

    async def _report(self, step: StepView) -> tuple[ReportSheet | None, str | None]:
        """The report, or why there is none."""
        if not step.ours or step.gcs_uri is None:
            return None, None
        try:
            report = await read_report(self._site.connection, step)
            return await read_sheet(self._site.connection, report), None
        except NotFound as problem:
            return None, str(problem)

    async def _charts(self, step: StepView) -> list[ChartImage]:
        return list(await read_charts(self._site.connection, step)) if step.ours else []


def _live_seconds(run: RunView) -> float:
    """How long the run's page waits: a look reads the run and the job record of each report."""
    reads = 1 + sum(step.ours for step in run.steps)
    return live_seconds(reads, at_least=_RUN_SECONDS)
