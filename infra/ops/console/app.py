"""The console's web application."""

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from executor.images import image_type
from executor.ports import ObjectsUnavailable
from infra.ops.advice import advice_for, all_advice
from infra.ops.connection import Connection
from infra.ops.console.dead_letters import DeadLetterPages, DeadLetterPlaces
from infra.ops.console.graph import graph_of
from infra.ops.console.guides import STUCK, guide, mending_path
from infra.ops.console.markdown import rendered
from infra.ops.console.pages import FOLDER
from infra.ops.console.plots import COST, TOKENS, per_day
from infra.ops.console.security import Guard, Secrets
from infra.ops.console.site import Site
from infra.ops.console.step_acts import StepActs, acts_for
from infra.ops.console.timeline import timeline_of
from infra.ops.dead_letter_box import BoxUnavailable
from infra.ops.diagnosis import Level
from infra.ops.report_reading import ChartImage, read_charts, read_object, read_report
from infra.ops.run_reading import NotFound, newest_runs, read_run
from infra.ops.run_view import StepView
from infra.ops.usage import usage_of
from shared.adapters.clock import SystemClock
from shared.ports import StoreUnavailable

_RUNS_SHOWN, _RUNS_COUNTED = 50, 300
_LIST_SECONDS, _RUN_SECONDS = 4, 1.5
_MOST_IMAGE_BYTES = 4 * 1024 * 1024


def create_app(connection: Connection, own: Secrets, places: DeadLetterPlaces) -> ASGIApp:
    """The console of one environment, behind its guard."""
    site = Site(connection, own)
    console, acts, letters = _Console(site), StepActs(site), DeadLetterPages(site, places)
    step = "/runs/{run_id}/steps/{step_id}"
    application = Starlette(
        routes=[
            Route("/", console.runs),
            Route("/runs/{run_id}", console.run),
            Route(step, console.step),
            Route(step + "/charts/{number:int}", console.chart),
            Route(step + "/acts/{move}", acts.ask, methods=["GET"]),
            Route(step + "/acts/{move}", acts.do, methods=["POST"]),
            Route("/dead-letters", letters.list),
            Route("/dead-letters/{message_id}/{move}", letters.ask, methods=["GET"]),
            Route("/dead-letters/{message_id}/{move}", letters.do, methods=["POST"]),
            Route("/usage", console.usage),
            Route("/errors", console.errors),
            Route("/docs/{path:path}", console.guide),
            Mount("/static", StaticFiles(directory=FOLDER / "static")),
        ],
        exception_handlers={
            NotFound: site.not_found,
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

    async def runs(self, _request: Request) -> Response:
        runs = await newest_runs(self._site.connection, limit=_RUNS_SHOWN)
        attention = [
            (run, step)
            for run in runs
            for step in run.steps
            if step.ours and step.finding.level.wants_operator
        ]
        attention.sort(key=lambda pair: -pair[1].finding.level.rank)
        values = {
            "runs": runs,
            "attention": attention,
            "runbook": _runbook,
            "live_seconds": _LIST_SECONDS,
        }
        return self._site.page("runs.html", values)

    async def run(self, request: Request) -> Response:
        run = await read_run(self._site.connection, request.path_params["run_id"])
        values = {
            "run": run,
            "graph": graph_of(run),
            "timeline": timeline_of(run.steps, self._clock.now()),
            "live_seconds": None if run.ended else _RUN_SECONDS,
        }
        return self._site.page("run.html", values)

    async def step(self, request: Request) -> Response:
        run, step = await self._site.step(request)
        report, problem = await self._report(step)
        values = {
            "run": run,
            "step": step,
            "runbook": _runbook(step),
            "acts": acts_for(step),
            "report": report,
            "problem": problem,
            "charts": await self._charts(step),
            "timeline": timeline_of([step], self._clock.now()),
            "live_seconds": None if step.ended else _RUN_SECONDS,
        }
        return self._site.page("step.html", values)

    async def chart(self, request: Request) -> Response:
        """One of the step's charts: an image by its bytes, or nothing."""
        _, step = await self._site.step(request)
        charts = await read_charts(self._site.connection, step)
        number = request.path_params["number"]
        if number >= len(charts):
            raise NotFound("the step has no such chart")
        data = await read_object(self._site.connection, charts[number].uri, _MOST_IMAGE_BYTES)
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

    async def _report(self, step: StepView) -> tuple[str | None, str | None]:
        """The rendered report, or why there is none."""
        if not step.ours or step.gcs_uri is None:
            return None, None
        try:
            report = await read_report(self._site.connection, step)
        except NotFound as problem:
            return None, str(problem)
        return rendered(report.markdown), None

    async def _charts(self, step: StepView) -> list[ChartImage]:
        return list(await read_charts(self._site.connection, step)) if step.ours else []


def _runbook(step: StepView) -> str | None:
    """Where it is said what to do about the step, if anything is."""
    if step.finding.level is Level.STUCK:
        return mending_path(STUCK)
    known = step.error_code is not None and advice_for(step.error_code) is not None
    return mending_path(step.error_code) if step.error_code and known else None
