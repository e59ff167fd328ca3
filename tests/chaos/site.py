"""The local environment on the emulators with everything in it that can go wrong."""

import asyncio
import os
import random
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from infra.local.emulators.finding import Missing, find_emulators
from infra.local.emulators.pubsub import DEAD_LETTER_SUBSCRIPTION
from infra.local.environment import local_environment
from infra.local.gemini import create_app as create_gemini
from infra.local.overrides import EnvironmentOverrides, Instruments
from infra.local.plan import LocalEnvironment
from infra.local.processes.functions import BUCKET, function_answers
from infra.local.scenario.prompts import prompt_documents
from infra.local.scenario.schemas import schema_documents
from infra.local.scenario.single import single_report_run
from infra.local.serving.asgi import serve
from shared.domain.documents import Create, DocumentRef
from shared.domain.identifiers import RunId, StepId
from shared.domain.job_documents import job_ref, parse_job_record
from shared.domain.jobs import JobRecord
from shared.domain.steps import StepStatus

#: Times a tenth of those in production or less: the same happens, only sooner.
IMPATIENT = {"LEASE_SECONDS": "3", "LEASE_RENEW_SECONDS": "1", "QUEUED_SECONDS": "3"}
_CALL_SECONDS = 30.0
_POLL_SECONDS = 0.2
_READ_AT_ONCE = 100
_START_SECONDS = 120.0
_FORWARD_SECONDS = 60.0
_PUSHES_AT_MOST = 120
_ENDED = {StepStatus.SUCCEEDED, StepStatus.FAILED, StepStatus.CANCELLED}


@dataclass(slots=True, kw_only=True)
class Pushes:
    """What stands between Pub/Sub and the executor: it passes pushes on, some of them twice."""

    chance: random.Random
    duplicate: float = 0.0
    passed_on: int = 0
    duplicated: int = 0
    #: Requests to the executor that are open now.
    in_flight: int = 0
    _copies: set[asyncio.Task[Any]] = field(default_factory=set)

    @asynccontextmanager
    async def detour(self, target_url: str) -> AsyncIterator[str]:
        """Run between Pub/Sub and this URL."""
        async with httpx2.AsyncClient(trust_env=False, timeout=_FORWARD_SECONDS) as client:

            async def forward(body: bytes) -> int:
                self.in_flight += 1
                try:
                    return (await client.post(target_url, content=body)).status_code
                except httpx2.TransportError:
                    return 503
                finally:
                    self.in_flight -= 1

            async def push(request: Request) -> Response:
                body = await request.body()
                self.passed_on += 1
                if self.chance.random() < self.duplicate:
                    self.duplicated += 1
                    copy = asyncio.create_task(forward(body))
                    self._copies.add(copy)
                    copy.add_done_callback(self._copies.discard)
                return Response(status_code=await forward(body))

            app = Starlette(routes=[Route("/", push, methods=["POST"])])
            async with serve(app, name="push detour") as url:
                yield url
                for copy in self._copies:
                    copy.cancel()


