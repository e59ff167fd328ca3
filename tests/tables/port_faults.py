"""What each operation of each port comes to under each fault; read by tests and a page."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum


class Operation(StrEnum):
    """The operations, as the page names them."""

    READ = "read"
    COMMIT = "commit"
    DUE_JOBS = "due jobs"
    RUNNING_RUNS = "running runs"
    PUBLISH = "publish"
    PULL = "pull"
    ACKNOWLEDGE = "acknowledge"
    STAT = "stat"
    READ_OBJECT = "read object"
    CREATE = "create"
    GENERATE = "generate"
    BEGIN = "begin"
    FETCH = "fetch"
    FORGET = "forget"


_QUERIES = (Operation.READ, Operation.DUE_JOBS, Operation.RUNNING_RUNS)
_LETTERS = (Operation.PULL, Operation.ACKNOWLEDGE)
_OBJECTS = (Operation.STAT, Operation.READ_OBJECT, Operation.CREATE)
_CALLS = (Operation.BEGIN, Operation.FETCH, Operation.FORGET)
#: The columns.
PORTS: Mapping[str, tuple[Operation, ...]] = {
    "Firestore": (*_QUERIES, Operation.COMMIT),
    "Pub/Sub": (Operation.PUBLISH, *_LETTERS),
    "Cloud Storage": _OBJECTS,
    "Gemini": (Operation.GENERATE,),
    "Gemini, interactions": _CALLS,
}


class Fault(StrEnum):
    """What a server does wrong."""

    NOBODY = "nobody listens"
    HANG = "no answer"
    DRIP = "an answer that never ends"
    HALF = "half an answer"
    GARBAGE = "an answer that is none"
    BUSY = "429, `RESOURCE_EXHAUSTED`"
    DEFECT = "500, `INTERNAL`"
    DOWN = "503, `UNAVAILABLE`"
    MALFORMED = "400, `INVALID_ARGUMENT`"
    UNKNOWN_CALLER = "401, `UNAUTHENTICATED`"
    FORBIDDEN = "403, `PERMISSION_DENIED`"
    MISSING = "404, `NOT_FOUND`"


class Outcome(StrEnum):
    """What a caller is told."""

    DONE = "done"
    NOTHING_THERE = "nothing there"
    CONFLICT = "conflict"
    REFUSED = "refused"
    UNAVAILABLE = "unavailable"


@dataclass(frozen=True, slots=True)
class Cell:
    """What one operation comes to under one fault."""

    outcome: Outcome
    #: Whether it ends long before its time is up; otherwise it ends within its time plus half a
    #: second.
    at_once: bool = True

    def __str__(self) -> str:
        return f"{self.outcome}, {'at once' if self.at_once else 'in time'}"


_UNAVAILABLE = Cell(Outcome.UNAVAILABLE)
_IN_TIME = Cell(Outcome.UNAVAILABLE, at_once=False)
_REFUSED = Cell(Outcome.REFUSED)
#: Operations that are asked again for as long as there is time: they change nothing, or they
#: happen only once.
_ASKED_AGAIN = (*_QUERIES, Operation.PUBLISH, *_OBJECTS)
#: gRPC delivers a message whole or not at all. The operations of the second group get only one
#: message each.
_WHOLE = (*_QUERIES, Operation.COMMIT, Operation.PUBLISH, *_LETTERS)
_ONE_MESSAGE = (Operation.READ, Operation.COMMIT, Operation.PUBLISH, *_LETTERS)


def _row(
    usual: Cell,
    *,
    again: Iterable[Operation] = (),
    never: Iterable[Operation] = (),
    others: Mapping[Operation, Cell] | None = None,
) -> Mapping[Operation, Cell]:
    special = {**dict.fromkeys(again, _IN_TIME), **(others or {})}
    return {each: special.get(each, usual) for each in Operation if each not in set(never)}


#: A fault without a cell for an operation cannot happen to it.
TABLE: Mapping[Fault, Mapping[Operation, Cell]] = {
    Fault.NOBODY: _row(_UNAVAILABLE, again=_ASKED_AGAIN),
    # A pull without an answer counts as having found nothing.
    Fault.HANG: _row(
        _IN_TIME, others={Operation.PULL: Cell(Outcome.NOTHING_THERE, at_once=False)}
    ),
    Fault.DRIP: _row(_IN_TIME, never=_ONE_MESSAGE),
    Fault.HALF: _row(_UNAVAILABLE, again=_OBJECTS, never=_WHOLE),
    # The answer to an acknowledgement is empty: nobody reads it.
    Fault.GARBAGE: _row(
        _UNAVAILABLE, again=_OBJECTS, others={Operation.ACKNOWLEDGE: Cell(Outcome.DONE)}
    ),
    Fault.BUSY: _row(_UNAVAILABLE, again=_ASKED_AGAIN),
    Fault.DEFECT: _row(_UNAVAILABLE, again=_ASKED_AGAIN),
    Fault.DOWN: _row(_UNAVAILABLE, again=_ASKED_AGAIN),
    # Operators read the reason in the words of the error, and try again themselves.
    **{
        fault: _row(_REFUSED, others=dict.fromkeys(_LETTERS, _UNAVAILABLE))
        for fault in (Fault.MALFORMED, Fault.UNKNOWN_CALLER, Fault.FORBIDDEN)
    },
    Fault.MISSING: _row(
        _REFUSED,
        others={
            **dict.fromkeys(_LETTERS, _UNAVAILABLE),
            Operation.COMMIT: Cell(Outcome.CONFLICT),
            Operation.STAT: Cell(Outcome.NOTHING_THERE),
            Operation.READ_OBJECT: Cell(Outcome.NOTHING_THERE),
            # A missing bucket may still be created.
            Operation.CREATE: _UNAVAILABLE,
            Operation.FETCH: Cell(Outcome.NOTHING_THERE),
            Operation.FORGET: Cell(Outcome.DONE),
        },
    ),
}
