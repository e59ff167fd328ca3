"""Production in virtual time: the deployed code, and a provider with quotas."""

import asyncio
import contextvars
from collections import Counter, deque
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from http import HTTPStatus
from random import Random
from typing import Any

from dispatcher.ports import DispatcherPorts, SweepPorts
from dispatcher.settings import DispatcherSettings
from dispatcher.settings import read_settings as read_dispatcher_settings
from dispatcher.wiring import assemble as assemble_dispatcher
from dispatcher.wiring import assemble_sweep
from executor.ports import BackgroundModel, ModelAnswer, ModelRequest
from executor.push import answer_push
from executor.service import ExecutorPorts
from executor.settings import ExecutorSettings
from executor.settings import read_settings as read_executor_settings
from executor.wiring import assemble
from infra.local.embedded.queue import QueuedMessage, push_body
from shared.domain.documents import Create, DocumentRef
from shared.domain.messages import OutgoingMessage
from shared.domain.times import rfc3339
from shared.log import Severity
from tests.simulation.adapters import (
    SimulatedDocuments,
    SimulatedObjects,
    SimulatedQueue,
)
from tests.simulation.bucket import Bucket as Objects
from tests.simulation.delivery import FLOW_RUNS, EventTrigger, Platform, Scheduler
from tests.simulation.ledger import CallSeen
from tests.simulation.loop import VirtualLoop, make_loop
from tests.simulation.memory import remembered
from tests.simulation.model import good_answer, marker_of
from tests.simulation.nemesis import CALM, Nemesis
from tests.simulation.process import EPOCH, Process, Request
from tests.simulation.records import Change, Records
from tests.simulation.scenarios import (
    BUCKET,
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
from tests.simulation.stages import Fleet, SilentLog
from tests.simulation.world import World
from tests.storm.quotas import Quota

#: The limits, as `infra/terraform/modules/worker/variables.tf` has them.
INSTANCES, CONCURRENCY = 10, 4
#: The time from a new instance's start until it takes a request (docs/benchmarks.md).
COLD_START_SECONDS = 2.4
SWEEP_EVERY_SECONDS = 60.0
CALL_SECONDS = (8.0, 22.0)
REFUSAL_SECONDS = (0.1, 0.5)
MODEL = "simulated"
#: The tokens of an answer; each costs a millionth of a dollar.
CALL_COST = 20
_ENVIRON = {
    "GCP_PROJECT": "simulated",
    "ENVIRONMENT": "simulated",
    "ARTIFACTS_BUCKET": BUCKET,
    "JOBS_TOPIC": "jobs",
    "DEAD_LETTER_TOPIC": "dead",
    "GEMINI_API_KEY": "none",
}
_DELIVERY_SECONDS = (0.02, 0.3)
_REDELIVERY_SECONDS = (10.0, 600.0)
_MAX_DELIVERIES = 20
_MAX_CALLBACKS = 20_000_000


@dataclass(slots=True, kw_only=True)
class Asked:
    """A run that the orchestrator starts."""

    run_id: str
    steps: int
    at_seconds: float = 0.0
    model: str = MODEL
    due_in_seconds: float | None = None


@dataclass(slots=True)
class Seen:
    """Counts what can be seen from outside."""

    taken: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    claimed_at: dict[tuple[str, str], float] = field(default_factory=dict)
    #: When the call that was taken began.
    called_at: dict[tuple[str, str], float] = field(default_factory=dict)
    ended_at: dict[tuple[str, str], float] = field(default_factory=dict)
    ended: Counter[str] = field(default_factory=Counter)
    #: Job records that were ever in a queue.
    queued: set[str] = field(default_factory=set)
    dead_letters: int = 0
    #: Calls to the database by executors and dispatchers.
    database_calls: int = 0
    #: How many commits wrote each document.
    writes: Counter[DocumentRef] = field(default_factory=Counter)
    #: How many commits wrote the ledger.
    ledger_commits: int = 0

    def called(self, who: Process, request: ModelRequest) -> CallSeen | None:
        """See `Observer`."""
        del who, request
        return None

    def call_ended(self, call: CallSeen | None, *, free: bool) -> None:
        """See `Observer`."""

    def stored(self, who: Process, uri: object) -> None:
        """See `Observer`."""

    def published(self, who: Process, messages: Sequence[OutgoingMessage]) -> None:
        """See `Observer`."""

    def answered(self, request: Request) -> None:
        """See `Witness`."""

    def event_begins(self, event_id: str) -> None:
        """See `Witness`."""

    def event_ends(self, event_id: str, *, acknowledged: bool) -> None:
        """See `Witness`."""

    def message_acknowledged(self, request: Request, message: OutgoingMessage) -> None:
        """See `Witness`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StormModel:
    """Implements the LanguageModel port with a quota for each model."""

    site: "Site"

    async def generate(self, request: ModelRequest, *, timeout_seconds: float) -> ModelAnswer:
        """See the port."""
        del timeout_seconds
        site, name = self.site, request.profile.model_name
        draw = site.world.nemesis.schedule
        refusal = site.quotas[name].ask(site.loop.time())
        if refusal is not None:
            site.seen.refused[name] += 1
            await asyncio.sleep(draw.uniform(*REFUSAL_SECONDS))
            raise refusal
        site.seen.taken[name] += 1
        site.paid[marker_of(request)] += 1
        run_id, step_id, _ = marker_of(request).split("|")
        site.seen.called_at[run_id, step_id] = site.loop.time()
        await asyncio.sleep(draw.uniform(*site.call_seconds))
        answer = await good_answer(request)
        usage = {"promptTokenCount": 0, "candidatesTokenCount": site.call_cost}
        return replace(answer, usage={**usage, "totalTokenCount": site.call_cost})


@dataclass(slots=True, kw_only=True)
class Host:
    """One instance, and how many requests it works on."""

    process: Process
    handle: Callable[[bytes], Coroutine[Any, Any, int]]
    busy: int = 0


@dataclass(slots=True)
class Instances:
    """The executor's instances; a message waits until one has room.

    As on Cloud Run, requests fill the concurrency of the instances that there are before
    another is started, and a new instance takes as many of those that wait as it has places for
    (https://cloud.google.com/run/docs/about-concurrency).
    """

    site: "Site"
    _hosts: list[Host] = field(default_factory=list)
    _starting: int = 0
    _waiting: deque["asyncio.Future[Host]"] = field(default_factory=deque)

    def take(self, messages: Sequence[OutgoingMessage]) -> None:
        """See `MessageStore`."""
        for message in messages:
            self.site.outside(self._deliver(message))

    async def _deliver(self, message: OutgoingMessage) -> None:
        draw = self.site.world.nemesis.schedule
        queued = QueuedMessage(message_id="m", published_at=rfc3339(EPOCH), content=message)
        wait = _REDELIVERY_SECONDS[0]
        for attempt in range(1, _MAX_DELIVERIES + 1):
            await asyncio.sleep(draw.uniform(*_DELIVERY_SECONDS))
            body = push_body(queued, "projects/s/subscriptions/s", attempt)
            if await self._answered(body) == HTTPStatus.NO_CONTENT:
                return
            await asyncio.sleep(wait)
            wait = min(2 * wait, _REDELIVERY_SECONDS[1])
        self.site.seen.dead_letters += 1

    async def _answered(self, body: bytes) -> object:
        host = await self._place()
        try:
            return await host.process.start(lambda: host.handle(body)).answer
        finally:
            host.busy -= 1
            self._fill(host)

    async def _place(self) -> Host:
        for host in self._hosts:
            if host.busy < CONCURRENCY:
                host.busy += 1
                return host
        place: asyncio.Future[Host] = self.site.loop.create_future()
        self._waiting.append(place)
        to_come = self._starting * CONCURRENCY
        if len(self._waiting) > to_come and self._count < self.site.most_instances:
            self._starting += 1
            self.site.outside(self._start())
        return await place

    @property
    def _count(self) -> int:
        return len(self._hosts) + self._starting

    async def _start(self) -> None:
        await asyncio.sleep(COLD_START_SECONDS)
        self._starting -= 1
        process = Process(f"executor-{len(self._hosts)}", self.site.loop)
        host = Host(process=process, handle=self.site.executor(process))
        self._hosts.append(host)
        self._fill(host)

    def _fill(self, host: Host) -> None:
        while self._waiting and host.busy < CONCURRENCY:
            host.busy += 1
            self._waiting.popleft().set_result(host)


class Site:
    """All parts of production in virtual time."""

    def __init__(
        self,
        *,
        seed: int,
        quotas: Mapping[str, Quota],
        runs: Sequence[Asked],
        environ: Mapping[str, str] | None = None,
        call_seconds: tuple[float, float] = CALL_SECONDS,
        call_cost: int = CALL_COST,
        most_output: int | None = None,
        background: BackgroundModel | None = None,
        instances: int = INSTANCES,
    ) -> None:
        self.background = background
        #: The most executors that run.
        self.most_instances = instances
        self.call_cost, self.most_output = call_cost, most_output
        self.quotas, self.runs, self.call_seconds = quotas, runs, call_seconds
        nemesis = Nemesis(seed, CALM)
        self.loop: VirtualLoop = make_loop(nemesis.schedule)
        self.world = World(self.loop, nemesis, traced=False)
        self.records = Records(self.loop.time)
        self.objects = Objects()
        self.seen = Seen()
        #: Paid calls, by the inputs that they show.
        self.paid: Counter[str] = Counter()
        self.executor_settings: ExecutorSettings = read_executor_settings(
            {**_ENVIRON, **(environ or {})}
        )
        self.dispatcher_settings: DispatcherSettings = read_dispatcher_settings(_ENVIRON)
        self.instances = Instances(self)
        self._ids = 0
        self._connect()

    def _connect(self) -> None:
        trigger = EventTrigger(
            platform=Platform(world=self.world),
            dispatchers=Fleet(
                name="dispatcher", size=2, world=self.world, deploy=self.dispatcher
            ),
            witness=self.seen,
        )
        self.records.tell(trigger)
        self.records.tell(self)

    def committed(self, who: Process | None, changes: Sequence[Change]) -> None:
        """See `records.Reader`."""
        self.seen.writes.update(change.ref for change in changes if who is not None)
        spending = any(change.ref.collection == "llm_spend" for change in changes)
        self.seen.ledger_commits += spending
        for change in changes:
            if change.ref.collection == FLOW_RUNS:
                self._run_written(change)
            elif change.new is not None and "queue" in change.new.fields:
                self.seen.queued.add(change.ref.document_id)

    def _run_written(self, change: Change) -> None:
        old: Any = change.old.fields["steps"] if change.old else {}
        new: Any = change.new.fields["steps"] if change.new else {}
        for step_id, step in new.items():
            status = step["status"]
            if step["stepType"] != "LLM_REPORT" or old.get(step_id, {}).get("status") == status:
                continue
            key = change.ref.document_id, step_id
            if status == "RUNNING":
                self.seen.claimed_at[key] = self.loop.time()
            elif status in {"SUCCEEDED", "FAILED"}:
                self.seen.ended_at[key] = self.loop.time()
                self.seen.ended[status] += 1

    def run(self, *, until_seconds: float) -> Seen:
        """Run until every step has ended, or until this time."""
        steps = sum(asked.steps for asked in self.runs)
        with remembered():
            self.outside(self._orchestrate())
            sweeps = Fleet(name="sweep", size=2, world=self.world, deploy=self.sweep)
            scheduler = Scheduler(
                world=self.world, sweeps=sweeps, every_seconds=SWEEP_EVERY_SECONDS
            )
            self.outside(scheduler.run())
            try:
                self.loop.run(
                    lambda: (
                        self.seen.ended.total() >= steps or self.loop.time() > until_seconds
                    ),
                    most=_MAX_CALLBACKS,
                )
            finally:
                self.loop.close()
        return self.seen

    def run_document(self, run_id: str) -> Any:
        """The run as it stands."""
        found = self.records.present(DocumentRef(FLOW_RUNS, run_id))
        return found.fields if found else {}

    def outside(self, work: Coroutine[Any, Any, Any]) -> None:
        """Run this outside of all processes."""
        self.loop.create_task(work, context=contextvars.Context())

    async def _orchestrate(self) -> None:
        self.objects.create(IMAGE_URI, IMAGE, {})
        self.objects.create(MANIFEST_URI, MANIFEST, {})
        self._create("llm_prompts", PROMPT_ID, dict(PROMPT))
        self._create("llm_schemas", SCHEMA_ID, dict(SCHEMA))
        for asked in sorted(self.runs, key=lambda asked: asked.at_seconds):
            await asyncio.sleep(max(0.0, asked.at_seconds - self.loop.time()))
            reports = [Report(step_id=f"s{number:03}") for number in range(asked.steps)]
            for report in reports:
                uri = candles_uri(asked.run_id, report.step_id, 1)
                self.objects.create(uri, candles(asked.run_id, report.step_id, 1), {})
            document = run_document(asked.run_id, reports)
            for report in reports:
                llm = dict(document["steps"][report.step_id]["inputs"]["llm"])
                llm["llmProfile"] = {**llm["llmProfile"], "modelName": asked.model}
                if self.most_output is not None:
                    llm["llmProfile"]["maxOutputTokens"] = self.most_output
                if asked.due_in_seconds is not None:
                    due = EPOCH + timedelta(seconds=self.loop.time() + asked.due_in_seconds)
                    llm["dueAt"] = rfc3339(due)
                document["steps"][report.step_id]["inputs"]["llm"] = llm
            self._create(FLOW_RUNS, asked.run_id, document)

    def _create(self, collection: str, name: str, data: dict[str, Any]) -> None:
        self.records.create(Create(ref=DocumentRef(collection, name), data=data))

    def dispatcher(self, process: Process) -> Callable[[Any], Coroutine[Any, Any, Any]]:
        """A dispatcher in this process."""
        ports = DispatcherPorts(
            documents=self._documents(process),
            queue=self._queue(process),
            clock=process,
            log=self._log(process),
            new_id=self._new_id,
            random=Random(self._seed()),
        )
        service = assemble_dispatcher(ports, self.dispatcher_settings)

        async def handle(request: Any) -> None:
            await service.handle(request.attributes, request.data)

        return handle

    def sweep(self, process: Process) -> Callable[[Any], Coroutine[Any, Any, Any]]:
        """A sweep in this process."""
        documents = SimulatedDocuments(world=self.world, process=process, records=self.records)
        ports = SweepPorts(
            documents=documents,
            work=documents,
            queue=self._queue(process),
            clock=process,
            log=self._log(process),
            new_id=self._new_id,
            random=Random(self._seed()),
        )
        service = assemble_sweep(ports, self.dispatcher_settings)

        async def handle(_request: None) -> None:
            await service.run()

        return handle

    def executor(self, process: Process) -> Callable[[bytes], Coroutine[Any, Any, int]]:
        """An executor in this process."""
        ports = ExecutorPorts(
            documents=self._documents(process),
            objects=SimulatedObjects(
                world=self.world, process=process, bucket=self.objects, observer=self.seen
            ),
            model=StormModel(site=self),
            background=self.background,
            dead_letters=self._queue(process),
            clock=process,
            log=self._log(process),
            new_id=self._new_id,
            random=Random(self._seed()),
        )
        service = assemble(ports, self.executor_settings)

        async def handle(body: bytes) -> int:
            return await answer_push(body, service.handle, ports.log)

        return handle

    def _documents(self, process: Process) -> "CountedDocuments":
        inner = SimulatedDocuments(world=self.world, process=process, records=self.records)
        return CountedDocuments(inner, self.seen)

    def _queue(self, process: Process) -> SimulatedQueue:
        return SimulatedQueue(
            world=self.world, process=process, topic=self.instances, observer=self.seen
        )

    def _log(self, process: Process) -> SilentLog:
        return SilentLog(
            component="storm", env="simulated", clock=process, threshold=Severity.ERROR
        )

    def _new_id(self) -> str:
        self._ids += 1
        return f"id-{self._ids}"

    def _seed(self) -> int:
        return self.world.nemesis.schedule.getrandbits(32)


class CountedDocuments:
    """Implements the DocumentStore port with another store, and counts its calls."""

    def __init__(self, inner: SimulatedDocuments, seen: Seen) -> None:
        self._inner, self._seen = inner, seen

    async def read(self, refs: Any, *, timeout_seconds: float) -> Any:
        """See the port."""
        self._seen.database_calls += 1
        return await self._inner.read(refs, timeout_seconds=timeout_seconds)

    async def commit(self, writes: Any, *, timeout_seconds: float) -> Any:
        """See the port."""
        self._seen.database_calls += 1
        return await self._inner.commit(writes, timeout_seconds=timeout_seconds)
