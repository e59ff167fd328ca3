"""What needs attention, and finding runs: both are right whatever other runs come first."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from infra.local.embedded.documents import EmbeddedDocuments
from infra.local.embedded.objects import EmbeddedObjects
from infra.local.storage.objects import ObjectFolder
from infra.ops.console.reads import READS_PER_HOUR, live_seconds, metered
from infra.ops.environment.connection import Connection
from infra.ops.environment.listing import EmbeddedRunListing
from infra.ops.runs import attention as looks
from infra.ops.runs.attention import what_needs_attention
from infra.ops.runs.finding import CursorInvalid, RunFilter, find_runs
from infra.ops.runs.reading import read_run
from shared.domain.documents import Create, DocumentRef

START = datetime(2026, 1, 5, 9, tzinfo=UTC)
REPORT = {"stepType": "LLM_REPORT", "timeframe": "1d"}
PROMPT = "there is no prompt llm_prompt_1d_report_v1_0"


def run_id(number: int) -> str:
    stamp = (START + number * timedelta(minutes=1)).strftime("%Y%m%d-%H%M%S")
    return f"{stamp}_BTCUSD_abc"


def good(number: int, **more: Any) -> dict[str, Any]:
    created = START + number * timedelta(minutes=1)
    return {
        "status": "SUCCEEDED",
        "createdAt": created.isoformat().replace("+00:00", "Z"),
        "flowKey": "daily_v1",
        "scope": {"symbol": "BTCUSD"},
        "steps": {"r": {**REPORT, "status": "SUCCEEDED"}},
        **more,
    }


def failing(number: int, *, status: str = "FAILED", steps: int = 1) -> dict[str, Any]:
    error = {"code": "PROMPT_NOT_FOUND", "message": f"{PROMPT}, for {run_id(number)}"}
    failed = {**REPORT, "status": "FAILED", "error": error}
    return good(number, status=status, steps={f"s{n}": failed for n in range(steps)})


async def environment(
    runs: Mapping[str, Mapping[str, Any]], jobs: Mapping[str, Mapping[str, Any]] | None = None
) -> Connection:
    documents = EmbeddedDocuments()
    for collection, found in (("flow_runs", runs), ("llm_jobs", jobs or {})):
        for name, data in found.items():
            ref = DocumentRef(collection, name)
            await documents.commit([Create(ref=ref, data=data)], timeout_seconds=1)
    return Connection(
        name="test",
        project="p",
        database="(default)",
        flow_runs="flow_runs",
        documents=documents,
        runs=EmbeddedRunListing(documents),
        objects=lambda: EmbeddedObjects(ObjectFolder(__file__)),  # type: ignore[arg-type]
        local=None,
    )


@pytest.mark.parametrize("status", ["RUNNING", "FAILED", "SUCCEEDED"])
async def test_what_failed_long_ago_needs_attention_whatever_came_after_it(status: str) -> None:
    runs = {run_id(n): good(n) for n in range(1, 501)} | {
        run_id(0): failing(0, status=status, steps=4)
    }
    jobs = {f"{run_id(0)}~s{n}": {"state": "FAILED"} for n in range(4)}
    connection = await environment(runs, jobs)

    found = await what_needs_attention(connection)

    assert found.headline == "4 steps need attention"
    # Messages are grouped: if they differ only in the run they name, the cause is the same.
    [cause] = found.causes
    assert (cause.code, len(cause.items)) == ("PROMPT_NOT_FOUND", 4)
    assert cause.message == f"{PROMPT}, for …"


async def test_three_failures_among_five_thousand_runs_are_found_within_forty_reads() -> None:
    runs = {run_id(n): good(n) for n in range(3, 5_000)}
    runs |= {run_id(n): failing(n) for n in range(3)}
    jobs = {f"{run_id(n)}~s0": {"state": "FAILED"} for n in range(3)}
    connection, meter = metered(await environment(runs, jobs))

    found = await what_needs_attention(connection)
    await find_runs(connection, RunFilter(), limit=20)

    assert found.headline == "3 steps need attention"
    assert meter.reads <= 40


async def test_a_look_that_was_cut_never_gives_the_all_clear(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(looks, "MOST_OPEN_RUNS", 5)
    runs = {run_id(n): good(n, status="RUNNING") for n in range(6)}

    found = await what_needs_attention(await environment(runs))

    assert not found.all_clear
    assert found.headline == "Nothing found so far: only the 5 oldest open runs were looked at"


async def test_an_acknowledged_failure_needs_no_attention_and_is_still_counted() -> None:
    runs = {run_id(0): failing(0, steps=2)}
    jobs: dict[str, Any] = {
        f"{run_id(0)}~s0": {"state": "FAILED", "acknowledged": True},
        f"{run_id(0)}~s1": {"state": "FAILED"},
    }

    found = await what_needs_attention(await environment(runs, jobs))

    assert (found.total, found.acknowledged) == (1, 1)


async def test_a_job_that_nobody_woke_is_found_in_a_run_that_counts_as_ended() -> None:
    step = {**REPORT, "status": "RUNNING"}
    runs = {run_id(0): good(0, steps={"r": step})}
    jobs = {f"{run_id(0)}~r": {"state": "QUEUED", "wakeAt": START, "shard": 0}}

    found = await what_needs_attention(await environment(runs, jobs))

    assert [cause.code for cause in found.causes] == ["stuck"]


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("my_first_run", {}, "the run's id breaks the contract: "),
        (run_id(0), {"runId": "other"}, "the run breaks the contract: runId must equal"),
        (run_id(0), {"steps": []}, "the run breaks the contract: steps must be a map"),
    ],
)
async def test_a_run_that_breaks_the_contract_is_told_so_everywhere_and_can_be_opened(
    name: str, change: dict[str, Any], said: str
) -> None:
    step = {**REPORT, "status": "READY"}
    run = good(0, status="RUNNING", steps={"r": step}) | change
    connection = await environment({name: run})

    opened = await read_run(connection, name)
    found = await what_needs_attention(connection)

    assert said in str(opened.problem)
    assert [said in step.finding.reason for step in opened.steps] in ([True], [])
    [cause] = found.causes
    assert said in cause.message
    assert "event was lost" not in cause.message


@pytest.mark.parametrize(
    "wanted",
    [
        RunFilter(status="CANCELLED"),
        RunFilter(status="READY"),
        RunFilter(flow_key="weekly_v1"),
        RunFilter(symbol="ETHUSD"),
        RunFilter(timeframe="4h"),
        RunFilter(id_part="_ETHUSD_"),
        RunFilter(until=START + timedelta(seconds=1)),
        RunFilter(status="CANCELLED", symbol="ETHUSD", timeframe="4h"),
    ],
    ids=str,
)
async def test_each_filter_finds_the_one_run_that_is_meant(wanted: RunFilter) -> None:
    name = run_id(0).replace("BTCUSD", "ETHUSD")
    cancelled = {**REPORT, "status": "CANCELLED", "timeframe": "4h"}
    meant = good(
        0,
        status="RUNNING",
        flowKey="weekly_v1",
        scope={"symbol": "ETHUSD"},
        steps={"r": cancelled, "next": {**REPORT, "status": "READY"}},
    )
    connection = await environment({run_id(n): good(n) for n in range(1, 30)} | {name: meant})

    page = await find_runs(connection, wanted, limit=10)

    assert [run.run_id for run in page.runs] == [name]


@pytest.mark.parametrize("wanted", [RunFilter(), RunFilter(status="FAILED")], ids=str)
async def test_pages_lead_to_the_last_run_and_show_each_once(wanted: RunFilter) -> None:
    runs = {run_id(n): failing(n, status="RUNNING" if n % 3 else "FAILED") for n in range(25)}
    connection = await environment(runs)

    seen: list[str] = []
    cursor = None
    for _ in range(20):
        page = await find_runs(connection, wanted, limit=4, cursor=cursor)
        seen += [run.run_id for run in page.runs]
        cursor = page.next
        if cursor is None:
            break

    assert seen == sorted(runs, reverse=True)


async def test_a_look_for_what_no_index_finds_stops_and_says_how_to_go_on() -> None:
    runs = {run_id(n): good(n) for n in range(1_001)}
    connection = await environment(runs)

    page = await find_runs(connection, RunFilter(id_part=run_id(0)), limit=5)
    assert (len(page.runs), page.looked_at) == (0, 500)
    assert page.next is not None
    further = await find_runs(
        connection, RunFilter(id_part=run_id(0)), limit=5, cursor=page.next
    )
    last = await find_runs(
        connection, RunFilter(id_part=run_id(0)), limit=5, cursor=further.next
    )

    assert [run.run_id for run in last.runs] == [run_id(0)]
    assert last.next is None


@pytest.mark.parametrize("cursor", ["x", "", "WzEsIngiXQ", "WzEsIngiLCJhL2IiXQ", "é", "W10"])
async def test_a_cursor_from_elsewhere_is_refused_in_a_sentence(cursor: str) -> None:
    connection = await environment({})

    if not cursor:
        assert (await find_runs(connection, RunFilter(), limit=1, cursor=cursor)).runs == []
        return
    with pytest.raises(CursorInvalid, match="is not where a page ended"):
        await find_runs(connection, RunFilter(), limit=1, cursor=cursor)


@pytest.mark.parametrize("reads", [0, 1, 30, 310, 5_000])
def test_a_page_that_stays_open_keeps_below_the_reads_of_an_hour(reads: int) -> None:
    seconds = live_seconds(reads, at_least=4.0)

    assert seconds >= 4.0
    assert 3_600 / seconds * reads <= READS_PER_HOUR * 1.02
