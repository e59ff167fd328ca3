"""An evaluation that shares the provider's quota with production, in virtual time."""

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from functools import partial

from executor.ports import ModelAnswer, ModelRequest
from executor.push import answer_push
from executor.service import ExecutorPorts
from executor.wiring import assemble
from infra.local.embedded.documents import EmbeddedDocuments
from infra.local.embedded.queue import KeptMessages
from infra.ops.environment.listing import EmbeddedRunListing
from infra.ops.evaluation.asking.cell_ports import CellDocuments
from infra.ops.evaluation.asking.cells import Endpoint, EvaluationCell
from infra.ops.evaluation.asking.executing import Execution
from infra.ops.evaluation.asking.forecast import Cost
from infra.ops.evaluation.asking.pace import EvaluationPace
from infra.ops.evaluation.asking.paced import PacedModel
from infra.ops.evaluation.asking.planning import PlannedCell
from infra.ops.evaluation.asking.production import ProductionQuota
from infra.ops.evaluation.asking.variants import AskedCase
from infra.ops.evaluation.cases.case import REGISTRY, Case, prompt_ref, schema_ref
from shared.domain.pace_documents import pace_place
from shared.log import Severity
from tests.simulation.adapters import SimulatedObjects
from tests.simulation.model import good_answer
from tests.simulation.process import Process
from tests.simulation.scenarios import (
    PROMPT,
    PROMPT_ID,
    SCHEMA,
    SCHEMA_ID,
    Report,
    candles,
    candles_uri,
    run_document,
)
from tests.simulation.stages import SilentLog
from tests.storm.site import MODEL, REFUSAL_SECONDS, Site

_STEP = "s000"
_REGISTRY = {prompt_ref(PROMPT_ID): PROMPT, schema_ref(SCHEMA_ID): SCHEMA}
_NOT_PRICED = Cost(likely=None, most=None)


@dataclass(slots=True, kw_only=True)
class EvaluationBeside:
    """Asks for the reports of so many past steps, as `worker-llm eval` does."""

    site: Site
    cases: int
    begins_at: float
    #: The rate that the evaluation was told to use; it may ask less often.
    calls_per_minute: float
    parallel: int = 4
    #: How many calls there were, by what became of them at the provider.
    calls: Counter[str] = field(default_factory=Counter)
    process: Process = field(init=False)
    store: EmbeddedDocuments = field(default_factory=EmbeddedDocuments)

    def __post_init__(self) -> None:
        self.process = Process("evaluation", self.site.loop)

    async def run(self) -> None:
        """Ask for the reports, after the beginning that is set."""
        await asyncio.sleep(self.begins_at)
        pace = EvaluationPace(
            clock=self.process,
            every_seconds=60 / self.calls_per_minute,
            left_by_production=self._production().left,
        )
        model = PacedModel(model=SharedModel(beside=self), pace=pace)
        execution = Execution(
            endpoint=partial(self._endpoint, model), pace=pace, parallel=self.parallel
        )
        cells = [self._cell(number) for number in range(self.cases)]
        await execution.run(
            [
                PlannedCell(cell=cell, model=MODEL, cost=_NOT_PRICED, known=None)
                for cell in cells
            ]
        )

    def _production(self) -> ProductionQuota:
        documents = self.site.records.documents
        return ProductionQuota(
            documents=documents,
            runs=EmbeddedRunListing(documents),
            places={pace_place(MODEL, self.site.executor_settings.gemini.endpoint)},
            clock=self.process,
        )

    def _cell(self, number: int) -> EvaluationCell:
        run_id = f"20250105-090000_BTCUSDT_{number:06x}"
        run = run_document(run_id, [Report(step_id=_STEP)])
        data = candles(run_id, _STEP, 1)
        self.site.objects.create(candles_uri(run_id, _STEP, 1), data, {})
        objects = SimulatedObjects(
            world=self.site.world,
            process=self.process,
            bucket=self.site.objects,
            observer=self.site.seen,
        )
        return EvaluationCell(
            cell_id=run_id,
            case=Case(
                run_id=run_id,
                step_id=_STEP,
                run=run,
                prompt=PROMPT,
                schema=SCHEMA,
                sources=[],
                stored=None,
            ),
            asked=AskedCase(run=run, registry=_REGISTRY),
            documents=CellDocuments(
                store=self.store,
                cell=run_id,
                registry=_REGISTRY,
                registry_collections=REGISTRY,
            ),
            objects=objects,
            objects_of_report=objects,
            clock=self.process,
        )

    def _endpoint(self, model: PacedModel, cell: EvaluationCell) -> Endpoint:
        log = SilentLog(
            component="evaluation",
            env="simulated",
            clock=self.process,
            threshold=Severity.ERROR,
        )
        ports = ExecutorPorts(
            documents=cell.documents,
            objects=cell.objects,
            model=model,
            dead_letters=KeptMessages(),
            clock=self.process,
            log=log,
            new_id=lambda: f"{cell.cell_id}-{self.site.loop.time()}",
        )
        handle = assemble(ports, self.site.executor_settings).handle
        return partial(answer_push, handle=handle, log=log)


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedModel:
    """Implements the LanguageModel port with the quota that production's calls also use."""

    beside: EvaluationBeside

    async def generate(self, request: ModelRequest, *, timeout_seconds: float) -> ModelAnswer:
        """See the port."""
        del timeout_seconds
        site = self.beside.site
        draw = site.world.nemesis.schedule
        refusal = site.quotas[MODEL].ask(site.loop.time())
        self.beside.calls["refused" if refusal else "taken"] += 1
        if refusal is not None:
            await asyncio.sleep(draw.uniform(*REFUSAL_SECONDS))
            raise refusal
        await asyncio.sleep(draw.uniform(*site.call_seconds))
        return await good_answer(request)
