"""Evaluations of prompts that lie in a folder of this machine."""

from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

from infra.ops.console.site import Site
from infra.ops.evaluation.stored import stored_evaluation, stored_evaluations
from infra.ops.runs.reading import NotFound

SECTION = "/evaluations"


class EvaluationPages:
    """The pages about evaluations."""

    def __init__(self, site: Site, folder: Path) -> None:
        self._site = site
        self._folder = folder

    async def list(self, _request: Request) -> Response:
        """The evaluations in the folder."""
        values = {"folder": str(self._folder), "found": stored_evaluations(self._folder)}
        return self._site.page("evaluations.html", values, section=SECTION)

    async def show(self, request: Request) -> Response:
        """One evaluation."""
        found = stored_evaluation(self._folder, request.path_params["name"])
        if found is None:
            raise NotFound(f"{self._folder} holds no such evaluation")
        values = {"folder": str(self._folder), "evaluation": found}
        return self._site.page("evaluation.html", values, section=SECTION)
