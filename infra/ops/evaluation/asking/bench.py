"""The folder of an evaluation, and the executor on its ports: nothing else is ever written."""

import fcntl
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import date
from functools import partial
from pathlib import Path
from typing import TextIO

from executor.contract.tiers import ServiceTier
from executor.ports import BackgroundModel, LanguageModel, ModelRequest, ObjectStore
from executor.push import answer_push
from executor.service import ExecutorPorts
from executor.settings import ExecutorSettings, GeminiApi, read_settings
from executor.wiring import assemble, make_background, make_model
from infra.failures import CannotBeDone
from infra.local.embedded.objects import EmbeddedObjects
from infra.local.embedded.queue import KeptMessages
from infra.local.storage.objects import ObjectFolder
from infra.ops.evaluation.asking.answers import CellAnswer
from infra.ops.evaluation.asking.cell_ports import CellDocuments, CellObjects
from infra.ops.evaluation.asking.cells import Endpoint, EvaluationCell
from infra.ops.evaluation.asking.forecast import Cost, cost_of
from infra.ops.evaluation.asking.kept_documents import KeptDocuments
from infra.ops.evaluation.asking.pace import EvaluationPace
from infra.ops.evaluation.asking.paced import PacedBackgroundModel, PacedModel
from infra.ops.evaluation.asking.variants import AskedCase
from infra.ops.evaluation.cases.case import REGISTRY, Case
from infra.ops.evaluation.cases.pinning import kept
from shared.adapters.clock import SystemClock
from shared.log import EventLogger
from shared.settings import SettingsInvalid

_API, _TIERS = "GEMINI_API", "GEMINI_SERVICE_TIERS"


class BenchInUse(CannotBeDone):
    """Another evaluation works in the folder."""


@dataclass(frozen=True, slots=True)
class Places:
    """Where things lie in an evaluation's folder."""

    root: Path

    @property
    def cases(self) -> Path:
        """Case files."""
        return self.root / "cases"

    @property
    def pinned(self) -> Path:
        """The bytes of sources and stored reports, each named by its hash."""
        return self.root / "pinned"

    @property
    def reports(self) -> Path:
        """The reports of the cells, a folder for each."""
        return self.root / "reports"

    def keep(self, data: bytes) -> str:
        """Keep the bytes by their hash, which is returned.

        Raises:
            OSError: nothing can be written there.
        """
        return kept(self.pinned, data)

    def make(self) -> None:
        """Make the folders.

        Raises:
            OSError: nothing can be written there.
        """
        for folder in (self.cases, self.pinned, self.reports):
            folder.mkdir(parents=True, exist_ok=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """Executes cells."""

    places: Places
    store: KeptDocuments
    settings: ExecutorSettings
    model: LanguageModel
    #: For calls that nobody waits for, where the settings want them.
    background: BackgroundModel | None
    pace: EvaluationPace
    log: EventLogger

    async def turn(self) -> None:
        """Wait until one more delivery may be made."""
        await self.pace.turn()

    def cost(self, request: ModelRequest, stored: CellAnswer | None, day: date) -> Cost:
        """What a cell costs on that day, by what the case's own report took if it has one."""
        tiers = self.settings.gemini.service_tiers
        return cost_of(request, stored, self.settings.prices, day, tiers)

    def reports(self, cell_id: str) -> EmbeddedObjects:
        """Where the cell's report goes."""
        folder = ObjectFolder(self.places.reports / cell_id)
        folder.create_bucket(self.settings.artifacts_bucket)
        return EmbeddedObjects(folder)

    def objects(self, case: Case, cell_id: str) -> CellObjects:
        """The objects that a cell sees."""
        return CellObjects(
            sources={source.uri: source for source in case.sources},
            pinned=self.places.pinned,
            reports=self.reports(cell_id),
        )

    def cell(
        self, cell_id: str, case: Case, asked: AskedCase, objects: ObjectStore | None = None
    ) -> EvaluationCell:
        """The cell with its ports; its objects are the case's, unless others are given."""
        return EvaluationCell(
            cell_id=cell_id,
            case=case,
            asked=asked,
            documents=CellDocuments(
                store=self.store,
                cell=cell_id,
                registry=asked.registry,
                registry_collections=REGISTRY,
            ),
            objects=objects or self.objects(case, cell_id),
            objects_of_report=self.reports(cell_id),
            clock=SystemClock(),
        )

    def endpoint(self, cell: EvaluationCell) -> Endpoint:
        """The deployed executor on the cell's ports, as pushes reach it."""
        ports = ExecutorPorts(
            documents=cell.documents,
            objects=cell.objects,
            model=self.model,
            background=self.background,
            dead_letters=KeptMessages(),
            clock=SystemClock(),
            log=self.log,
            new_id=lambda: uuid.uuid4().hex,
        )
        handle = assemble(ports, self.settings).handle
        return partial(answer_push, handle=handle, log=self.log)


@asynccontextmanager
async def opened_bench(
    places: Places, settings: ExecutorSettings, pace: EvaluationPace
) -> AsyncIterator[Bench]:
    """The bench in its folder, for one process at a time.

    Raises:
        BenchInUse: another process works there.
        OSError: nothing can be written there.
    """
    places.make()
    with (
        (places.root / "lock").open("w") as lock,
        (places.root / "worker.log").open("a") as log,
    ):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BenchInUse(f"{places.root}: another evaluation works there") from None
        model = make_model(settings)
        background = make_background(settings, model)
        store = await KeptDocuments.opened(places.root / "journal.jsonl")
        try:
            yield Bench(
                places=places,
                store=store,
                settings=settings,
                model=PacedModel(model=model, pace=pace),
                background=background and PacedBackgroundModel(model=background, pace=pace),
                pace=pace,
                log=_logger(settings, log),
            )
        finally:
            store.close()
            await model.aclose()


def evaluation_environ(environ: Mapping[str, str], *, max_cost_usd: str) -> dict[str, str]:
    """The executor's variables on a bench: its ceiling, and no call that may be paid twice."""
    ceiling = {"MAX_RUN_COST_USD": max_cost_usd} if max_cost_usd else {}
    kept = {name: text for name, text in environ.items() if name != "MAX_DAY_COST_USD"}
    return {**kept, **ceiling, "CALL_POLICY": "at_most_once"}


def with_cheap_tier(environ: Mapping[str, str]) -> Mapping[str, str]:
    """The variables with the cheapest tier of all first, where it is to be had.

    An evaluation can wait for minutes. What its author set about tiers stays; nor is a tier
    asked for that is not served there, or not priced for each model that has a price.
    """
    if environ.keys() & {_API, _TIERS}:
        return environ
    tiers = f"{ServiceTier.FLEX},{ServiceTier.STANDARD}"
    cheap = {**environ, _API: GeminiApi.INTERACTIONS, _TIERS: tiers}
    try:
        settings = read_settings(cheap)
    except SettingsInvalid:
        return environ
    prices = [price for of in settings.prices.values() for price in of]
    priced = prices and all(price.at_tier(ServiceTier.FLEX) for price in prices)
    return cheap if priced else environ


def _logger(settings: ExecutorSettings, stream: TextIO) -> EventLogger:
    return EventLogger(
        component="executor",
        env=settings.shared.environment,
        clock=SystemClock(),
        threshold=settings.shared.log_level,
        stream=stream,
    )
