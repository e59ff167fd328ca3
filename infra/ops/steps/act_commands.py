"""`worker-llm steps cancel`, `steps rerun` and `steps acknowledge`."""

from dataclasses import dataclass
from typing import Any

from infra.ops.cli.asking import a_reason, confirmed
from infra.ops.cli.options import Where
from infra.ops.cli.terminal import harmless, print_json, say
from infra.ops.environment.connection import Connection, connect
from infra.ops.runs.view import StepView
from infra.ops.steps.acts import MAX_REASON_CHARS, Act, Note, perform, plan_act, read_records
from infra.ops.steps.commands import read_step
from infra.ops.steps.forecast import CONSEQUENCES, forecast_of
from shared.adapters.clock import SystemClock
from shared.domain.attempts import OperatorAct
from shared.domain.documents import DocumentRef
from shared.domain.identifiers import ClaimId, StepId
from shared.domain.steps import OperatorMove
from shared.domain.times import rfc3339

VIA = "command line"
_DONE = {
    OperatorMove.CANCEL: "cancelled; a model call under way is given up at the next renewal "
    "of its lease",
    OperatorMove.RERUN: "READY again; the dispatcher claims it, and a model call is paid for "
    "unless its report is stored already",
    Note.ACKNOWLEDGE: "acknowledged; it no longer counts among the steps that need attention",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ActOptions:
    """Who acts, why, and whether to ask before."""

    #: None: asked for on a terminal.
    reason: str | None
    #: None: the account of the credentials.
    author: str | None
    yes: bool
    dry_run: bool
    as_json: bool


async def act_on_step(
    where: Where, move: Act, run_id: str, step_id: str, options: ActOptions
) -> int:
    """Ask, do it, and say what was done, where and by whom."""
    async with connect(where) as connection:
        step = await read_step(connection, run_id, step_id)
        author = connection.author(options.author)
        reason = await a_reason(options.reason)
        act = new_act(move, step, reason=reason, author=author)
        run_ref = DocumentRef(connection.flow_runs, run_id)
        if options.dry_run:
            # A dry run refuses what the act would refuse, and writes nothing.
            records = await read_records(connection.documents, run_ref, StepId(step_id))
            plan_act(move, records, act)
        else:
            question = _question(connection, move, run_id, step, author)
            asks = move is not Note.ACKNOWLEDGE
            await confirmed(question, yes=options.yes or not asks)
            await perform(move, connection.documents, run_ref, StepId(step_id), act)
    if options.as_json:
        print_json(_as_json(connection, run_id, move, step, act, dry_run=options.dry_run))
    elif options.dry_run:
        say(_question(connection, move, run_id, step, author))
    else:
        done = f"{run_id} {step_id} in {connection.name}: {_DONE[move]} (by {author})"
        say(harmless(done))
    return 0


def _as_json(
    connection: Connection,
    run_id: str,
    move: Act,
    step: StepView,
    act: OperatorAct,
    *,
    dry_run: bool,
) -> dict[str, Any]:
    return {
        "environment": connection.name,
        "runId": run_id,
        "stepId": step.step_id,
        "act": act.act,
        "at": rfc3339(act.at),
        "by": act.by,
        "reason": act.reason,
        "claimId": act.claim_id,
        "paidModelCalls": forecast_of(move, step).as_json(),
        "dryRun": dry_run,
    }


def new_act(move: Act, step: StepView, *, reason: str, author: str) -> OperatorAct:
    """The act of somebody who has seen the step as it is here."""
    claim = step.job.claim_id if step.job else None
    return OperatorAct(
        act=str(move),
        at=SystemClock().now(),
        reason=reason[:MAX_REASON_CHARS],
        by=author,
        via=VIA,
        claim_id=ClaimId(claim) if claim else None,
    )


def _question(
    connection: Connection, move: Act, run_id: str, step: StepView, author: str
) -> str:
    code = f" {step.error_code}" if step.error_code else ""
    return harmless(
        f"{str(move).capitalize()} {step.step_id} of {run_id} in {connection.described}, "
        f"as {author}? It is {step.status}{code}. {CONSEQUENCES[move]} "
        f"{forecast_of(move, step).words}"
    )
