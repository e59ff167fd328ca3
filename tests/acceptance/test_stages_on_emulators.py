"""Both stages on the official Firestore emulator and its CloudEvents; calls are counted."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from infra.local.cloud.cloud_events import Document, document_event
from infra.local.emulators.clients import firestore_client
from infra.local.emulators.firestore_proxy import FirestoreProxy, firestore_proxy
from infra.local.emulators.relay import Relay
from infra.local.scenario.single import single_report_run
from infra.local.serving.asgi import serve
from shared.adapters.clock import SystemClock
from shared.adapters.firestore import FirestoreDocuments
from shared.domain.documents import DocumentRef
from shared.domain.errors import FirestoreClaimFailed
from shared.domain.identifiers import RunId, StepId
from shared.domain.job_documents import job_ref
from shared.ports import StoreRefused
from tests.support.emulators import Emulators
from tests.support.worker import (
    BUCKET,
    TIMEOUT_SECONDS,
    Worker,
    create,
    publish_registry,
    push,
    pushed,
    read,
)

pytestmark = pytest.mark.emulators

RACERS = 32
_POLL_SECONDS = 0.05
RUN_ID = RunId("20260105-090000_BTCUSDT_abc")
RUN = DocumentRef("flow_runs", RUN_ID)
STEP_ID = StepId("llm_report_1d")
JOB = job_ref(RUN_ID, STEP_ID)


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A project on the emulator; the test has its own client, and the worker's is counted."""

    emulators: Emulators
    worker: Worker
    proxy: FirestoreProxy
    documents: FirestoreDocuments
    counted: FirestoreDocuments

    @property
    def calls(self) -> Mapping[str, int]:
        return dict(self.proxy.calls)

    @asynccontextmanager
    async def dispatching(self) -> AsyncIterator[Relay]:
        """Deliver the emulator's own events to a dispatcher while the block lasts."""
        dispatcher = self.worker.dispatcher(self.counted)

        async def take(request: Request) -> Response:
            headers = request.headers.items()
            attributes = {
                name[3:]: unquote(text) for name, text in headers if name[:3] == "ce-"
            }
            await dispatcher.handle(attributes, await request.body())
            return Response()

        app = Starlette(routes=[Route("/", take, methods=["POST"])])
        async with (
            serve(app, name="dispatcher") as url,
            self.emulators.events_to(f"{url}/", project=self.worker.project) as relay,
        ):
            yield relay

    async def settled(self, relay: Relay, *, jobs: int) -> None:
        """Wait until so many jobs were published in all, and no event is under way."""
        for _ in range(round(TIMEOUT_SECONDS / _POLL_SECONDS)):
            if len(self.worker.queue.messages) >= jobs:
                break
            await asyncio.sleep(_POLL_SECONDS)
        # The event of the last commit may not have reached the relay yet.
        await asyncio.sleep(0.5)
        await asyncio.wait_for(relay.idle(), TIMEOUT_SECONDS)


@pytest.fixture
async def site(emulators: Emulators, project_id: str, tmp_path: Path) -> AsyncIterator[Site]:
    async with firestore_proxy(emulators.firestore_host) as proxy:
        own: Any = firestore_client(emulators.firestore_host, project_id)
        counted: Any = firestore_client(proxy.address, project_id)
        yield Site(
            emulators=emulators,
            worker=Worker(folder=tmp_path, project=project_id),
            proxy=proxy,
            documents=FirestoreDocuments(own),
            counted=FirestoreDocuments(counted),
        )
        own.close()
        counted.close()


async def seeded(site: Site, **changes: Any) -> dict[str, Any]:
    """Store prompts, schemas, sources, and one run with one executable report."""
    run, objects = single_report_run(bucket=BUCKET, run_id=RUN_ID)
    site.worker.put([*objects])
    await publish_registry(site.documents)
    run = {**run, **changes}
    await create(site.documents, RUN, run)
    return run


