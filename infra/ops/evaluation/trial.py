"""One try: the READY steps of a flow run in a file, each a case of its own prompt alone."""

import contextlib
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dispatcher.planning import executable_steps
from executor.contract.artifacts import parse_gcs_uri
from executor.settings import read_settings
from infra.failures import CannotBeDone
from infra.local.processes.functions import BUCKET
from infra.ops.environment.stored_documents import map_at, text_at
from infra.ops.evaluation.asking.answers import CellAnswer
from infra.ops.evaluation.asking.bench import (
    Bench,
    Places,
    evaluation_environ,
    opened_bench,
)
from infra.ops.evaluation.asking.cells import EvaluationCell, begins_anew
from infra.ops.evaluation.asking.model import asked_model
from infra.ops.evaluation.asking.pace import EvaluationPace
from infra.ops.evaluation.asking.proof import inputs_of
from infra.ops.evaluation.asking.variants import AskedCase
from infra.ops.evaluation.cases.case import Case, prompt_ref, schema_ref
from infra.ops.evaluation.cases.folder_past import FolderObjects, read_json_object
from infra.ops.evaluation.cases.pinning import CaseExcluded
from infra.ops.evaluation.trial_objects import TrialObjects
from infra.ops.registry.files import FileInvalid, read_entries, read_prompt, read_schema
from shared.adapters.clock import SystemClock
from shared.domain.documents import DocumentRef
from shared.domain.errors import FlowRunInvalid
from shared.domain.flow_run import LLM_REPORT, parse_flow_run
from shared.domain.steps import StepStatus

#: A refused job would come again for minutes: the author of a prompt wants to know at once.
_DELIVERIES = 2
_HIDDEN = ".worker-llm"


class ReportThere(CannotBeDone):
    """Another report lies where this one would: nothing that was paid for is overwritten."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What to run, on which files, against which model (None: decided by the environment)."""

    flow_run: Path
    registry: Path
    objects: Path
    out: Path
    backend: str | None
    max_cost: str = ""
    pay_lost_calls: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class StepEnd:
    """What became of a step that was READY."""

    step_id: str
    #: None where it was not executed, or its answer has not come.
    answer: CellAnswer | None
    #: The file of its report.
    report: Path | None
    #: Whether it had been answered by an earlier try in this folder.
    reused: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """What came of a try: the run as it then stands, and its steps."""

    run_id: str
    run: Mapping[str, Any]
    ends: Sequence[StepEnd]
    paid: bool


async def tried(trial: Trial) -> Tried:
    """Execute the READY steps, and those that become executable by them.

    A report is in its place as soon as it exists. The same inputs are never paid for twice in
    one folder, and a report that was made from others is never overwritten.

    Raises:
        FileInvalid: A file is not the JSON object that it must be.
        ReportThere: Another report lies where one of these would.
        BenchInUse: Another try works in the folder.
        OSError: A file cannot be read, or the folder cannot be written.
        SettingsInvalid: GCP_PROJECT, a key or another variable is missing or bad.
    """
    run = read_json_object(trial.flow_run)
    run_id = str(run.get("runId", trial.flow_run.stem))
    wanted = _ready_steps(trial.flow_run, run_id, run)
    registry = dict(_registry(trial.registry))
    async with _bench(trial) as (bench, paid):
        work = _Work(trial=trial, bench=bench, run_id=run_id, registry=registry)
        after = await work.through(deepcopy(run))
        ends = [
            work.ends.get(
                step_id, StepEnd(step_id=step_id, answer=None, report=None, reused=False)
            )
            for step_id in wanted
        ]
    return Tried(run_id=run_id, run=after, ends=ends, paid=paid)


@asynccontextmanager
async def _bench(trial: Trial) -> AsyncIterator[tuple[Bench, bool]]:
    async with asked_model(trial.backend) as model:
        environ = evaluation_environ(model.environ, max_cost_usd=trial.max_cost)
        buckets = sorted({BUCKET, *FolderObjects(trial.objects).buckets()})
        allowed = {**environ, "CONTEXT_BUCKETS": ",".join(buckets)}
        pace = EvaluationPace(clock=SystemClock(), every_seconds=0.0)
        places = Places(trial.out / _HIDDEN)
        async with opened_bench(places, read_settings(allowed), pace) as bench:
            yield bench, model.paid


