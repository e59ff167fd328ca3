"""What a step costs, through both stages, and that it costs no more than it may."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from infra.local.gemini.faults import FaultKind, FaultRule
from shared.domain.documents import DocumentRef
from tests.chaos.kill_stage import kill_stage
from tests.support.model_stage import RUN_ID as STAGE_RUN_ID
from tests.support.one_report import RUN_ID, one_report

PRICES = json.dumps({"gemini-3.5-flash": [{"from": "2020-01-01", "input": 1, "output": 10}]})
RUN_ACCOUNT = DocumentRef("llm_spend", f"run~{RUN_ID}")


def day_account() -> DocumentRef:
    return DocumentRef("llm_spend", f"day~{datetime.now(UTC).date()}")  # noqa: TID251 - as the worker's clock


async def test_a_step_states_its_tokens_and_time_without_a_price_table(tmp_path: Path) -> None:
    async with one_report(tmp_path) as report:
        step = await report.execute()

    execution = step["outputs"]["execution"]
    usage = execution["llm"]["usageMetadata"]
    taken = execution["accounting"]
    assert taken["calls"] == 1
    assert taken["callsWithoutUsage"] == 0
    assert taken["tokens"]["input"] == usage["promptTokenCount"] > 0
    assert taken["tokens"]["output"] == usage["candidatesTokenCount"] > 0
    assert taken["latencyMs"] >= 0
    assert "costUsd" not in taken


async def test_every_attempt_is_paid_for_also_the_one_that_failed(tmp_path: Path) -> None:
    async with one_report(tmp_path, environ={"MODEL_PRICES": PRICES}) as report:
        report.stand_in.state.faults.add([FaultRule(kind=FaultKind.WRONG_SCHEMA)])
        step = await report.execute()

    assert step["status"] == "SUCCEEDED", step
    taken = step["outputs"]["execution"]["accounting"]
    last = step["outputs"]["execution"]["llm"]["usageMetadata"]
    assert taken["calls"] == 2
    assert taken["tokens"]["input"] > last["promptTokenCount"]
    tokens = taken["tokens"]
    millionths = tokens["input"] * 1 + (tokens["output"] + tokens["thought"]) * 10
    assert taken["costUsd"] == pytest.approx(millionths / 1_000_000)


async def test_a_failed_step_states_what_it_took_as_well(tmp_path: Path) -> None:
    async with one_report(tmp_path, environ={"MODEL_PRICES": PRICES}) as report:
        report.stand_in.state.faults.add([FaultRule(kind=FaultKind.WRONG_SCHEMA, times=9)])
        step = await report.execute()

    assert step["error"]["code"] == "INVALID_STRUCTURED_OUTPUT"
    assert step["outputs"]["execution"]["accounting"]["calls"] == 2
    assert step["outputs"]["execution"]["accounting"]["costUsd"] > 0


@pytest.mark.parametrize("variable", ["MAX_RUN_COST_USD", "MAX_DAY_COST_USD"])
async def test_a_call_that_may_pass_the_ceiling_is_not_made(
    variable: str, tmp_path: Path
) -> None:
    environ = {"MODEL_PRICES": PRICES, variable: "0.05"}
    async with one_report(tmp_path, environ=environ) as report:
        step = await report.execute()

        assert report.calls() == 0
    error = step["error"]
    assert step["status"] == "FAILED"
    assert error["code"] == "COST_CEILING_EXCEEDED"
    assert error["details"]["ceilingUsd"] == 0.05
    assert error["details"]["scope"] in variable.lower()
    # Alone the 8,192 tokens of output may come to 0.08 USD.
    assert error["details"]["neededUsd"] > 0.08


async def test_under_a_ceiling_the_books_agree_with_the_bill(tmp_path: Path) -> None:
    environ = {"MODEL_PRICES": PRICES, "MAX_RUN_COST_USD": "1", "MAX_DAY_COST_USD": "5"}
    async with one_report(tmp_path, environ=environ) as report:
        report.stand_in.state.faults.add([FaultRule(kind=FaultKind.WRONG_SCHEMA)])
        step = await report.execute()
        accounts = [await report.document(ref) for ref in (RUN_ACCOUNT, day_account())]

    assert step["status"] == "SUCCEEDED", step
    cost = step["outputs"]["execution"]["accounting"]["costUsd"]
    assert [accounts[0]["reservedMicroUsd"], accounts[1]["slices"]] == [{}, {}]
    for account in accounts:
        assert account["spentMicroUsd"] == pytest.approx(cost * 1_000_000)


async def test_a_call_whose_bill_is_not_known_counts_in_full(tmp_path: Path) -> None:
    environ = {"MODEL_PRICES": PRICES, "MAX_RUN_COST_USD": "1"}
    async with one_report(tmp_path, environ=environ) as report:
        report.stand_in.state.faults.add([FaultRule(kind=FaultKind.RESET_AFTER_ANSWER)])
        step = await report.execute()
        account = await report.document(RUN_ACCOUNT)

    assert step["status"] == "SUCCEEDED", step
    taken = step["outputs"]["execution"]["accounting"]
    assert taken["callsWithoutUsage"] == 1
    assert account["reservedMicroUsd"] == {}
    assert "costUsd" not in taken
    # This is the lost call's worst case; the bill of the call that answered is added to it.
    assert account["spentMicroUsd"] > 81_920


async def test_a_refused_call_costs_nothing(tmp_path: Path) -> None:
    environ = {"MODEL_PRICES": PRICES, "MAX_RUN_COST_USD": "1"}
    async with one_report(tmp_path, environ=environ) as report:
        report.stand_in.state.faults.add([FaultRule(kind=FaultKind.STATUS, status=503)])
        step = await report.execute()
        account = await report.document(RUN_ACCOUNT)

    cost = step["outputs"]["execution"]["accounting"]["costUsd"]
    assert account["spentMicroUsd"] == pytest.approx(cost * 1_000_000)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"maxOutputTokens": None}, "llmProfile.maxOutputTokens: required"),
        ({"modelName": "gemini-unpriced"}, "gemini-unpriced has no price in MODEL_PRICES"),
    ],
)
async def test_a_ceiling_that_cannot_be_held_is_an_error_before_the_call(
    change: dict[str, str | None], message: str, tmp_path: Path
) -> None:
    environ = {"MODEL_PRICES": PRICES, "MAX_RUN_COST_USD": "1"}
    async with one_report(tmp_path, environ=environ) as report:
        profile = report.step["inputs"]["llm"]["llmProfile"]
        profile.update(change)
        report.step["inputs"]["llm"]["llmProfile"] = {
            name: value for name, value in profile.items() if value is not None
        }
        step = await report.execute()

        assert report.calls() == 0
    assert step["error"]["code"] == "LLM_PROFILE_INVALID"
    assert message in step["error"]["message"]


async def test_without_a_ceiling_prices_cost_no_database_call(tmp_path: Path) -> None:
    calls = []
    for folder, environ in (("a", {}), ("b", {"MODEL_PRICES": PRICES})):
        async with one_report(tmp_path / folder, environ=environ) as report:
            await report.execute()
            calls.append(report.environment.worker_documents.calls)

    assert calls[0] == calls[1]


async def test_a_background_call_is_charged_like_any_other(tmp_path: Path) -> None:
    environ = {"MODEL_PRICES": PRICES, "MAX_RUN_COST_USD": "1", "GEMINI_API": "interactions"}
    async with kill_stage(tmp_path, environ) as stage:
        await stage.deliver_until_closed()
        step = await stage.step()
        account = await stage.document(DocumentRef("llm_spend", f"run~{STAGE_RUN_ID}"))

    assert step["status"] == "SUCCEEDED", step
    cost = step["outputs"]["execution"]["accounting"]["costUsd"]
    assert account["reservedMicroUsd"] == {}
    assert account["spentMicroUsd"] == pytest.approx(cost * 1_000_000)
    assert cost > 0


async def test_under_a_days_ceiling_a_background_call_counts_in_full(tmp_path: Path) -> None:
    """Only the process that took a slice of the day can settle it, and none waits there."""
    environ = {"MODEL_PRICES": PRICES, "MAX_DAY_COST_USD": "5", "GEMINI_API": "interactions"}
    async with kill_stage(tmp_path, environ) as stage:
        await stage.deliver_until_closed()
        step = await stage.step()
        account = await stage.document(day_account())

    assert step["status"] == "SUCCEEDED", step
    assert account["slices"] == {}
    # Alone the 8,192 tokens of output may come to 0.08 USD.
    assert account["spentMicroUsd"] > 81_920


async def test_a_call_costs_what_the_model_costs_that_served_it(tmp_path: Path) -> None:
    prices = {
        "gemini-3.5-flash": [{"from": "2020-01-01", "input": 1, "output": 10}],
        "gemini-3.5-pro": [{"from": "2020-01-01", "input": 10, "output": 100}],
    }
    usage = {"promptTokenCount": 1_000, "totalTokenCount": 1_500}
    served = FaultRule(kind=FaultKind.NONE, model_version="gemini-3.5-pro", usage=usage)
    environ = {"MODEL_PRICES": json.dumps(prices), "MAX_RUN_COST_USD": "5"}
    async with one_report(tmp_path, environ=environ) as report:
        report.stand_in.state.faults.add([served])
        step = await report.execute()
        account = await report.document(RUN_ACCOUNT)

    # The prompt has 1,000 of the tokens, and the other 500 may all be output.
    assert step["outputs"]["execution"]["accounting"]["costUsd"] == 0.06
    assert account["spentMicroUsd"] == 60_000
    [told] = report.events("llm_served_otherwise")
    assert told["llm"]["modelVersion"] == "gemini-3.5-pro"


@pytest.mark.parametrize(
    "usage", [{"totalTokenCount": None}, {"promptTokenCount": 5}, {"totalTokenCount": "lots"}]
)
async def test_a_cost_that_is_not_known_is_not_stated(usage: Any, tmp_path: Path) -> None:
    environ = {"MODEL_PRICES": PRICES, "MAX_RUN_COST_USD": "5"}
    async with one_report(tmp_path, environ=environ) as report:
        report.stand_in.state.faults.add([FaultRule(kind=FaultKind.NONE, usage=usage)])
        step = await report.execute()
        account = await report.document(RUN_ACCOUNT)

    assert step["status"] == "SUCCEEDED"
    assert "costUsd" not in step["outputs"]["execution"]["accounting"]
    # This is all that was reserved for the call.
    assert account["spentMicroUsd"] > 81_920
