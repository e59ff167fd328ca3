"""Runs as an operator sees them, read from an environment."""

from collections.abc import Mapping, Sequence
from typing import Any

from infra.ops.connection import Connection
from infra.ops.lenient import map_at, text_at
from infra.ops.run_view import RunView, run_view
from shared.adapters.clock import SystemClock
from shared.domain.documents import DocumentRef
from shared.domain.flow_run import LLM_REPORT
from shared.domain.identifiers import RunId, StepId, is_run_id, is_step_id
from shared.domain.job_documents import job_ref
from shared.ports import Clock

CALL_SECONDS = 15.0
#: Documents in one batch read; runs are read in slices of it.
_BATCH = 100


class NotFound(Exception):
    """What was asked for is not there; the message says what."""


async def read_run(connection: Connection, run_id: str, clock: Clock | None = None) -> RunView:
    """One run with the job records of its steps.

    Raises:
        NotFound: there is no such run.
        StoreUnavailable: Firestore did not answer.
    """
    found = await read_runs(connection, [run_id], clock) if is_run_id(run_id) else []
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
    run_ids = await connection.runs.newest(
        connection.flow_runs, limit=limit, timeout_seconds=CALL_SECONDS
    )
    return await read_runs(connection, run_ids, clock)


async def read_runs(
    connection: Connection, run_ids: Sequence[str], clock: Clock | None = None
) -> Sequence[RunView]:
    """The runs of these ids that there are, in their order.

    Raises:
        StoreUnavailable: Firestore did not answer.
    """
    now = (clock or SystemClock()).now()
    refs = [DocumentRef(connection.flow_runs, run_id) for run_id in run_ids]
    runs = {ref.document_id: data for ref, data in (await _read(connection, refs)).items()}
    jobs = await _read(connection, [ref for name in runs for ref in _job_refs(name, runs)])
    return [
        run_view(run_id, runs[run_id], _of_run(run_id, runs[run_id], jobs), now)
        for run_id in run_ids
        if run_id in runs
    ]


def _of_run(
    run_id: str, run: Mapping[str, Any], jobs: Mapping[DocumentRef, Mapping[str, Any]]
) -> Mapping[str, Mapping[str, Any]]:
    """The run's job records by step id."""
    refs = {name: job_ref(RunId(run_id), StepId(name)) for name in map_at(run, "steps")}
    return {name: jobs[ref] for name, ref in refs.items() if ref in jobs}


async def _read(
    connection: Connection, refs: Sequence[DocumentRef]
) -> Mapping[DocumentRef, Mapping[str, Any]]:
    found: dict[DocumentRef, Mapping[str, Any]] = {}
    for start in range(0, len(refs), _BATCH):
        snapshots = await connection.documents.read(
            refs[start : start + _BATCH], timeout_seconds=CALL_SECONDS
        )
        found |= {snapshot.ref: snapshot.data for snapshot in snapshots if snapshot}
    return found


def _job_refs(run_id: str, runs: Mapping[str, Mapping[str, Any]]) -> Sequence[DocumentRef]:
    return [
        job_ref(RunId(run_id), step_id)
        for step_id, step in map_at(runs[run_id], "steps").items()
        if is_step_id(step_id) and text_at(step, "stepType") == LLM_REPORT
    ]
