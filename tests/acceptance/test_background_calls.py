"""Calls in the background, through the whole executor: begun once, fetched by any executor."""

import asyncio
import json
import math
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from executor.contract.artifacts import GcsUri
from executor.ports import (
    BackgroundModel,
    CallState,
    KeptCall,
    ModelRequest,
    ObjectInfo,
    ObjectStore,
    ObjectsUnavailable,
    StoredObject,
)
from executor.service import ExecutorPorts
from infra.local.gemini.faults import Asked, FaultKind, FaultRule
from shared.domain.documents import Update
from shared.domain.errors import GeminiRequestFailed
from shared.domain.flow_run import step_field
from shared.domain.hooks import read_hook_path
from shared.domain.jobs import JobState
from shared.domain.messages import ENDED_CALL
from tests.chaos.kill_stage import KillStage, kill_stage
from tests.chaos.mortal import Point
from tests.support.model_stage import RUN, STEP_ID, seeds

BACKGROUND = {"GEMINI_API": "interactions"}
AT_MOST_ONCE = {**BACKGROUND, "CALL_POLICY": "at_most_once"}
ACKNOWLEDGED, AGAIN = 204, 503


def rule(kind: FaultKind, times: int = 1) -> FaultRule:
    return FaultRule(kind=kind, times=times)


def be_done(stage: KillStage) -> None:
    for kept in stage.gemini.interactions.kept.values():
        kept.work.ends_at = -math.inf


async def succeeded_with(stage: KillStage, calls: int) -> None:
    step, record = await stage.step(), await stage.record()
    assert (step["status"], record.state) == ("SUCCEEDED", JobState.SUCCEEDED)
    assert stage.billed_calls == calls
    assert stage.gemini.interactions.kept == {}


async def test_a_step_makes_one_call_and_leaves_nothing_at_the_provider(tmp_path: Path) -> None:
    async with kill_stage(tmp_path, BACKGROUND) as stage:
        assert await stage.deliver() == ACKNOWLEDGED
        assert await stage.deliver_when_wanted() == ACKNOWLEDGED

        await succeeded_with(stage, calls=1)
        llm = (await stage.step())["outputs"]["execution"]["llm"]
        assert llm["finishReason"] == "STOP"
        assert llm["usageMetadata"]["totalTokenCount"] > 0
        calls = [call for attempt in (await stage.record()).history for call in attempt.calls]
        [call] = calls
        assert call.usage == llm["usageMetadata"]


async def test_thinking_longer_than_many_invocations_is_one_call_and_no_failed_attempt(
    tmp_path: Path,
) -> None:
    slow = rule(FaultKind.CALL_NEVER_ENDS)
    async with kill_stage(tmp_path, BACKGROUND, slow) as stage:
        # These are more deliveries than a job may have attempts.
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
        assert (await stage.record()).llm_calls == 1


async def test_calls_that_fail_at_no_cost_end_with_the_attempts(tmp_path: Path) -> None:
    always = rule(FaultKind.CALL_FAILS, times=99)
    async with kill_stage(tmp_path, {**BACKGROUND, "MAX_ATTEMPTS": "3"}, always) as stage:
        await stage.deliver_until_closed()

        step, record = await stage.step(), await stage.record()
        assert (step["status"], step["error"]["code"]) == ("FAILED", "GEMINI_REQUEST_FAILED")
        assert (record.attempt, record.llm_calls) == (3, 0)
        assert stage.gemini.calls.received.total() == 3
        assert stage.gemini.interactions.kept == {}


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
    """This is what happens when the process dies between finalizing and deleting."""
    async with kill_stage(tmp_path, BACKGROUND) as stage:
        process = stage.process()
        assert process.background is not None
        forgetful = Forgetful(inner=process.background)
        await stage.deliver()
        await stage.deliver_when_wanted(replace(process, background=forgetful))
        assert len(stage.gemini.interactions.kept) == 1
        assert (await stage.record()).closed

        await stage.deliver()

        assert stage.gemini.interactions.kept == {}
        await succeeded_with(stage, calls=1)


