"""Calls in the background, through the whole executor: begun once, fetched by whoever can."""

import asyncio
import math
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from executor.ports import (
    BackgroundModel,
    CallState,
    ModelRequest,
    ObjectInfo,
    ObjectStore,
    ObjectsUnavailable,
    StoredObject,
)
from executor.service import Executor
from infra.local.gemini.faults import FaultKind, FaultRule
from shared.domain.artifacts import GcsUri
from shared.domain.documents import Update
from shared.domain.errors import GeminiRequestFailed
from shared.domain.flow_run import step_field
from shared.domain.jobs import JobState
from tests.kill_stage import KillStage, kill_stage
from tests.model_stage import RUN, STEP_ID, seeds
from tests.mortal import Point

BACKGROUND = {"GEMINI_API": "interactions", "GEMINI_TIMEOUT_SECONDS": "1"}
AT_MOST_ONCE = {**BACKGROUND, "CALL_POLICY": "at_most_once"}
ACKNOWLEDGED, AGAIN = 204, 503


def rule(kind: FaultKind, times: int = 1) -> FaultRule:
    return FaultRule(kind=kind, times=times)


def be_done(stage: KillStage) -> None:
    for kept in stage.gemini.interactions.kept.values():
        kept.ends_at = -math.inf


async def succeeded_with(stage: KillStage, calls: int) -> None:
    step, record = await stage.step(), await stage.record()
    assert (step["status"], record.state) == ("SUCCEEDED", JobState.SUCCEEDED)
    assert stage.billed_calls == calls
    assert stage.gemini.interactions.kept == {}


async def test_a_step_makes_one_call_and_leaves_nothing_at_the_provider(tmp_path: Path) -> None:
    async with kill_stage(tmp_path, BACKGROUND) as stage:
        assert await stage.deliver() == ACKNOWLEDGED

        await succeeded_with(stage, calls=1)
        llm = (await stage.step())["outputs"]["execution"]["llm"]
        assert llm["finishReason"] == "STOP"
        assert llm["usageMetadata"]["totalTokenCount"] > 0
        [attempt] = (await stage.record()).history
        [call] = attempt.calls
        assert call.usage == llm["usageMetadata"]


async def test_thinking_longer_than_many_invocations_is_one_call_and_no_failed_attempt(
    tmp_path: Path,
) -> None:
    slow = rule(FaultKind.CALL_NEVER_ENDS)
    async with kill_stage(tmp_path, BACKGROUND, slow) as stage:
        # More often than a job may be attempted.
        for _ in range(6):
            assert await stage.deliver_when_wanted() == ACKNOWLEDGED
            record = await stage.record()
            assert (record.state, record.attempt) == (JobState.QUEUED, 0)
            assert (record.llm_calls, record.call_open) == (1, True)
            assert record.wake_at == record.not_before
            [call_id] = stage.gemini.interactions.kept
            assert record.interaction is not None
            assert record.interaction.id == call_id
        be_done(stage)
        assert await stage.deliver_when_wanted() == ACKNOWLEDGED

        # The stand-in does not bill a call that was never meant to end.
        await succeeded_with(stage, calls=0)
        calls = [call for attempt in (await stage.record()).history for call in attempt.calls]
        assert [call.number for call in calls] == [1]


async def test_a_call_that_never_ends_is_stopped_and_made_again_within_the_budget(
    tmp_path: Path,
) -> None:
    environ = {**BACKGROUND, "GEMINI_BACKGROUND_TIMEOUT_SECONDS": "30", "MAX_LLM_CALLS": "2"}
    endless = rule(FaultKind.CALL_NEVER_ENDS, times=99)
    async with kill_stage(tmp_path, environ, endless) as stage:
        for _ in range(2):
            await stage.deliver_when_wanted()
            [kept] = stage.gemini.interactions.kept.values()
            stage.clock.skipped += timedelta(seconds=31)
            await stage.deliver_when_wanted()
            assert kept.cancelled

        step, record = await stage.step(), await stage.record()
        assert (step["status"], step["error"]["code"]) == ("FAILED", "GEMINI_REQUEST_FAILED")
        assert record.llm_calls == 2
        assert stage.gemini.interactions.kept == {}


@pytest.mark.parametrize("environ", [BACKGROUND, AT_MOST_ONCE], ids=["again", "at_most_once"])
async def test_a_failed_call_cost_nothing_and_is_made_again(
    environ: dict[str, str], tmp_path: Path
) -> None:
    async with kill_stage(tmp_path, environ, rule(FaultKind.CALL_FAILS)) as stage:
        await stage.deliver_until_closed()

        await succeeded_with(stage, calls=1)
        assert (await stage.record()).llm_calls == 2


async def test_a_blocked_prompt_ends_the_step_and_is_not_kept(tmp_path: Path) -> None:
    async with kill_stage(tmp_path, BACKGROUND, rule(FaultKind.PROMPT_BLOCKED)) as stage:
        await stage.deliver_until_closed()

        assert (await stage.step())["error"]["code"] == "LLM_SAFETY_BLOCK"
        assert stage.gemini.interactions.kept == {}


