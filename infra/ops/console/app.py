"""The console's web application."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from executor.images import image_type
from executor.ports import ObjectsUnavailable
from infra.ops.advice import advice_for, all_advice
from infra.ops.connection import Connection
from infra.ops.console.graph import graph_of
from infra.ops.console.markdown import rendered
from infra.ops.console.pages import FOLDER, render, templates
from infra.ops.console.plots import tokens_per_day
from infra.ops.console.security import Guard, Secrets
from infra.ops.console.timeline import timeline_of
from infra.ops.report_reading import ChartImage, read_charts, read_object, read_report
from infra.ops.run_reading import NotFound, newest_runs, read_run
from infra.ops.run_view import RunView, StepView
from infra.ops.usage import usage_of
from shared.adapters.clock import SystemClock
from shared.ports import StoreUnavailable

_SECTIONS = (("/", "Runs"), ("/usage", "Usage"), ("/errors", "Errors"))
_RUNS_SHOWN, _RUNS_COUNTED = 50, 300
_LIST_SECONDS, _RUN_SECONDS = 4, 1.5
_MOST_IMAGE_BYTES = 4 * 1024 * 1024


def create_app(connection: Connection, own: Secrets) -> ASGIApp:
    """The console of one environment, behind its guard."""
    console = _Console(connection)
    step = "/runs/{run_id}/steps/{step_id}"
    application = Starlette(
        routes=[
            Route("/", console.runs),
            Route("/runs/{run_id}", console.run),
            Route(step, console.step),
            Route(step + "/charts/{number:int}", console.chart),
            Route("/usage", console.usage),
            Route("/errors", console.errors),
            Mount("/static", StaticFiles(directory=FOLDER / "static")),
        ],
        exception_handlers={
            NotFound: console.not_found,
            HTTPException: console.refused,
            StoreUnavailable: console.unavailable,
            ObjectsUnavailable: console.unavailable,
        },
    )
    return Guard(application, own)


class _Console:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._templates = templates()
        self._clock = SystemClock()

    async def runs(self, _request: Request) -> Response:
        runs = await newest_runs(self._connection, limit=_RUNS_SHOWN)
        attention = [
            (run, step)
            for run in runs
            for step in run.steps
            if step.ours and step.finding.level.wants_operator
        ]
        attention.sort(key=lambda pair: -pair[1].finding.level.rank)
        values = {"runs": runs, "attention": attention, "live_seconds": _LIST_SECONDS}
        return self._page("runs.html", values, section="/")

    async def run(self, request: Request) -> Response:
        run = await read_run(self._connection, request.path_params["run_id"])
        values = {
            "run": run,
            "graph": graph_of(run),
            "timeline": timeline_of(run.steps, self._clock.now()),
            "live_seconds": None if run.ended else _RUN_SECONDS,
        }
        return self._page("run.html", values, section="/")

    async def step(self, request: Request) -> Response:
        run, step = await self._step(request)
        report, problem = await self._report(step)
        values = {
            "run": run,
            "step": step,
            "known_code": advice_for(step.error_code or "") is not None,
            "acts": (),
            "report": report,
            "problem": problem,
            "charts": await self._charts(step),
            "timeline": timeline_of([step], self._clock.now()),
            "live_seconds": None if step.ended else _RUN_SECONDS,
        }
        return self._page("step.html", values, section="/")

    async def chart(self, request: Request) -> Response:
        """One of the step's charts: an image by its bytes, or nothing."""
        _, step = await self._step(request)
        charts = await read_charts(self._connection, step)
        number = request.path_params["number"]
        if number >= len(charts):
            raise NotFound("the step has no such chart")
        data = await read_object(self._connection, charts[number].uri, _MOST_IMAGE_BYTES)
        kind = image_type(data)
        if kind is None:
            raise NotFound(f"{charts[number].uri} is no image")
        return Response(data, media_type=kind)

    async def usage(self, _request: Request) -> Response:
        usage = usage_of(await newest_runs(self._connection, limit=_RUNS_COUNTED))
        values = {"usage": usage, "plot": tokens_per_day(usage)}
        return self._page("usage.html", values, section="/usage")

    async def errors(self, _request: Request) -> Response:
        values = {"errors": list(all_advice().values())}
        return self._page("errors.html", values, section="/errors")

    async def not_found(self, _request: Request, error: Exception) -> Response:
        return self._message("There is no such thing", str(error), HTTPStatus.NOT_FOUND)

    async def refused(self, _request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 500
        return self._message(HTTPStatus(status).phrase, "", status)

    async def unavailable(self, _request: Request, error: Exception) -> Response:
        text = f"The environment did not answer ({error}). Try again, or look at its status."
        return self._message("Not reachable", text, HTTPStatus.SERVICE_UNAVAILABLE)

    async def _step(self, request: Request) -> tuple[RunView, StepView]:
        run = await read_run(self._connection, request.path_params["run_id"])
        step = run.step(request.path_params["step_id"])
        if step is None:
            raise NotFound(f"run {run.run_id} has no such step")
        return run, step

    async def _report(self, step: StepView) -> tuple[str | None, str | None]:
        """The rendered report, or why there is none."""
        if not step.ours or step.gcs_uri is None:
            return None, None
        try:
            report = await read_report(self._connection, step)
        except NotFound as problem:
            return None, str(problem)
        return rendered(report.markdown), None

    async def _charts(self, step: StepView) -> list[ChartImage]:
        return list(await read_charts(self._connection, step)) if step.ours else []

    def _message(self, heading: str, text: str, status: int) -> Response:
        values = {"heading": heading, "text": text, "back": None}
        return self._page("message.html", values, section="", status=status)

    def _page(
        self, name: str, values: Mapping[str, Any], *, section: str, status: int = 200
    ) -> Response:
        frame = {
            "sections": _SECTIONS,
            "section": section,
            "environment": self._connection.name,
            "is_local": self._connection.local is not None,
            "live_seconds": None,
        }
        html = render(self._templates, name, {**frame, **values})
        return HTMLResponse(html, status_code=status)