@dataclass(slots=True, kw_only=True)
class Forgetful:
    """A BackgroundModel that never deletes a call."""

    inner: BackgroundModel

    async def begin(self, request: ModelRequest, *, timeout_seconds: float) -> str:
        return await self.inner.begin(request, timeout_seconds=timeout_seconds)

    async def fetch(self, call_id: str, *, timeout_seconds: float) -> CallState:
        return await self.inner.fetch(call_id, timeout_seconds=timeout_seconds)

    async def describe(self, call_id: str, *, timeout_seconds: float) -> KeptCall | None:
        return await self.inner.describe(call_id, timeout_seconds=timeout_seconds)

    async def stop(self, call_id: str, *, timeout_seconds: float) -> None:
        await self.inner.stop(call_id, timeout_seconds=timeout_seconds)

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
        looks = FaultRule(kind=FaultKind.STATUS, status=503, at=Asked.GET)
        stage.gemini.interactions.faults.add([looks])
        await stage.deliver_until_closed()

        await succeeded_with(stage, calls=1)


async def test_the_former_answer_is_deleted_when_a_repair_takes_its_place(
    tmp_path: Path,
) -> None:
    async with kill_stage(tmp_path, BACKGROUND, rule(FaultKind.WRONG_SCHEMA)) as stage:
        # The call is begun and its answer is wrong; it is begun again and its answer is right.
        for _ in range(3):
            assert await stage.deliver_when_wanted() == ACKNOWLEDGED

        await succeeded_with(stage, calls=2)
        assert (await stage.record()).repair_used


async def test_a_repair_whose_caller_died_is_fetched_too(tmp_path: Path) -> None:
    slow = rule(FaultKind.CALL_NEVER_ENDS)
    async with kill_stage(tmp_path, BACKGROUND, rule(FaultKind.WRONG_SCHEMA), slow) as stage:
        await stage.deliver()
        await stage.deliver_when_wanted()
        record = await stage.record()
        assert (record.llm_calls, record.repair_used) == (2, True)
        be_done(stage)
        await stage.deliver_until_closed()

        await succeeded_with(stage, calls=1)
        assert (await stage.record()).llm_calls == 2


@dataclass(slots=True, kw_only=True)
class Watched:
    """A BackgroundModel that tells where it is, and takes its time there."""

    inner: BackgroundModel
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    looked: asyncio.Event = field(default_factory=asyncio.Event)
    described: asyncio.Event = field(default_factory=asyncio.Event)

    async def begin(self, request: ModelRequest, *, timeout_seconds: float) -> str:
        call_id = await self.inner.begin(request, timeout_seconds=timeout_seconds)
        self.begun.set()
        await asyncio.sleep(0.2)
        return call_id

    async def fetch(self, call_id: str, *, timeout_seconds: float) -> CallState:
        self.looked.set()
        await asyncio.sleep(0.2)
        return await self.inner.fetch(call_id, timeout_seconds=timeout_seconds)

    async def describe(self, call_id: str, *, timeout_seconds: float) -> KeptCall | None:
        self.described.set()
        await asyncio.sleep(0.2)
        return await self.inner.describe(call_id, timeout_seconds=timeout_seconds)

    async def stop(self, call_id: str, *, timeout_seconds: float) -> None:
        await self.inner.stop(call_id, timeout_seconds=timeout_seconds)

    async def forget(self, call_id: str, *, ended: bool, timeout_seconds: float) -> None:
        await self.inner.forget(call_id, ended=ended, timeout_seconds=timeout_seconds)


def watched(stage: KillStage) -> tuple[ExecutorPorts, Watched]:
    process = stage.process()
    assert process.background is not None
    model = Watched(inner=process.background)
    return replace(process, background=model), model


@pytest.mark.parametrize("environ", [BACKGROUND, AT_MOST_ONCE], ids=["again", "at_most_once"])
@pytest.mark.parametrize("moment", ["begun", "looked"])
async def test_a_stopped_instance_hands_its_call_over(
    environ: dict[str, str], moment: str, tmp_path: Path
) -> None:
    async with kill_stage(tmp_path, environ) as stage:
        process, model = watched(stage)
        if moment == "looked":
            await stage.deliver()
        working = asyncio.create_task(stage.deliver_when_wanted(process))
        await getattr(model, moment).wait()
        process.draining.set()

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
        process = stage.process()
        unwritable = replace(process, objects=Unwritable(inner=process.objects))
        assert await stage.deliver() == ACKNOWLEDGED
        assert await stage.deliver_when_wanted(unwritable) == AGAIN
        assert (await stage.record()).interaction is not None
        await stage.deliver_until_closed()

        await succeeded_with(stage, calls=1)


