"""Deliveries that find what a former attempt left: its report, a lost call, or part of it."""

import asyncio
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

import pytest

from executor.ports import LanguageModel, ModelAnswer, ModelRequest
from executor.service import ExecutorPorts
from infra.local.gemini.faults import FaultKind, FaultRule
from shared.domain.documents import Update
from shared.domain.flow_run import step_field
from shared.domain.job_documents import job_ref, update_job
from shared.domain.jobs import JobState
from tests.chaos.kill_stage import KillStage, kill_stage
from tests.chaos.mortal import Point
from tests.support.model_stage import RUN, RUN_ID, STEP_ID

ACKNOWLEDGED, AGAIN = 204, 503
AT_MOST_ONCE = {"CALL_POLICY": "at_most_once"}


@dataclass(slots=True, kw_only=True)
class Endless:
    """A LanguageModel that tells when it is asked, and never answers."""

    inner: LanguageModel
    asked: asyncio.Event = field(default_factory=asyncio.Event)

    async def generate(self, request: ModelRequest, *, timeout_seconds: float) -> ModelAnswer:
        self.asked.set()
        await asyncio.sleep(timeout_seconds)
        return await self.inner.generate(request, timeout_seconds=timeout_seconds)


async def stopped(stage: KillStage) -> tuple[int, ExecutorPorts]:
    """The status of a delivery whose instance is stopped during the call."""
    process = stage.process()
    model = Endless(inner=process.model)
    process = replace(process, model=model)
    working = asyncio.create_task(stage.deliver(process))
    await model.asked.wait()
    process.draining.set()
    return await working, process


async def test_a_stopped_instance_gives_its_job_back_and_takes_no_other(tmp_path: Path) -> None:
    async with kill_stage(tmp_path, {}) as stage:
        status, process = await stopped(stage)

        assert status == AGAIN
        record = await stage.record()
        assert (record.state, record.lease) == (JobState.QUEUED, None)
        assert record.not_before is not None
        assert record.not_before <= stage.clock.now()
        assert await stage.deliver(process) == AGAIN
        assert await stage.record() == record
        assert await stage.deliver() == ACKNOWLEDGED
        assert (await stage.step())["status"] == "SUCCEEDED"


async def test_a_stopped_call_has_an_unknown_outcome_where_one_is_the_most(
    tmp_path: Path,
) -> None:
    async with kill_stage(tmp_path, AT_MOST_ONCE) as stage:
        status, _ = await stopped(stage)

        assert status == ACKNOWLEDGED
        assert (await stage.step())["error"]["code"] == "CALL_OUTCOME_UNKNOWN"


@pytest.mark.parametrize("attempts", ["1", "5"])
async def test_a_report_is_found_before_its_job_is_given_up_or_tried_again(
    attempts: str, tmp_path: Path
) -> None:
    async with kill_stage(tmp_path, {"MAX_ATTEMPTS": attempts}) as stage:
        assert await stage.deliver_and_kill(Point.AFTER_ARTIFACT)
        await stage.deliver_until_closed()

        step = await stage.step()
        assert step["status"] == "SUCCEEDED"
        assert step["outputs"]["execution"]["reused"] is True
        assert stage.billed_calls == 1


async def test_a_report_counts_although_its_job_was_given_back_and_no_attempt_is_left(
    tmp_path: Path,
) -> None:
    async with kill_stage(tmp_path, {"MAX_ATTEMPTS": "1"}) as stage:
        assert await stage.deliver_and_kill(Point.AFTER_ARTIFACT)
        await given_back(stage)
        await stage.deliver_until_closed()

        assert (await stage.record()).state is JobState.SUCCEEDED
        assert (await stage.step())["outputs"]["execution"]["reused"] is True
        assert stage.billed_calls == 1


async def test_a_job_whose_last_attempt_died_without_a_report_is_given_up(
    tmp_path: Path,
) -> None:
    async with kill_stage(tmp_path, {"MAX_ATTEMPTS": "1"}) as stage:
        assert await stage.deliver_and_kill(Point.BEFORE_ARTIFACT)
        await stage.deliver_until_closed()

        assert (await stage.step())["error"]["code"] == "ATTEMPTS_EXHAUSTED"


async def test_a_step_that_is_claimed_anew_reuses_the_report_of_the_same_inputs(
    tmp_path: Path,
) -> None:
    async with kill_stage(tmp_path, {}) as stage:
        await stage.deliver()
        await make_ready(stage)
        await stage.environment.idle()
        assert (await stage.record()).claim_number == 2
        assert await stage.push(stage.pushes[-1]) == ACKNOWLEDGED

        assert (await stage.step())["outputs"]["execution"]["reused"] is True
        assert stage.billed_calls == 1


async def test_a_step_that_is_claimed_anew_with_other_inputs_is_a_conflict(
    tmp_path: Path,
) -> None:
    async with kill_stage(tmp_path, {}) as stage:
        await stage.deliver()
        await make_ready(stage, temperature=0.5)
        await stage.environment.idle()
        await stage.push(stage.pushes[-1])

        assert (await stage.step())["error"]["code"] == "ARTIFACT_CONFLICT"
        assert stage.billed_calls == 1


async def given_back(stage: KillStage) -> None:
    """Give the lease back, as an instance does that is being stopped."""
    [stored] = await stage.environment.documents.read(
        [job_ref(RUN_ID, STEP_ID)], timeout_seconds=1
    )
    assert stored is not None
    now = stage.environment.clock.now()
    queued = (await stage.record()).release(now=now, not_before=now, error=None)
    await stage.environment.documents.commit(
        [update_job(queued, stored.version)], timeout_seconds=1
    )


async def make_ready(stage: KillStage, **profile: float) -> None:
    """Let the orchestrator ask for the report once more."""
    [run] = await stage.environment.documents.read([RUN], timeout_seconds=1)
    assert run is not None
    inputs = ("inputs", "llm", "llmProfile")
    changes = {step_field(STEP_ID, *inputs, name): value for name, value in profile.items()}
    ready = Update(
        ref=RUN, changes={**changes, step_field(STEP_ID, "status"): "READY"}, guard=run.version
    )
    await stage.environment.documents.commit([ready], timeout_seconds=1)


async def test_a_delay_too_long_for_the_invocation_becomes_the_job_s_rest(
    tmp_path: Path,
) -> None:
    limited = FaultRule(kind=FaultKind.RATE_LIMIT, seconds=3_600)
    async with kill_stage(tmp_path, {}, limited) as stage:
        assert await stage.deliver() == ACKNOWLEDGED
        record = await stage.record()
        assert record.not_before is not None
        assert record.not_before - stage.clock.now() > timedelta(minutes=59)
        assert not record.call_open
        assert (record.attempt, record.llm_calls, record.refusals) == (0, 0, 1)
        # The delivery is too early: it is acknowledged, and the job is left to the sweep.
        assert await stage.deliver() == ACKNOWLEDGED
        assert await stage.record() == record
        assert await stage.deliver_when_wanted() == ACKNOWLEDGED

        assert (await stage.step())["status"] == "SUCCEEDED"


async def test_an_invalid_answer_is_repaired_once_and_no_more(tmp_path: Path) -> None:
    wrong = FaultRule(kind=FaultKind.WRONG_SCHEMA, times=9)
    async with kill_stage(tmp_path, {}, wrong) as stage:
        assert await stage.deliver() == ACKNOWLEDGED

        assert (await stage.step())["error"]["code"] == "INVALID_STRUCTURED_OUTPUT"
        assert stage.billed_calls == 2