@dataclass(slots=True, kw_only=True)
class WidePushes(Pushes):
    """Pushes many messages at once, each until it is accepted.

    The emulator opens two requests at a time, Pub/Sub as many as are answered well.
    """

    at_once: int = 1_000

    @asynccontextmanager
    async def detour(self, target_url: str) -> AsyncIterator[str]:
        """Run between the emulator and this URL."""
        limits = httpx2.Limits(max_connections=None, keepalive_expiry=1.0)
        places = asyncio.Semaphore(self.at_once)
        async with httpx2.AsyncClient(trust_env=False, timeout=None, limits=limits) as client:

            async def pushed(body: bytes) -> bool:
                async with places:
                    self.in_flight += 1
                    try:
                        return (await client.post(target_url, content=body)).is_success
                    except httpx2.TransportError:
                        return False
                    finally:
                        self.in_flight -= 1

            async def accepted(body: bytes) -> None:
                for _ in range(_PUSHES_AT_MOST):
                    if await pushed(body):
                        return
                    await asyncio.sleep(1)

            async def push(request: Request) -> Response:
                body = await request.body()
                self.passed_on += 1
                twice = self.chance.random() < self.duplicate
                self.duplicated += twice
                for _ in range(1 + twice):
                    delivery = asyncio.create_task(accepted(body))
                    self._copies.add(delivery)
                    delivery.add_done_callback(self._copies.discard)
                return Response(status_code=204)

            app = Starlette(routes=[Route("/", push, methods=["POST"])])
            async with serve(app, name="push detour") as url:
                yield url
                for delivery in self._copies:
                    delivery.cancel()


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A step and its job when nothing more happens to them."""

    run_id: str
    step_id: str
    status: str
    error: Mapping[str, Any] | None
    gcs_uri: str | None
    #: None while nobody has claimed the step, and where it ended without a claim.
    claim: JobRecord | None

    @property
    def job(self) -> JobRecord:
        """The record of a step that was claimed."""
        assert self.claim is not None
        return self.claim

    @property
    def over(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.status in _ENDED and (self.claim is None or self.claim.closed)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChaosSite:
    """A running environment, and what a test does to it."""

    environment: LocalEnvironment
    pushes: Pushes
    gemini: Starlette

    @property
    def instruments(self) -> Instruments:
        """The insides."""
        assert self.environment.instruments is not None
        return self.environment.instruments

    @property
    def model_calls(self) -> int:
        """Requests that the model got so far."""
        total: int = self.gemini.state.calls.received.total()
        return total

    async def all_answer(self) -> None:
        """Wait until every function answers: one that was killed takes a while to come back."""
        for name in self.instruments.functions:
            await self.answers(name)

    async def answers(self, function: str) -> None:
        """Wait until the function answers, two minutes at most."""
        probe = function_answers(f"{self.environment.addresses[function]}/robots.txt")
        for _ in range(round(_START_SECONDS / _POLL_SECONDS)):
            if await probe():
                break
            await asyncio.sleep(_POLL_SECONDS)

    def signal(self, function: str, number: signal.Signals) -> None:
        """Send a signal to a function's whole process group."""
        os.killpg(self.instruments.functions[function].pid, number)

    async def seed(
        self,
        runs: Iterable[str],
        *,
        steps: int = 1,
        model: str | None = None,
        changed: Callable[[str, dict[str, Any]], dict[str, Any]] = lambda _, run: run,
    ) -> list[tuple[str, str]]:
        """Write runs with so many READY reports each; the ids of all reports.

        `changed` is given a run's id and document, and returns what is written.
        """
        written = [await self._seed_run(run_id, steps, model, changed) for run_id in runs]
        return [pair for pairs in written for pair in pairs]

    async def _seed_run(
        self,
        run_id: str,
        steps: int,
        model: str | None,
        changed: Callable[[str, dict[str, Any]], dict[str, Any]],
    ) -> list[tuple[str, str]]:
        run, objects = single_report_run(bucket=BUCKET, run_id=run_id, step_id="report_0")
        for item in objects:
            self.environment.objects.write(
                item.bucket, item.name, item.data, content_type=item.content_type
            )
        report = run["steps"]["report_0"]
        if model is not None:
            report["inputs"]["llm"]["llmProfile"]["modelName"] = model
        run["steps"].update({f"report_{number}": report for number in range(1, steps)})
        create = Create(ref=DocumentRef("flow_runs", run_id), data=changed(run_id, run))
        await self.environment.documents.commit([create], timeout_seconds=_CALL_SECONDS)
        return [(run_id, f"report_{number}") for number in range(steps)]

    async def all_ended(
        self,
        steps: Sequence[tuple[str, str]],
        *,
        within_seconds: float,
        told: Callable[[int], None] = lambda _: None,
    ) -> list[Ended]:
        """The steps once all of them have ended and all their jobs are closed.

        `told` hears after every look how many have.
        """
        ended: dict[tuple[str, str], Ended] = {}
        left: Sequence[tuple[str, str]] = steps
        ends_at = time.monotonic() + within_seconds
        while left:
            found = await self._look(left)
            ended |= {(each.run_id, each.step_id): each for each in found if each.over}
            told(len(ended))
            left = [step for step in left if step not in ended]
            if left and time.monotonic() > ends_at:
                still = [each for each in found if not each.over]
                raise AssertionError(f"still open: {still[:3]} of {len(still)}")
            # Looking at thousands of documents is work for the emulator, too.
            await asyncio.sleep(_POLL_SECONDS * (1 + len(left) / _READ_AT_ONCE))
        return [ended[step] for step in steps]

    async def _look(self, steps: Sequence[tuple[str, str]]) -> list[Ended]:
        found: list[Ended] = []
        for start in range(0, len(steps), _READ_AT_ONCE):
            found += await self._look_at(steps[start : start + _READ_AT_ONCE])
        return found

    async def _look_at(self, steps: Sequence[tuple[str, str]]) -> list[Ended]:
        runs = {run: DocumentRef("flow_runs", run) for run, _ in steps}
        jobs = [job_ref(RunId(run), StepId(step)) for run, step in steps]
        read = await self.environment.documents.read(
            [*runs.values(), *jobs], timeout_seconds=_CALL_SECONDS
        )
        data = dict(zip(runs, (each.data if each else {} for each in read), strict=False))
        return [
            _ended(run, step, data[run], parse_job_record(job.data) if job else None)
            for (run, step), job in zip(steps, read[len(runs) :], strict=True)
        ]

    async def dead_letters(self) -> int:
        """How many messages wait in the dead letters' subscription, a hundred at most."""
        host = self.environment.addresses["Pub/Sub emulator"]
        name = f"projects/{self.environment.project}/subscriptions/{DEAD_LETTER_SUBSCRIPTION}"
        body = {"maxMessages": 100, "returnImmediately": True}
        async with httpx2.AsyncClient(trust_env=False, timeout=_CALL_SECONDS) as client:
            answer = await client.post(f"http://{host}/v1/{name}:pull", json=body)
        return len(answer.raise_for_status().json().get("receivedMessages", ()))

    def artifacts(self) -> set[str]:
        """The URIs of all stored reports."""
        return {
            f"gs://{BUCKET}/{record.name}"
            for record in self.environment.objects.list(BUCKET)
            if "/report_" in record.name
        }


