"""What a step costs whose model takes long: invocations, and the time of instances.

Calls are made in the background and their ends are announced, so no instance waits for any.
"""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from starlette.applications import Starlette

from infra.local.environment import local_environment
from infra.local.gemini import create_app as create_gemini
from infra.local.overrides import EnvironmentOverrides
from infra.local.plan import LocalEnvironment
from infra.local.processes.functions import BUCKET
from infra.local.scenario.single import single_report_run
from infra.local.serving.asgi import serve
from shared.domain.documents import Create, DocumentRef
from tests.benchmarks.baselines import publish_registry
from tests.benchmarks.request_log import (
    Answered,
    RequestLog,
    run_of_event,
    run_of_hook,
    run_of_push,
)

#: As Cloud Scheduler does.
_SWEEP_SECONDS = 60.0
_SECONDS = 60.0
_POLL_SECONDS = 0.1
#: The functions' first requests load what they need; their first hook tells that hooks come.
_WARM_UP_STEPS = 5
_WARM_UP_MODEL_SECONDS = 1.0
#: After the model's end, a step has ended long before.
_PATIENCE_SECONDS = 180.0
_SECRET = "benchmark-secret-of-the-addresses"


@dataclass(slots=True, kw_only=True)
class WaitCost:
    """Samples of single steps whose model takes equally long."""

    #: Requests to the executor.
    invocations: list[int] = field(default_factory=list)
    #: For so long the executor had them, all of a step together.
    executor_seconds: list[float] = field(default_factory=list)
    #: The same of the events that the dispatcher got, and of the hooks.
    dispatcher_seconds: list[float] = field(default_factory=list)
    notify_seconds: list[float] = field(default_factory=list)
    #: From the end of the call to the answer of the request that ended the step.
    late_seconds: list[float] = field(default_factory=list)

    @property
    def in_all(self) -> Sequence[float]:
        """Seconds of all functions together, step by step."""
        parts = (self.executor_seconds, self.dispatcher_seconds, self.notify_seconds)
        return [sum(of_one) for of_one in zip(*parts, strict=True)]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Site:
    environment: LocalEnvironment
    gemini: Starlette
    pushes: RequestLog
    events: RequestLog
    hooks: RequestLog

    async def begin(self, run_id: str) -> None:
        """Write a run with one READY report."""
        run, objects = single_report_run(bucket=BUCKET, run_id=run_id)
        for item in objects:
            self.environment.objects.write(
                item.bucket, item.name, item.data, content_type=item.content_type
            )
        write = Create(ref=DocumentRef("flow_runs", run_id), data=run)
        await self.environment.documents.commit([write], timeout_seconds=_SECONDS)

    def calls(self) -> int:
        """Calls that the model has taken."""
        return int(self.gemini.state.calls.answered.total())

    async def called(self, calls: int) -> None:
        """Wait until the model has taken so many."""
        async with asyncio.timeout(_SECONDS):
            while self.calls() < calls:  # noqa: ASYNC110 -- a count, as tests read it
                await asyncio.sleep(_POLL_SECONDS)

    async def ended(self, run_ids: Sequence[str]) -> None:
        """Wait until each of their reports is there."""
        async with asyncio.timeout(_PATIENCE_SECONDS):
            while True:
                if await self._have_ended(run_ids):
                    return
                await asyncio.sleep(1.0)

    async def _have_ended(self, run_ids: Sequence[str]) -> bool:
        refs = [DocumentRef("flow_runs", run_id) for run_id in run_ids]
        found = await self.environment.documents.read(refs, timeout_seconds=_SECONDS)
        steps = [run.data["steps"]["llm_report_1d"] for run in found if run]
        failed = [step["error"] for step in steps if step["status"] == "FAILED"]
        assert not failed, failed
        return all(step["status"] == "SUCCEEDED" for step in steps)

    def cost(self, run_ids: Sequence[str], model_seconds: float) -> WaitCost:
        """What the logs say of these steps."""
        cost = WaitCost()
        for run_id in run_ids:
            pushes = self.pushes.of(run_id)
            cost.invocations.append(len(pushes))
            cost.executor_seconds.append(_together(pushes))
            cost.dispatcher_seconds.append(_together(self.events.of(run_id)))
            cost.notify_seconds.append(_together(self.hooks.of(run_id)))
            # The call begins within the first request, which ends when its id is recorded.
            begun, ended = pushes[0], pushes[-1]
            cost.late_seconds.append(ended.ended - begun.ended - model_seconds)
        return cost


