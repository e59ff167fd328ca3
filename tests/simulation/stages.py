"""The deployed code of both functions, in instances that die and are replaced."""

import asyncio
import io
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from functools import cache
from random import Random
from typing import Any

from dispatcher.ports import DispatcherPorts, SweepPorts
from dispatcher.settings import DispatcherSettings
from dispatcher.settings import read_settings as read_dispatcher_settings
from dispatcher.wiring import assemble as assemble_dispatcher
from dispatcher.wiring import assemble_sweep
from executor.ports import BackgroundModel
from executor.push import answer_push
from executor.service import ExecutorPorts
from executor.settings import ExecutorSettings
from executor.settings import read_settings as read_executor_settings
from executor.wiring import assemble
from shared.log import EventLogger, Severity
from tests.simulation.adapters import (
    Observer,
    SimulatedDocuments,
    SimulatedModel,
    SimulatedObjects,
    SimulatedQueue,
)
from tests.simulation.bucket import Bucket
from tests.simulation.delivery import EventRequest, MessageStore, Topic
from tests.simulation.letters import DeadLetters, LetterWitness, SimulatedLetters
from tests.simulation.metering import PATIENCE_SECONDS, Gate
from tests.simulation.model import CANARY
from tests.simulation.operators import Operator
from tests.simulation.process import Process, Request
from tests.simulation.provider import Provider, SimulatedBackground
from tests.simulation.records import Records
from tests.simulation.scenarios import BUCKET
from tests.simulation.world import World

_ENVIRON = {
    "GCP_PROJECT": "simulated",
    "ENVIRONMENT": "simulated",
    "ARTIFACTS_BUCKET": BUCKET,
    "JOBS_TOPIC": "jobs",
    "DEAD_LETTER_TOPIC": "dead",
    "GEMINI_API_KEY": f"{CANARY}-of-the-key",
}

Handler = Callable[[Any], Coroutine[Any, Any, Any]]


class SilentLog(EventLogger):
    """Writes nothing; leaving the log out is most of what makes a run fast."""

    __slots__ = ()

    def bind(self, **fields: Any) -> "EventLogger":
        """Return the same logger: nothing is written anyway."""
        del fields
        return self

    def _emit(self, *_entry: object) -> None:
        """Write nothing."""


@cache
def dispatcher_settings() -> DispatcherSettings:
    """The defaults of production."""
    return read_dispatcher_settings(_ENVIRON)


#: How calls are made and paid for: the environment variables that choose it.
CALL_MODES: Mapping[str, Mapping[str, str]] = {
    "at_least_once": {},
    "at_most_once": {"CALL_POLICY": "at_most_once"},
    "background": {"GEMINI_API": "interactions"},
    "background_at_most_once": {"GEMINI_API": "interactions", "CALL_POLICY": "at_most_once"},
}


#: The secret by which hooks are signed.
HOOK_SECRET = "h" * 32
_HOOKS = {"WEBHOOK_URL": "https://hooks.example", "WEBHOOK_SECRET": HOOK_SECRET}
#: The background modes, with hooks. They have seeds of their own.
HOOK_MODES: Mapping[str, Mapping[str, str]] = {
    "background_hooks": {**CALL_MODES["background"], **_HOOKS},
    "background_hooks_at_most_once": {**CALL_MODES["background_at_most_once"], **_HOOKS},
}

#: The background modes with a cheap slow tier and a dear quick one, and half an hour of
#: patience: a call that the slow tier has not answered by then is stopped, and made at the
#: quick tier.
_TIERS = {"GEMINI_SERVICE_TIERS": "flex,standard", "REFUSAL_PATIENCE_SECONDS": "1800"}
TIER_MODES: Mapping[str, Mapping[str, str]] = {
    "background_tiers": {**HOOK_MODES["background_hooks"], **_TIERS},
    "background_tiers_at_most_once": {
        **HOOK_MODES["background_hooks_at_most_once"],
        **_TIERS,
    },
}
_PATIENCE = {"REFUSAL_PATIENCE_SECONDS": f"{PATIENCE_SECONDS:.0f}"}
#: The modes that run beside a provider with a quota. They have seeds of their own, too.
METERED_MODES: Mapping[str, Mapping[str, str]] = {
    f"metered_{mode}": {**variables, **_PATIENCE} for mode, variables in CALL_MODES.items()
}
#: All modes.
ALL_MODES: Mapping[str, Mapping[str, str]] = {
    **CALL_MODES,
    **HOOK_MODES,
    **TIER_MODES,
    **METERED_MODES,
}


@cache
def executor_settings(call_mode: str) -> ExecutorSettings:
    """The defaults of production, in this call mode."""
    return read_executor_settings({**_ENVIRON, **ALL_MODES[call_mode]})


