"""Runs as an operator sees them, read from an environment."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from infra.failures import CannotBeDone
from infra.ops.environment.connection import Connection
from infra.ops.environment.listing import NewestFirst
from infra.ops.environment.stored_documents import map_at, text_at
from infra.ops.runs.contract import is_readable_id
from infra.ops.runs.view import RunView, run_view
from shared.adapters.clock import SystemClock
from shared.domain.documents import DocumentRef, Snapshot
from shared.domain.flow_run import LLM_REPORT
from shared.domain.identifiers import RunId, StepId, is_step_id
from shared.domain.job_documents import job_ref
from shared.domain.steps import StepStatus
from shared.ports import Clock

CALL_SECONDS = 15.0
#: Documents in one batch read; runs are read in slices of it.
_BATCH = 100


class NotFound(CannotBeDone):
    """What was asked for is not there; the message says what."""

    exit_code = 3


async def read_run(connection: Connection, run_id: str, clock: Clock | None = None) -> RunView:
    """One run with the job records of its steps, also one whose id breaks the contract.

    Raises:
        NotFound: there is no such run.
        StoreUnavailable: Firestore did not answer.
    """
    found = await read_runs(connection, [run_id], clock) if is_readable_id(run_id) else []
    if not found:
        raise NotFound(f"there is no run {run_id!r} in {connection.name}")
    return found[0]


async def newest_runs(
    connection: Connection, *, limit: int, clock: Clock | None = None
) -> Sequence[RunView]:
    """The runs that were created last, the newest first.

    Raises:
        StoreUnavailable: Firestore did not answer.
    """
    question = NewestFirst(collection=connection.flow_runs, limit=limit)
    found = await connection.runs.find(question, timeout_seconds=CALL_SECONDS)
    return await views_of(connection, found, clock)


async def read_runs(
    connection: Connection, run_ids: Sequence[str], clock: Clock | None = None
) -> Sequence[RunView]:
    """The runs of these ids that there are, in their order, with all their job records.

    Raises:
        StoreUnavailable: Firestore did not answer.
    """
    refs = [DocumentRef(connection.flow_runs, run_id) for run_id in run_ids]
    found = await read_documents(connection, refs)
    runs = [found[ref] for ref in refs if ref in found]
    return await views_of(connection, runs, clock, with_job=lambda _: True)


def at_work(step: object) -> bool:
    """Whether what is to be said of the step depends on its job record."""
    return text_at(step, "status") == StepStatus.RUNNING


async def views_of(
    connection: Connection,
    runs: Sequence[Snapshot],
    clock: Clock | None = None,
    *,
    with_job: Callable[[object], bool] = at_work,
) -> Sequence[RunView]:
    """The runs with the job records of those steps that `with_job` chooses.

    Raises:
        StoreUnavailable: Firestore did not answer.
    """
    now = (clock or SystemClock()).now()
    refs = [ref for run in runs for ref in _job_refs(run, with_job).values()]
    jobs = await read_documents(connection, refs)
    return [
        run_view(run.ref.document_id, run.data, _of_run(run, with_job, jobs), now)
        for run in runs
    ]


async def read_documents(
    connection: Connection, refs: Sequence[DocumentRef]
) -> Mapping[DocumentRef, Snapshot]:
    """Those of the documents that there are.

    Raises:
        StoreUnavailable: Firestore did not answer.
    """
    found: dict[DocumentRef, Snapshot] = {}
    for start in range(0, len(refs), _BATCH):
        snapshots = await connection.documents.read(
            refs[start : start + _BATCH], timeout_seconds=CALL_SECONDS
        )
        found |= {snapshot.ref: snapshot for snapshot in snapshots if snapshot}
    return found


def _of_run(
    run: Snapshot,
    with_job: Callable[[object], bool],
    jobs: Mapping[DocumentRef, Snapshot],
) -> Mapping[str, Mapping[str, Any]]:
    """The run's job records by step id."""
    refs = _job_refs(run, with_job)
    return {name: jobs[ref].data for name, ref in refs.items() if ref in jobs}


def _job_refs(run: Snapshot, with_job: Callable[[object], bool]) -> Mapping[str, DocumentRef]:
    run_id = RunId(run.ref.document_id)
    return {
        step_id: job_ref(run_id, StepId(step_id))
        for step_id, step in map_at(run.data, "steps").items()
        if is_step_id(step_id) and text_at(step, "stepType") == LLM_REPORT and with_job(step)
    }