async def event_of(site: Site) -> tuple[dict[str, str], bytes]:
    """The event of the run's creation."""
    [run] = await site.documents.read([RUN], timeout_seconds=TIMEOUT_SECONDS)
    assert run is not None
    document = Document(fields=dict(run.data), create_time=run.version, update_time=run.version)
    message = document_event(
        project=site.worker.project,
        document_path=f"flow_runs/{RUN_ID}",
        old=None,
        new=document,
        event_id="event-1",
        time=SystemClock().now(),
    )
    return {name[3:]: text for name, text in message.headers.items()}, message.body


def noops(site: Site) -> list[str]:
    return [entry["reason"] for entry in site.worker.log.entries("cloud_event_noop")]


async def test_a_run_costs_one_commit_a_claim_and_its_own_writes_cost_nothing(
    site: Site,
) -> None:
    """The second step becomes executable only when our own finalize has completed the first."""
    run, objects = single_report_run(bucket=BUCKET, run_id=RUN_ID)
    site.worker.put([*objects])
    await publish_registry(site.documents)
    second = {**run["steps"][STEP_ID], "dependsOn": [STEP_ID]}
    run["steps"]["second:é"] = second
    executor = site.worker.executor(site.documents)

    async with site.dispatching() as relay:
        await create(site.documents, RUN, run)
        await site.settled(relay, jobs=1)

        assert site.calls == {"Commit": 1}
        assert noops(site) == ["dependency_not_succeeded"]

        assert await pushed(executor, push(site.worker.queue.messages[0])) == 204
        await site.settled(relay, jobs=2)

        assert site.calls == {"Commit": 2}
        assert noops(site)[1:] == ["no_ready_step"]

        assert await pushed(executor, push(site.worker.queue.messages[1])) == 204
        await site.settled(relay, jobs=2)

    assert site.calls == {"Commit": 2}
    assert noops(site)[1:] == ["no_ready_step"] * 2
    steps = (await read(site.documents, RUN))["steps"]
    assert {steps[name]["status"] for name in (STEP_ID, "second:é")} == {"SUCCEEDED"}
    assert len(site.worker.model.requests) == 2


async def test_both_stages_log_under_one_trace(site: Site) -> None:
    await seeded(site)
    await site.worker.dispatcher(site.documents).handle(*(await event_of(site)))
    await pushed(site.worker.executor(site.documents), push(site.worker.queue.messages[0]))

    entries = [
        *site.worker.log.entries("job_published"),
        *site.worker.log.entries("job_received"),
        *site.worker.log.entries("step_completed"),
    ]
    assert len(entries) == 3
    assert len({entry["logging.googleapis.com/trace"] for entry in entries}) == 1


async def test_of_many_dispatchers_racing_on_one_event_one_claims_and_publishes(
    site: Site,
) -> None:
    await seeded(site)
    event = await event_of(site)

    endings = await asyncio.gather(
        *(site.worker.dispatcher(site.counted).handle(*event) for _ in range(RACERS)),
        return_exceptions=True,
    )

    # A losing dispatcher asks for redelivery while the winner may not have published yet.
    assert {type(ending) for ending in endings} <= {type(None), FirestoreClaimFailed}
    assert None in endings
    job = await read(site.documents, JOB)
    claims = [message.attributes["claimId"] for message in site.worker.queue.messages]
    assert set(claims) == {job["claimId"]}
    assert (job["state"], job["claimNumber"]) == ("QUEUED", 1)
    won = [e for e in site.worker.log.entries("claim_attempt") if e["outcome"] == "claimed"]
    assert len(won) == 1
    # Each losing dispatcher reads back once, and does nothing more.
    assert site.calls == {"Commit": RACERS, "BatchGetDocuments": RACERS - 1}