@dataclass(slots=True, kw_only=True)
class Fleet:
    """The instances of one function (implements `delivery.Stage`)."""

    name: str
    size: int
    world: World
    #: Gives what an instance in this process does with a request.
    deploy: Callable[[Process], Handler]
    _instances: dict[int, tuple[Process, Handler]] = field(default_factory=dict)
    _count: int = 0

    def start(self, request: Any) -> Request:
        """See `delivery.Stage`."""
        slot = self.world.nemesis.schedule.randrange(self.size)
        process, handle = self._instances.get(slot) or self._new(slot)
        if process.retiring or not process.alive:
            process, handle = self._new(slot)
        return process.start(lambda: handle(request))

    def _new(self, slot: int) -> tuple[Process, Handler]:
        self._count += 1
        process = Process(f"{self.name}-{self._count}", self.world.loop)
        self._instances[slot] = process, self.deploy(process)
        return self._instances[slot]


@dataclass(slots=True, kw_only=True)
class Deployment:
    """What the instances of both functions share."""

    world: World
    records: Records
    bucket: Bucket
    observer: Observer
    letter_witness: LetterWitness
    settings: ExecutorSettings
    #: Where the stages log to; logging nowhere is fast.
    log_stream: io.StringIO | None = None
    #: The provider's store of background calls; None where no calls are made in the background.
    provider: Provider | None = None
    #: How many calls the provider takes; None means all.
    gate: Gate | None = None
    dead_letters: DeadLetters = field(default_factory=DeadLetters)
    topic: Topic | None = None
    _ids: int = 0

    def dispatcher(self, process: Process) -> Handler:
        """A dispatcher in this process."""
        if self.topic is None:
            raise RuntimeError("the jobs topic is missing")
        service = assemble_dispatcher(
            DispatcherPorts(
                documents=self._documents(process),
                queue=self._queue(process, self.topic),
                clock=process,
                log=self._log("dispatcher", process),
                new_id=self._new_id,
                random=Random(self._seed()),
            ),
            dispatcher_settings(),
        )

        async def handle(request: EventRequest) -> None:
            await service.handle(request.attributes, request.data)

        return handle

    def sweep(self, process: Process) -> Handler:
        """A sweep in this process."""
        if self.topic is None:
            raise RuntimeError("the jobs topic is missing")
        documents = self._documents(process)
        service = assemble_sweep(
            SweepPorts(
                documents=documents,
                work=documents,
                queue=self._queue(process, self.topic),
                clock=process,
                log=self._log("dispatcher", process),
                new_id=self._new_id,
                random=Random(self._seed()),
            ),
            dispatcher_settings(),
        )

        async def handle(_request: None) -> None:
            await service.run()

        return handle

    def executor(self, process: Process) -> Handler:
        """An executor in this process."""
        draining = asyncio.Event()
        process.on_terminate = draining.set
        ports = ExecutorPorts(
            documents=self._documents(process),
            objects=SimulatedObjects(
                world=self.world, process=process, bucket=self.bucket, observer=self.observer
            ),
            model=SimulatedModel(
                world=self.world, process=process, observer=self.observer, gate=self.gate
            ),
            background=self._background(process),
            dead_letters=self._queue(process, self.dead_letters),
            clock=process,
            log=self._log("executor", process),
            new_id=self._new_id,
            random=Random(self._seed()),
            draining=draining,
        )
        service = assemble(ports, self.settings)

        async def handle(body: bytes) -> int:
            return await answer_push(body, service.handle, ports.log)

        return handle

    def operator(self, process: Process) -> Handler:
        """An operator's command line in this process."""
        if self.topic is None:
            raise RuntimeError("the jobs topic is missing")
        box = SimulatedLetters(
            world=self.world,
            process=process,
            dead_letters=self.dead_letters,
            witness=self.letter_witness,
        )
        return Operator(
            documents=self._documents(process),
            jobs=self._queue(process, self.topic),
            box=box,
            clock=process,
        ).run

    def _background(self, process: Process) -> BackgroundModel | None:
        if self.provider is None:
            return None
        return SimulatedBackground(
            world=self.world,
            process=process,
            provider=self.provider,
            observer=self.observer,
            gate=self.gate,
        )

    def _documents(self, process: Process) -> SimulatedDocuments:
        return SimulatedDocuments(world=self.world, process=process, records=self.records)

    def _queue(self, process: Process, topic: MessageStore) -> SimulatedQueue:
        return SimulatedQueue(
            world=self.world, process=process, topic=topic, observer=self.observer
        )

    def _log(self, component: str, process: Process) -> EventLogger:
        kind = SilentLog if self.log_stream is None else EventLogger
        return kind(
            component=component,
            env="simulated",
            clock=process,
            threshold=Severity.DEBUG,
            stream=self.log_stream,
        )

    def _new_id(self) -> str:
        self._ids += 1
        return f"id-{self._ids}"

    def _seed(self) -> int:
        return self.world.nemesis.schedule.getrandbits(32)
