"""One report step whose executor is killed at a point, and whose successors finish the work."""

import asyncio
import contextlib
import io
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from http import HTTPStatus
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from dispatcher.notify import Notifier
from executor.adapters.gemini import GeminiModel
from executor.ports import BackgroundModel
from executor.push import answer_push
from executor.service import ExecutorPorts
from executor.settings import ExecutorSettings, read_settings
from executor.wiring import assemble, make_background, make_model
from infra.local.embedded.objects import EmbeddedObjects
from infra.local.gemini import create_app
from infra.local.gemini.faults import FaultRule
from infra.local.processes.functions import function_environ
from infra.local.serving.asgi import serve
from shared.adapters.clock import SystemClock
from shared.domain.documents import DocumentRef
from shared.domain.job_documents import job_ref, parse_job_record
from shared.domain.jobs import JobRecord
from shared.domain.messages import OutgoingMessage
from shared.log import EventLogger, Severity
from tests.chaos.mortal import (
    Life,
    MortalBackground,
    MortalDocuments,
    MortalModel,
    MortalObjects,
    Point,
)
from tests.support.model_stage import (
    MAX_DELIVERIES,
    RUN,
    RUN_ID,
    STEP_ID,
    NoJitter,
    Seeds,
    Stage,
    seeds,
)
from tests.support.worker import push

