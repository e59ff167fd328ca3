"""Operators' acts beside a real executor at work, on the embedded documents."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from executor.ports import ModelAnswer, ModelRequest
from executor.service import Executor
from infra.local.cloud.cloud_events import Document, document_event
from infra.local.embedded.documents import EmbeddedDocuments
from infra.local.scenario.single import single_report_run
from infra.ops.steps.acts import ActRefused, perform
from shared.adapters.clock import SystemClock
from shared.domain.attempts import OperatorAct
from shared.domain.documents import DocumentRef
from shared.domain.identifiers import RunId, StepId
from shared.domain.job_documents import job_ref, parse_job_record
from shared.domain.jobs import JobRecord, JobState
from shared.domain.steps import OperatorMove
from tests.support.worker import (
    ANSWER,
    BUCKET,
    TIMEOUT_SECONDS,
    CountedModel,
    Worker,
    create,
    publish_registry,
    push,
    pushed,
    read,
)

RUN_ID, STEP_ID = RunId("20260105-090000_BTCUSDT_act"), StepId("llm_report_1d")
RUN = DocumentRef("flow_runs", RUN_ID)
TOLD = ("ann@example.com", "console", "wrong chart", STEP_ID)
RENEWAL = timedelta(seconds=0.2)


@dataclass(slots=True)
class PatientModel(CountedModel):
    """Answers when it is allowed to; remembers whether its call was cancelled."""

    begun: asyncio.Event = field(default_factory=asyncio.Event)
    may_answer: asyncio.Event = field(default_factory=asyncio.Event)
    given_up: int = 0

    async def generate(self, request: ModelRequest, *, timeout_seconds: float) -> ModelAnswer:
        """See the class."""
        del timeout_seconds
        self.requests.append(request)
        self.begun.set()
        try:
            await self.may_answer.wait()
        except asyncio.CancelledError:
            self.given_up += 1
            raise
        return ANSWER


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """One run, and the worker with a lease that is renewed often."""

    worker: Worker
    model: PatientModel
    documents: EmbeddedDocuments

    @property
    def executor(self) -> Executor:
        """The executor, which soon notices that it lost its lease."""
        made = self.worker.executor(self.documents)
        limits = replace(made.settings.limits, renew_every=RENEWAL)
        return replace(made, settings=replace(made.settings, limits=limits))

    async def dispatched(self) -> bytes:
        """Let the dispatcher see the run as it is now; return the push that this caused."""
        [run] = await self.documents.read([RUN], timeout_seconds=TIMEOUT_SECONDS)
        assert run is not None
        before = len(self.worker.queue.messages)
        await self.worker.dispatcher(self.documents).handle(*_written(run.data, run.version))
        [message] = self.worker.queue.messages[before:]
        return push(message)

    async def act(self, move: OperatorMove) -> None:
        """Act as the command line does."""
        act = OperatorAct(
            act=str(move),
            at=SystemClock().now(),
            reason="wrong chart",
            by="ann@example.com",
            via="console",
            claim_id=(await self.job()).claim_id,
        )
        await perform(move, self.documents, RUN, STEP_ID, act)

    def told(self) -> list[tuple[str, ...]]:
        """The acts in the worker's log: which act, who did it, where and why."""
        names = ("act", "by", "via", "reason", "stepId")
        entries = self.worker.log.entries("operator_act")
        return [tuple(entry[name] for name in names) for entry in entries]

    async def step(self) -> dict[str, Any]:
        """The step as it is now."""
        step: dict[str, Any] = (await read(self.documents, RUN))["steps"][STEP_ID]
        return step

    async def job(self) -> JobRecord:
        """The job as it is now."""
        return parse_job_record(await read(self.documents, job_ref(RUN_ID, STEP_ID)))


def _written(data: Any, version: int) -> tuple[dict[str, str], bytes]:
    document = Document(fields=dict(data), create_time=version, update_time=version)
    event = document_event(
        project="test",
        document_path=f"flow_runs/{RUN_ID}",
        old=None,
        new=document,
        event_id=str(version),
        time=SystemClock().now(),
    )
    return {name[3:]: text for name, text in event.headers.items()}, event.body


@asynccontextmanager
async def at_work(tmp_path: Path) -> AsyncIterator[tuple[Site, Callable[[], Awaitable[int]]]]:
    """A step whose model call is under way; the function waits for the status of the push."""
    model = PatientModel()
    site = Site(
        worker=Worker(folder=tmp_path, model=model), model=model, documents=EmbeddedDocuments()
    )
    run, objects = single_report_run(bucket=BUCKET, run_id=RUN_ID)
    site.worker.put([*objects])
    await publish_registry(site.documents)
    await create(site.documents, RUN, run)
    pushing = asyncio.create_task(pushed(site.executor, await site.dispatched()))
    async with asyncio.timeout(TIMEOUT_SECONDS):
        await model.begun.wait()
        yield site, lambda: pushing


async def test_a_step_cancelled_at_work_gives_up_its_call_and_writes_nothing(
    tmp_path: Path,
) -> None:
    async with at_work(tmp_path) as (site, answered):
        await site.act(OperatorMove.CANCEL)
        cancelled = await site.step()

        assert await answered() == 204

        assert site.model.given_up == 1
        assert await site.step() == cancelled
        assert cancelled["status"] == "CANCELLED"
        job = await site.job()
        assert (job.state, job.llm_calls) == (JobState.ABANDONED, 1)
        assert [act.act for act in job.operator_acts] == ["cancel"]
        assert not list((tmp_path / BUCKET).rglob(f"*{STEP_ID}*"))
        assert site.told() == [("cancel", *TOLD)]


async def test_a_cancelled_step_that_runs_again_succeeds_under_a_claim_of_its_own(
    tmp_path: Path,
) -> None:
    async with at_work(tmp_path) as (site, answered):
        first = await site.job()
        await site.act(OperatorMove.CANCEL)
        await answered()
        await site.act(OperatorMove.RERUN)
        site.model.may_answer.set()

        assert await pushed(site.executor, await site.dispatched()) == 204

        step, job = await site.step(), await site.job()
        assert (step["status"], "error" in step) == ("SUCCEEDED", False)
        assert job.state is JobState.SUCCEEDED
        assert job.claim_id != first.claim_id
        assert (job.claim_number, job.attempt, job.llm_calls) == (2, 1, 1)
        assert [act.act for act in job.operator_acts] == ["cancel", "rerun"]
        assert site.told() == [("cancel", *TOLD), ("rerun", *TOLD)]


async def test_a_step_that_nobody_touched_names_no_operator(tmp_path: Path) -> None:
    async with at_work(tmp_path) as (site, answered):
        site.model.may_answer.set()
        await answered()

        assert site.told() == []


async def test_a_cancellation_that_comes_when_the_report_stands_leaves_the_step_as_it_ended(
    tmp_path: Path,
) -> None:
    async with at_work(tmp_path) as (site, answered):
        site.model.may_answer.set()
        await answered()
        ended = await site.step()

        with pytest.raises(ActRefused, match="SUCCEEDED"):
            await site.act(OperatorMove.CANCEL)

        assert await site.step() == ended
