"""One run: it takes a seed, and tells which promises were broken."""

import contextvars
import io
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Protocol

from shared.domain.documents import DocumentRef
from tests.simulation import stages
from tests.simulation.adapters import Observer
from tests.simulation.bucket import Bucket
from tests.simulation.checker import Checker
from tests.simulation.delivery import FLOW_RUNS, EventTrigger, Platform, Scheduler, Topic
from tests.simulation.endings import Endings
from tests.simulation.hooks import Hooks
from tests.simulation.loop import RunsInCircles, make_loop
from tests.simulation.memory import remembered
from tests.simulation.metering import Gate, Metering
from tests.simulation.model import CANARY
from tests.simulation.nemesis import HARMLESS, Injected, Kind, Nemesis, Odds
from tests.simulation.orchestrator import Orchestrator
from tests.simulation.process import EPOCH, OPERATOR
from tests.simulation.promises import Promise, Violation
from tests.simulation.provider import Provider
from tests.simulation.records import Reader, Records
from tests.simulation.remaining import Remaining, remaining
from tests.simulation.scenarios import CROWDS, SCENARIOS, Scenario
from tests.simulation.stages import Deployment, Fleet
from tests.simulation.surroundings import NONE, Surroundings
from tests.simulation.world import Entry, World

#: The time between two sweeps.
SWEEP_SECONDS = 60.0
#: When nothing goes wrong any more, a step may be without anybody at work on it for this long.
#: It is the longest time after which the sweep looks again at a job that waits in the queue,
#: plus the jitter of that, one sweep, and the seconds in which a message is sent and taken.
MOST_NEGLECTED_SECONDS = 900.0 + 10.0 + SWEEP_SECONDS + 10.0
#: What is still to be done this long after the last fault will never be done.
MOST_SECONDS = 4_000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Everything that decides how a run goes: the same case always goes the same way."""

    seed: int
    scenario: str
    odds: Odds
    #: Exactly these faults happen, instead of drawn ones.
    script: tuple[Injected, ...] | None = None
    call_mode: str = "at_least_once"
    sweeps: bool = True
    #: Whether the stages log, and their log is checked.
    logged: bool = False
    surroundings: Surroundings = NONE
    #: How many calls the provider takes; None means all.
    metering: Metering | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What became of a run."""

    violations: Sequence[Violation]
    injected: Sequence[Injected]
    #: The kind of each operation, in order.
    operations: Sequence[Kind]
    #: From the last effect of the last fault until the last step ended, in virtual seconds.
    recovery_seconds: float
    #: After the last fault, the longest time for which nobody was at work on an open step.
    neglected_seconds: float
    model_calls: int
    #: How each report ended, by run id and step id.
    ends: Mapping[tuple[str, str], str]
    trace: Sequence[Entry] = field(default=(), repr=False)


class Watcher(Reader, Protocol):
    """Is told of all that a run does to the stores and the model."""

    def beside(self, observer: Observer) -> Observer:
        """Return an observer that tells this observer and the watcher of every effect."""
        ...


def simulate(case: Case, *, traced: bool = False, watcher: Watcher | None = None) -> Result:
    """Run the case to its end."""
    with _seeded(case.seed), remembered():
        run = _Run(case, traced=traced, watcher=watcher)
        try:
            return run.result()
        finally:
            run.world.loop.close()


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed Python's own random, so that what draws from it draws the same again."""
    state = random.getstate()
    random.seed(seed)
    try:
        yield
    finally:
        random.setstate(state)


