"""One schedule, taken choice by choice on the real code."""

import contextvars
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any, Self

from typing_extensions import override

from tests.schedules.acts import Others
from tests.schedules.held import HeldWorld, Outcome, Pending, make_held_loop
from tests.schedules.platform import EachAlone, HeldPlatform, Item
from tests.schedules.scenes import RENEW_EVERY, Act, Scene
from tests.schedules.state import StateDigest
from tests.simulation import stages
from tests.simulation.bucket import Bucket
from tests.simulation.checker import Checker
from tests.simulation.delivery import EventTrigger, Scheduler, Topic
from tests.simulation.hooks import Hooks
from tests.simulation.loop import RunsInCircles
from tests.simulation.nemesis import Kind
from tests.simulation.orchestrator import Orchestrator
from tests.simulation.process import EPOCH, OPERATOR, REQUEST, Process, Request
from tests.simulation.promises import Promise, Violation
from tests.simulation.provider import Provider
from tests.simulation.records import Records
from tests.simulation.remaining import remaining
from tests.simulation.scenarios import SCENARIOS
from tests.simulation.simulate import MOST_SECONDS, SWEEP_SECONDS
from tests.simulation.stages import Deployment

#: No schedule comes near this number of choices: one that takes more runs in circles.
MAX_CHOICES = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One thing that may happen next."""

    #: The name of the choice in a schedule.
    text: str
    #: Whether the choice interrupts a process that could go on.
    preempts: bool
    pending: Pending | None = None
    outcome: Outcome = Outcome.DONE
    item: Item | None = None
    act: Act | None = None
    moment: float | None = None

    @property
    def faulty(self) -> bool:
        """Whether something goes wrong with the choice."""
        return self.outcome is not Outcome.DONE

    @property
    def stalls(self) -> bool:
        """Whether time passes although a process, or a delivery, could go on."""
        return self.preempts and self.moment is not None


@dataclass(slots=True, kw_only=True)
class NamedDeployment(Deployment):
    """Draws ids and seeds for each process separately: no order of others decides them."""

    _drawn: dict[str, int] = field(default_factory=dict)

    @override
    def _new_id(self) -> str:
        request = REQUEST.get()
        name = request.process.name if request else "nobody"
        self._drawn[name] = self._drawn.get(name, 0) + 1
        return f"{name}-{self._drawn[name]}"

    @override
    def _seed(self) -> int:
        # A seed that a stage draws for itself may not be the same in two processes.
        self._ids += 1
        return self._ids


class Execution:
    """A scene under way. Leaves no task behind when its `with` block ends."""

    def __init__(self, scene: Scene, *, traced: bool = False) -> None:
        self._random = random.getstate()
        random.seed(0)
        self.scene = scene
        self.world = HeldWorld(make_held_loop(), call_seconds=scene.call_seconds, traced=traced)
        self.records = Records(self.world.loop.time)
        bucket = Bucket()
        settings = stages.executor_settings(scene.call_mode)
        limits = replace(settings.limits, renew_every=RENEW_EVERY)
        settings = replace(settings, limits=limits)
        provider = Provider() if scene.call_mode.startswith("background") else None
        self.checker = Checker(
            world=self.world,
            records=self.records,
            bucket=bucket,
            at_most_once=scene.call_mode.endswith("at_most_once"),
            provider=provider,
        )
        self.deployment = NamedDeployment(
            world=self.world,
            records=self.records,
            bucket=bucket,
            observer=self.checker,
            letter_witness=self.checker,
            settings=settings,
            provider=provider,
        )
        self.platform = HeldPlatform(world=self.world)
        orchestrator = Orchestrator(
            world=self.world,
            records=self.records,
            bucket=bucket,
            scenario=SCENARIOS[scene.scenario],
        )
        self._connect(orchestrator)
        self._left = dict(scene.starts)
        self._sweeps_left = scene.sweeps
        self._acts_left = list(scene.acts)
        self._requests: list[Request] = []
        self._current: Process | None = None
        #: Whether there was a fault, or a process was stopped while time passed: both excuse a
        #: second model call.
        self.excused = False
        self.taken: list[str] = []
        self._state = StateDigest(self.world, self.records, self.checker, bucket, provider)
        self._begin(orchestrator)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        random.setstate(self._random)
        self.world.loop.close()

    def _connect(self, orchestrator: Orchestrator) -> None:
        def fleet(name: str, deploy: Any) -> EachAlone:
            return EachAlone(name=name, world=self.world, deploy=deploy)

        deployment = self.deployment
        deployment.topic = Topic(
            platform=self.platform,
            executors=fleet("executor", deployment.executor),
            witness=self.checker,
            dead_letters=deployment.dead_letters,
        )
        if deployment.provider is not None:
            # Only calls with an address are announced: where the call mode has hooks.
            hooks = Hooks(world=self.world, topic=deployment.topic)
            deployment.provider.announce = hooks.announce
        trigger = EventTrigger(
            platform=self.platform,
            dispatchers=fleet("dispatcher", deployment.dispatcher),
            witness=self.checker,
        )
        self.sweeps = fleet("sweep", deployment.sweep)
        self.others = Others(
            orchestrator=orchestrator,
            operators=fleet(OPERATOR, deployment.operator),
            dead_letters=deployment.dead_letters,
        )
        self.records.tell(self.checker)
        self.records.tell(trigger)

    def _begin(self, orchestrator: Orchestrator) -> None:
        copies = {kind: min(2, count) for kind, count in self.scene.starts.items()}
        if not self.scene.claimed:
            self.platform.copies = copies
        orchestrator.seed()
        if self.scene.claimed:
            # The event of the run's creation is no choice here, because its job is published
            # already.
            [event] = self.platform.items
            self.platform.copies = {Kind.MESSAGE: copies.pop(Kind.MESSAGE)}
            event.start(self.world.loop.time())
            self.world.loop.settle()
            self._hear()
            self.platform.copies = copies
        if self.scene.event_lost:
            for item in self.platform.items:
                item.done = True
        if self.scene.dead_lettered:
            for item in self.platform.items:
                if item.kind is Kind.MESSAGE:
                    item.done = True
            [letter, *_] = [x for x in self.platform.items if x.kind is Kind.MESSAGE]
            letter.delivery.give_up()
        self.world.calm = False

    def choices(self) -> Sequence[Choice]:
        """All that may happen next; the first choice is what happens if nobody interferes."""
        current = self._current
        going = bool(current and current.alive and self.world.ready(current))
        own = list(self._operations(current, preempts=False)) if current and going else []
        others = [
            choice
            for process in self._processes()
            if process is not current
            for choice in self._operations(process, preempts=going)
        ]
        found = [*own, *others, *self._starts(going=going), *self._time()]
        # A fault is never the usual way to continue.
        return sorted(found, key=lambda choice: choice.faulty)

    def _processes(self) -> Iterator[Process]:
        seen: dict[Process, None] = {}
        for pending in self.world.held:
            seen.setdefault(pending.call.process)
        yield from sorted(seen, key=lambda process: process.name)

    def _operations(self, process: Process, *, preempts: bool) -> Iterator[Choice]:
        ready = self.world.ready(process)
        for number, pending in enumerate(ready):
            name = process.name if number == 0 else f"{process.name}.{number}"
            yield Choice(text=name, preempts=preempts, pending=pending)
            for outcome in pending.faults:
                text = f"{name}!{outcome}"
                yield Choice(text=text, preempts=preempts, pending=pending, outcome=outcome)

    def _starts(self, *, going: bool) -> Iterator[Choice]:
        offered: set[tuple[Kind, str, int]] = set()
        for item in self.platform.items:
            # Where several copies are equal, it is enough to start one of them.
            same = (item.kind, item.delivery.name, item.attempt)
            if item.waits and self._left.get(item.kind) and same not in offered:
                offered.add(same)
                text = f"deliver:{item.delivery.name}"
                yield Choice(text=text, preempts=going, item=item)
        # A sweep that finds nothing changes nothing, so its place in the order is no choice.
        if self._sweeps_left and self._something_due():
            yield Choice(text="sweep", preempts=going)
        for act in self._acts_left:
            if self.others.can(act):
                yield Choice(text=f"act:{act}", preempts=going, act=act)

    def _time(self) -> Iterator[Choice]:
        moments = [self.world.loop.next_moment(), self._next_due()]
        known = [moment for moment in moments if moment is not None]
        if known:
            yield Choice(text="time", preempts=self._somebody_goes_on(), moment=min(known))

    def _somebody_goes_on(self) -> bool:
        """Whether a process has to be stopped, or a delivery kept waiting, for time to pass."""
        stopped = self.world.loop.stopped
        return any(x.call.process not in stopped for x in self.world.held) or any(
            item.waits and item.original and self._left.get(item.kind)
            for item in self.platform.items
        )

    def _something_due(self) -> bool:
        now = self.world.loop.time()
        return any(at <= now for at in self._wake_times()) or any(
            left.job is None for left in self._remaining()
        )

    def _wake_times(self) -> Sequence[float]:
        jobs = (self.records.present(ref) for ref in self._state.documents("llm_jobs"))
        found = (job.fields.get("wakeAt") for job in jobs if job is not None)
        return [(at - EPOCH).total_seconds() for at in found if at is not None]

    def _next_due(self) -> float | None:
        """When the next job is due, as long as a sweep or a delivery may still look at it."""
        if not self._sweeps_left and not any(self._left.values()):
            return None
        now = self.world.loop.time()
        return min((at for at in self._wake_times() if at > now), default=None)

    def take(self, choice: Choice) -> None:
        """Take the choice, and let happen what follows without another operation or time."""
        self.taken.append(choice.text)
        self.excused |= choice.faulty
        try:
            self._take(choice)
        except RunsInCircles as problem:
            self.checker.broken(Promise.EVERYTHING_ENDS, f"it does not come to rest: {problem}")
        self.world.forget_dead()
        self._hear()

    def _take(self, choice: Choice) -> None:
        loop = self.world.loop
        if choice.pending is not None:
            self._operate(choice.pending, choice.outcome)
        elif choice.item is not None:
            self._left[choice.item.kind] -= 1
            self._started(choice.item.start(loop.time()))
        elif choice.moment is not None:
            self._pass_time(choice.moment)
        elif choice.act is not None:
            self._acts_left.remove(choice.act)
            self._started(self.others.act(choice.act))
        else:
            self._sweeps_left -= 1
            self._started(self.sweeps.start(None))
        loop.settle()

    def _started(self, request: Request | None) -> None:
        self._current = request.process if request else None
        if request is not None:
            self._requests.append(request)

    def _operate(self, pending: Pending, outcome: Outcome) -> None:
        self._current = pending.call.process
        # What came due while the process was stopped comes first: the process may have given
        # up.
        self._resume(self._current)
        if not pending.decision.done():
            self.world.note(self._current.name, f"{pending.call.kind} {outcome}")
            pending.decision.set_result(outcome)

    def _resume(self, process: Process) -> None:
        if process in self.world.loop.stopped:
            self.world.loop.resume(process)

    def _pass_time(self, moment: float) -> None:
        self._current = None
        for pending in self.world.held:
            self.excused = True
            self.world.loop.hold(pending.call.process)
        self.world.loop.advance(moment)

    def _hear(self) -> None:
        now = self.world.loop.time()
        for item in self.platform.items:
            item.hear(now)

    def digest(self) -> bytes:
        """A digest that is the same for states which continue in the same way."""
        agents = [
            request.process
            for request in self._requests
            if request.process.alive and not request.answer.done()
        ]
        counts = (sorted(self._left.items()), self._sweeps_left, sorted(self._acts_left))
        current = self._current if self._current in agents else None
        return self._state.of(agents, current, self.platform.items, (*counts, self.excused))

    def finish(self) -> Sequence[Violation]:
        """Let everything continue undisturbed to its end, and judge what is left."""
        loop, world = self.world.loop, self.world
        world.calm = True
        for process in self._stopped():
            self._resume(process)
        for pending in list(world.held):
            if not pending.decision.done():
                pending.decision.set_result(Outcome.DONE)
        self.platform.let_go()
        if not self.excused and not self.scene.needs_sweep:
            # Only events and messages bring the run to its end: a sweep would hide it if one
            # were missing.
            self._go_on(lambda: not self._coming())
            self._judge("without a sweep, ")
        scheduler = Scheduler(world=world, sweeps=self.sweeps, every_seconds=SWEEP_SECONDS)
        loop.create_task(scheduler.run(), context=contextvars.Context())
        self._go_on(lambda: not self._remaining() and not self._coming())
        self._judge()
        return tuple(self.checker.violations)

    def _coming(self) -> bool:
        """Whether a delivery is under way, or the end of a call is still to be announced."""
        provider, now = self.deployment.provider, self.world.loop.time()
        kept = provider.kept.values() if provider else ()
        return bool(self.platform.open) or any(call.ready_at > now for call in kept)

    def _go_on(self, over: Callable[[], bool]) -> None:
        loop = self.world.loop
        ends_at = loop.time() + MOST_SECONDS
        try:
            loop.run(lambda: loop.time() > ends_at or over())
        except RunsInCircles as problem:
            self.checker.broken(Promise.EVERYTHING_ENDS, f"it does not come to rest: {problem}")

    def _stopped(self) -> Sequence[Process]:
        return [x.process for x in self._requests if x.process in self.world.loop.stopped]

    def _remaining(self) -> Sequence[Any]:
        return remaining(self.records, list(SCENARIOS[self.scene.scenario].runs))

    def _judge(self, when: str = "") -> None:
        for left in self._remaining():
            self.checker.broken(Promise.EVERYTHING_ENDS, f"{when}{left.what}")
        for complaint in self.world.loop.complaints:
            what = f"nobody took an exception: {complaint}"
            self.checker.broken(Promise.EVERYTHING_ENDS, what)
        for claim in self.checker.ledger.claims.values():
            needed = 1 if claim.ended == "SUCCEEDED" and not claim.reused else 0
            if not self.excused and not needed <= len(claim.calls) <= 1:
                what = f"{claim.key}: {len(claim.calls)} calls, and nothing to excuse them"
                self.checker.broken(Promise.CALL_UNDER_LEASE, what)