@dataclass(slots=True, kw_only=True)
class Unwritable:
    """An ObjectStore that refuses every write."""

    inner: ObjectStore

    async def stat(self, uri: GcsUri, *, timeout_seconds: float) -> ObjectInfo | None:
        return await self.inner.stat(uri, timeout_seconds=timeout_seconds)

    async def read(self, uri: GcsUri, **how: Any) -> StoredObject:
        return await self.inner.read(uri, **how)

    async def create(self, uri: GcsUri, data: bytes, **how: Any) -> None:
        raise ObjectsUnavailable("not today")

    async def prove_writable(self, uri: GcsUri, *, timeout_seconds: float) -> None:
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


HOOKED = {
    **BACKGROUND,
    "WEBHOOK_URL": "https://hooks.example/notify",
    "WEBHOOK_SECRET": "s" * 32,
}


def hooked(push: bytes, call_id: str) -> bytes:
    """The message by which a hook wakes the job."""
    body = json.loads(push)
    body["message"]["attributes"][ENDED_CALL] = call_id
    return json.dumps(body).encode()


async def test_the_provider_is_told_where_to_announce_the_end_of_the_call(
    tmp_path: Path,
) -> None:
    async with kill_stage(tmp_path, HOOKED) as stage:
        stage.gemini.calls.keep = True
        await stage.deliver()
        [sent] = stage.gemini.calls.kept
        record = await stage.record()

    [url] = json.loads(sent.body)["webhook_config"]["uris"]
    base, _, path = url.rpartition("/")
    assert base == HOOKED["WEBHOOK_URL"]
    address = read_hook_path(path, [HOOKED["WEBHOOK_SECRET"]], record.claimed_at)
    assert address is not None
    assert (address.run_id, address.step_id) == (record.run_id, record.step_id)
    assert (address.claim_id, address.call) == (record.claim_id, 1)
    assert path not in stage.log.getvalue()


async def test_a_hook_has_the_answer_fetched_before_its_time(tmp_path: Path) -> None:
    async with kill_stage(tmp_path, HOOKED) as stage:
        await stage.deliver()
        [call_id] = stage.gemini.interactions.kept
        hook = hooked(stage.pushes[0], call_id)
        assert await stage.push(hook) == ACKNOWLEDGED
        await succeeded_with(stage, calls=1)

        # A hook may come more than once.
        assert await stage.push(hook) == ACKNOWLEDGED
        await succeeded_with(stage, calls=1)


@pytest.mark.parametrize("named", ["another", ""])
async def test_a_hook_that_names_another_call_changes_nothing(
    named: str, tmp_path: Path
) -> None:
    async with kill_stage(tmp_path, HOOKED) as stage:
        await stage.deliver()
        before = await stage.record()
        assert await stage.push(hooked(stage.pushes[0], named)) == ACKNOWLEDGED

        assert await stage.record() == before
        await stage.deliver_until_closed()
        await succeeded_with(stage, calls=1)


async def test_a_hook_that_comes_before_the_end_costs_a_look(tmp_path: Path) -> None:
    slow = rule(FaultKind.CALL_NEVER_ENDS)
    async with kill_stage(tmp_path, HOOKED, slow) as stage:
        await stage.deliver()
        [call_id] = stage.gemini.interactions.kept
        assert await stage.push(hooked(stage.pushes[0], call_id)) == ACKNOWLEDGED

        record = await stage.record()
        assert (record.state, record.attempt, record.llm_calls) == (JobState.QUEUED, 0, 1)


ANNOUNCED = {**BACKGROUND, "WEBHOOK_SECRET": "s" * 32}
LOST = FaultRule(kind=FaultKind.HOOK_LOST, at=Asked.HOOK, times=99)


async def test_a_hook_of_another_job_is_not_believed(tmp_path: Path) -> None:
    async with kill_stage(tmp_path, ANNOUNCED, LOST) as stage:
        assert await stage.deliver_and_kill(Point.BEFORE_RECORDING)
        [(call_id, kept)] = stage.gemini.interactions.kept.items()
        kept.labels = {**kept.labels, "claim": "another"}
        stage.clock.skipped += timedelta(minutes=2)
        for named in (call_id, "v1_forged"):
            assert await stage.push(hooked(stage.pushes[0], named)) == ACKNOWLEDGED

        record = await stage.record()
        assert (record.state, record.interaction) == (JobState.QUEUED, None)
        assert record.llm_calls == 1
        assert record.not_before is not None
        assert record.not_before > stage.clock.now() + timedelta(minutes=5)