class _Run:
    def __init__(self, case: Case, *, traced: bool, watcher: Watcher | None) -> None:
        self.case = case
        self.scenario: Scenario = {**SCENARIOS, **CROWDS}[case.scenario]
        nemesis = Nemesis(case.seed, case.odds, case.script)
        loop = make_loop(nemesis.schedule)
        self.world = World(loop, nemesis, traced=traced)
        self.records = Records(loop.time)
        bucket = Bucket()
        settings = stages.executor_settings(case.call_mode)
        provider = Provider() if "background" in case.call_mode else None
        self.provider = provider
        self.gate = Gate(case.metering) if case.metering else None
        self.log = io.StringIO() if case.logged else None
        self.checker = Checker(
            world=self.world,
            records=self.records,
            bucket=bucket,
            at_most_once=case.call_mode.endswith("at_most_once"),
            provider=provider,
            foreign=case.surroundings.foreign,
        )
        self.records.weigh = case.surroundings.weight
        self.deployment = Deployment(
            world=self.world,
            records=self.records,
            bucket=bucket,
            observer=watcher.beside(self.checker) if watcher else self.checker,
            letter_witness=self.checker,
            settings=settings,
            log_stream=self.log,
            provider=provider,
            gate=self.gate,
        )
        self.platform = Platform(world=self.world)
        self.orchestrator = Orchestrator(
            world=self.world,
            records=self.records,
            bucket=bucket,
            scenario=self.scenario,
            surroundings=case.surroundings,
        )
        if watcher:
            self.records.tell(watcher)
        self._ended_at = 0.0
        self._neglected_since: dict[str, float] = {}
        self._neglected_seconds = 0.0
        self._left: list[Remaining] = []
        self._left_after = -1
        self._connect()

    def _connect(self) -> None:
        deployment, world = self.deployment, self.world
        dispatchers = Fleet(
            name="dispatcher", size=2, world=world, deploy=deployment.dispatcher
        )
        executors = Fleet(name="executor", size=3, world=world, deploy=deployment.executor)
        deployment.topic = Topic(
            platform=self.platform,
            executors=executors,
            witness=self.checker,
            dead_letters=deployment.dead_letters,
        )
        if self.provider is not None:
            self.provider.announce = Hooks(world=world, topic=deployment.topic).announce
        trigger = EventTrigger(
            platform=self.platform, dispatchers=dispatchers, witness=self.checker
        )
        sweeps = Fleet(name="sweep", size=2, world=world, deploy=deployment.sweep)
        self.scheduler = Scheduler(
            world=world, sweeps=sweeps, every_seconds=SWEEP_SECONDS, witness=self.checker
        )
        self.orchestrator.operators = Fleet(
            name=OPERATOR, size=1, world=world, deploy=deployment.operator
        )
        self.records.tell(self.checker)
        self.records.tell(trigger)

    def result(self) -> Result:
        """Run to the end, and look at what is left."""
        self.world.loop.create_task(self._begin(), context=contextvars.Context())
        if self.case.sweeps:
            self.world.loop.create_task(self.scheduler.run(), context=contextvars.Context())
        try:
            self.world.loop.run(self._over)
        except RunsInCircles as problem:
            self.checker.broken(Promise.EVERYTHING_ENDS, f"it does not come to rest: {problem}")
        self._judge()
        return Result(
            violations=tuple(self.checker.violations),
            injected=tuple(self.world.nemesis.injected),
            operations=tuple(self.world.kinds),
            recovery_seconds=max(0.0, self._ended_at - self.world.calm_since),
            neglected_seconds=self._neglected_seconds,
            model_calls=sum(len(claim.calls) for claim in self.checker.ledger.claims.values()),
            ends=self._ends(),
            trace=tuple(self.world.trace),
        )

    def _ends(self) -> dict[tuple[str, str], str]:
        found = {
            run_id: self.records.present(DocumentRef(FLOW_RUNS, run_id))
            for run_id in self.scenario.runs
        }
        return {
            (run_id, report.step_id): run.fields["steps"][report.step_id]["status"]
            for run_id, run in found.items()
            if run is not None
            for report in self.scenario.runs[run_id]
        }

    async def _begin(self) -> None:
        self.orchestrator.seed()
        await self.orchestrator.interfere()

    def _over(self) -> bool:
        """Whether nothing is left to happen, or too much time has passed."""
        seconds = self.world.loop.time()
        left = self._remaining()
        if not left:
            return self.orchestrator.done and not self.platform.open
        self._ended_at = seconds
        self._watch(left, seconds)
        return seconds > self.world.calm_since + MOST_SECONDS

    def _remaining(self) -> list[Remaining]:
        # This is asked before every jump in time, and the answer is the same until something is
        # written.
        written = self.records.commits + len(self.records.unfit)
        if self._left_after != written:
            self._left_after = written
            left = remaining(self.records, list(self.scenario.runs))
            self._left = [x for x in left if not self.checker.fullness.excuses(x)]
        return self._left

    def _watch(self, left: Sequence[Remaining], seconds: float) -> None:
        """Note for how long nobody has been at work on these, since the last fault."""
        now = EPOCH + timedelta(seconds=seconds)
        neglected = [x.key for x in left if not x.in_hand(self.checker.ledger, now)]
        since = {key: self._neglected_since.get(key, seconds) for key in neglected}
        self._neglected_since = since
        for first in since.values():
            alone = seconds - max(first, self.world.calm_since)
            self._neglected_seconds = max(self._neglected_seconds, alone)

    def _judge(self) -> None:
        checker = self.checker
        # Beside a quota, a job in the queue waits for its slot; it only must have ended when
        # its patience is over.
        if self.gate is None and self._neglected_seconds > MOST_NEGLECTED_SECONDS:
            what = f"nobody was at work for {self._neglected_seconds:.0f} s"
            checker.broken(Promise.EVERYTHING_ENDS, what)
        for left in self._remaining():
            checker.broken(Promise.EVERYTHING_ENDS, left.what)
        for complaint in self.world.loop.complaints:
            checker.broken(Promise.EVERYTHING_ENDS, f"nobody took an exception: {complaint}")
        if self.log is not None and CANARY in self.log.getvalue():
            checker.broken(Promise.NOTHING_LEAKS, "the log repeats what is secret")
        faults = {item.fault for item in self.world.nemesis.injected}
        if faults <= HARMLESS and self.gate is None:
            self._judge_calls()
        self._judge_endings()
        if self.gate is not None:
            steps = sum(map(len, self.scenario.runs.values()))
            for violation in self.gate.violations(steps):
                checker.broken(violation.promise, violation.what)

    def _judge_endings(self) -> None:
        """Promise 6: every sound step SUCCEEDED, and every other step ended with its code."""
        endings = Endings(
            scenario=self.scenario,
            injected=self.world.nemesis.injected,
            kinds=self.world.kinds,
            full={x for x in self.scenario.runs if self.checker.fullness.ever(x)},
            stopped={
                claim.key.partition("~")[0]
                for claim in self.checker.ledger.claims.values()
                if any(call.stopped for call in claim.calls)
            },
            metering=self.case.metering,
        )
        for run_id in self.scenario.runs:
            run = self.records.present(DocumentRef(FLOW_RUNS, run_id))
            if run is not None:
                for violation in endings.violations(run_id, run.fields["steps"]):
                    self.checker.broken(violation.promise, violation.what)

    def _judge_calls(self) -> None:
        """Promise 1, for runs in which nothing excuses a second call."""
        for claim in self.checker.ledger.claims.values():
            needed = 1 if claim.ended == "SUCCEEDED" and not claim.reused else 0
            calls = [call for call in claim.calls if not call.stopped]
            if not needed <= len(calls) <= 1:
                what = f"{claim.key}: {len(calls)} calls, and no fault to excuse them"
                self.checker.broken(Promise.CALL_UNDER_LEASE, what)
