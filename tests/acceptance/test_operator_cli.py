"""The operator's commands on documents in the emulator, over a pipe and a real terminal."""

import asyncio
import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
from typer.testing import CliRunner

from infra.local.emulators.clients import firestore_client
from infra.local.state_file import EnvironmentState, claimed, publish_state
from infra.local.storage.objects import ObjectFolder
from infra.ops.main import app
from infra.ops.steps.logs import LogsUnavailable, cloud_entries
from shared.adapters.firestore import FirestoreDocuments
from shared.domain.documents import Create, DocumentRef
from shared.domain.identifiers import RunId, StepId
from shared.domain.job_documents import job_ref
from tests.support.emulators import Emulators

RUN_ID = "20260105-090000_BTCUSD_demo"
OLDER = "20260104-090000_ETHUSD_demo"
GOOD, BAD = "llm_report_1d", "llm_report_4h"
REPORT = f"gs://local-artifacts/{RUN_ID}/1d/{GOOD}.json"
MARKDOWN = "# Rising\n\n- **strong** trend\x1b]0;pwned\x07\x1b[2J"
SECONDS = 120
pytestmark = pytest.mark.emulators


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """A local environment with two runs in it, as the commands find it."""

    data_dir: Path
    environ: dict[str, str]

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command whose output is a pipe."""
        return subprocess.run(
            self.argv(arguments),
            check=False,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            env=self.environ,
        )

    def json(self, *arguments: str) -> Any:
        """Run a command with --json in this process."""
        argv = [*arguments, "--json", "--local", "--data-dir", str(self.data_dir)]
        result = CliRunner().invoke(app, argv, catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    def on_terminal(self, *arguments: str) -> tuple[int, str]:
        """Run a command whose output is a terminal, and return what it wrote there."""
        controller, terminal = pty.openpty()
        with closing(open(controller, "rb", buffering=0)) as screen:  # noqa: PTH123
            process = subprocess.Popen(
                self.argv(arguments),
                stdin=terminal,
                stdout=terminal,
                stderr=terminal,
                env={**self.environ, "TERM": "xterm-256color", "COLUMNS": "140"},
            )
            os.close(terminal)
            written = _all_of(screen.fileno())
        return process.wait(SECONDS), written

    def argv(self, arguments: Sequence[str]) -> list[str]:
        """The command line for a process of its own."""
        where = ("--local", "--data-dir", str(self.data_dir))
        return [sys.executable, "-m", "infra.ops.main", *arguments, *where]


@pytest.fixture
def environment(tmp_path: Path, emulators: Emulators, project_id: str) -> Iterator[Environment]:
    folder = ObjectFolder(tmp_path / "objects")
    folder.create_bucket("local-artifacts")
    report = {"metadata": {}, "output": {"summary": {"markdown": MARKDOWN}, "details": {}}}
    name = REPORT.removeprefix("gs://local-artifacts/")
    folder.write("local-artifacts", name, json.dumps(report).encode())
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs/executor.log").write_text("".join(log_lines()))
    asyncio.run(seed(emulators.firestore_host, project_id))
    with claimed(tmp_path):
        publish_state(
            tmp_path,
            EnvironmentState(
                pid=os.getpid(),
                backend="emulators",
                project=project_id,
                bucket="local-artifacts",
                object_folder=folder.root,
                log_folder=tmp_path / "logs",
                firestore_host=emulators.firestore_host,
                pubsub_host=emulators.pubsub_host,
                urls={},
            ),
        )
        environ = {
            k: v for k, v in os.environ.items() if not k.startswith(("GCP_", "NO_COLOR"))
        }
        yield Environment(data_dir=tmp_path, environ=environ)


async def seed(host: str, project: str) -> None:
    client = firestore_client(host, project)
    try:
        documents = FirestoreDocuments(client)
        for ref, data in documents_of_two_runs():
            await documents.commit([Create(ref=ref, data=data)], timeout_seconds=SECONDS)
    finally:
        client.close()  # type: ignore[no-untyped-call]


def documents_of_two_runs() -> list[tuple[DocumentRef, dict[str, Any]]]:
    head = {"status": "RUNNING", "flowKey": "demo_v1", "scope": {"symbol": "BTCUSD"}}
    usage = {"totalTokenCount": 1234}
    step = {"stepType": "LLM_REPORT", "timeframe": "1d", "dependsOn": []}
    good = {
        **step,
        "status": "SUCCEEDED",
        "outputs": {
            "gcs_uri": REPORT,
            "execution": {"llm": {"usageMetadata": usage}, "accounting": {"costUsd": 0.0125}},
        },
    }
    error = {"code": "PROMPT_NOT_FOUND", "message": "there is no prompt [red]x[/red]\x1b[2J"}
    bad = {**step, "status": "FAILED", "error": error}
    steps = {GOOD: good, BAD: bad}
    now = datetime(2026, 1, 5, 9, tzinfo=UTC)
    attempt = {
        "number": 1,
        "startedAt": now,
        "endedAt": now + timedelta(seconds=1),
        "code": "PROMPT_NOT_FOUND",
        "calls": [{"number": 1, "finishReason": "STOP"}],
    }
    job = {
        "state": "FAILED",
        "attempt": 1,
        "llmCalls": 0,
        "claimedAt": now,
        "lease": {"owner": "executor", "expiresAt": now},
        "history": [attempt],
        "operatorActs": [{"act": "rerun", "at": now, "reason": "published"}],
    }
    return [
        (DocumentRef("flow_runs", RUN_ID), {**head, "createdAt": "2026-01-05", "steps": steps}),
        (
            DocumentRef("flow_runs", OLDER),
            {**head, "createdAt": "2026-01-04", "steps": {GOOD: good}},
        ),
        (job_ref(RunId(RUN_ID), StepId(BAD)), job),
    ]


def log_lines() -> Iterator[str]:
    for number, step_id in enumerate([BAD, GOOD, BAD]):
        entry = {
            "severity": "ERROR",
            "event": "step_failed",
            "message": "step failed",
            "time": f"2026-01-05T09:00:0{number}.000Z",
            "component": "executor",
            "runId": RUN_ID,
            "stepId": step_id,
            "code": "PROMPT_NOT_FOUND",
        }
        yield json.dumps(entry) + "\n"
    yield "Traceback (most recent call last):\n"


def _all_of(terminal: int) -> str:
    written = b""
    while True:
        try:
            read = os.read(terminal, 65_536)
        except OSError:  # This is how Linux says that the other side was closed.
            read = b""
        if not read:
            return written.decode()
        written += read


def test_every_command_prints_the_json_it_promises(environment: Environment) -> None:
    runs = environment.json("runs", "list")["runs"]
    assert [run["runId"] for run in runs] == [RUN_ID, OLDER]
    assert runs[0].keys() == {
        *("runId", "flowKey", "symbol", "status", "createdAt", "stepCounts", "tokens"),
        *("costUsd", "error", "finding"),
    }
    assert runs[0]["stepCounts"] == {"SUCCEEDED": 1, "FAILED": 1}

    run = environment.json("runs", "show", RUN_ID)
    good, bad = run["steps"]
    assert run.keys() == {*runs[0], "steps"}
    assert good.keys() == {
        *("stepId", "stepType", "status", "timeframe", "dependsOn", "startedAt", "finishedAt"),
        *(
            "ageSeconds",
            "tokens",
            "costUsd",
            "model",
            "error",
            "gcsUri",
            "reused",
            "job",
            "finding",
        ),
    }
    assert (good["tokens"], good["costUsd"], good["gcsUri"]) == (1234, 0.0125, REPORT)
    assert bad["finding"] == {
        "level": "failed",
        "reason": "No prompt document has this id.",
        "remedy": "Publish it, or correct `inputs.llm.promptId`.",
    }

    step = environment.json("steps", "show", RUN_ID, BAD)
    assert step == {"runId": RUN_ID, **bad}
    assert step["job"].keys() == {
        *(
            "state",
            "attempt",
            "llmCalls",
            "claimId",
            "claimedAt",
            "leaseOwner",
            "leaseExpiresAt",
        ),
        *("notBefore", "wakeAt", "lastCode", "attempts", "acts"),
        *("claimNumber", "formerClaims", "acknowledged", "refusals", "patienceUntil"),
    }
    report = environment.json("report", "show", RUN_ID, GOOD)
    assert report["output"]["summary"]["markdown"] == MARKDOWN


def test_logs_of_a_step_are_one_json_object_a_line(environment: Environment) -> None:
    logs = environment.run("steps", "logs", RUN_ID, BAD, "--json")

    entries = [json.loads(line) for line in logs.stdout.splitlines()]
    assert [entry["time"][17:19] for entry in entries] == ["00", "02"]
    assert {entry["stepId"] for entry in entries} == {BAD}


def test_a_pipe_gets_plain_lines_with_tabs_and_nothing_a_terminal_obeys(
    environment: Environment,
) -> None:
    listed = environment.run("runs", "list", "--status", "failed")
    shown = environment.run("runs", "show", RUN_ID)
    report = environment.run("report", "show", RUN_ID, GOOD)

    [line] = listed.stdout.splitlines()
    assert line.split("\t")[:2] == [RUN_ID, "RUNNING"]
    good, bad = (line.split("\t") for line in shown.stdout.splitlines())
    assert (good[0], good[1], good[4], good[8]) == (GOOD, "SUCCEEDED", "1234", REPORT)
    assert bad[5:8] == [
        "PROMPT_NOT_FOUND",
        "No prompt document has this id.",
        "Publish it, or correct `inputs.llm.promptId`.",
    ]
    assert report.stdout.startswith("# Rising\n\n- **strong** trend")
    assert "\x1b" not in listed.stdout + shown.stdout + report.stdout
    assert (listed.stderr, shown.stderr, report.stderr) == ("", "", "")


def test_a_step_tells_a_pipe_of_its_attempts_and_of_what_operators_did(
    environment: Environment,
) -> None:
    shown = environment.run("steps", "show", RUN_ID, BAD)

    lines = [line.split("\t") for line in shown.stdout.splitlines()]
    assert ["operator", "2026-01-05T09:00:00.000Z", "", "rerun", "published"] in lines
    ending = ("report STOP", "PROMPT_NOT_FOUND")
    assert lines[-1] == ["attempt", "1", "2026-01-05T09:00:00.000Z", "1.0 s", *ending]
    assert ["lease", "until 2026-01-05T09:00:00.000Z"] in lines
    assert shown.stderr == ""


def test_a_terminal_gets_colors_a_tree_and_a_rendered_report(environment: Environment) -> None:
    code, tree = environment.on_terminal("runs", "show", RUN_ID)
    _, report = environment.on_terminal("report", "show", RUN_ID, GOOD)

    assert code == 0
    assert "\x1b[1;31mFAILED" in tree
    assert "├──" in tree
    # Text of documents is shown as it is: neither markup nor a control sequence.
    assert "there is no prompt [red]x[/red]�[2J" in tree
    assert "→ Publish it" in tree
    assert "Rising" in report
    assert "# Rising" not in report
    assert "\x1b]0;" not in report
    assert "\x1b[2J" not in report + tree


def test_watching_ends_with_the_run_and_tells_that_a_step_failed(
    environment: Environment,
) -> None:
    watched = environment.run("runs", "watch", RUN_ID)
    code, screen = environment.on_terminal("runs", "watch", OLDER)

    assert watched.returncode == 4
    assert [line.split("\t")[1] for line in watched.stdout.splitlines()] == [
        "SUCCEEDED",
        "FAILED",
    ]
    assert code == 0
    assert "SUCCEEDED" in screen


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("runs", "show", OLDER.replace("2026", "2025")), "there is no run"),
        (("runs", "show", "a/b"), "there is no run 'a/b'"),
        (("steps", "show", RUN_ID, "no-such"), f"its report steps: {GOOD}, {BAD}"),
        (("report", "show", RUN_ID, BAD), "is FAILED and has no report"),
    ],
)
def test_what_is_not_there_ends_with_3_and_one_line(
    environment: Environment, arguments: Sequence[str], said: str
) -> None:
    ended = environment.run(*arguments)

    assert ended.returncode == 3
    assert said in ended.stderr
    assert ended.stderr.count("\n") == 1
    assert ended.stdout == ""


def test_the_console_prints_its_link_and_only_that_link_is_answered(
    environment: Environment,
) -> None:
    with subprocess.Popen(
        environment.argv(["console", "--json"]),
        env=environment.environ,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        served = json.loads(process.stdout.readline())
        with httpx2.Client(trust_env=False, follow_redirects=True) as browser:
            page = browser.get(served["url"])
            stranger = httpx2.get(served["url"].partition("?")[0], trust_env=False)
        process.send_signal(signal.SIGTERM)
        code = process.wait(SECONDS)

    assert served.keys() == {"environment", "url"}
    assert RUN_ID in page.text
    assert stranger.status_code == 403
    assert code == 130


GCLOUD = """#!{python}
import json, sys
print(json.dumps([
    {{"severity": "INFO", "timestamp": "2026-01-05T09:00:02Z",
      "jsonPayload": {{"event": "b"}}}},
    {{"severity": "INFO", "timestamp": "2026-01-05T09:00:01Z", "jsonPayload": {{
        "event": "a", "message": " ".join(sys.argv[1:])}}}},
]))
"""


async def test_a_projects_log_is_read_by_gcloud_the_oldest_entry_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gcloud = tmp_path / "gcloud"
    gcloud.write_text(GCLOUD.format(python=sys.executable))
    gcloud.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))

    entries = await cloud_entries("my-project", RUN_ID, BAD, 10)

    assert [(entry["event"], entry["time"]) for entry in entries] == [
        ("a", "2026-01-05T09:00:01Z"),
        ("b", "2026-01-05T09:00:02Z"),
    ]
    asked = entries[0]["message"]
    assert f'jsonPayload.runId="{RUN_ID}" AND jsonPayload.stepId="{BAD}"' in asked
    assert "--project my-project --format json --limit 10" in asked


async def test_a_gcloud_that_fails_is_quoted_without_what_a_terminal_obeys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gcloud = tmp_path / "gcloud"
    gcloud.write_text("#!/bin/sh\nprintf 'no \\033[2Jright' >&2\nexit 1\n")
    gcloud.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(LogsUnavailable, match=r"no .\[2Jright"):
        await cloud_entries("my-project", RUN_ID, BAD, 10)
