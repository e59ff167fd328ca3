"""How long a sweep takes on the Firestore emulator: `python -m tests.benchmarks.sweep_cost`."""

import asyncio
import os
import sys
import tempfile
import time
import uuid
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from dispatcher.ports import SweepPorts
from dispatcher.settings import read_settings
from dispatcher.sweep import Sweep
from dispatcher.sweep_report import SweepReport
from dispatcher.wiring import assemble_sweep
from infra.local.embedded.queue import KeptMessages
from infra.local.emulators.clients import firestore_client
from infra.local.emulators.finding import Missing, find_emulators
from infra.local.emulators.servers import running_emulators
from infra.local.scenario.single import single_report_run
from shared.adapters.clock import SystemClock
from shared.adapters.firestore import FirestoreDocuments, FirestoreUnfinishedWork
from shared.domain.documents import Create, DocumentRef, Write
from shared.domain.identifiers import ClaimId, RunId, StepId
from shared.domain.job_documents import create_job
from shared.domain.jobs import JobRecord, JobState
from shared.log import EventLogger

STEP_ID = StepId("llm_report_1d")
_PROJECT, _CALL_SECONDS, _BATCH = "bench", 60.0, 100


async def measure_sweeps(host: str, *, runs: int, due: int) -> Sequence[tuple[str, float]]:
    """Seconds of a first sweep, which has `due` jobs to wake, and of one with nothing to do.

    Both look at `runs` RUNNING runs of one report step each.
    """
    client: Any = firestore_client(host, _PROJECT)
    await _seed(FirestoreDocuments(client), runs, due)
    sweep = _sweep(client)
    waking, first = await _timed(sweep)
    idle, second = await _timed(sweep)
    client.close()
    if (first.as_json()["republished"], second.runs) != (due, runs):
        raise RuntimeError(f"not what was to be measured: {first.as_json()}")
    return ((f"{runs} runs, {due} jobs to wake", waking), (f"{runs} runs, nothing to do", idle))


async def _timed(sweep: Sweep) -> tuple[float, SweepReport]:
    begun = time.monotonic()
    report = await sweep.run()
    return time.monotonic() - begun, report


def _sweep(client: Any) -> Sweep:
    clock = SystemClock()
    environ = {
        "GCP_PROJECT": _PROJECT,
        "JOBS_TOPIC": "jobs",
        "SWEEP_BUDGET_SECONDS": "3600",
        "SWEEP_MAX_PAGES": "10000",
    }
    return assemble_sweep(
        SweepPorts(
            documents=FirestoreDocuments(client),
            work=FirestoreUnfinishedWork(client),
            queue=KeptMessages(),
            clock=clock,
            log=EventLogger(
                component="dispatcher", env="bench", clock=clock, stream=sys.stderr
            ),
            new_id=lambda: uuid.uuid4().hex,
        ),
        read_settings(environ),
    )


async def _seed(documents: FirestoreDocuments, runs: int, due: int) -> None:
    writes: list[Write] = []
    for number in range(runs):
        run_id = RunId(f"20260105-090000_BTCUSD_{number:06d}")
        run, _ = single_report_run(bucket="bench", run_id=run_id)
        run["steps"][STEP_ID]["status"] = "RUNNING"
        writes.append(Create(ref=DocumentRef("flow_runs", run_id), data=run))
        writes.extend([create_job(_due_job(run_id))] if number < due else [])
    for start in range(0, len(writes), _BATCH):
        await documents.commit(writes[start : start + _BATCH], timeout_seconds=_CALL_SECONDS)


def _due_job(run_id: RunId) -> JobRecord:
    now = SystemClock().now()
    return JobRecord(
        run_id=run_id,
        step_id=STEP_ID,
        claim_id=ClaimId(uuid.uuid4().hex),
        event_id="bench",
        claimed_at=now - timedelta(minutes=5),
        state=JobState.QUEUED,
        wake_at=now - timedelta(seconds=1),
    )


async def _main(runs: int, due: int) -> None:
    found = find_emulators(os.environ, Path.home())
    if isinstance(found, Missing):
        raise SystemExit("; ".join(found.reasons))
    with tempfile.TemporaryDirectory() as logs:
        async with running_emulators(
            found, log_folder=Path(logs), environ=os.environ
        ) as emulators:
            measured = await measure_sweeps(emulators.firestore_host, runs=runs, due=due)
    for name, seconds in measured:
        sys.stdout.write(f"{name}: {seconds:.2f} s\n")


if __name__ == "__main__":
    asyncio.run(_main(runs=1_000, due=200))
