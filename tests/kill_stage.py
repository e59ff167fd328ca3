"""One report step whose executor is killed at a point, and whose successors finish the work."""

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from executor.adapters.gemini import GeminiModel
from executor.service import Executor
from executor.settings import read_settings
from executor.wiring import make_background, make_model
from infra.local.embedded.objects import EmbeddedObjects
from infra.local.gemini import create_app
from infra.local.gemini.faults import FaultRule
from infra.local.local_functions import function_environ
from infra.local.serve import serve
from shared.domain.job_documents import job_ref, parse_job_record
from shared.domain.jobs import JobRecord
from tests.model_stage import (
    MAX_DELIVERIES,
    RUN,
    RUN_ID,
    STEP_ID,
    NoJitter,
    Seeds,
    Stage,
    seeds,
)
from tests.mortal import (
    Life,
    MortalBackground,
    MortalDocuments,
    MortalModel,
    MortalObjects,
    Point,
)

_PATIENCE_SECONDS = 120.0
_A_MOMENT = timedelta(seconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Aftermath:
    """What the kill came to."""

    step: Mapping[str, Any]
    record: Mapping[str, Any]
    billed_calls: int
    left_at_provider: int
    killed: bool


async def kill_at(point: Point, environ: Mapping[str, str], folder: Path) -> Aftermath:
    """Work on one step; its first executor dies at the point."""
    async with kill_stage(folder, environ) as stage:
        killed = await stage.deliver_and_kill(point)
        await stage.deliver_until_closed()
        # Whoever was killed acknowledged nothing: after the end the message comes once more.
        await stage.deliver()
        ended = await stage.ended(stage.gemini.calls)
        return Aftermath(
            step=ended.step,
            record=ended.record,
            billed_calls=stage.billed_calls,
            left_at_provider=len(stage.gemini.interactions.kept),
            killed=killed,
        )


@asynccontextmanager
async def kill_stage(
    folder: Path,
    environ: Mapping[str, str],
    *faults: FaultRule,
    seeded: Seeds | None = None,
) -> AsyncIterator["KillStage"]:
    """Both stages with a claimed step, and the stand-in that its executors call."""
    app = create_app(latency_seconds=0, faults=faults)
    async with (
        asyncio.timeout(_PATIENCE_SECONDS),
        serve(app, name="Gemini stand-in") as url,
    ):
        settings = {**function_environ("local", url), "LOG_LEVEL": "DEBUG", **environ}
        stage = KillStage(folder, settings, seeded or seeds(), app.state)
        async with stage.environment:
            await stage.claim()
            yield stage


class KillStage(Stage):
    """A step, and as many executor processes as it takes."""

    def __init__(
        self, folder: Path, environ: Mapping[str, str], seeded: Seeds, gemini: Any
    ) -> None:
        super().__init__(folder, environ, seeded)
        #: The stand-in's state: faults, calls, interactions.
        self.gemini = gemini

    @property
    def billed_calls(self) -> int:
        """The calls that the model answered, whether or not anybody took the answer."""
        total: int = self.gemini.calls.answered.total()
        return total

    async def record(self) -> JobRecord:
        """The job record as it stands."""
        return parse_job_record(await self._read(job_ref(RUN_ID, STEP_ID)))

    async def step(self) -> Mapping[str, Any]:
        """The step as it stands."""
        run = await self._read(RUN)
        step: Mapping[str, Any] = run["steps"][STEP_ID]
        return step

    async def deliver(self, executor: Executor | None = None) -> int:
        """Deliver the job once, to a new process by default."""
        [push] = self.pushes
        return await (executor or self.process()).handle(push)

    async def deliver_when_wanted(self) -> int:
        """Deliver as Pub/Sub and the sweep do: when the lease, or the rest, is over."""
        record = await self.record()
        if record.lease:
            self.clock.jump_to(record.lease.expires_at + _A_MOMENT)
        elif record.not_before:
            self.clock.jump_to(record.not_before)
        return await self.deliver()

    async def deliver_and_kill(self, point: Point) -> bool:
        """Deliver the job to a process that dies at the point; whether it came to that."""
        life = Life(dies=point)
        working = asyncio.create_task(self.deliver(self.process(life)))
        dying = asyncio.create_task(life.died.wait())
        await asyncio.wait({working, dying}, return_when=asyncio.FIRST_COMPLETED)
        for task in (working, dying):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        return life.died.is_set()

    async def deliver_until_closed(self) -> None:
        """Deliver as often as it takes."""
        for _ in range(MAX_DELIVERIES):
            if (await self.record()).closed:
                return
            self.statuses.append(await self.deliver_when_wanted())
        raise AssertionError(f"{MAX_DELIVERIES} deliveries and no end: {self.statuses}")

    def process(self, life: Life | None = None) -> Executor:
        """One more executor process; it lives to the end by default."""
        life = life or Life()
        settings = read_settings(self.environment.environ)
        model = make_model(settings)
        self.environment.resources.push_async_callback(model.aclose)
        return Executor(
            documents=MortalDocuments(inner=self.environment.worker_documents, life=life),
            objects=MortalObjects(inner=EmbeddedObjects(self.folder), life=life),
            model=MortalModel(inner=model, life=life),
            background=self._mortal_background(model, life),
            dead_letters=self.environment.dead_letters,
            clock=self.clock,
            log=self.environment.logger("executor", settings.shared),
            settings=settings,
            new_id=lambda: uuid.uuid4().hex,
            random=NoJitter(),
        )

    def _mortal_background(self, model: GeminiModel, life: Life) -> Any:
        calls = make_background(read_settings(self.environment.environ), model)
        if calls is None:
            return None
        mortal = MortalBackground(inner=calls.model, life=life)
        return replace(calls, model=mortal, clock=self.clock)
