"""Every command prints the JSON that the reference states: all commands, in one environment."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from typer.main import get_command

from infra.docs.json_shapes import PER_LINE, SHAPES
from infra.local.emulators.clients import firestore_client, publisher_client
from infra.local.emulators.finding import Missing, find_emulators
from infra.local.processes.functions import DEAD_LETTER_TOPIC
from infra.local.scenario import prompt_documents, schema_documents, single_report_run
from infra.ops.main import app
from infra.ops.mcp.tools import commands_of
from shared.adapters.firestore import FirestoreDocuments
from shared.adapters.pubsub import PubSubQueue
from shared.domain.documents import Create, DocumentRef
from shared.domain.identifiers import ClaimId, RunId, StepId
from shared.domain.job_documents import create_job
from shared.domain.jobs import JobRecord, JobState, Lease
from shared.domain.messages import JobMessage

DEMO = "20260105-090000_GOOG_demo"
BAD, FAILED = "20260105-090000_EURUSD_bad", "llm_report_unknown_prompt"
HELD = "20260106-090000_ETHUSD_held"
NEW = "20260107-090000_ETHUSD_new"
STEP = "llm_report_1d"
REPORT = f"gs://local-artifacts/{DEMO}/1d/{STEP}.json"
PATIENCE_SECONDS = 300
#: Each command with its arguments, in an order in which each command finds what it needs. FILES
#: is a folder of documents, and LETTER is a dead letter's id. Commands that run until a signal
#: are listed apart.
ARGUMENTS: Mapping[str, Sequence[str]] = {
    "doctor": (),
    "runs watch": (DEMO,),
    "runs list": (),
    "runs attention": (),
    "runs show": (DEMO,),
    "runs export": (DEMO, "FILES/exported"),
    "runs submit": ("FILES/new.json", "--yes"),
    "steps show": (BAD, FAILED),
    "steps logs": (BAD, FAILED),
    "steps cancel": (HELD, STEP, "--reason", "a test", "--as", "ann", "--yes"),
    "steps acknowledge": (BAD, FAILED, "--reason", "seen to"),
    "steps rerun": (BAD, FAILED, "--reason", "a test", "--yes"),
    "steps rerun-all": ("--code", "LLM_PROFILE_INVALID", "--reason", "a test", "--dry-run"),
    "steps cancel-all": ("--symbol", "NONE", "--reason", "a test", "--yes"),
    "report show": (DEMO, STEP),
    "report verify": (REPORT,),
    "report export": (f"{DEMO}/{STEP}", "--out", "FILES/report.html"),
    "report compare": (f"{DEMO}/{STEP}", f"{DEMO}/llm_report_1w"),
    "prompts diff": ("FILES/llm_prompts",),
    "prompts publish": ("FILES/llm_prompts",),
    "prompts list": (),
    "prompts show": ("llm_prompt_1d_report_v1_0",),
    "schemas diff": ("FILES/llm_schemas",),
    "schemas publish": ("FILES/llm_schemas",),
    "schemas list": (),
    "schemas show": ("llm_schema_1M_report_v1_0",),
    "schemas hash": ("FILES/llm_schemas",),
    "spend reconcile": ("FILES/bill.jsonl",),
    "quota": (),
    "dead-letters list": (),
    "dead-letters show": ("LETTER",),
    "dead-letters replay": ("--dry-run",),
    "dead-letters discard": ("--all", "--yes"),
    "smoke": (),
    "bundle": ("dispatcher", "--out", "FILES/bundle"),
    "eval watch": ("--control", "llm_prompt_1d_report_v1_0", "--canary", "none"),
    "run": ("FILES/run.json", "--out", "FILES/reports"),
    "samples": ("FILES/samples", "--count", "2", "--no-charts"),
    "eval run": (
        *("FILES/samples", "--out", "FILES/evaluation", "--variant", "current"),
        *("--variant", "FILES/samples/candidate/llm_prompt_1d_report_v1_1.json"),
    ),
    "demo": ("--embedded", "--data-dir", "FILES/demo"),
}
#: Commands whose standard output is the protocol's, or the lines that are run.
SPEAKS_ITS_OWN = {"mcp", "bootstrap"}
SERVERS: Mapping[str, Sequence[str]] = {"up": ("--demo", "--emulators"), "console": ()}


def test_every_command_has_a_stated_shape_and_is_run_here() -> None:
    commands = {name for name, _ in commands_of(get_command(app))} - SPEAKS_ITS_OWN

    assert SHAPES.keys() == commands
    assert {*ARGUMENTS, *SERVERS} == commands


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """A running environment, and a folder with files for the commands."""

    state: Mapping[str, Any]
    data_dir: Path
    files: Path

    def argv(self, name: str, arguments: Sequence[str]) -> list[str]:
        """The command line, in this environment if the command takes one."""
        wants = {option.name for option in dict(commands_of(get_command(app)))[name].params}
        where = ["--local", "--data-dir", str(self.data_dir)] if "project" in wants else []
        given = [argument.replace("FILES", str(self.files)) for argument in arguments]
        return [sys.executable, "-m", "infra.ops.main", *name.split(), *given, *where, "--json"]


@contextmanager
def server(argv: Sequence[str]) -> Iterator[Mapping[str, Any]]:
    """Run a command that stays, and yield the object that it prints."""
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield json.loads(process.stdout.readline())
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(PATIENCE_SECONDS)


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[Environment]:
    """Run the demo's environment, with a step that is at work and a dead letter."""
    found = find_emulators(os.environ, Path.home())
    if isinstance(found, Missing) and not os.environ.get("CI"):
        pytest.skip("; ".join(found.reasons))
    write_files(tmp_path / "files")
    data_dir = ["--data-dir", str(tmp_path / "data")]
    up = [sys.executable, "-m", "infra.ops.main", "up", *SERVERS["up"], *data_dir, "--json"]
    with server(up) as state:
        asyncio.run(hold_a_step_and_a_letter(state))
        yield Environment(state=state, data_dir=tmp_path / "data", files=tmp_path / "files")


