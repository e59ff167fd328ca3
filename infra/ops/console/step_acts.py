"""Cancel a step, or have it run again: asked first, then done."""

from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from infra.ops.console.forms import read_form
from infra.ops.console.pages import segment
from infra.ops.console.site import Site
from infra.ops.operator_acts import MAX_REASON_CHARS, ActRefused, perform
from infra.ops.run_reading import NotFound
from infra.ops.run_view import StepView
from shared.adapters.clock import SystemClock
from shared.domain.attempts import OperatorAct
from shared.domain.documents import DocumentRef
from shared.domain.identifiers import StepId
from shared.domain.steps import OPERATOR_TRANSITIONS, OperatorMove, StepStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class _Question:
    """What an operator is asked before the act."""

    heading: str
    text: str
    button: str


_QUESTIONS = {
    OperatorMove.CANCEL: _Question(
        heading="Cancel this step?",
        text="Nothing more is paid for it, and no report is taken from it. A model call under "
        "way is given up when its lease is next renewed.",
        button="Cancel the step",
    ),
    OperatorMove.RERUN: _Question(
        heading="Run this step again?",
        text="It becomes READY with fresh budgets of attempts and model calls. A model call is "
        "paid for, unless its report is stored already.",
        button="Run it again",
    ),
}


def acts_for(step: StepView) -> Sequence[str]:
    """What an operator can do to the step as it stands."""
    if not step.ours or step.job is None or step.status not in set(StepStatus):
        return ()
    return [str(move) for move in OPERATOR_TRANSITIONS[StepStatus(step.status)]]


class StepActs:
    """The pages that change a step."""

    def __init__(self, site: Site) -> None:
        self._site = site

    async def ask(self, request: Request) -> Response:
        """The page that asks."""
        run, step = await self._site.step(request)
        values = {
            "run": run,
            "step": step,
            "question": _QUESTIONS[_move(request)],
            "move": _move(request),
            "token": self._site.own.form_token,
            "most_chars": MAX_REASON_CHARS,
        }
        return self._site.page("confirm_act.html", values)

    async def do(self, request: Request) -> Response:
        """The act, and back to the step."""
        form = await read_form(request, self._site.own)
        run, step = await self._site.step(request)
        reason = form.get("reason", "").strip()[:MAX_REASON_CHARS]
        act = OperatorAct(act=str(_move(request)), at=SystemClock().now(), reason=reason)
        back = f"/runs/{segment(run.run_id)}/steps/{segment(step.step_id)}"
        try:
            await perform(
                _move(request),
                self._site.connection.documents,
                DocumentRef(self._site.connection.flow_runs, run.run_id),
                StepId(step.step_id),
                act,
            )
        except ActRefused as problem:
            text = f"Nothing was changed: {problem}"
            return self._site.message("Not possible", text, HTTPStatus.CONFLICT, back)
        return RedirectResponse(back, HTTPStatus.SEE_OTHER)


def _move(request: Request) -> OperatorMove:
    try:
        return OperatorMove(request.path_params["move"])
    except ValueError:
        raise NotFound("there is no such act") from None
