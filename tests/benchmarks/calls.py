"""What the functions ask of every service, counted on the wire."""

import asyncio
import os
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from infra.local.cloud.cloud_events import CloudEventMessage
from infra.local.emulators.finding import Found, find_emulators
from infra.local.emulators.firestore_proxy import FirestoreProxy, firestore_proxy
from infra.local.emulators.servers import running_emulators
from infra.local.environment import local_environment
from infra.local.gemini import create_app as create_gemini
from infra.local.overrides import EnvironmentOverrides, Instruments
from infra.local.plan import LocalEnvironment
from infra.local.processes.functions import BUCKET
from infra.local.scenario.single import single_report_run
from infra.local.serving.asgi import serve
from shared.domain.documents import Create, DocumentRef
from shared.ports import DocumentStore
from tests.benchmarks.baselines import publish_registry
from tests.benchmarks.rivals.events import recorded
from tests.benchmarks.weighed import Weighed

_PUBSUB = "PUBSUB_EMULATOR_HOST"
_SECONDS = 120.0
_RUNS = 10
_STEPS = 5


#: Service, function and call.
_Line: TypeAlias = tuple[str, str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """Of one method of one service, a step: how often it is called, and what that moves."""

    service: str
    function: str
    call: str
    calls: float
    #: Of requests and answers, headers aside.
    bytes: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CallCounts:
    """Of steps that go well at the first attempt."""

    #: Of a step that is alone in its run.
    alone: Sequence[Traffic]
    #: Function -> Firestore calls a step, of five steps that become READY at once.
    firestore_of_several: Mapping[str, float]


def measure_calls() -> CallCounts:
    """Runs of one step first, then of several at once."""
    with tempfile.TemporaryDirectory() as root:
        return asyncio.run(_measured(Path(root)))


async def _measured(root: Path) -> CallCounts:
    storage, model = Weighed(_storage_call), Weighed(_model_call)
    async with (
        serve(model.around(create_gemini(latency_seconds=0.05)), name="stand-in") as url,
        _pubsub(root) as (pubsub_host, pubsub),
        local_environment(
            embedded=False,
            data_dir=root / "environment",
            say=print,
            environ={**os.environ, _PUBSUB: pubsub_host},
            gemini_url=url,
            tuning=EnvironmentOverrides(
                # Longer than any step here takes: renewals are left aside.
                settings={"LEASE_SECONDS": "600", _PUBSUB: pubsub.address},
                storage_wrapper=storage.around,
            ),
        ) as environment,
    ):
        instruments = environment.instruments
        assert instruments is not None
        await publish_registry(environment.documents)
        meters = _Meters(
            instruments=instruments,
            events=recorded(instruments.relay),
            pubsub=pubsub,
            servers={"Cloud Storage": storage, "Gemini": model},
        )
        await _runs(environment, meters, range(1), 1)
        alone = await _runs(environment, meters, range(1, 1 + _RUNS), 1)
        several = await _runs(environment, meters, range(100, 100 + _RUNS), _STEPS)
    return CallCounts(alone=alone, firestore_of_several=firestore_calls(several))


async def _runs(
    environment: LocalEnvironment, meters: "_Meters", numbers: range, steps: int
) -> list[Traffic]:
    """What a step costs in these runs of so many."""
    calls, sizes = meters.calls(), meters.sizes()
    for number in numbers:
        await _run(environment, number, steps)
        # What our own last write causes is delivered too.
        async with asyncio.timeout(_SECONDS):
            await meters.instruments.relay.idle()
    done = len(numbers) * steps
    made, moved = meters.calls() - calls, meters.sizes() - sizes
    return [
        Traffic(
            service=service,
            function=function,
            call=call,
            calls=made[service, function, call] / done,
            bytes=moved[service, function, call] / done,
        )
        for service, function, call in sorted(made)
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Meters:
    """All that is counted so far, by service, function and call."""

    instruments: Instruments
    events: Sequence[CloudEventMessage]
    pubsub: FirestoreProxy
    servers: Mapping[str, Weighed]

    def calls(self) -> Counter[_Line]:
        """How often."""
        return self._lines(
            len(self.events), lambda proxy: proxy.calls, lambda server: server.calls
        )

    def sizes(self) -> Counter[_Line]:
        """How many bytes."""
        return self._lines(
            sum(len(event.body) for event in self.events),
            lambda proxy: proxy.request_bytes + proxy.answer_bytes,
            lambda server: server.sizes,
        )

    def _lines(
        self,
        of_events: int,
        of_proxy: Callable[[FirestoreProxy], Counter[str]],
        of_server: Callable[[Weighed], Counter[str]],
    ) -> Counter[_Line]:
        groups = [
            ("Firestore", name, of_proxy(p)) for name, p in self.instruments.firestore.items()
        ]
        groups.append(("Pub/Sub", "dispatcher", of_proxy(self.pubsub)))
        groups += [(name, "executor", of_server(each)) for name, each in self.servers.items()]
        lines = {
            (service, function, call): count
            for service, function, counts in groups
            for call, count in counts.items()
        }
        return Counter({**lines, ("event", "dispatcher", "written"): of_events})


def firestore_calls(traffic: Sequence[Traffic]) -> Mapping[str, float]:
    """Function -> its Firestore calls a step."""
    return {
        function: sum(
            line.calls
            for line in traffic
            if (line.service, line.function) == ("Firestore", function)
        )
        for function in ("dispatcher", "executor")
    }


@asynccontextmanager
async def _pubsub(root: Path) -> AsyncIterator[tuple[str, FirestoreProxy]]:
    """An emulator, and a relay before it that counts; the Firestore beside it is not used."""
    found = find_emulators(os.environ, Path.home())
    assert isinstance(found, Found), found
    logs = root / "pubsub"
    logs.mkdir()
    async with (
        running_emulators(found, log_folder=logs, environ=os.environ) as emulators,
        firestore_proxy(emulators.pubsub_host) as proxy,
    ):
        yield emulators.pubsub_host, proxy


def _storage_call(method: str, path: str, query: str) -> str:
    if method == "POST":
        return "create"
    return "media" if "alt=media" in query or path.startswith("/download/") else "metadata"


def _model_call(method: str, path: str, query: str) -> str:
    del query
    return path.rpartition(":")[2] if ":" in path else f"{method} interactions"


async def _run(environment: LocalEnvironment, number: int, steps: int) -> None:
    run_id = f"20260105-090000_BTCUSD_{number:06x}"
    document, objects = single_report_run(bucket=BUCKET, run_id=run_id)
    for item in objects:
        environment.objects.write(item.bucket, item.name, item.data)
    report = document["steps"].pop("llm_report_1d")
    document["steps"].update({f"report_{n}": report for n in range(steps)})
    ref = DocumentRef("flow_runs", run_id)
    create = Create(ref=ref, data=document)
    await environment.documents.commit([create], timeout_seconds=_SECONDS)
    await _ended(environment.documents, ref, steps)


async def _ended(documents: DocumentStore, ref: DocumentRef, steps: int) -> None:
    async with asyncio.timeout(_SECONDS):
        while True:
            [found] = await documents.read([ref], timeout_seconds=_SECONDS)
            reports = [
                step
                for name, step in (found.data if found else {})["steps"].items()
                if name.startswith("report_")
            ]
            if sum(step["status"] == "SUCCEEDED" for step in reports) == steps:
                return
            await asyncio.sleep(0.05)