def write_files(folder: Path) -> None:
    document, objects = single_report_run(bucket="inputs", run_id=HELD)
    labels = [{"key": name, "value": "unknown"} for name in ("run", "step", "claim", "call")]
    new = {**document, "runId": NEW, "steps": {}}
    written: dict[str, bytes] = {
        "run.json": json.dumps(document).encode(),
        "bill.jsonl": json.dumps({"labels": labels, "cost": 0.1}).encode(),
        "new.json": json.dumps(new).encode(),
    }
    for kind, documents in (
        ("llm_prompts", prompt_documents()),
        ("llm_schemas", schema_documents()),
    ):
        for name, data in documents.items():
            written[f"{kind}/{name}.json"] = json.dumps(data).encode()
    written |= {f"objects/{item.bucket}/{item.name}": item.data for item in objects}
    for path, content in written.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)


async def hold_a_step_and_a_letter(state: Mapping[str, Any]) -> None:
    document, _ = single_report_run(bucket=state["bucket"], run_id=HELD)
    document["steps"][STEP]["status"] = "RUNNING"
    lease = Lease(owner="somebody", expires_at=datetime(2999, 1, 1, tzinfo=UTC))
    job = JobRecord(
        run_id=RunId(HELD),
        step_id=StepId(STEP),
        claim_id=ClaimId("c"),
        event_id="e",
        claimed_at=datetime(2026, 1, 6, 9, tzinfo=UTC),
        state=JobState.RUNNING,
        attempt=1,
        lease=lease,
    )
    client = firestore_client(state["firestoreHost"], state["project"])
    try:
        run = Create(ref=DocumentRef("flow_runs", HELD), data=document)
        documents = FirestoreDocuments(client)
        await documents.commit([run, create_job(job)], timeout_seconds=PATIENCE_SECONDS)
    finally:
        client.close()  # type: ignore[no-untyped-call]
    letter = JobMessage(run_id=RunId(HELD), step_id=StepId(STEP), claim_id=ClaimId("c"))
    topic = f"projects/{state['project']}/topics/{DEAD_LETTER_TOPIC}"
    async with publisher_client(state["pubsubHost"]) as publisher:
        await PubSubQueue(publisher, topic).publish([letter.encode({})], timeout_seconds=60)


@pytest.mark.emulators
@pytest.mark.timeout(900)
def test_every_command_prints_the_json_that_is_stated(environment: Environment) -> None:
    wrong = {"up": problems("up", environment.state)}
    with server(environment.argv("console", SERVERS["console"])) as console:
        wrong["console"] = problems("console", console)
    letter = ""
    for name, arguments in ARGUMENTS.items():
        given = [argument.replace("LETTER", letter) for argument in arguments]
        printed = printed_by(environment.argv(name, given))
        objects = printed.splitlines() if name in PER_LINE else [printed]
        found = [json.loads(each) for each in objects]
        wrong[name] = [problem for each in found for problem in problems(name, each)]
        wrong[name] += [] if found else ["nothing was printed"]
        if name == "dead-letters list":
            letter = found[0]["letters"][0]["messageId"]

    assert {name: each for name, each in wrong.items() if each} == {}
    assert wrong.keys() == SHAPES.keys()


def printed_by(argv: Sequence[str]) -> str:
    own = {name: value for name, value in os.environ.items() if not name.startswith("G")}
    ended = subprocess.run(
        argv, check=False, capture_output=True, text=True, timeout=PATIENCE_SECONDS, env=own
    )
    assert ended.stdout, (argv, ended.stderr)
    return ended.stdout


def problems(name: str, value: object) -> list[str]:
    validator = Draft202012Validator(SHAPES[name])
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(value)]