def _together(entries: Sequence[Answered]) -> float:
    return sum(entry.seconds for entry in entries)


def measure_waiting(
    model_seconds: Sequence[float], *, steps: int, apart_seconds: float
) -> Mapping[float, WaitCost]:
    """Model time in seconds -> what steps cost, each of which is alone with its functions.

    All are under way at the same time: those of the longest time begin first.
    """
    return asyncio.run(_measured(model_seconds, steps, apart_seconds))


async def _measured(
    model_seconds: Sequence[float], steps: int, apart_seconds: float
) -> Mapping[float, WaitCost]:
    with tempfile.TemporaryDirectory() as root:
        async with _site(Path(root)) as site:
            await _warm_up(site)
            begun: dict[float, list[str]] = {}
            for seconds in sorted(model_seconds, reverse=True):
                numbers = range(len(begun) * steps, (len(begun) + 1) * steps)
                begun[seconds] = [_run_id(number) for number in numbers]
                await _begun(site, begun[seconds], seconds, apart_seconds)
            shortest_first = sorted(begun)
            for seconds in shortest_first:
                await _until_due(site, begun[seconds], seconds)
                await site.ended(begun[seconds])
            # The events of the last writes.
            relay = site.environment.instruments
            assert relay is not None
            await relay.relay.idle()
            return {seconds: site.cost(begun[seconds], seconds) for seconds in shortest_first}


async def _begun(
    site: _Site, run_ids: Sequence[str], seconds: float, apart_seconds: float
) -> None:
    calls = site.calls()
    site.gemini.state.interactions.latency_seconds = seconds
    for run_id in run_ids:
        await site.begin(run_id)
        await asyncio.sleep(apart_seconds)
    await site.called(calls + len(run_ids))


async def _until_due(site: _Site, run_ids: Sequence[str], seconds: float) -> None:
    """Leave everything alone until the last of these calls has ended."""
    last = site.pushes.of(run_ids[-1])
    loop = asyncio.get_running_loop()
    begun = last[0].ended if last else loop.time()
    await asyncio.sleep(max(0.0, begun + seconds - loop.time()))


async def _warm_up(site: _Site) -> None:
    site.gemini.state.interactions.latency_seconds = _WARM_UP_MODEL_SECONDS
    for number in range(_WARM_UP_STEPS):
        run_id = f"20260104-090000_BTCUSD_{number:06x}"
        await site.begin(run_id)
        await site.ended([run_id])


def _run_id(number: int) -> str:
    return f"20260105-090000_BTCUSD_{number:06x}"


@asynccontextmanager
async def _site(root: Path) -> AsyncIterator[_Site]:
    gemini = create_gemini()
    pushes, events = RequestLog(run_of=run_of_push), RequestLog(run_of=run_of_event)
    hooks = RequestLog(run_of=run_of_hook(_SECRET))
    tuning = EnvironmentOverrides(
        settings={
            "GEMINI_API": "interactions",
            "GEMINI_BACKGROUND_TIMEOUT_SECONDS": "7200",
            "WEBHOOK_SECRET": _SECRET,
            "WEBHOOK_SIGNING_KEYS": ",".join(gemini.state.webhooks.signing_keys),
        },
        push_detour=pushes.detour,
        hook_detour=hooks.detour,
        sweep_every_seconds=_SWEEP_SECONDS,
    )
    async with (
        serve(gemini, name="stand-in") as url,
        local_environment(
            embedded=False, data_dir=root, say=print, gemini_url=url, tuning=tuning
        ) as environment,
    ):
        instruments = environment.instruments
        assert instruments is not None
        async with events.detour(instruments.relay.target_url) as instruments.relay.target_url:
            await publish_registry(environment.documents)
            yield _Site(
                environment=environment,
                gemini=gemini,
                pushes=pushes,
                events=events,
                hooks=hooks,
            )
