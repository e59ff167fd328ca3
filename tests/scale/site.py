"""Both stages under a steady load, in virtual time and without faults."""

import asyncio
import contextvars
import gc
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from random import Random
from typing import Any, TypeVar

from dispatcher.settings import read_settings
from executor.contract.artifacts import GcsUri
from executor.ports import ModelRequest
from infra.ops.dead_letters.letter import DeadLetter
from shared.domain.documents import Create, DocumentRef
from shared.domain.messages import OutgoingMessage
from tests.scale.counts import Counts
from tests.scale.indexed import IndexedDocuments
from tests.simulation import stages
from tests.simulation.bucket import Bucket
from tests.simulation.delivery import EventTrigger, Platform, Scheduler, Topic
from tests.simulation.ledger import CallSeen
from tests.simulation.loop import RunsInCircles, VirtualLoop, make_loop
from tests.simulation.memory import remembered
from tests.simulation.nemesis import CALM, Nemesis
from tests.simulation.process import EPOCH, Process, Request
from tests.simulation.records import Records
from tests.simulation.scenarios import (
    IMAGE,
    IMAGE_URI,
    MANIFEST,
    MANIFEST_URI,
    PROMPT,
    PROMPT_ID,
    SCHEMA,
    SCHEMA_ID,
    Report,
    candles,
    candles_uri,
    run_document,
)
from tests.simulation.simulate import SWEEP_SECONDS
from tests.simulation.stages import Deployment, Fleet
from tests.simulation.world import Call, World

_T = TypeVar("_T")

#: How long a call of Firestore, Pub/Sub or Cloud Storage takes, there and back.
PORT_SECONDS = 0.02
#: How long a call of the model takes.
MODEL_SECONDS = (8.0, 22.0)
STEPS_OF_A_RUN = 4
_NANOSECONDS = int(EPOCH.timestamp()) * 10**9


class ScaleWorld(World):
    """Every operation takes its usual time, and is counted."""

    def __init__(
        self, loop: VirtualLoop, counts: Counts, model_seconds: tuple[float, float]
    ) -> None:
        super().__init__(loop, Nemesis(1, CALM, ()), traced=False)
        self._counts = counts
        self._model_seconds = model_seconds
        self._draw = Random(1)

    async def perform(self, call: Call, apply: Callable[[], Awaitable[_T]]) -> _T:
        """See `World.perform`."""
        self._counts.operation(call.kind, call.process.name, call.target)
        call.begin()
        thinking = self._draw.uniform(*self._model_seconds) if call.work_seconds else 0.0
        await asyncio.sleep(PORT_SECONDS / 2 + thinking)
        result = await apply()
        await asyncio.sleep(PORT_SECONDS / 2)
        return result


