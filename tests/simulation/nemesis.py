"""What can go wrong, and who decides when it does."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from random import Random


class Kind(StrEnum):
    """The kinds of operations, told apart where they can go wrong in different ways."""

    READ = "read"  #: The worker reads documents.
    COMMIT = "commit"
    QUERY = "query"
    PUBLISH = "publish"
    STAT = "stat"  #: An object's metadata.
    FETCH = "fetch"  #: An object's bytes.
    CREATE = "create"  #: A new object.
    GENERATE = "generate"  #: A model call.
    BEGIN = "begin"  #: A model call in the background is begun.
    ASK = "ask"  #: The provider is asked what has become of a call.
    FORGET = "forget"  #: The provider is asked to delete a call.
    EVENT = "event"  #: One delivery of a document event.
    MESSAGE = "message"  #: One delivery of a job message.
    HOOK = "hook"  #: The provider announces the end of a call.
    TICK = "tick"  #: One sweep that the scheduler asks for.
    PULL = "pull"  #: An operator pulls dead letters.
    HOLD = "hold"  #: An operator holds letters for longer, or gives them back.
    ACKNOWLEDGE = "settle"  #: An operator acknowledges a letter.
    ACT = "act"  #: A moment at which somebody else may write the run.


class Fault(StrEnum):
    """What can go wrong with one operation."""

    CRASH_BEFORE = "crash_before"  #: The process dies; the operation does not happen.
    CRASH_AFTER = "crash_after"  #: The process dies after the operation has happened.
    TERMINATE = "terminate"  #: The process is told to end, and killed 10 seconds later.
    LOST_ANSWER = "lost_answer"  #: It happens, but the caller is told that nobody answers.
    OWN_RETRY = "own_retry"  #: It happens; the client's own second try finds it done.
    REFUSED = "refused"  #: It does not happen; the error is a transient one.
    LATE = "late"  #: The caller gives up at its timeout, and then it happens.
    SLOW = "slow"  #: The answer takes seconds, and comes just in time.
    PAUSE = "pause"  #: The process stops after the operation, before it hears of it.
    CLOCK_FORWARD = "clock_forward"  #: The process' clock jumps ahead.
    CLOCK_BACK = "clock_back"  #: The process' clock jumps back.
    PARTIAL = "partial"  #: Some of the messages are taken, but the call fails.
    FORBIDDEN = "forbidden"  #: Refused for good, until somebody mends what is wrong.
    UNFIT = "unfit"  #: Refused for good for what this call asks; others are taken.
    OVERDUE = "overdue"  #: Answered at the very end of its time; happens in any case.

    RATE_LIMITED = "rate_limited"  #: The model refuses because of a quota, and names a delay.
    INVALID = "invalid"  #: The model answers something that is not the report.
    BLOCKED = "blocked"  #: The model refuses for good.
    FAILED = "failed"  #: A call in the background ends without an answer.

    DUPLICATE = "duplicate"  #: Delivered twice, at different times.
    DELAYED = "delayed"  #: Delivered minutes later, past every deadline, behind others.
    DEAD_LETTERED = "dead_lettered"  #: Refused as often as the subscription allows.
    EARLY = "early"  #: Announced before its caller hears the call's id.
    FORGED = "forged"  #: Announced with the id of another job's call, not its own.
    LOST = "lost"  #: Never delivered: Eventarc drops what it cannot send.

    TOUCHED = "touched"  #: Fields of the run change that do not concern the worker.
    CANCELLED = "cancelled"  #: The orchestrator cancels a step.
    RUN_CANCELLED = "run_cancelled"  #: The orchestrator cancels the run, and its steps.
    FILLED = "filled"  #: Others leave hardly any room in the run's document.
    RERUN = "rerun"  #: The orchestrator makes an ended step READY again.
    CHANGED = "changed"  #: The same, and the inputs of the step change.
    OPERATOR_CANCELS = "operator_cancels"  #: An operator cancels a step.
    OPERATOR_RERUNS = "operator_reruns"  #: An operator has an ended step run again.
    REPLAYED = "replayed"  #: An operator replays all dead letters.


#: Faults that the first series of random runs does not know: with them its seeds would get new
#: meanings.
LATER = frozenset({Fault.FORBIDDEN, Fault.UNFIT, Fault.OVERDUE, Fault.FILLED})
FIRST_SERIES = frozenset(Fault) - LATER

_PROCESS = (Fault.CRASH_BEFORE, Fault.CRASH_AFTER, Fault.TERMINATE)
_CALL = (
    *_PROCESS,
    Fault.REFUSED,
    Fault.SLOW,
    Fault.LATE,
    Fault.PAUSE,
    Fault.FORBIDDEN,
    Fault.OVERDUE,
)
_CLOCK = (Fault.CLOCK_FORWARD, Fault.CLOCK_BACK)

#: What can happen to each kind of operation. A stale read is not among it: Firestore and
#: Cloud Storage are strongly consistent
#: (https://cloud.google.com/firestore/docs/understand-reads-writes-scale,
#: https://cloud.google.com/storage/docs/consistency); what was read is stale by the time it
#: is used, which SLOW and PAUSE stretch. Events do carry stale documents: DELAYED.
APPLICABLE: Mapping[Kind, tuple[Fault, ...]] = {
    Kind.READ: (*_CALL, *_CLOCK),
    Kind.COMMIT: (*_CALL, *_CLOCK, Fault.LOST_ANSWER, Fault.OWN_RETRY, Fault.UNFIT),
    Kind.QUERY: _CALL,
    Kind.PUBLISH: (*_CALL, Fault.LOST_ANSWER, Fault.PARTIAL, Fault.UNFIT),
    Kind.STAT: _CALL,
    Kind.FETCH: _CALL,
    Kind.CREATE: (*_CALL, Fault.LOST_ANSWER, Fault.OWN_RETRY),
    Kind.GENERATE: (
        *_CALL,
        Fault.LOST_ANSWER,
        Fault.RATE_LIMITED,
        Fault.INVALID,
        Fault.BLOCKED,
        Fault.UNFIT,
    ),
    Kind.BEGIN: (
        *_CALL,
        Fault.LOST_ANSWER,
        Fault.RATE_LIMITED,
        Fault.INVALID,
        Fault.BLOCKED,
        Fault.FAILED,
        Fault.UNFIT,
    ),
    Kind.ASK: _CALL,
    Kind.FORGET: (*_CALL, Fault.LOST_ANSWER),
    Kind.EVENT: (Fault.DUPLICATE, Fault.DELAYED, Fault.LOST),
    Kind.MESSAGE: (Fault.DUPLICATE, Fault.DELAYED, Fault.DEAD_LETTERED),
    Kind.HOOK: (
        Fault.DUPLICATE,
        Fault.DELAYED,
        Fault.EARLY,
        Fault.FORGED,
        Fault.LOST,
    ),
    Kind.TICK: (Fault.DUPLICATE, Fault.LOST),
    Kind.ACT: (
        Fault.TOUCHED,
        Fault.CANCELLED,
        Fault.RUN_CANCELLED,
        Fault.RERUN,
        Fault.CHANGED,
        Fault.OPERATOR_CANCELS,
        Fault.OPERATOR_RERUNS,
        Fault.REPLAYED,
        Fault.FILLED,
    ),
    Kind.PULL: _CALL,
    Kind.HOLD: _CALL,
    Kind.ACKNOWLEDGE: (*_CALL, Fault.LOST_ANSWER),
}

#: Faults that excuse no second model call, and need no sweep to be overcome.
HARMLESS = frozenset(
    {Fault.DUPLICATE, Fault.DELAYED, Fault.TOUCHED, Fault.SLOW, Fault.CANCELLED}
)


@dataclass(frozen=True, slots=True)
class Injected:
    """A fault, and the number of the operation that it hit."""

    operation: int
    fault: Fault

    def __str__(self) -> str:
        return f"{self.operation}:{self.fault}"


def parse_script(text: str) -> tuple[Injected, ...]:
    """The faults in `12:crash_after,31:lost_answer`.

    Raises:
        ValueError: no such list.
    """
    pairs = (item.partition(":") for item in text.split(",") if item)
    return tuple(Injected(int(number), Fault(fault)) for number, _, fault in pairs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Odds:
    """How many faults a run has."""

    #: The probability of a fault, for one operation.
    probability: float
    #: The most faults in one run.
    most: int
    allowed: frozenset[Fault] = FIRST_SERIES
    #: Whether operations take times of very different lengths.
    uneven: bool = True


CALM = Odds(probability=0.0, most=0, uneven=False)


class Nemesis:
    """Decides by a seed how long everything takes and what goes wrong.

    With a script, exactly its faults happen, at the same times as in the run that it comes
    from: the schedule and the faults are drawn from two sources.
    """

    def __init__(self, seed: int, odds: Odds, script: Sequence[Injected] | None = None) -> None:
        self.schedule = Random(2 * seed)
        self._faults = Random(2 * seed + 1)
        self._seed = seed
        self._odds = odds
        self._script = None if script is None else {item.operation: item for item in script}
        #: The faults that have happened, in order.
        self.injected: list[Injected] = []

    @property
    def spent(self) -> bool:
        """Whether nothing more will go wrong."""
        most = self._odds.most if self._script is None else len(self._script)
        return len(self.injected) >= most

    def fault(self, number: int, kind: Kind) -> Fault | None:
        """What goes wrong with this operation."""
        fault = self._drawn(kind) if self._script is None else self._scripted(number, kind)
        if fault is not None:
            self.injected.append(Injected(number, fault))
        return fault

    def _scripted(self, number: int, kind: Kind) -> Fault | None:
        found = (self._script or {}).get(number)
        return found.fault if found and found.fault in APPLICABLE[kind] else None

    def _drawn(self, kind: Kind) -> Fault | None:
        if self.spent or self._faults.random() >= self._odds.probability:
            return None
        allowed = [fault for fault in APPLICABLE[kind] if fault in self._odds.allowed]
        return self._faults.choice(allowed) if allowed else None

    def details(self, number: int) -> Random:
        """Draws how long or how far a fault goes; the same with and without a script."""
        return Random(self._seed << 20 | number)

    def latency(self) -> float:
        """Seconds that one way of an operation takes."""
        if not self._odds.uneven:
            return 0.01
        draw = self.schedule.random()
        # One operation in ten takes up to two seconds, which is longer than whole invocations
        # of others.
        return draw * 0.05 if draw < 0.9 else draw**20 * 2.0
