"""What a person sees on a terminal, wide or narrow."""

import io
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from rich.console import Console

from infra.local.demo import StepResult
from infra.ops.cli.terminal import print_json, print_line, say
from infra.ops.local.commands import demo_table
from infra.ops.runs.commands import runs_table
from infra.ops.runs.view import run_view
from infra.ops.steps.logs import local_entries, show_entries

NOW = datetime(2026, 1, 5, 9, tzinfo=UTC)
IDS = ("20260105-090000_EURUSD_demo", "20260105-090000_EURUSD_bad")
STEP = {"stepType": "LLM_REPORT", "status": "FAILED", "error": {"code": "PROMPT_NOT_FOUND"}}


def listed(width: int) -> str:
    runs = [
        run_view(run_id, {"status": "RUNNING", "steps": {"a": STEP}}, {}, NOW) for run_id in IDS
    ]
    console = Console(file=io.StringIO(), width=width)
    console.print(runs_table(runs, console))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_no_run_id_is_cut_where_an_ordinary_terminal_has_room_for_it() -> None:
    lines = listed(width=80)

    assert all(run_id in lines for run_id in IDS)


def test_a_narrow_terminal_folds_an_id_and_leaves_none_of_it_out() -> None:
    column = [line[2:13] for line in listed(width=40).splitlines()[3:]]
    read = "".join("".join(column).split())

    assert all(run_id in read for run_id in IDS)


@pytest.mark.parametrize("width", [40, 60, 72])
def test_the_status_is_the_last_thing_that_a_narrow_terminal_cuts(width: int) -> None:
    assert listed(width).count("RUNNING") == len(IDS)


@pytest.mark.parametrize("width", [100, 140, 1_000])
def test_the_demos_table_cuts_neither_a_step_id_nor_a_report(width: int) -> None:
    uri = "gs://local-artifacts/20260105-090000_EURUSD_demo/4h/llm_report_of_a_long_name.json"
    step = StepResult(
        run_id=IDS[0],
        step_id="llm_report_of_a_long_name",
        status="SUCCEEDED",
        error_code=None,
        gcs_uri=uri,
        llm_calls=1,
        duration_ms=1_234,
        total_tokens=5_000,
    )
    console = Console(file=io.StringIO(), width=width)
    console.print(demo_table([step]))
    assert isinstance(console.file, io.StringIO)
    rows = [line.split("│") for line in console.file.getvalue().splitlines() if "│" in line]
    columns = ["".join(cell.strip() for cell in column) for column in zip(*rows, strict=True)]

    assert {IDS[0], step.step_id, uri} <= set(columns)


def entry(event: str, time: str = "2026-01-05T09:00:00.000Z") -> str:
    fields = {"event": event, "time": time, "runId": "run", "stepId": "step"}
    trace = {"logging.googleapis.com/spanId": "e381dc71cae62872"}
    return json.dumps({**fields, **trace, "message": event}) + "\n"


def test_entries_of_one_millisecond_stay_in_the_order_in_which_they_were_written(
    tmp_path: Path,
) -> None:
    events = ["lease_acquired", "llm_request_started", "gcs_write_started"]
    late = entry("step_completed", "2026-01-05T09:00:01.000Z")
    (tmp_path / "executor.log").write_text(late + "".join(map(entry, events)))

    entries = local_entries(tmp_path, "run", "step", limit=3)

    assert [one["event"] for one in entries] == [*events[1:], "step_completed"]


def test_what_cloud_logging_alone_reads_is_in_the_json_and_in_no_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    entries = [json.loads(entry("lease_acquired"))]

    show_entries(entries, as_json=False)
    line = capsys.readouterr().out
    show_entries(entries, as_json=True)

    assert "googleapis" not in line
    assert "logging.googleapis.com/spanId" in capsys.readouterr().out


ATTACK = "\x1b]0;title\x07 \u009b2J \x9d \x7f ok\n\ttabbed"


@pytest.mark.parametrize("control", ["\x1b", "\x07", "\u009b", "\u009d", "\x7f"])
def test_nothing_that_is_printed_can_move_a_terminal(
    control: str, capsys: pytest.CaptureFixture[str]
) -> None:
    say(ATTACK)
    say(ATTACK, err=True)
    print_line([ATTACK, ATTACK])
    print_json({ATTACK: [ATTACK]})
    show_entries([{"event": ATTACK, "message": ATTACK}], as_json=False)
    show_entries([{"event": ATTACK, "message": ATTACK}], as_json=True)

    printed = capsys.readouterr()
    assert control not in printed.out + printed.err


def test_json_says_what_was_there(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"a": ATTACK})

    assert json.loads(capsys.readouterr().out) == {"a": ATTACK}
