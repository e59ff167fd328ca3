"""A run of one report, cheap enough for a test to make hundreds."""

import struct
import zlib
from collections.abc import Sequence

from infra.local.scenario.model import Document, SampleChart, SeedObject, compact_json
from infra.local.scenario.prompts import prompt_id
from infra.local.scenario.runs import (
    RunHead,
    exported_candles,
    exported_charts,
    ready_report,
    report_profile,
    run_document,
)
from infra.local.scenario.schemas import REFERENCE_SCHEMA_ID

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_GRAY_8_BIT = (8, 0, 0, 0, 0)


def single_report_run(
    *,
    bucket: str,
    run_id: str,
    step_id: str = "llm_report_1d",
    timeframe: str = "1d",
    llm: Document | None = None,
    images: int = 1,
) -> tuple[Document, Sequence[SeedObject]]:
    """A RUNNING run with one executable report, and the objects that it reads.

    Without `llm` it asks for the daily report in the reference schema. Its three candles and
    its images are made on the spot; no chart is drawn.

    Raises:
        ValueError: the run id does not begin with a `YYYYMMDD-HHmmss` stamp.
    """
    head = RunHead(
        bucket=bucket,
        run_id=run_id,
        symbol=run_id.split("_")[1],
        flow_key="single_report_v1",
        trigger="DEBUG_HTTP",
    )
    ohlcv_id, charts_id = f"ohlcv_export_{timeframe}", f"chart_export_{timeframe}"
    candles = exported_candles(
        head, step_id=ohlcv_id, timeframe=timeframe, document=_candles(head, timeframe)
    )
    charts = exported_charts(
        head,
        step_id=charts_id,
        timeframe=timeframe,
        ohlcv_step_id=ohlcv_id,
        charts=[_chart(number) for number in range(1, images + 1)],
    )
    report = ready_report(
        head,
        timeframe=timeframe,
        ohlcv_step_id=ohlcv_id,
        charts_step_id=charts_id,
        llm=llm or _daily_llm(),
    )
    steps = {ohlcv_id: candles.step, charts_id: charts.step, step_id: report}
    return run_document(head, steps), (*candles.objects, *charts.objects)


def tiny_png(*, size_pixels: int = 16, shade: int = 200) -> bytes:
    """A valid PNG, about 80 bytes: a square of one shade of gray (0 to 255)."""
    row = b"\x00" + bytes([shade]) * size_pixels
    header = struct.pack(">IIBBBBB", size_pixels, size_pixels, *_GRAY_8_BIT)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(row * size_pixels)), (b"IEND", b""))
    return _PNG_SIGNATURE + b"".join(_png_chunk(kind, data) for kind, data in chunks)


def _daily_llm() -> Document:
    profile = report_profile("1d", schema=REFERENCE_SCHEMA_ID)
    return {"promptId": prompt_id("1d"), "llmProfile": profile}


def _candles(head: RunHead, timeframe: str) -> bytes:
    prices = ((100.0, 101.5), (101.5, 103.0), (103.0, 102.25))
    candles = [
        {
            "time": f"2026-01-0{day}T00:00:00Z",
            "open": opened,
            "high": max(opened, closed) + 0.5,
            "low": min(opened, closed) - 0.5,
            "close": closed,
            "volume": 1000 + day,
        }
        for day, (opened, closed) in enumerate(prices, start=1)
    ]
    return compact_json(
        {
            "schemaVersion": 1,
            "symbol": head.symbol,
            "timeframe": timeframe,
            "candles": candles,
        }
    )


def _chart(number: int) -> SampleChart:
    return SampleChart(
        template_id=f"plain_square_v{number}",
        kind="PLAIN_SQUARE",
        label=f"Square {number}",
        description=f"A gray square, number {number}.",
        png=tiny_png(shade=min(40 * number, 255)),
    )


def _png_chunk(kind: bytes, data: bytes) -> bytes:
    checksum = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)