_PATIENCE_SECONDS = 120.0
_A_MOMENT = timedelta(seconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Aftermath:
    """What was left after the kill."""

    step: Mapping[str, Any]
    record: Mapping[str, Any]
    billed_calls: int
    left_at_provider: int
    killed: bool


async def kill_at(
    point: Point, environ: Mapping[str, str], folder: Path, *faults: FaultRule
) -> Aftermath:
    """Work on one step; its first executor dies at the point."""
    async with kill_stage(folder, environ, *faults) as stage:
        killed = await stage.deliver_and_kill(point)
        if stage.notify is not None and not faults:
            await stage.notify.heard_of(stage.billed_calls)
        await stage.deliver_until_closed()
        # The killed process acknowledged nothing: after the end the message comes once more.
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
    """Both stages with a claimed step, and the stand-in that its executors call.

    With a `WEBHOOK_SECRET`, hooks are heard on a socket of their own.
    """
    app = create_app(latency_seconds=0, faults=faults)
    secret = environ.get("WEBHOOK_SECRET")
    notify = Notify(secret) if secret and "WEBHOOK_URL" not in environ else None
    async with (
        asyncio.timeout(_PATIENCE_SECONDS),
        serve(app, name="Gemini stand-in") as url,
        notify.served() if notify else contextlib.nullcontext() as hooks_url,
    ):
        hooks = {"WEBHOOK_URL": hooks_url} if hooks_url else {}
        settings = {**function_environ("local", url), "LOG_LEVEL": "DEBUG", **environ, **hooks}
        stage = KillStage(folder, settings, seeded or seeds(), app.state)
        stage.notify = notify
        async with stage.environment:
            await stage.claim()
            yield stage


class Notify:
    """The function `notify` on a socket; what it publishes waits for its delivery."""

    def __init__(self, secret: str) -> None:
        self.waiting: list[bytes] = []
        self._secret = secret
        self._heard = asyncio.Semaphore(0)

    @asynccontextmanager
    async def served(self) -> AsyncIterator[str]:
        """Answer hooks while the block lasts; yields where."""
        clock = SystemClock()
        notifier = Notifier(
            queue=self,
            clock=clock,
            log=EventLogger(
                component="dispatcher",
                env="local",
                clock=clock,
                threshold=Severity.DEBUG,
                stream=io.StringIO(),
            ),
            secrets=[self._secret],
        )

        async def answer(request: Request) -> Response:
            status = await notifier.handle(
                request.method, request.url.path, request.headers, request.stream()
            )
            return Response(status_code=status)

        app = Starlette(routes=[Route("/{path:path}", answer, methods=["POST"])])
        async with serve(app, name="notify") as url:
            yield url

    async def publish(
        self, messages: Sequence[OutgoingMessage], *, timeout_seconds: float
    ) -> None:
        """See the Queue port."""
        del timeout_seconds
        self.waiting += map(push, messages)
        self._heard.release()

    async def heard_of(self, calls: int) -> None:
        """Wait for the hooks of so many calls."""
        for _ in range(calls):
            await self._heard.acquire()


class KillStage(Stage):
    """A step, and as many executor processes as it takes."""

    def __init__(
        self, folder: Path, environ: Mapping[str, str], seeded: Seeds, gemini: Any
    ) -> None:
        super().__init__(folder, environ, seeded)
        #: The stand-in's state: faults, calls, interactions.
        self.gemini = gemini
        self.notify: Notify | None = None

    @property
    def billed_calls(self) -> int:
        """The calls that the model answered, whether or not anybody took the answer."""
        total: int = self.gemini.calls.answered.total()
        return total

    async def record(self) -> JobRecord:
        """The job record as it stands."""
        return parse_job_record(await self._read(job_ref(RUN_ID, STEP_ID)))

    async def document(self, ref: DocumentRef) -> Mapping[str, Any]:
        """A document as it stands."""
        return await self._read(ref)

    async def step(self) -> Mapping[str, Any]:
        """The step as it stands."""
        run = await self._read(RUN)
        step: Mapping[str, Any] = run["steps"][STEP_ID]
        return step

    async def deliver(self, process: ExecutorPorts | None = None) -> int:
        """Deliver the job once, to a new process by default."""
        push = self.pushes[0]
        return await self.push(push, process)

    async def push(self, body: bytes, process: ExecutorPorts | None = None) -> int:
        """Answer this request in the process."""
        ports = process or self.process()
        executor = assemble(ports, self.settings)
        return await answer_push(body, executor.handle, ports.log)

    async def deliver_when_wanted(self, process: ExecutorPorts | None = None) -> int:
        """Deliver as Pub/Sub and the sweep do: when the lease, or the rest, is over."""
        record = await self.record()
        if record.lease:
            self.clock.jump_to(record.lease.expires_at + _A_MOMENT)
        elif record.not_before:
            await self._wait(await self._read(job_ref(RUN_ID, STEP_ID)))
        return await self.deliver(process)

    async def deliver_and_kill(self, point: Point) -> bool:
        """Deliver the job to processes that die at the point; whether it came to that.

        In the background, the call is begun by one process and its answer fetched by another.
        """
        for _ in range(MAX_DELIVERIES):
            if (await self.record()).closed:
                break
            if await self._delivered_and_killed(point):
                return True
        return False

    async def _delivered_and_killed(self, point: Point) -> bool:
        life = Life(dies=point)
        working = asyncio.create_task(self.deliver_when_wanted(self.process(life)))
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
            await self.deliver_hooks()
            if (await self.record()).closed:
                return
            self.statuses.append(await self.deliver_when_wanted())
        raise AssertionError(f"{MAX_DELIVERIES} deliveries and no end: {self.statuses}")

    async def deliver_hooks(self) -> None:
        """Deliver the messages of all hooks that are not acknowledged yet."""
        if self.notify is None:
            return
        waiting, self.notify.waiting = self.notify.waiting, []
        for body in waiting:
            if await self.push(body) != HTTPStatus.NO_CONTENT:
                self.notify.waiting.append(body)

    @property
    def settings(self) -> ExecutorSettings:
        """The settings of every process."""
        return read_settings(self.environment.environ)

    def process(self, life: Life | None = None) -> ExecutorPorts:
        """The ports of one more executor process; it lives to the end by default."""
        life = life or Life()
        model = make_model(self.settings)
        self.environment.resources.push_async_callback(model.aclose)
        return ExecutorPorts(
            documents=MortalDocuments(inner=self.environment.worker_documents, life=life),
            objects=MortalObjects(inner=EmbeddedObjects(self.folder), life=life),
            model=MortalModel(inner=model, life=life),
            background=self._mortal_background(model, life),
            dead_letters=self.environment.dead_letters,
            clock=self.clock,
            log=self.environment.logger("executor", self.settings.shared),
            new_id=lambda: uuid.uuid4().hex,
            random=NoJitter(),
        )

    def _mortal_background(self, model: GeminiModel, life: Life) -> BackgroundModel | None:
        background = make_background(self.settings, model)
        return background and MortalBackground(inner=background, life=life)
