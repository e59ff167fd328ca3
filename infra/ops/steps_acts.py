"""`worker-llm steps cancel` and `worker-llm steps rerun`."""

import typer

from infra.ops.connection import connect
from infra.ops.operator_acts import MAX_REASON_CHARS, perform
from infra.ops.options import Where
from infra.ops.run_reading import NotFound
from infra.ops.terminal import print_json
from shared.adapters.clock import SystemClock
from shared.domain.attempts import OperatorAct
from shared.domain.documents import DocumentRef
from shared.domain.identifiers import is_run_id, is_step_id
from shared.domain.steps import OperatorMove
from shared.domain.times import rfc3339

_DONE = {
    OperatorMove.CANCEL: "cancelled; a model call under way is given up at the next renewal "
    "of its lease",
    OperatorMove.RERUN: "READY again; the dispatcher claims it, and a model call is paid for "
    "unless its report is stored already",
}


async def act_on_step(
    where: Where, move: OperatorMove, run_id: str, step_id: str, *, reason: str, as_json: bool
) -> int:
    """Do it and say so."""
    async with connect(where) as connection:
        if not is_run_id(run_id) or not is_step_id(step_id):
            raise NotFound(f"there is no step {step_id!r} of {run_id!r} in {connection.name}")
        act = OperatorAct(
            act=str(move), at=SystemClock().now(), reason=reason[:MAX_REASON_CHARS]
        )
        run_ref = DocumentRef(connection.flow_runs, run_id)
        await perform(move, connection.documents, run_ref, step_id, act)
    if as_json:
        print_json({"runId": run_id, "stepId": step_id, "act": act.act, "at": rfc3339(act.at)})
    else:
        typer.echo(f"{run_id} {step_id}: {_DONE[move]}")
    return 0