async def test_a_call_that_the_provider_forgot_is_made_again(tmp_path: Path) -> None:
    async with kill_stage(tmp_path, BACKGROUND) as stage:
        assert await stage.deliver_and_kill(Point.DURING_CALL)
        stage.gemini.interactions.kept.clear()
        await stage.deliver_until_closed()

        await succeeded_with(stage, calls=2)


async def test_a_forgotten_call_is_an_unknown_outcome_where_one_call_is_the_most(
    tmp_path: Path,
) -> None:
    async with kill_stage(tmp_path, AT_MOST_ONCE) as stage:
        assert await stage.deliver_and_kill(Point.DURING_CALL)
        stage.gemini.interactions.kept.clear()
        await stage.deliver_until_closed()

        assert (await stage.step())["error"]["code"] == "CALL_OUTCOME_UNKNOWN"
        assert stage.billed_calls == 1


async def test_a_call_that_outlived_its_step_is_deleted_by_the_next_delivery(
    tmp_path: Path,
) -> None:
    """So it is when the process dies between finalizing and deleting."""
    async with kill_stage(tmp_path, BACKGROUND) as stage:
        executor = stage.process()
        assert executor.background is not None
        forgetful = replace(
            executor.background, model=Forgetful(inner=executor.background.model)
        )
        await stage.deliver(replace(executor, background=forgetful))
        assert len(stage.gemini.interactions.kept) == 1
        assert (await stage.record()).closed

        await stage.deliver()

        assert stage.gemini.interactions.kept == {}
        await succeeded_with(stage, calls=1)


@dataclass(slots=True, kw_only=True)
class Forgetful:
    """A BackgroundModel that deletes nothing."""

    inner: BackgroundModel

    async def begin(self, request: ModelRequest, *, timeout_seconds: float) -> str:
        return await self.inner.begin(request, timeout_seconds=timeout_seconds)

    async def fetch(self, call_id: str, *, timeout_seconds: float) -> CallState:
        return await self.inner.fetch(call_id, timeout_seconds=timeout_seconds)

    async def forget(self, call_id: str, **how: Any) -> None:
        raise GeminiRequestFailed("not today")


async def test_an_answer_to_other_inputs_is_not_taken(tmp_path: Path) -> None:
    async with kill_stage(tmp_path, BACKGROUND) as stage:
        assert await stage.deliver_and_kill(Point.DURING_CALL)
        profile = step_field(STEP_ID, "inputs", "llm", "llmProfile", "temperature")
        [run] = await stage.environment.documents.read([RUN], timeout_seconds=1)
        assert run is not None
        change = Update(ref=RUN, changes={profile: 0.5}, guard=run.version)
        await stage.environment.documents.commit([change], timeout_seconds=1)
        await stage.deliver_until_closed()

        await succeeded_with(stage, calls=2)


@pytest.mark.parametrize(
    "fault", [FaultKind.STATUS, FaultKind.RATE_LIMIT, FaultKind.KEY_REVOKED]
)
async def test_a_call_that_cannot_begin_is_an_error_like_any_other(
    fault: FaultKind, tmp_path: Path
) -> None:
    async with kill_stage(tmp_path, BACKGROUND, rule(fault)) as stage:
        await stage.deliver_until_closed()

        ended = (await stage.step())["status"]
        assert ended == ("FAILED" if fault is FaultKind.KEY_REVOKED else "SUCCEEDED")
        assert stage.gemini.interactions.kept == {}


async def test_failed_looks_for_the_answer_cost_no_call(tmp_path: Path) -> None:
    async with kill_stage(tmp_path, BACKGROUND) as stage:
        looks = FaultRule(kind=FaultKind.STATUS, status=503)
        stage.gemini.interactions.fetch_faults.add([looks])
        await stage.deliver_until_closed()

        await succeeded_with(stage, calls=1)


async def test_the_former_answer_is_deleted_when_a_repair_takes_its_place(
    tmp_path: Path,
) -> None:
    async with kill_stage(tmp_path, BACKGROUND, rule(FaultKind.WRONG_SCHEMA)) as stage:
        assert await stage.deliver() == ACKNOWLEDGED

        await succeeded_with(stage, calls=2)
        assert (await stage.record()).repair_used


async def test_a_repair_whose_caller_died_is_fetched_too(tmp_path: Path) -> None:
    slow = rule(FaultKind.CALL_NEVER_ENDS)
    async with kill_stage(tmp_path, BACKGROUND, rule(FaultKind.WRONG_SCHEMA), slow) as stage:
        await stage.deliver()
        record = await stage.record()
        assert (record.llm_calls, record.repair_used) == (2, True)
        be_done(stage)
        await stage.deliver_until_closed()

        await succeeded_with(stage, calls=1)
        assert (await stage.record()).llm_calls == 2


