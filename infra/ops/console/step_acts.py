"""Cancel a step, have it run again, or acknowledge its failure: asked first, then done."""

from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from infra.ops.console.forms import read_form
from infra.ops.console.pages import segment
from infra.ops.console.site import Site
from infra.ops.runs.reading import NotFound
from infra.ops.runs.view import StepView
from infra.ops.steps.acts import MAX_REASON_CHARS, Act, ActRefused, Note, perform
from infra.ops.steps.forecast import CONSEQUENCES, forecast_of
from shared.adapters.clock import SystemClock
from shared.domain.attempts import OperatorAct
from shared.domain.documents import DocumentRef
from shared.domain.identifiers import ClaimId, StepId
from shared.domain.steps import OPERATOR_TRANSITIONS, OperatorMove, StepStatus

_VIA = "console"


_UNSEEN = (
    "Nothing was changed: what was sent does not name the claim of the step that you looked "
    "at, so nobody can tell whether it is still the same. Go back to the step and act there."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Question:
    """What an operator is asked before the act."""

    heading: str
    button: str


_QUESTIONS = {
    OperatorMove.CANCEL: _Question(heading="Cancel this step?", button="Cancel the step"),
    OperatorMove.RERUN: _Question(heading="Run this step again?", button="Run it again"),
    Note.ACKNOWLEDGE: _Question(heading="Acknowledge this failure?", button="Acknowledge it"),
}


def acts_for(step: StepView) -> Sequence[str]:
    """What an operator can do to the step as it stands."""
    if not step.ours or step.job is None or step.status not in set(StepStatus):
        return ()
    acts: list[Act] = [*OPERATOR_TRANSITIONS[StepStatus(step.status)]]
    if step.status == StepStatus.FAILED and not step.job.acknowledged:
        acts.append(Note.ACKNOWLEDGE)
    return [str(act) for act in acts]


class StepActs:
    """The pages that change a step."""

    def __init__(self, site: Site) -> None:
        self._site = site

    async def ask(self, request: Request) -> Response:
        """The page that asks; its form names the claim that it shows."""
        move = _move(request)
        run, step = await self._site.step(request)
        values = {
            "run": run,
            "step": step,
            "question": _QUESTIONS[move],
            "consequence": CONSEQUENCES[move],
            "forecast": forecast_of(move, step).words,
            "author": self._site.author,
            "environment_described": self._site.connection.described,
            "move": move,
            "token": self._site.own.form_token,
            "most_chars": MAX_REASON_CHARS,
        }
        return self._site.page("confirm_act.html", values)

    async def do(self, request: Request) -> Response:
        """The act, and back to the step."""
        form = await read_form(request, self._site.own)
        move = _move(request)
        run, step = await self._site.step(request)
        back = f"/runs/{segment(run.run_id)}/steps/{segment(step.step_id)}"
        reason = form.get("reason", "").strip()[:MAX_REASON_CHARS]
        if not reason:
            text = "Nothing was changed: say why, as the reason is kept in the record."
            return self._site.message("A reason is needed", text, HTTPStatus.BAD_REQUEST, back)
        seen = form.get("claim", "").strip()
        if not seen:
            return self._site.message(
                "Look at the step first", _UNSEEN, HTTPStatus.BAD_REQUEST, back
            )
        act = OperatorAct(
            act=str(move),
            at=SystemClock().now(),
            reason=reason,
            by=self._site.author,
            via=_VIA,
            claim_id=ClaimId(seen),
        )
        run_ref = DocumentRef(self._site.connection.flow_runs, run.run_id)
        documents = self._site.connection.documents
        try:
            await perform(move, documents, run_ref, StepId(step.step_id), act)
        except ActRefused as problem:
            text = f"Nothing was changed: {problem}"
            return self._site.message("Not possible", text, HTTPStatus.CONFLICT, back)
        return RedirectResponse(back, HTTPStatus.SEE_OTHER)


def _move(request: Request) -> Act:
    name = request.path_params["move"]
    for kind in (OperatorMove, Note):
        if name in set(kind):
            return kind(name)
    raise NotFound("there is no such act")
