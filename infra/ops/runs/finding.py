"""Runs by what they are: status, flow, symbol, timeframe, id and time, page after page."""

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from infra.failures import CannotBeDone
from infra.ops.environment.connection import Connection
from infra.ops.environment.listing import (
    ById,
    NewestFirst,
    Position,
    bound,
    key_of,
    position_of,
)
from infra.ops.environment.stored_documents import map_at, text_at, time_at
from infra.ops.runs.contract import is_readable_id
from infra.ops.runs.job_view import time_json
from infra.ops.runs.reading import CALL_SECONDS, read_documents, views_of
from infra.ops.runs.view import RunView
from shared.domain.documents import DocumentRef, Snapshot
from shared.domain.flow_run import LLM_REPORT, RunStatus
from shared.domain.identifiers import JobId, split_job_id
from shared.domain.job_documents import COLLECTION as JOBS
from shared.domain.jobs import JobState
from shared.domain.steps import StepStatus
from shared.domain.times import parse_time

#: Runs that are read in search of those that no index can find.
MAX_LOOKED_AT = 500
_AT_ONCE = 100
#: Open runs and failed jobs in which a step of a status is looked for.
_MOST_CANDIDATES = 200


class CursorInvalid(CannotBeDone):
    """The cursor is none that an earlier page gave: begin without one."""

    exit_code = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFilter:
    """Which runs are wanted; None and empty stand for all."""

    #: The run's own status, or that of one of its report steps.
    status: str | None = None
    flow_key: str | None = None
    symbol: str | None = None
    #: Of one of its report steps.
    timeframe: str | None = None
    #: A part of the run's id.
    id_part: str | None = None
    #: By `createdAt`, included.
    since: datetime | None = None
    #: By `createdAt`, not included.
    until: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPage:
    """Some of the wanted runs, the newest first."""

    runs: Sequence[RunView]
    #: Where the next page begins; None after the last.
    next: str | None
    #: How many runs were read for it, and when the oldest of them was created.
    looked_at: int
    back_to: datetime | None

    def with_further(self, further: "RunPage") -> "RunPage":
        """This page and the next one as one."""
        return RunPage(
            runs=[*self.runs, *further.runs],
            next=further.next,
            looked_at=self.looked_at + further.looked_at,
            back_to=further.back_to or self.back_to,
        )

    def as_json(self) -> dict[str, Any]:
        """The page as `runs list --json` prints it."""
        return {
            "runs": [run.summary_json() for run in self.runs],
            "next": self.next,
            "lookedAt": self.looked_at,
            "backTo": time_json(self.back_to),
        }


async def find_runs(
    connection: Connection, wanted: RunFilter, *, limit: int, cursor: str | None = None
) -> RunPage:
    """One page of the wanted runs.

    What no index can find (a timeframe, a part of an id) is looked for in the newest runs, at
    most 500 for a page: then the page may hold less than `limit`, and `next` goes on.

    Raises:
        CursorInvalid: `cursor` is not from an earlier page.
        StoreUnavailable: Firestore did not answer.
    """
    after = parse_cursor(cursor) if cursor else None
    look = await _look(connection, wanted, limit=limit, after=after)
    found = {run.ref.document_id: run for run in look.matching}
    if wanted.status is not None:
        for run in await _with_such_a_step(connection, wanted):
            place = position_of(run)
            if place and _lies_between(place, after, look.stopped_at):
                found.setdefault(run.ref.document_id, run)
    by_age = sorted(found.values(), key=lambda run: key_of(position_of(run)), reverse=True)
    page = by_age[:limit]
    more = len(by_age) > limit
    last = position_of(page[-1]) if page and more else look.stopped_at
    return RunPage(
        runs=await views_of(connection, page),
        next=None if last is None else cursor_of(last),
        looked_at=look.looked_at,
        back_to=look.back_to,
    )


def cursor_of(place: Position) -> str:
    """The place as a text without anything that an address must quote."""
    created = place.created
    is_text = isinstance(created, str)
    text = created if isinstance(created, str) else created.isoformat()
    data = json.dumps([int(is_text), text, place.document_id])
    return base64.urlsafe_b64encode(data.encode()).decode().rstrip("=")


def parse_cursor(cursor: str) -> Position:
    """The inverse of `cursor_of`.

    Raises:
        CursorInvalid: it is no such text.
    """
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        is_text, text, document_id = json.loads(base64.urlsafe_b64decode(padded.encode()))
        created = str(text) if is_text else parse_time(text)
    except (ValueError, TypeError):
        created, document_id = None, None
    if created is None or not isinstance(document_id, str) or not is_readable_id(document_id):
        raise CursorInvalid(
            f"{cursor[:40]!r} is not where a page ended: take `next` of an earlier one"
        )
    return Position(created=created, document_id=document_id)


