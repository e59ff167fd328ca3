"""The demo's scenario: three healthy runs, and one whose inputs are bad."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from infra.local.scenario.bad_inputs import bad_inputs_run
from infra.local.scenario.model import Document, Expectation, Scenario, SeedObject
from infra.local.scenario.prompts import prompt_documents
from infra.local.scenario.runs import (
    RunHead,
    SeededRun,
    exported_candles,
    exported_charts,
    parse_stamp,
    ready_report,
    report_llm,
    run_document,
)
from infra.local.scenario.schemas import schema_documents

if TYPE_CHECKING:
    from infra.local.scenario.figures import MarketExport

#: One byte more than a JSON artifact may have.
_TOO_LARGE_BYTES = 65_536 + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class _Report:
    timeframe: str
    #: Timeframes of the same run whose reports this one builds upon.
    previous: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    symbol: str
    flow_key: str
    trigger: str
    reports: Sequence[_Report]
    #: Step ids are the orchestrator's choice; they may hold `:` and `-`.
    step_id: str = "{part}_{timeframe}"
    manifest_field: str = "gcs_uri"


_PLANS = (
    _Plan(
        symbol="BTCUSD",
        flow_key="monthly_report_v1",
        trigger="SCHEDULER",
        reports=(_Report(timeframe="1M"),),
    ),
    _Plan(
        symbol="GOOG",
        flow_key="weekly_daily_report_v2",
        trigger="USER",
        reports=(_Report(timeframe="1w"), _Report(timeframe="1d", previous=("1w",))),
    ),
    _Plan(
        symbol="EURUSD",
        flow_key="intraday_report_v1",
        trigger="SYSTEM",
        reports=(_Report(timeframe="4h"),),
        step_id="{timeframe}:{part}-1",
        manifest_field="outputsManifestGcsUri",
    ),
)


def build_scenario(*, bucket: str, run_stamp: str = "20260105-090000") -> Scenario:
    """Everything that the demo seeds, the same for the same arguments.

    Takes a few seconds: it draws the charts. All run ids begin with the stamp
    (`YYYYMMDD-HHmmss`, UTC), and all times of the runs count from it.

    Raises:
        ValueError: the stamp is no such moment.
    """
    parse_stamp(run_stamp)
    # Loads pandas and matplotlib, which a command line that builds nothing must not wait for.
    from infra.local.scenario.figures import hourly_candles, market_exports  # noqa: PLC0415

    markets = market_exports()
    runs = [_healthy_run(plan, bucket, run_stamp, markets) for plan in _PLANS]
    market = markets["EURUSD", "4h"]
    bad = bad_inputs_run(
        bucket=bucket,
        run_stamp=run_stamp,
        candles=market.candles,
        chart=market.charts[0],
        too_large=hourly_candles(size_bytes=_TOO_LARGE_BYTES),
    )
    return _scenario([*runs, bad])


def _scenario(runs: Sequence[SeededRun]) -> Scenario:
    return Scenario(
        prompts=prompt_documents(),
        schemas=schema_documents(),
        objects=tuple(written for run in runs for written in run.objects),
        runs={run.document["runId"]: run.document for run in runs},
        expectations=tuple(expected for run in runs for expected in run.expectations),
    )


def _healthy_run(
    plan: _Plan,
    bucket: str,
    run_stamp: str,
    markets: Mapping[tuple[str, str], "MarketExport"],
) -> SeededRun:
    run_id = f"{run_stamp}_{plan.symbol}_demo"
    head = RunHead(
        bucket=bucket,
        run_id=run_id,
        symbol=plan.symbol,
        flow_key=plan.flow_key,
        trigger=plan.trigger,
    )
    steps: dict[str, Document] = {}
    objects: list[SeedObject] = []
    for report in plan.reports:
        added, written = _report_steps(
            head, plan, report, markets[plan.symbol, report.timeframe]
        )
        steps |= added
        objects += written
    return SeededRun(
        document=run_document(head, steps),
        objects=objects,
        expectations=[
            Expectation(run_id=run_id, step_id=step_id, status="SUCCEEDED")
            for step_id, step in steps.items()
            if step["stepType"] == "LLM_REPORT"
        ],
    )


def _report_steps(
    head: RunHead, plan: _Plan, report: _Report, market: "MarketExport"
) -> tuple[dict[str, Document], list[SeedObject]]:
    ohlcv_id, charts_id, report_id = (
        plan.step_id.format(part=part, timeframe=report.timeframe)
        for part in ("ohlcv_export", "chart_export", "llm_report")
    )
    candles = exported_candles(
        head, step_id=ohlcv_id, timeframe=report.timeframe, document=market.candles
    )
    charts = exported_charts(
        head,
        step_id=charts_id,
        timeframe=report.timeframe,
        ohlcv_step_id=ohlcv_id,
        charts=market.charts,
        output_field=plan.manifest_field,
    )
    step = ready_report(
        head,
        timeframe=report.timeframe,
        ohlcv_step_id=ohlcv_id,
        charts_step_id=charts_id,
        llm=report_llm(report.timeframe),
        previous=[
            plan.step_id.format(part="llm_report", timeframe=timeframe)
            for timeframe in report.previous
        ],
    )
    steps = {ohlcv_id: candles.step, charts_id: charts.step, report_id: step}
    return steps, [*candles.objects, *charts.objects]