async def test_a_hook_that_cannot_be_checked_comes_again(tmp_path: Path) -> None:
    async with kill_stage(tmp_path, ANNOUNCED, LOST) as stage:
        assert await stage.deliver_and_kill(Point.BEFORE_RECORDING)
        [call_id] = stage.gemini.interactions.kept
        stage.clock.skipped += timedelta(minutes=2)
        looks = FaultRule(kind=FaultKind.STATUS, status=503, at=Asked.GET)
        stage.gemini.interactions.faults.add([looks])
        hook = hooked(stage.pushes[0], call_id)

        assert await stage.push(hook) == AGAIN
        assert await stage.push(hook) == ACKNOWLEDGED
        await succeeded_with(stage, calls=1)


async def test_a_hook_that_meets_a_live_holder_comes_again(tmp_path: Path) -> None:
    async with kill_stage(tmp_path, ANNOUNCED, LOST) as stage:
        assert await stage.deliver_and_kill(Point.BEFORE_RECORDING)
        [call_id] = stage.gemini.interactions.kept
        assert await stage.push(hooked(stage.pushes[0], call_id)) == AGAIN


async def test_a_hook_that_another_delivery_overtakes_comes_again(tmp_path: Path) -> None:
    async with kill_stage(tmp_path, ANNOUNCED, LOST) as stage:
        assert await stage.deliver_and_kill(Point.BEFORE_RECORDING)
        [call_id] = stage.gemini.interactions.kept
        stage.clock.skipped += timedelta(minutes=2)
        hook, (process, model) = hooked(stage.pushes[0], call_id), watched(stage)
        checking = asyncio.create_task(stage.push(hook, process))
        await model.described.wait()
        # This delivery waits for the hook that is being checked.
        assert await stage.deliver() == ACKNOWLEDGED

        assert await checking == AGAIN
        assert await stage.push(hook) == ACKNOWLEDGED
        await succeeded_with(stage, calls=1)


async def test_an_answer_to_other_inputs_is_not_taken_from_a_hook(tmp_path: Path) -> None:
    async with kill_stage(tmp_path, ANNOUNCED) as stage:
        assert await stage.deliver_and_kill(Point.BEFORE_RECORDING)
        assert stage.notify is not None
        await stage.notify.heard_of(1)
        profile = step_field(STEP_ID, "inputs", "llm", "llmProfile", "temperature")
        [run] = await stage.environment.documents.read([RUN], timeout_seconds=1)
        assert run is not None
        change = Update(ref=RUN, changes={profile: 0.5}, guard=run.version)
        await stage.environment.documents.commit([change], timeout_seconds=1)
        await stage.deliver_until_closed()

        await succeeded_with(stage, calls=2)


@pytest.mark.parametrize("policy", ["at_least_once", "at_most_once"])
async def test_a_begin_whose_answer_is_lost_is_found_by_its_hook(
    policy: str, tmp_path: Path
) -> None:
    environ = {**ANNOUNCED, "CALL_POLICY": policy}
    async with kill_stage(tmp_path, environ, rule(FaultKind.RESET_AFTER_ANSWER)) as stage:
        assert await stage.deliver() == ACKNOWLEDGED
        assert stage.notify is not None
        await stage.notify.heard_of(1)
        await stage.deliver_until_closed()

        await succeeded_with(stage, calls=1)
        assert (await stage.record()).llm_calls == 1


@pytest.mark.parametrize("policy", ["at_least_once", "at_most_once"])
async def test_an_instance_that_is_stopped_in_the_middle_of_the_begin_leaves_it_to_the_hook(
    policy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("executor.model_calls.background.LAST_CHANCE_SECONDS", 0.0)
    async with kill_stage(tmp_path, {**ANNOUNCED, "CALL_POLICY": policy}) as stage:
        process, model = watched(stage)
        working = asyncio.create_task(stage.deliver(process))
        await model.begun.wait()
        process.draining.set()
        assert await working == AGAIN
        assert (await stage.record()).interaction is None
        assert stage.notify is not None
        await stage.notify.heard_of(1)
        await stage.deliver_until_closed()

        await succeeded_with(stage, calls=1)
