"""`worker-llm spend`."""

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from infra.ops.cli.options import Where
from infra.ops.cli.terminal import print_json, print_line, say
from infra.ops.environment.connection import Connection, connect
from infra.ops.environment.listing import ById
from infra.ops.spend.export import read_export
from infra.ops.spend.reconciling import Disagreement, Reconciliation, reconcile
from shared.domain.documents import Snapshot
from shared.domain.job_documents import COLLECTION, JobRecordInvalid, parse_job_record
from shared.domain.jobs import JobRecord

_DIFFERENT = 1
_PAGE = 300
_CALL_SECONDS = 30.0
_EVER = (datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC))


async def reconcile_export(
    where: Where,
    path: Path,
    *,
    since: datetime | None,
    until: datetime | None,
    as_json: bool,
) -> int:
    """Say what of the export and the job records does not agree; 1 if anything."""
    # Read whole before anybody is asked: a file that is none costs no look.
    lines = list(read_export(path))
    async with connect(where) as connection:
        snapshots = [snapshot async for snapshot in _snapshots(connection)]
    records, unreadable = _records(snapshots)
    first, last = since or _EVER[0], until or _EVER[1]
    result = reconcile(lines, records, since=first, until=last)
    if as_json:
        print_json(_as_document(result, unreadable))
    else:
        _say(result, unreadable)
    return _DIFFERENT if result.findings else 0


async def _snapshots(connection: Connection) -> AsyncIterator[Snapshot]:
    last: str | None = None
    while True:
        page = ById(collection=COLLECTION, equal={}, after=last, limit=_PAGE)
        found = await connection.runs.find(page, timeout_seconds=_CALL_SECONDS)
        for snapshot in found:
            yield snapshot
        if len(found) < _PAGE:
            return
        last = found[-1].ref.document_id


def _records(snapshots: Sequence[Snapshot]) -> tuple[Sequence[JobRecord], int]:
    """The records, and how many cannot be read."""
    records: list[JobRecord] = []
    for snapshot in snapshots:
        try:
            records.append(parse_job_record(snapshot.data))
        except JobRecordInvalid:
            continue
    return records, len(snapshots) - len(records)


def _as_document(result: Reconciliation, unreadable: int) -> dict[str, Any]:
    return {
        "lines": result.lines,
        "otherLines": result.others,
        "calls": result.calls,
        "unreadableRecords": unreadable,
        "billed": str(result.billed),
        "findings": [_finding(each) for each in result.findings],
    }


def _finding(found: Disagreement) -> dict[str, Any]:
    return {
        "kind": str(found.kind),
        "run": found.run,
        "step": found.step,
        "claim": found.claim,
        "call": found.call,
        "line": found.line,
        "cost": None if found.cost is None else str(found.cost),
        "says": found.says or None,
    }


def _say(result: Reconciliation, unreadable: int) -> None:
    for found in result.findings:
        line = "" if found.line is None else f"line {found.line}"
        cost = "" if found.cost is None else str(found.cost)
        call = f"call {found.call}" if found.call else ""
        where = [found.run, found.step, found.claim, call, line, cost, found.says]
        print_line([str(found.kind), *filter(None, where)])
    say(
        f"{result.lines} lines, {result.others} of them others'; {result.calls} calls in job"
        f" records, {unreadable} records unreadable; {result.billed} billed;"
        f" {len(result.findings)} findings",
        err=True,
    )
