"""`worker-llm steps logs`: from the local log files, or from Cloud Logging by gcloud."""

import asyncio
import heapq
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.text import Text

from infra.failures import CannotBeDone
from infra.ops.cli.options import Where
from infra.ops.cli.terminal import harmless, json_text, print_line, say, terminal
from infra.ops.environment.connection import Connection, connect
from infra.ops.steps.commands import read_step

#: The newest part of a log file that is looked through.
_MOST_BYTES = 64 * 1024 * 1024
_GCLOUD_SECONDS = 120.0
_SEVERITY_STYLES = {"ERROR": "red", "WARNING": "yellow", "DEBUG": "dim"}
#: Fields that the line shows in another place, or that are the same in all lines.
_SAID = frozenset(
    {"severity", "event", "message", "time", "service", "env", "component", "runId", "stepId"}
)
#: What ties an entry to its trace there; `--json` has it.
_FOR_CLOUD_LOGGING = "logging.googleapis.com/"

Entry = Mapping[str, Any]


class LogsUnavailable(CannotBeDone):
    """The log cannot be read; the message says why."""


async def show_logs(
    where: Where, run_id: str, step_id: str, *, limit: int, as_json: bool
) -> int:
    """Print the step's log entries."""
    async with connect(where) as connection:
        await read_step(connection, run_id, step_id)
        entries = await log_entries(connection, run_id, step_id, limit)
    show_entries(entries, as_json=as_json)
    return 0


def show_entries(entries: Sequence[Entry], *, as_json: bool) -> None:
    """Print one line an entry."""
    console = terminal()
    for entry in entries:
        if as_json:
            say(json_text(entry))
        elif console is not None:
            console.print(_line(entry))
        else:
            print_line(_fields(entry))


def local_entries(log_folder: Path, run_id: str, step_id: str, limit: int) -> Sequence[Entry]:
    """The last entries about the step in a folder of logs, the oldest first."""
    found = (
        entry
        for log in sorted(log_folder.glob("*.log"))
        for entry in _entries_of(log)
        if (entry.get("runId"), entry.get("stepId")) == (run_id, step_id)
    )
    # Entries of one millisecond stay in the order in which they were written.
    last = heapq.nlargest(limit, enumerate(found), key=lambda at: (_time(at[1]), at[0]))
    return [entry for _, entry in reversed(last)]


async def log_entries(
    connection: Connection, run_id: str, step_id: str, limit: int
) -> Sequence[Entry]:
    """The last entries about the step, the oldest first.

    Raises:
        LogsUnavailable: the log cannot be read.
    """
    if connection.local is not None:
        return local_entries(connection.local.log_folder, run_id, step_id, limit)
    return await cloud_entries(connection.project, run_id, step_id, limit)


async def cloud_entries(project: str, run_id: str, step_id: str, limit: int) -> Sequence[Entry]:
    """The last entries in Cloud Logging.

    https://cloud.google.com/logging/docs/view/logging-query-language
    """
    gcloud = shutil.which("gcloud")
    if gcloud is None:
        raise LogsUnavailable("reading a project's log needs the gcloud command line")
    chosen = (
        f"jsonPayload.runId={json.dumps(run_id)} AND jsonPayload.stepId={json.dumps(step_id)}"
    )
    options = ("--project", project, "--format", "json", "--limit", str(limit))
    process = await asyncio.create_subprocess_exec(
        gcloud, "logging", "read", chosen, "--order", "desc", *options,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        async with asyncio.timeout(_GCLOUD_SECONDS):
            output, errors = await process.communicate()
    except TimeoutError:
        process.kill()
        raise LogsUnavailable("gcloud did not answer") from None
    if process.returncode != 0:
        raise LogsUnavailable(harmless(errors.decode(errors="replace").strip()))
    found = json.loads(output)
    return [_payload(entry) for entry in found[::-1]]


def _payload(entry: Entry) -> Entry:
    # Cloud Logging moves these two out of the payload.
    outside = {"severity": entry.get("severity"), "time": entry.get("timestamp")}
    return {**outside, **entry.get("jsonPayload", {})}


def _entries_of(log: Path) -> Iterator[Entry]:
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - _MOST_BYTES))
        for line in file:
            if not line.startswith(b"{"):
                continue
            try:
                yield json.loads(line)
            except ValueError:
                continue


def _time(entry: Entry) -> str:
    return str(entry.get("time", ""))


def _fields(entry: Entry) -> Sequence[object]:
    more = {
        name: value
        for name, value in entry.items()
        if name not in _SAID and not name.startswith(_FOR_CLOUD_LOGGING)
    }
    details = json.dumps(more, ensure_ascii=False) if more else ""
    named = (entry.get(name) for name in ("time", "severity", "component", "event", "message"))
    return (*named, details)


def _line(entry: Entry) -> Text:
    time, severity, component, event, message, details = (
        harmless(str(field or "")) for field in _fields(entry)
    )
    line = Text(f"{time[11:23]} ", style="dim")
    line.append(f"{component:<10} ", style="blue")
    line.append(event, style=_SEVERITY_STYLES.get(severity, "bold"))
    if message != event.replace("_", " "):
        line.append(f"  {message}")
    return line.append(f"  {details}", style="dim")