async def test_of_many_identical_pushes_one_calls_the_model(site: Site) -> None:
    await seeded(site)
    await site.worker.dispatcher(site.documents).handle(*(await event_of(site)))
    [message] = site.worker.queue.messages

    answers = await asyncio.gather(
        *(
            pushed(site.worker.executor(site.documents), push(message, f"{number}"))
            for number in range(RACERS)
        )
    )

    assert answers == [204] * RACERS
    assert len(site.worker.model.requests) == 1
    assert (await read(site.documents, RUN))["steps"][STEP_ID]["status"] == "SUCCEEDED"
    job = await read(site.documents, JOB)
    assert (job["state"], job["attempt"], job["llmCalls"]) == ("SUCCEEDED", 1, 1)


async def test_a_job_costs_one_read_a_lease_and_a_finalize_and_a_duplicate_one_read(
    site: Site,
) -> None:
    await seeded(site)
    await site.worker.dispatcher(site.documents).handle(*(await event_of(site)))
    [message] = site.worker.queue.messages

    assert await pushed(site.worker.executor(site.counted), push(message)) == 204
    assert site.calls == {"BatchGetDocuments": 1, "Commit": 2}

    assert await pushed(site.worker.executor(site.counted), push(message)) == 204
    assert site.calls == {"BatchGetDocuments": 2, "Commit": 2}


async def test_a_claim_whose_answer_is_lost_on_the_wire_is_read_back_and_published_once(
    site: Site,
) -> None:
    await seeded(site)
    event = await event_of(site)
    site.proxy.answers_to_lose["Commit"] = 1

    await site.worker.dispatcher(site.counted).handle(*event)

    assert site.calls == {"Commit": 1, "BatchGetDocuments": 1}
    [message] = site.worker.queue.messages
    assert message.attributes["claimId"] == (await read(site.documents, JOB))["claimId"]


async def test_a_lease_and_a_finalize_whose_answers_are_lost_cost_no_second_call(
    site: Site,
) -> None:
    await seeded(site)
    await site.worker.dispatcher(site.documents).handle(*(await event_of(site)))
    [message] = site.worker.queue.messages
    site.proxy.answers_to_lose["Commit"] = 2

    assert await pushed(site.worker.executor(site.counted), push(message)) == 204

    assert len(site.worker.model.requests) == 1
    assert (await read(site.documents, RUN))["steps"][STEP_ID]["status"] == "SUCCEEDED"
    assert (await read(site.documents, JOB))["state"] == "SUCCEEDED"


async def test_a_run_near_the_limit_of_a_mebibyte_is_claimed(site: Site) -> None:
    await seeded(site, note="x" * 1_000_000)

    await site.worker.dispatcher(site.counted).handle(*(await event_of(site)))

    assert len(site.worker.queue.messages) == 1


@pytest.mark.parametrize(
    ("bytes_left", "status"), [(0, "READY"), (40, "FAILED"), (250, "FAILED"), (400, "FAILED")]
)
async def test_a_run_without_room_for_the_claim_ends_its_step_in_the_room_there_is(
    site: Site, bytes_left: int, status: str
) -> None:
    run, _ = single_report_run(bucket=BUCKET, run_id=RUN_ID)
    note = "x" * (await largest_note(site, run) - bytes_left)
    await create(site.documents, RUN, {**run, "note": note})

    await site.worker.dispatcher(site.counted).handle(*(await event_of(site)))

    [entry] = site.worker.log.entries("step_failed")
    assert (entry["severity"], entry["code"]) == ("ERROR", "RUN_TOO_LARGE")
    assert site.worker.queue.messages == []
    step = (await read(site.documents, RUN))["steps"][STEP_ID]
    assert step["status"] == status
    assert (step.get("error") or {}).get("code", "RUN_TOO_LARGE") == "RUN_TOO_LARGE"


async def largest_note(site: Site, run: dict[str, Any]) -> int:
    """How long a text the run has room for, to the byte."""
    fits, too_long = 0, 1_048_576
    while too_long - fits > 1:
        length = (fits + too_long) // 2
        # It has the length of the run's own id, as that counts too.
        ref = DocumentRef("flow_runs", f"{length:0{len(RUN_ID)}}")
        try:
            await create(site.documents, ref, {**run, "note": "x" * length})
        except StoreRefused:
            too_long = length
        else:
            fits = length
    return fits
