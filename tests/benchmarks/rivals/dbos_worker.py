"""The job as a DBOS workflow.

The workflow's id is the step's: "you can set an idempotency key for a workflow to guarantee
it executes only once" (https://docs.dbos.dev/python/tutorials/idempotency-tutorial). Whatever
is not deterministic is a step, whose result is recorded once it is there; a process that
starts recovers the workflows that it was working on
(https://docs.dbos.dev/production/self-hosting/workflow-recovery). "Steps are tried at least
once but are never re-executed after they complete"
(https://docs.dbos.dev/python/tutorials/workflow-tutorial).
"""

import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dbos import DBOS, SetWorkflowID
from sqlalchemy import event
from sqlalchemy.engine import Engine

from tests.benchmarks.rivals import job
from tests.benchmarks.rivals.front import run_front

_STATEMENTS = os.environ.get("STATEMENTS_FILE", os.devnull)
_aside = threading.local()


@DBOS.step()
def read_inputs() -> dict[str, Any]:
    """Read what the model is asked about."""
    return job.read_inputs()


@DBOS.step()
def ask_model(inputs: dict[str, Any]) -> str:
    """Make the paid call."""
    return job.ask_model(inputs)


@DBOS.step()
def store_report(step_id: str, output: dict[str, Any]) -> str:
    """Store the report."""
    return job.store_report(step_id, output)


@DBOS.workflow()
def report(step_id: str) -> str:
    """Do one step's job; the recorded result is the report's URI."""
    inputs = read_inputs()
    output = job.checked(ask_model(inputs), inputs["schema"])
    uri: str = store_report(step_id, output)
    return uri


def deliver(step_id: str) -> None:
    """Take a step over; returns once the workflow is recorded."""
    with SetWorkflowID(step_id):
        DBOS.start_workflow(report, step_id)


def outcomes() -> Mapping[str, str]:
    """What DBOS has recorded, looked up without being counted."""
    _aside.on = True
    try:
        found = DBOS.list_workflows(load_input=False, load_output=False)
        return {each.workflow_id: each.status for each in found}
    finally:
        _aside.on = False


def operations() -> int:
    """SQL statements so far, those of killed processes included."""
    return Path(_STATEMENTS).stat().st_size


def main() -> None:
    """Run a worker until it is killed."""
    statements = os.open(_STATEMENTS, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def note(*_: Any) -> None:
        if not getattr(_aside, "on", False):
            os.write(statements, b".")

    event.listen(Engine, "before_cursor_execute", note)
    DBOS(config={"name": "reports", "system_database_url": os.environ["DATABASE_URL"]})
    DBOS.launch()
    run_front(deliver=deliver, outcomes=outcomes, operations=operations)


if __name__ == "__main__":
    main()