@contextmanager
def _uncollected() -> Iterator[None]:
    """Do not look for cycles: there are none, and each search walks all tasks in flight."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


class Nobody:
    """Observes nothing: whatever goes wrong shows in the counts."""

    def __init__(self, counts: Counts) -> None:
        self._counts = counts

    def stored(self, who: Process, uri: GcsUri) -> None:
        """See `adapters.Observer`."""

    def called(self, who: Process, request: ModelRequest) -> CallSeen | None:
        """See `adapters.Observer`."""

    def call_ended(self, call: CallSeen | None, *, free: bool) -> None:
        """See `adapters.Observer`."""

    def published(self, who: Process, messages: Sequence[OutgoingMessage]) -> None:
        """See `adapters.Observer`."""
        self._counts.messages += len(messages)

    def letter_acknowledged(self, letter: DeadLetter) -> None:
        """See `letters.LetterWitness`."""

    def answered(self, request: Request) -> None:
        """See `delivery.Witness`."""

    def event_begins(self, event_id: str) -> None:
        """See `delivery.Witness`."""

    def event_ends(self, event_id: str, *, acknowledged: bool) -> None:
        """See `delivery.Witness`."""

    def message_acknowledged(self, request: Request, message: OutgoingMessage) -> None:
        """See `delivery.Witness`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One sweep."""

    seconds: float
    messages: int


class Site:
    """The worker's two functions and its sweep, with everything around them."""

    def __init__(
        self,
        *,
        instances: int,
        environ: Mapping[str, str] | None = None,
        model_seconds: tuple[float, float] = MODEL_SECONDS,
    ) -> None:
        self.loop = make_loop(Nemesis(1, CALM, ()).schedule)
        self.counts = Counts(seconds=self.loop.time)
        self.world = ScaleWorld(self.loop, self.counts, model_seconds)
        self.deployment: Deployment
        self.records = Records(self.loop.time)
        self.documents = IndexedDocuments(lambda: _NANOSECONDS + int(self.loop.time() * 1e9))
        self.documents.listen(self.records._collect)
        self.records.documents = self.documents
        self.bucket = Bucket()
        self.turns: list[Turn] = []
        self._environ = {**stages._ENVIRON, **(environ or {})}
        self._nobody = Nobody(self.counts)
        self._connect(instances)
        self._seed()

    def _connect(self, instances: int) -> None:
        deployment = self.deployment = Deployment(
            world=self.world,
            records=self.records,
            bucket=self.bucket,
            observer=self._nobody,
            letter_witness=self._nobody,
            settings=stages.executor_settings("at_least_once"),
        )
        platform = Platform(world=self.world)

        def fleet(name: str, size: int, deploy: Any) -> Fleet:
            return Fleet(name=name, size=size, world=self.world, deploy=deploy)

        deployment.topic = Topic(
            platform=platform,
            executors=fleet("executor", instances, deployment.executor),
            witness=self._nobody,
            dead_letters=deployment.dead_letters,
        )
        self.records.tell(self.counts)
        self.trigger = EventTrigger(
            platform=platform,
            dispatchers=fleet("dispatcher", instances, deployment.dispatcher),
            witness=self._nobody,
        )
        self.records.tell(self.trigger)
        self._sweeps = fleet("sweep", 2, deployment.sweep)

    def _seed(self) -> None:
        self.bucket.create(IMAGE_URI, IMAGE, {})
        self.bucket.create(MANIFEST_URI, MANIFEST, {})
        for collection, name, data in (
            ("llm_prompts", PROMPT_ID, PROMPT),
            ("llm_schemas", SCHEMA_ID, SCHEMA),
        ):
            self.records.create(Create(ref=DocumentRef(collection, name), data=dict(data)))

    def create_run(self, number: int, steps: int = STEPS_OF_A_RUN) -> None:
        """Create another run, whose steps are READY."""
        run_id = f"20260105-090000_BTCUSDT_{number:06x}"
        reports = [Report(step_id=f"report_{step}") for step in range(steps)]
        for report in reports:
            uri = candles_uri(run_id, report.step_id, 1)
            self.bucket.create(uri, candles(run_id, report.step_id, 1), {})
        run = run_document(run_id, reports)
        self.records.create(
            Create(
                ref=DocumentRef("flow_runs", run_id),
                data={**run, "createdAt": EPOCH + timedelta(seconds=self.loop.time())},
            )
        )

    def run(self, over: Callable[[], bool]) -> None:
        """Let time pass until `over` says so."""
        with remembered(), self._settings(), _uncollected():
            while True:
                try:
                    self.loop.run(over)
                except RunsInCircles:
                    # A great many tasks come and go here, so those that have ended are dropped.
                    self.loop._tasks = [task for task in self.loop._tasks if not task.done()]
                else:
                    return

    @contextmanager
    def _settings(self) -> Iterator[None]:
        original = stages.dispatcher_settings
        settings = read_settings(self._environ)
        stages.dispatcher_settings = lambda: settings  # type: ignore[assignment]
        try:
            yield
        finally:
            stages.dispatcher_settings = original

    def start(self, work: Any) -> None:
        """Run this as a task beside all others."""
        self.loop.create_task(work, context=contextvars.Context())

    def sweep_for_ever(self) -> None:
        """Sweep every minute."""
        every = Scheduler(world=self.world, sweeps=self._sweeps, every_seconds=SWEEP_SECONDS)
        self.start(every.run())

    async def sweep_once(self) -> None:
        """Sweep, and note how it went."""
        begun, messages = self.loop.time(), self.counts.messages
        await self._sweeps.start(None).answer
        turn = Turn(seconds=self.loop.time() - begun, messages=self.counts.messages - messages)
        self.turns.append(turn)
