"""The newest runs, kept between two looks: only what may have changed is read again."""

import asyncio
from datetime import datetime, timedelta

from infra.ops.environment.connection import Connection
from infra.ops.environment.listing import NewestFirst, Position, key_of, position_of
from infra.ops.environment.stored_documents import at
from infra.ops.runs.finding import RunPage, cursor_of
from infra.ops.runs.reading import CALL_SECONDS, read_documents, views_of
from infra.ops.runs.view import TERMINAL
from shared.adapters.clock import SystemClock
from shared.domain.documents import Snapshot
from shared.domain.times import parse_time

#: After so long all of it is read again: an ended run may have been opened by others.
_ALL_AGAIN = timedelta(minutes=5)


class NewestRuns:
    """The first page of the runs, for all who look at this console."""

    def __init__(self, *, limit: int) -> None:
        self._limit = limit
        self._runs: list[Snapshot] = []
        self._read_at: datetime | None = None
        # Two tabs ask for one answer.
        self._turn = asyncio.Lock()

    async def page(self, connection: Connection) -> RunPage:
        """The newest runs as they are now.

        Raises:
            StoreUnavailable: Firestore did not answer.
        """
        async with self._turn:
            now = SystemClock().now()
            stale = self._read_at is None or now - self._read_at > _ALL_AGAIN
            if stale or not self._runs:
                self._runs, self._read_at = await self._all(connection), now
            else:
                self._runs = await self._changed(connection, self._runs)
            runs = self._runs
        shown = runs[: self._limit]
        last = position_of(shown[-1]) if len(runs) > self._limit else None
        return RunPage(
            runs=await views_of(connection, shown),
            next=cursor_of(last) if last else None,
            looked_at=len(shown),
            back_to=parse_time(shown[-1].data.get("createdAt")) if shown else None,
        )

    async def _all(self, connection: Connection) -> list[Snapshot]:
        question = NewestFirst(collection=connection.flow_runs, limit=self._limit + 1)
        found = await connection.runs.find(question, timeout_seconds=CALL_SECONDS)
        return list(found)

    async def _changed(self, connection: Connection, known: list[Snapshot]) -> list[Snapshot]:
        """Those that are new, and those known ones that were open, as they are now."""
        newest = position_of(known[0])
        since = _moment_of(newest)
        if since is None:
            return await self._all(connection)
        question = NewestFirst(
            collection=connection.flow_runs, since=since, limit=self._limit + 1
        )
        found = await connection.runs.find(question, timeout_seconds=CALL_SECONDS)
        runs = {run.ref: run for run in known}
        runs.update({run.ref: run for run in found})
        fresh = {run.ref for run in found}
        still_open = [run.ref for run in known if run.ref not in fresh and not _has_ended(run)]
        read = await read_documents(connection, still_open)
        for ref in still_open:
            runs.pop(ref)
        runs.update(read)
        by_age = sorted(runs.values(), key=lambda run: key_of(position_of(run)), reverse=True)
        return by_age[: self._limit + 1]


def _moment_of(place: Position | None) -> datetime | None:
    return None if place is None else parse_time(place.created)


def _has_ended(run: Snapshot) -> bool:
    return at(run.data, "status") in TERMINAL