@dataclass(slots=True, kw_only=True)
class Watched:
    """A BackgroundModel that says where it is, and takes its time there."""

    inner: BackgroundModel
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    looked: asyncio.Event = field(default_factory=asyncio.Event)

    async def begin(self, request: ModelRequest, *, timeout_seconds: float) -> str:
        call_id = await self.inner.begin(request, timeout_seconds=timeout_seconds)
        self.begun.set()
        await asyncio.sleep(0.2)
        return call_id

    async def fetch(self, call_id: str, *, timeout_seconds: float) -> CallState:
        self.looked.set()
        await asyncio.sleep(0.2)
        return await self.inner.fetch(call_id, timeout_seconds=timeout_seconds)

    async def forget(self, call_id: str, *, ended: bool, timeout_seconds: float) -> None:
        await self.inner.forget(call_id, ended=ended, timeout_seconds=timeout_seconds)


def watched(stage: KillStage) -> tuple[Executor, Watched]:
    executor = stage.process()
    assert executor.background is not None
    model = Watched(inner=executor.background.model)
    return replace(executor, background=replace(executor.background, model=model)), model


@pytest.mark.parametrize("environ", [BACKGROUND, AT_MOST_ONCE], ids=["again", "at_most_once"])
@pytest.mark.parametrize("moment", ["begun", "looked"])
async def test_a_stopped_instance_hands_its_call_over(
    environ: dict[str, str], moment: str, tmp_path: Path
) -> None:
    async with kill_stage(tmp_path, environ) as stage:
        executor, model = watched(stage)
        working = asyncio.create_task(stage.deliver(executor))
        await getattr(model, moment).wait()
        executor.draining.set()

        assert await working == AGAIN
        record = await stage.record()
        assert record.state is JobState.QUEUED
        assert record.interaction is not None
        await stage.deliver_until_closed()
        await succeeded_with(stage, calls=1)


@pytest.mark.parametrize("environ", [BACKGROUND, AT_MOST_ONCE], ids=["again", "at_most_once"])
async def test_an_answer_that_could_not_be_stored_is_fetched_again(
    environ: dict[str, str], tmp_path: Path
) -> None:
    async with kill_stage(tmp_path, {**environ, "MAX_LLM_CALLS": "1"}) as stage:
        executor = replace(stage.process(), objects=Unwritable(inner=stage.process().objects))
        assert await stage.deliver(executor) == AGAIN
        assert (await stage.record()).interaction is not None
        await stage.deliver_until_closed()

        await succeeded_with(stage, calls=1)


@dataclass(slots=True, kw_only=True)
class Unwritable:
    """An ObjectStore that takes nothing."""

    inner: ObjectStore

    async def stat(self, uri: GcsUri, *, timeout_seconds: float) -> ObjectInfo | None:
        return await self.inner.stat(uri, timeout_seconds=timeout_seconds)

    async def read(self, uri: GcsUri, **how: Any) -> StoredObject:
        return await self.inner.read(uri, **how)

    async def create(self, uri: GcsUri, data: bytes, **how: Any) -> None:
        raise ObjectsUnavailable("not today")


async def test_a_step_that_others_ended_stops_its_call(tmp_path: Path) -> None:
    slow = rule(FaultKind.CALL_NEVER_ENDS)
    async with kill_stage(tmp_path, BACKGROUND, slow) as stage:
        await stage.deliver()
        [kept] = stage.gemini.interactions.kept.values()
        [run] = await stage.environment.documents.read([RUN], timeout_seconds=1)
        assert run is not None
        change = Update(
            ref=RUN, changes={step_field(STEP_ID, "status"): "CANCELLED"}, guard=run.version
        )
        await stage.environment.documents.commit([change], timeout_seconds=1)
        await stage.deliver_when_wanted()

        assert (await stage.record()).state is JobState.ABANDONED
        assert kept.cancelled
        assert stage.gemini.interactions.kept == {}


async def test_a_job_that_is_given_up_stops_its_call(tmp_path: Path) -> None:
    slow = rule(FaultKind.CALL_NEVER_ENDS)
    async with kill_stage(tmp_path, {**BACKGROUND, "MAX_ATTEMPTS": "1"}, slow) as stage:
        assert await stage.deliver_and_kill(Point.DURING_CALL)
        [kept] = stage.gemini.interactions.kept.values()
        await stage.deliver_until_closed()

        assert (await stage.step())["error"]["code"] == "ATTEMPTS_EXHAUSTED"
        assert kept.cancelled
        assert stage.gemini.interactions.kept == {}


async def test_a_setting_that_the_interface_lacks_is_refused_before_any_call(
    tmp_path: Path,
) -> None:
    async with kill_stage(tmp_path, BACKGROUND, seeded=seeds(topK=40)) as stage:
        await stage.deliver_until_closed()

        error = (await stage.step())["error"]
        assert error["code"] == "LLM_PROFILE_INVALID"
        assert "topK" in error["message"]
        assert stage.gemini.calls.received.total() == 0
        assert (await stage.record()).llm_calls == 0