@dataclass(slots=True, kw_only=True)
class _Look:
    """A look at the runs by age."""

    matching: list[Snapshot] = field(default_factory=list)
    looked_at: int = 0
    back_to: datetime | None = None
    #: Behind which run nothing was looked at; None when there is nothing behind.
    stopped_at: Position | None = None


async def _look(
    connection: Connection, wanted: RunFilter, *, limit: int, after: Position | None
) -> _Look:
    look = _Look()
    if wanted.status is not None and wanted.status not in set(RunStatus):
        return look  # Only a step can have this status.
    by_index = wanted.timeframe is None and wanted.id_part is None
    size = limit + 1 if by_index else _AT_ONCE
    place = after
    while True:
        question = _question(connection, wanted, after=place, limit=size)
        runs = await connection.runs.find(question, timeout_seconds=CALL_SECONDS)
        for run in runs:
            place = position_of(run)
            look.looked_at += 1
            look.back_to = time_at(run.data, "createdAt") or look.back_to
            if _matches(run, wanted):
                look.matching.append(run)
        if len(runs) < size:
            return look
        if len(look.matching) > limit or look.looked_at >= MAX_LOOKED_AT:
            look.stopped_at = place
            return look


def _question(
    connection: Connection, wanted: RunFilter, *, after: Position | None, limit: int
) -> NewestFirst:
    equal = {
        "status": wanted.status,
        "flowKey": wanted.flow_key,
        "scope.symbol": wanted.symbol,
    }
    return NewestFirst(
        collection=connection.flow_runs,
        equal={name: value for name, value in equal.items() if value is not None},
        since=wanted.since,
        until=wanted.until,
        after=after,
        limit=limit,
    )


async def _with_such_a_step(connection: Connection, wanted: RunFilter) -> Sequence[Snapshot]:
    """Runs of another status with a report step of this one, as far as indexes lead there.

    A step's status is no field that Firestore could be asked for. Steps that are not ended lie
    in open runs; of those that failed, the job record says so.
    """
    status = str(wanted.status)
    found = list(await runs_of_status(connection, RunStatus.RUNNING, limit=_MOST_CANDIDATES))
    if status == StepStatus.FAILED:
        known = {run.ref for run in found}
        refs = [
            ref
            for ref in await failed_runs(connection, limit=_MOST_CANDIDATES)
            if ref not in known
        ]
        found += (await read_documents(connection, refs)).values()
    return [run for run in found if _has_step(run, status) and has_fields(run, wanted)]


async def runs_of_status(
    connection: Connection, status: RunStatus, *, limit: int
) -> Sequence[Snapshot]:
    """Runs of this status, those with the least id, which are the oldest, first."""
    question = ById(collection=connection.flow_runs, equal={"status": str(status)}, limit=limit)
    return await connection.runs.find(question, timeout_seconds=CALL_SECONDS)


async def failed_runs(connection: Connection, *, limit: int) -> Sequence[DocumentRef]:
    """The runs of failed jobs, each once."""
    question = ById(collection=JOBS, equal={"state": str(JobState.FAILED)}, limit=limit)
    jobs = await connection.runs.find(question, timeout_seconds=CALL_SECONDS)
    ids = (split_job_id(JobId(job.ref.document_id))[0] for job in jobs)
    return [DocumentRef(connection.flow_runs, run_id) for run_id in dict.fromkeys(ids)]


def _has_step(run: Snapshot, status: str) -> bool:
    return any(text_at(step, "status") == status for step in _report_steps(run))


def _report_steps(run: Snapshot) -> Sequence[Any]:
    steps = map_at(run.data, "steps").values()
    return [step for step in steps if text_at(step, "stepType") == LLM_REPORT]


def has_fields(run: Snapshot, wanted: RunFilter) -> bool:
    """Whether the run is one of the wanted ones, whatever its status."""
    place = position_of(run)
    if place is None:
        return False
    kind = str if isinstance(place.created, str) else datetime
    since = wanted.since is None or place.created >= bound(wanted.since, kind)  # type: ignore[operator]
    until = wanted.until is None or place.created < bound(wanted.until, kind)  # type: ignore[operator]
    flow = wanted.flow_key in {None, text_at(run.data, "flowKey")}
    symbol = wanted.symbol in {None, text_at(run.data, "scope", "symbol")}
    return since and until and flow and symbol and _matches(run, wanted)


def _matches(run: Snapshot, wanted: RunFilter) -> bool:
    """What no index can find."""
    of_timeframe = wanted.timeframe is None or any(
        text_at(step, "timeframe") == wanted.timeframe for step in _report_steps(run)
    )
    return of_timeframe and (wanted.id_part or "") in run.ref.document_id


def _lies_between(place: Position, after: Position | None, stop: Position | None) -> bool:
    behind = after is None or key_of(place) < key_of(after)
    return behind and (stop is None or key_of(place) >= key_of(stop))
