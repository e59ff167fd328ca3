"""Sample data to try prompts on: past days of one stock, each a run of one daily report."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources

from infra.local.scenario.model import Document, SampleChart, SeedObject, compact_json
from infra.local.scenario.prompts import prompt_documents, prompt_id
from infra.local.scenario.runs import (
    RunHead,
    exported_candles,
    exported_charts,
    ready_report,
    report_llm,
    run_document,
)
from infra.local.scenario.schemas import schema_documents, schema_id
from infra.local.scenario.single import tiny_png

#: Of the sources; reports go to another one.
BUCKET = "sample-inputs"
MOST_RUNS = 200
_SYMBOL, _TIMEFRAME = "GOOG", "1d"
_SHOWN = 120
#: Candles between one run and the next.
_STEP = 3
_NEXT_MINOR = {"_v1_0": "_v1_1"}


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleRun:
    """One run with an executable report, and the objects that it reads."""

    document: Document
    objects: Sequence[SeedObject]


def sample_runs(count: int, *, drawn: bool) -> Iterator[SampleRun]:
    """So many runs, the latest day last, each with the candles up to its day.

    Args:
        count: from 1 to 200.
        drawn: whether each has a chart of its candles, which takes a quarter of a second;
            otherwise it is a gray square.
    """
    rows = _rows()
    ends = range(len(rows) - _STEP * (count - 1), len(rows) + 1, _STEP)
    for number, end in enumerate(ends):
        shown = rows[end - _SHOWN : end]
        chart = _drawn_chart(end) if drawn else _plain_chart(number)
        yield _run(shown, chart)


def sample_registry() -> Mapping[str, Document]:
    """The prompt and the schema of the runs, by the path of their files."""
    prompt, schema = prompt_id(_TIMEFRAME), schema_id(_TIMEFRAME)
    return {
        f"llm_prompts/{prompt}.json": prompt_documents()[prompt],
        f"llm_schemas/{schema}.json": schema_documents()[schema],
    }


def sample_candidate() -> Mapping[str, Document]:
    """A changed prompt, checks, and what the stand-in plays for it, by path."""
    before = prompt_documents()[prompt_id(_TIMEFRAME)]
    candidate = prompt_id(_TIMEFRAME).replace("_v1_0", _NEXT_MINOR["_v1_0"])
    phrase = "Name exactly two levels on each side."
    return {
        f"candidate/{candidate}.json": {
            **before,
            "userPrompt": f"{before['userPrompt']}\n\n{phrase}",
        },
        f"checks/{schema_id(_TIMEFRAME)}.json": _checks(),
    }


def sample_effects() -> Sequence[Document]:
    """What the stand-in plays for the candidate: fewer valid answers, levels out of range."""
    return [
        {
            "contains": "Name exactly two levels on each side.",
            "invalid_share": 0.25,
            "outside_share": 0.3,
            "tokens_factor": 1.1,
        }
    ]


def _checks() -> Document:
    levels = ("supportLevels", "resistanceLevels")
    return {
        **{
            name: {"check": "within_candles", "path": f"details.{name}[].price", "slack": 0.25}
            for name in levels
        },
        "probabilities": {
            "check": "sums_to_at_most",
            "path": "details.scenarios[].probability",
            "total": 1,
        },
        "direction": {
            "check": "agrees_with_text",
            "path": "details.trend.direction",
            "words": {"UPTREND": ["up", "uptrend"], "DOWNTREND": ["down", "downtrend"]},
        },
    }


def _run(rows: Sequence[Mapping[str, str]], chart: SampleChart) -> SampleRun:
    day = rows[-1]["Time"]
    head = RunHead(
        bucket=BUCKET,
        run_id=f"{day.replace('-', '')}-220000_{_SYMBOL}_sample",
        symbol=_SYMBOL,
        flow_key="daily_report_v1",
    )
    ohlcv_id, charts_id = f"ohlcv_export_{_TIMEFRAME}", f"chart_export_{_TIMEFRAME}"
    candles = exported_candles(
        head, step_id=ohlcv_id, timeframe=_TIMEFRAME, document=_candles(rows)
    )
    charts = exported_charts(
        head,
        step_id=charts_id,
        timeframe=_TIMEFRAME,
        ohlcv_step_id=ohlcv_id,
        charts=[chart],
    )
    report = ready_report(
        head,
        timeframe=_TIMEFRAME,
        ohlcv_step_id=ohlcv_id,
        charts_step_id=charts_id,
        llm=report_llm(_TIMEFRAME),
    )
    steps = {
        ohlcv_id: candles.step,
        charts_id: charts.step,
        f"llm_report_{_TIMEFRAME}": report,
    }
    return SampleRun(
        document=run_document(head, steps), objects=(*candles.objects, *charts.objects)
    )


def _rows() -> Sequence[Mapping[str, str]]:
    source = resources.files("infra.local.scenario") / "data" / f"{_SYMBOL}_daily.csv"
    with source.open(encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


def _candles(rows: Sequence[Mapping[str, str]]) -> bytes:
    candles = [
        {
            "time": f"{row['Time']}T00:00:00Z",
            **{
                name.lower(): round(float(row[name]), 2)
                for name in ("Open", "High", "Low", "Close")
            },
            "volume": round(float(row["Volume"])),
        }
        for row in rows
    ]
    return compact_json(
        {"schemaVersion": 1, "symbol": _SYMBOL, "timeframe": _TIMEFRAME, "candles": candles}
    )


def _plain_chart(number: int) -> SampleChart:
    return SampleChart(
        template_id="plain_square_v1",
        kind="PLAIN_SQUARE",
        label="Square",
        description="A gray square.",
        png=tiny_png(shade=number % 256),
    )


def _drawn_chart(end: int) -> SampleChart:
    # Loads pandas and matplotlib, which a run without drawn charts must not wait for.
    from infra.local.scenario.charts import render_chart  # noqa: PLC0415
    from infra.local.scenario.market import Series, load_series  # noqa: PLC0415

    whole = load_series(_SYMBOL, _TIMEFRAME)
    series = Series(instrument=whole.instrument, candles=whole.candles.head(end))
    return render_chart(series, "candles_ma_volume_v1")