def _ended(run: str, step_id: str, data: Mapping[str, Any], claim: JobRecord | None) -> Ended:
    step = data["steps"][step_id]
    return Ended(
        run_id=run,
        step_id=step_id,
        status=step["status"],
        error=step.get("error"),
        gcs_uri=step.get("outputs", {}).get("gcs_uri"),
        claim=claim,
    )


@asynccontextmanager
async def chaos_site(
    root: Path,
    *,
    settings: Mapping[str, str] | None = None,
    latency_seconds: float = 0.2,
    gemini_wrapper: Callable[[ASGIApp], ASGIApp] = lambda app: app,
    storage_wrapper: Callable[[ASGIApp], ASGIApp] = lambda app: app,
    ack_deadline_seconds: int = 600,
    sweep_every_seconds: float = 1.0,
    chance: random.Random | None = None,
    pushes: Pushes | None = None,
    announced: bool = False,
    say: Callable[[str], None] = print,
) -> AsyncIterator[ChaosSite]:
    """Run everything on the emulators, with short leases, and functions that come back.

    Where calls are `announced`, they are made in the background, and `notify` takes hooks that
    the stand-in signed.
    Skips the test without the emulators, or fails it when CI is set.
    """
    found = find_emulators(os.environ, Path.home())
    if isinstance(found, Missing) and not os.environ.get("CI"):
        pytest.skip("; ".join(found.reasons))
    gemini = create_gemini(latency_seconds=latency_seconds)
    pushes = pushes or Pushes(chance=chance or random.Random(1))
    hooks = {
        "GEMINI_API": "interactions",
        "WEBHOOK_SECRET": "s" * 32,
        "WEBHOOK_SIGNING_KEYS": ",".join(gemini.state.webhooks.signing_keys),
    }
    tuning = EnvironmentOverrides(
        settings={**IMPATIENT, **(hooks if announced else {}), **(settings or {})},
        sweep_every_seconds=sweep_every_seconds,
        ack_deadline_seconds=ack_deadline_seconds,
        restarts=True,
        push_detour=pushes.detour,
        storage_wrapper=storage_wrapper,
    )
    async with (
        serve(gemini_wrapper(gemini), name="Gemini stand-in") as url,
        local_environment(
            embedded=False, data_dir=root, say=say, gemini_url=url, tuning=tuning
        ) as environment,
    ):
        documents = [
            Create(ref=DocumentRef(collection, name), data=data)
            for collection, found_documents in (
                ("llm_prompts", prompt_documents()),
                ("llm_schemas", schema_documents()),
            )
            for name, data in found_documents.items()
        ]
        await environment.documents.commit(documents, timeout_seconds=_CALL_SECONDS)
        yield ChaosSite(environment=environment, pushes=pushes, gemini=gemini)


def run_ids(count: int) -> list[str]:
    """Ids of so many runs."""
    return [f"20260105-090000_BTCUSD_{number:06x}" for number in range(count)]
