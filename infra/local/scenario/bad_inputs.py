"""A run whose reports must fail, each for another reason, beside one that must not."""

from infra.local.scenario.model import Document, Expectation, SampleChart
from infra.local.scenario.runs import (
    Exported,
    RunHead,
    SeededRun,
    exported_candles,
    exported_charts,
    ready_report,
    report_llm,
    run_document,
)

_TIMEFRAME = "4h"
_CANDLES, _LARGE_CANDLES = "ohlcv_export_4h", "ohlcv_export_4h_too_large"
_CHARTS, _NO_CHARTS = "chart_export_4h", "chart_export_4h_without_images"
#: Well-formed, and not in the registry.
_UNKNOWN_PROMPT = "llm_prompt_4h_report_unpublished_v1_0"


def bad_inputs_run(
    *, bucket: str, run_stamp: str, candles: bytes, chart: SampleChart, too_large: bytes
) -> SeededRun:
    """The run, from one sound OHLCV document and chart, and a document over the limit."""
    head = RunHead(
        bucket=bucket,
        run_id=f"{run_stamp}_EURUSD_bad",
        symbol="EURUSD",
        flow_key="bad_inputs_v1",
        trigger="DEBUG_HTTP",
    )
    exports = {
        _CANDLES: _candles(head, _CANDLES, candles),
        _LARGE_CANDLES: _candles(head, _LARGE_CANDLES, too_large),
        _CHARTS: _charts(head, _CHARTS, chart),
        _NO_CHARTS: _charts(head, _NO_CHARTS),
    }
    reports = _reports(head)
    return SeededRun(
        document=run_document(
            head,
            {step_id: export.step for step_id, export in exports.items()}
            | {step_id: step for step_id, (step, _) in reports.items()},
        ),
        objects=[written for export in exports.values() for written in export.objects],
        expectations=[
            _expectation(head, step_id, code) for step_id, (_, code) in reports.items()
        ],
    )


def _reports(head: RunHead) -> dict[str, tuple[Document, str | None]]:
    """Every report step with the error code it must end with."""
    return {
        "llm_report_without_images": (
            _report(head, charts=_NO_CHARTS),
            "INVALID_STEP_INPUTS",
        ),
        "llm_report_candles_too_large": (
            _report(head, candles=_LARGE_CANDLES),
            "INVALID_STEP_INPUTS",
        ),
        "llm_report_unknown_prompt": (
            _report(head, llm=report_llm(_TIMEFRAME) | {"promptId": _UNKNOWN_PROMPT}),
            "PROMPT_NOT_FOUND",
        ),
        "llm_report_unknown_profile_field": (
            _report(head, llm=_llm_with_unknown_field()),
            "LLM_PROFILE_INVALID",
        ),
        "llm_report_sound": (_report(head), None),
    }


def _llm_with_unknown_field() -> Document:
    llm = report_llm(_TIMEFRAME)
    llm["llmProfile"]["creativity"] = 0.7
    return llm


def _report(
    head: RunHead,
    *,
    candles: str = _CANDLES,
    charts: str = _CHARTS,
    llm: Document | None = None,
) -> Document:
    return ready_report(
        head,
        timeframe=_TIMEFRAME,
        ohlcv_step_id=candles,
        charts_step_id=charts,
        llm=llm or report_llm(_TIMEFRAME),
    )


def _candles(head: RunHead, step_id: str, document: bytes) -> Exported:
    return exported_candles(head, step_id=step_id, timeframe=_TIMEFRAME, document=document)


def _charts(head: RunHead, step_id: str, *charts: SampleChart) -> Exported:
    failure = {
        "chartTemplateId": "bollinger_rsi_v1",
        "error": {"code": "RENDER_FAILED", "message": "not enough candles"},
    }
    return exported_charts(
        head,
        step_id=step_id,
        timeframe=_TIMEFRAME,
        ohlcv_step_id=_CANDLES,
        charts=charts,
        failures=[failure],
    )


def _expectation(head: RunHead, step_id: str, code: str | None) -> Expectation:
    return Expectation(
        run_id=head.run_id,
        step_id=step_id,
        status="FAILED" if code else "SUCCEEDED",
        error_code=code,
    )
