"""What all commands have in common, and tests of commands that need no environment."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from infra.local.scenario import prompt_documents, schema_documents, single_report_run
from infra.ops.main import app
from infra.ops.mcp.tools import commands_of

PROGRAM = [sys.executable, "-m", "infra.ops.main"]
PATIENCE_SECONDS = 120
RUN_ID = "20260106-090000_ETHUSD_file"


def commands() -> Mapping[str, Any]:
    """Every command by its full name."""
    return dict(commands_of(get_command(app)))


@pytest.mark.parametrize("name", commands())
def test_every_command_prints_json_when_asked_and_shows_an_example(name: str) -> None:
    command = commands()[name]

    # `mcp` prints what its protocol says, and `bootstrap` prints the lines that it runs.
    assert name in {"mcp", "bootstrap"} or any(
        "--json" in option.opts for option in command.params
    )
    assert f"worker-llm {name}" in command.epilog
    assert command.help


@pytest.mark.parametrize("name", commands())
def test_every_command_of_an_environment_has_the_same_options_for_it(name: str) -> None:
    names = {option.name for option in commands()[name].params}

    # `bootstrap` prepares a project, so it needs no existing environment.
    if name != "bootstrap" and {"project", "database", "local"} & names:
        assert {"project", "database", "local", "data_dir"} <= names


def test_help_is_there_at_once_as_nothing_heavy_is_loaded_for_it() -> None:
    script = "import sys, infra.ops.main; print(*sys.modules)"
    loaded = run([sys.executable, "-c", script]).stdout.split()

    heavy = {"google.cloud.firestore_v1", "grpc", "pydantic", "jinja2", "uvicorn"}
    assert "typer" in loaded
    assert not heavy & set(loaded)


def test_a_shell_completes_commands_and_options() -> None:
    environ = {"_MAIN_COMPLETE": "complete_bash", "COMP_WORDS": "main ru", "COMP_CWORD": "1"}
    script = "import sys; sys.argv = ['main']; from infra.ops.main import main; main()"
    completed = run([sys.executable, "-c", script], environ)

    assert completed.stdout.split() == ["run", "runs"]


def test_wrong_usage_ends_with_2() -> None:
    result = CliRunner().invoke(app, ["runs", "show"])

    assert result.exit_code == 2


def test_an_environment_that_is_not_up_ends_with_1_and_says_how_to_start_one(
    tmp_path: Path,
) -> None:
    ended = run([*PROGRAM, "runs", "list", "--local", "--data-dir", str(tmp_path)])

    assert ended.returncode == 1
    assert "start one with `worker-llm up`" in ended.stderr
    assert ended.stderr.count("\n") == 1


def test_a_bundle_says_where_it_is_and_what_is_in_it(tmp_path: Path) -> None:
    target = tmp_path / "executor.zip"
    result = CliRunner().invoke(app, ["bundle", "executor", "--out", str(target), "--json"])

    made = json.loads(result.stdout)
    assert made.keys() == {"path", "files", "sha256"}
    assert Path(made["path"]).stat().st_size > 0


@pytest.mark.parametrize("alone", [False, True], ids=["registry document", "schema alone"])
def test_a_run_from_files_says_how_each_step_ended(tmp_path: Path, alone: bool) -> None:  # noqa: FBT001 -- a case
    document, objects = single_report_run(bucket="inputs", run_id=RUN_ID)
    written: dict[str, bytes] = {"run.json": json.dumps(document).encode()}
    for folder, documents in (
        ("llm_prompts", prompt_documents()),
        ("llm_schemas", schema_documents()),
    ):
        for name, data in documents.items():
            kept = data.get("jsonSchema", data) if alone else data
            written[f"{folder}/{name}.json"] = json.dumps(kept).encode()
    written |= {f"objects/{item.bucket}/{item.name}": item.data for item in objects}
    for path, content in written.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(content)

    arguments = ["run", str(tmp_path / "run.json"), "--out", str(tmp_path / "reports")]
    ended = run([*PROGRAM, *arguments, "--json"])

    [step] = json.loads(ended.stdout)["steps"]
    assert (step["status"], step["error"]) == ("SUCCEEDED", None)
    assert (step["calls"], step["reused"], step["repaired"]) == (1, False, False)
    assert step["tokensIn"] > step["tokensOut"] > 0
    assert json.loads(Path(step["report"]).read_bytes())["metadata"]["runId"] == RUN_ID
    assert ended.returncode == 0


RUN = {"runId": RUN_ID, "status": "RUNNING", "scope": {"symbol": "ETHUSD"}}
READY = {"stepType": "LLM_REPORT", "status": "READY"}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"[" * 100_000, "nested deeper than 64 levels"),
        (b"\xff", "not UTF-8"),
        (b"[]", "must be a JSON object"),
        (b'{"status": "RUNNING"}', "steps must be a map of step id to step"),
        (b'{"runId": "a/b"}', "the document id is no run id"),
        (json.dumps({**RUN, "status": "?"}).encode(), "status must be one of PENDING"),
    ],
)
def test_a_run_from_a_file_that_is_none_is_refused_in_one_line(
    tmp_path: Path, content: bytes, said: str
) -> None:
    path = tmp_path / f"{RUN_ID}.json"
    path.write_bytes(content)

    ended = run([*PROGRAM, "run", str(path), "--out", str(tmp_path / "reports")])

    assert ended.returncode == 1
    assert ended.stderr.startswith(f"{path}: {said}")
    assert ended.stderr.count("\n") == 1


def test_a_run_from_a_file_says_why_a_step_was_not_executed(tmp_path: Path) -> None:
    steps = {"first": READY, "second": {**READY, "dependsOn": ["first"]}}
    path = tmp_path / "run.json"
    path.write_text(json.dumps({**RUN, "steps": steps}))

    ended = run([*PROGRAM, "run", str(path), "--out", str(tmp_path / "reports")])

    assert ended.returncode == 1
    first, second = ended.stdout.splitlines()
    assert first.startswith("first: FAILED INVALID_STEP_INPUTS")
    assert second == "second: READY It can never start: first is FAILED."


def test_a_place_that_cannot_be_written_is_named_without_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    target = tmp_path / "file/executor.zip"

    ended = run([*PROGRAM, "bundle", "executor", "--out", str(target)])

    assert ended.returncode == 1
    assert ended.stderr == f"{tmp_path / 'file'}: File exists\n"


def test_a_reader_that_has_seen_enough_is_no_failure_to_speak_of(tmp_path: Path) -> None:
    command = [*PROGRAM, "bundle", "executor", "--out", str(tmp_path / "executor.zip")]
    reader, writer = os.pipe()
    os.close(reader)
    ended = subprocess.run(
        command, check=False, stdout=writer, stderr=subprocess.PIPE, timeout=PATIENCE_SECONDS
    )
    os.close(writer)

    assert (ended.returncode, ended.stderr) == (1, b"")


def test_a_status_that_there_is_not_is_wrong_usage() -> None:
    result = CliRunner().invoke(app, ["runs", "list", "--status", "FAILD"])

    assert result.exit_code == 2
    assert "'succeeded', 'failed'" in " ".join(result.stderr.split())


def test_an_environment_says_where_it_is_and_ends_with_ctrl_c(tmp_path: Path) -> None:
    command = [*PROGRAM, "up", "--embedded", "--json", "--data-dir", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        up = json.loads(process.stdout.readline())
        process.send_signal(signal.SIGINT)
        code = process.wait(PATIENCE_SECONDS)

    assert up.keys() == {
        *("pid", "backend", "project", "bucket", "objectFolder", "logFolder"),
        *("firestoreHost", "pubsubHost", "urls"),
    }
    assert (up["pid"], up["backend"]) == (process.pid, "embedded")
    assert "?key=" in up["urls"]["console"]
    assert code == 130


def run(
    command: list[str], environ: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith("G")}
    return subprocess.run(
        command,
        check=False,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        env={**own, **(environ or {})},
    )
