"""The required subset of a flow run: what is missing or wrong, and what each gives."""

from typing import Any

import pytest

from shared.domain.errors import ErrorCode, FlowRunInvalid
from shared.domain.flow_run import FlowRun, RunStatus, Step, parse_flow_run, step_field
from shared.domain.identifiers import StepId
from shared.domain.steps import StepStatus
from shared.log import offending_path

RUN_ID = "20260105-090000_BTCUSDT_abc"
MISSING: Any = object()


def document() -> dict[str, Any]:
    return {
        "schemaVersion": 1,
        "runId": RUN_ID,
        "flowKey": "daily_report_v1",
        "status": "RUNNING",
        "scope": {"symbol": "BTCUSDT"},
        "steps": {
            "1d:ohlcv": {"stepType": "OHLCV_EXPORT", "status": "SUCCEEDED"},
            "1d:report": {
                "stepType": "LLM_REPORT",
                "status": "READY",
                "timeframe": "1d",
                "dependsOn": ["1d:ohlcv"],
            },
        },
    }


def changed(path: tuple[str, ...], value: Any) -> dict[str, Any]:
    data = document()
    place: dict[str, Any] = data
    for name in path[:-1]:
        place = place[name]
    if value is MISSING:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return data


def test_a_run_of_the_contract_is_parsed() -> None:
    run = parse_flow_run(RUN_ID, document())

    assert run == FlowRun(
        run_id=run.run_id,
        status=RunStatus.RUNNING,
        flow_key="daily_report_v1",
        symbol="BTCUSDT",
        steps={
            StepId("1d:ohlcv"): Step(
                step_id=StepId("1d:ohlcv"),
                step_type="OHLCV_EXPORT",
                status=StepStatus.SUCCEEDED,
                timeframe=None,
                depends_on=(),
            ),
            StepId("1d:report"): Step(
                step_id=StepId("1d:report"),
                step_type="LLM_REPORT",
                status=StepStatus.READY,
                timeframe="1d",
                depends_on=("1d:ohlcv",),
            ),
        },
    )


_STATUSES = "PENDING, RUNNING, SUCCEEDED, FAILED, CANCELLED"
_STEP_STATUSES = "PENDING, READY, RUNNING, SUCCEEDED, FAILED, SKIPPED, CANCELLED"
_STEP = ("steps", "1d:report")


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("runId",), "other", "runId must equal the document id"),
        (("runId",), 7, "runId must equal the document id"),
        (("runId",), None, "runId must equal the document id"),
        (("status",), MISSING, f"status must be one of {_STATUSES}"),
        (("status",), "READY", f"status must be one of {_STATUSES}"),
        (("status",), 7, f"status must be one of {_STATUSES}"),
        (("status",), [], f"status must be one of {_STATUSES}"),
        (("status",), {}, f"status must be one of {_STATUSES}"),
        (("steps",), MISSING, "steps must be a map of step id to step"),
        (("steps",), None, "steps must be a map of step id to step"),
        (("steps",), [], "steps must be a map of step id to step"),
        (_STEP, None, "steps.1d:report must be a map"),
        (_STEP, [], "steps.1d:report must be a map"),
        ((*_STEP, "stepType"), MISSING, "steps.1d:report.stepType must be a string"),
        ((*_STEP, "stepType"), 7, "steps.1d:report.stepType must be a string"),
        (
            (*_STEP, "status"),
            MISSING,
            f"steps.1d:report.status must be one of {_STEP_STATUSES}",
        ),
        ((*_STEP, "status"), "DONE", f"steps.1d:report.status must be one of {_STEP_STATUSES}"),
        ((*_STEP, "status"), {}, f"steps.1d:report.status must be one of {_STEP_STATUSES}"),
        (
            ("steps", "a.b"),
            {},
            "steps holds an id that is empty, too long, or has . / or a control",
        ),
        (
            ("steps", "a/b"),
            {},
            "steps holds an id that is empty, too long, or has . / or a control",
        ),
        (
            ("steps", ""),
            {},
            "steps holds an id that is empty, too long, or has . / or a control",
        ),
    ],
)
def test_what_is_missing_or_wrong_is_named(
    path: tuple[str, ...], value: Any, message: str
) -> None:
    with pytest.raises(FlowRunInvalid) as found:
        parse_flow_run(RUN_ID, changed(path, value))

    assert found.value.code is ErrorCode.FLOW_RUN_INVALID
    assert found.value.message == message


@pytest.mark.parametrize("document_id", ["", "x", "20260105-090000_btcusdt_abc"])
def test_a_document_id_that_is_no_run_id_is_refused(document_id: str) -> None:
    with pytest.raises(FlowRunInvalid, match="YYYYMMDD-HHmmss_SYMBOL_suffix"):
        parse_flow_run(document_id, document())


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("schemaVersion",), MISSING),
        (("runId",), MISSING),
        (("flowKey",), 7),
        (("trigger",), "nonsense"),
        (("progress",), []),
        (("unknown",), {"deep": [1]}),
        ((*_STEP, "inputs"), None),
        ((*_STEP, "outputs"), "nonsense"),
        ((*_STEP, "unknown"), 1),
    ],
)
def test_what_the_worker_does_not_need_may_hold_anything(
    path: tuple[str, ...], value: Any
) -> None:
    data = changed(path, value) if value is not MISSING else changed(path, MISSING)

    assert parse_flow_run(RUN_ID, data).status is RunStatus.RUNNING


@pytest.mark.parametrize("scope", [MISSING, None, {}, {"symbol": 7}, {"symbol": ""}, "BTC"])
def test_without_a_scope_the_symbol_is_the_run_ids(scope: Any) -> None:
    assert parse_flow_run(RUN_ID, changed(("scope",), scope)).symbol == "BTCUSDT"


def test_what_the_log_says_of_a_run_is_never_too_long_for_it() -> None:
    data = changed(("scope", "symbol"), "S" * 5_000)
    data["flowKey"] = "k" * 5_000

    labels = parse_flow_run(RUN_ID, data).labels

    assert offending_path(labels) is None
    assert labels == {"flowKey": "k" * 128, "symbol": "S" * 128}


@pytest.mark.parametrize(
    ("depends_on", "problem"),
    [
        (["1d:ohlcv"], None),
        ([], None),
        (None, None),
        (MISSING, None),
        ("1d:ohlcv", "dependsOn must be a list of step ids"),
        ([7], "dependsOn must be a list of step ids"),
        (["1d:report"], "dependsOn names the step itself"),
        (["gone"], "dependsOn names an unknown step: gone"),
    ],
)
def test_dependencies_that_can_never_be_satisfied_are_told(
    depends_on: Any, problem: str | None
) -> None:
    run = parse_flow_run(RUN_ID, changed((*_STEP, "dependsOn"), depends_on))

    assert run.dependency_problem(run.steps[StepId("1d:report")]) == problem


@pytest.mark.parametrize("status", list(StepStatus))
def test_only_succeeded_satisfies_a_dependency(status: StepStatus) -> None:
    run = parse_flow_run(RUN_ID, changed(("steps", "1d:ohlcv", "status"), str(status)))

    satisfied = run.dependencies_succeeded(run.steps[StepId("1d:report")])
    assert satisfied is (status is StepStatus.SUCCEEDED)


def test_a_steps_field_path_keeps_the_id_in_one_segment() -> None:
    assert step_field(StepId("1d:a-b`c"), "outputs", "gcs_uri") == (
        "steps",
        "1d:a-b`c",
        "outputs",
        "gcs_uri",
    )