class _Work:
    """One pass through a run."""

    def __init__(
        self,
        *,
        trial: Trial,
        bench: Bench,
        run_id: str,
        registry: Mapping[DocumentRef, Mapping[str, Any]],
    ) -> None:
        self._trial = trial
        self._bench = bench
        self._run_id = run_id
        self._registry = registry
        self.ends: dict[str, StepEnd] = {}

    async def through(self, run: dict[str, Any]) -> Mapping[str, Any]:
        """The run after nothing is left to do."""
        while True:
            steps = executable_steps(parse_flow_run(self._run_id, run))
            left = [step for step in steps if step not in self.ends]
            if not left:
                return run
            for step_id in left:
                run["steps"][step_id] = await self._step(step_id, run)

    async def _step(self, step_id: str, run: Mapping[str, Any]) -> Mapping[str, Any]:
        """The step after its execution."""
        case = Case(
            run_id=self._run_id,
            step_id=step_id,
            run=deepcopy(dict(run)),
            prompt=None,
            schema=None,
            sources=[],
            stored=None,
        )
        cell = await self._cell(case)
        known = await cell.answer()
        anew = known is not None and begins_anew(
            known, pay_lost_calls=self._trial.pay_lost_calls
        )
        self._check_place(case, reused=known is not None and not anew)
        answer = known
        if known is None or anew:
            answer = await cell.execute(
                self._bench.endpoint(cell), self._bench.turn, deliveries=_DELIVERIES
            )
        after = await cell.step()
        self.ends[step_id] = StepEnd(
            step_id=step_id,
            answer=answer,
            report=self._kept(text_at(after, "outputs", "gcs_uri"), await cell.report()),
            reused=known is not None and not anew,
        )
        return after

    async def _cell(self, case: Case) -> EvaluationCell:
        """The step's cell, named by what it is made from, or by itself where it cannot be."""
        asked = AskedCase(run=case.run, registry=self._registry)
        try:
            inputs = await inputs_of(
                case, asked, self._objects("proof"), self._bench.settings, self._bench.log
            )
            name = inputs.receipt.digest
        except CaseExcluded:
            # The executor says what is wrong with it, and by which code, without a call.
            name = f"{case.case_id}-{SystemClock().now().timestamp()}"
        cell_id = f"{name}-1"
        return self._bench.cell(cell_id, case, asked, self._objects(cell_id))

    def _objects(self, cell_id: str) -> TrialObjects:
        return TrialObjects(
            inputs=FolderObjects(self._trial.objects),
            out=self._trial.out,
            reports=self._bench.reports(cell_id),
        )

    def _check_place(self, case: Case, *, reused: bool) -> None:
        """Refuse before anything is paid.

        Raises:
            ReportThere: another report lies where this one would.
            OSError: no file can be written there.
        """
        place = self._trial.out / case.run_id / case.timeframe / f"{case.step_id}.json"
        if place.exists() and not reused:
            raise ReportThere(
                f"{place}: a report made from other inputs lies there, and is not overwritten:"
                " give another --out"
            )
        place.parent.mkdir(parents=True, exist_ok=True)
        # Try that a file can be made, before a report is paid for that would have no place.
        with tempfile.TemporaryFile(dir=place.parent):
            pass

    def _kept(self, uri: str | None, report: bytes | None) -> Path | None:
        """The report's file for its reader, written as soon as the report exists."""
        if uri is None or report is None:
            return None
        place = self._trial.out / parse_gcs_uri(uri).name
        place.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError), place.open("xb") as file:
            file.write(report)
        return place


def _registry(folder: Path) -> list[tuple[DocumentRef, Mapping[str, Any]]]:
    """What publishing the files would write."""
    prompts = read_entries(sorted((folder / "llm_prompts").glob("*.json")), read_prompt)
    schemas = read_entries(sorted((folder / "llm_schemas").glob("*.json")), read_schema)
    return [
        *((prompt_ref(entry.entry_id), entry.document) for entry in prompts),
        *((schema_ref(entry.entry_id), entry.document) for entry in schemas),
    ]


def _ready_steps(path: Path, run_id: str, run: Mapping[str, Any]) -> list[str]:
    try:
        steps = parse_flow_run(run_id, run).steps.values()
    except FlowRunInvalid as problem:
        raise FileInvalid(f"{path}: {problem}") from None
    return [
        step.step_id
        for step in steps
        if (step.step_type, step.status) == (LLM_REPORT, StepStatus.READY)
    ]


def step_of(tried_run: Mapping[str, Any], step_id: str) -> Mapping[str, Any]:
    """A step's document."""
    return map_at(tried_run, "steps", step_id)
