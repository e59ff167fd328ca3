"""What all pages share: the environment, the frame around them, and how they fail."""

import functools
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from infra.ops.console.pages import render, templates
from infra.ops.console.security import Secrets
from infra.ops.environment.connection import Connection
from infra.ops.runs.reading import NotFound, read_run
from infra.ops.runs.view import RunView, StepView

_SECTIONS = (
    ("/", "Runs"),
    ("/dead-letters", "Dead letters"),
    ("/prompts", "Prompts"),
    ("/evaluations", "Evaluations"),
    ("/quota", "Quota"),
    ("/usage", "Usage"),
    ("/errors", "Errors"),
)


class Site:
    """One environment's pages."""

    def __init__(self, connection: Connection, own: Secrets, author: str | None = None) -> None:
        self.connection = connection
        self.own = own
        self._given_author = author
        self._templates = templates()

    def page(
        self, name: str, values: Mapping[str, Any], *, section: str = "/", status: int = 200
    ) -> Response:
        """The template, filled, within the frame; `section` is what the navigation marks."""
        frame = {
            "sections": _SECTIONS,
            "section": section,
            "environment": self.connection.name,
            "is_local": self.connection.local is not None,
            "live_seconds": None,
        }
        html = render(self._templates, name, {**frame, **values})
        return HTMLResponse(html, status_code=status)

    @functools.cached_property
    def author(self) -> str:
        """Who acts in this console.

        Raises:
            AuthorUnknown: nobody was named, and the credentials do not tell.
        """
        return self.connection.author(self._given_author)

    def message(self, heading: str, text: str, status: int, back: str = "/") -> Response:
        """A page that only says something."""
        values = {"heading": heading, "text": text, "back": back}
        return self.page("message.html", values, section="", status=status)

    async def not_found(self, _request: Request, error: Exception) -> Response:
        """The page for NotFound."""
        return self.message("There is no such thing", str(error), HTTPStatus.NOT_FOUND)

    async def refused(self, _request: Request, error: Exception) -> Response:
        """The page for an HTTPException."""
        status = error.status_code if isinstance(error, HTTPException) else 500
        phrase = HTTPStatus(status).phrase
        detail = error.detail if isinstance(error, HTTPException) else ""
        return self.message(phrase, "" if detail == phrase else detail, status)

    async def nobody(self, _request: Request, error: Exception) -> Response:
        """The page for AuthorUnknown."""
        return self.message("Who are you?", str(error), HTTPStatus.CONFLICT)

    async def unusable(self, _request: Request, error: Exception) -> Response:
        """The page for an address that asks for something impossible."""
        return self.message("Bad request", str(error), HTTPStatus.BAD_REQUEST)

    async def unavailable(self, _request: Request, error: Exception) -> Response:
        """The page for a service that did not answer."""
        text = f"The environment did not answer ({error}). Try again, or look at its status."
        return self.message("Not reachable", text, HTTPStatus.SERVICE_UNAVAILABLE)

    async def step(self, request: Request) -> tuple[RunView, StepView]:
        """The step that the path names, with its run.

        Raises:
            NotFound: there is no such run or step.
            StoreUnavailable: Firestore did not answer.
        """
        run = await read_run(self.connection, request.path_params["run_id"])
        step = run.step(request.path_params["step_id"])
        if step is None:
            raise NotFound(f"run {run.run_id} has no such step")
        return run, step
