"""What the real Firestore emulator sends arrives as production would have sent it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud.firestore import AsyncClient
from google.events.cloud.firestore import DocumentEventData
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from infra.local.cloud.cloud_events import CONTENT_TYPE, EVENT_TYPE
from infra.local.emulators.events import TriggerRefused, raw_event, register_trigger
from infra.local.emulators.relay import Relay
from infra.local.serving.asgi import serve
from infra.local.serving.free_ports import LOOPBACK, free_port
from tests.support.emulators import Emulators

_PATIENCE_SECONDS = 30.0
_POLL_SECONDS = 0.02
_POLLS = 1_000
needs_emulators = pytest.mark.emulators


@dataclass(slots=True, kw_only=True)
class _Dispatcher:
    """Keeps what arrives; refuses the first `refusals` requests."""

    refusals: int = 0
    headers: list[dict[str, str]] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)

    async def take(self, request: Request) -> Response:
        self.headers.append(dict(request.headers))
        self.bodies.append(await request.body())
        return Response(status_code=500 if len(self.bodies) <= self.refusals else 200)

    async def received(self, count: int) -> None:
        for _ in range(_POLLS):
            if len(self.bodies) >= count:
                return
            await asyncio.sleep(_POLL_SECONDS)
        pytest.fail(f"{len(self.bodies)} of {count} events arrived")

    def event(self, index: int) -> Any:
        return DocumentEventData.deserialize(self.bodies[index])


@asynccontextmanager
async def _listening(
    dispatcher: _Dispatcher, emulators: Emulators, project: str
) -> AsyncIterator[Relay]:
    app = Starlette(routes=[Route("/", dispatcher.take, methods=["POST"])])
    async with (
        serve(app, name="dispatcher") as url,
        emulators.events_to(f"{url}/", project=project) as relay,
    ):
        yield relay


@pytest.fixture
async def client(
    emulators: Emulators, project_id: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Any]:
    for name, value in emulators.environ.items():
        monkeypatch.setenv(name, value)
    client = _client(project_id)
    yield client
    client.close()


def _client(project: str) -> Any:
    # The client is untyped, as the library's constructor and `close` are.
    credentials: Any = AnonymousCredentials
    return AsyncClient(project=project, credentials=credentials())


@needs_emulators
async def test_a_created_document_arrives_as_raw_protobuf_with_productions_headers(
    emulators: Emulators, project_id: str, client: Any
) -> None:
    dispatcher = _Dispatcher()

    async with _listening(dispatcher, emulators, project_id):
        written = await client.document("flow_runs/r1").set({"status": "RUNNING"})
        await dispatcher.received(1)

    headers, event = dispatcher.headers[0], dispatcher.event(0)
    assert dispatcher.bodies[0][:1] in (b"\x0a", b"\x12", b"\x1a")
    assert event.value.name.endswith("/documents/flow_runs/r1")
    assert event.value.fields["status"].string_value == "RUNNING"
    assert event.value.update_time == written.update_time
    assert not event.old_value.name
    assert headers["content-type"] == CONTENT_TYPE
    assert headers["ce-type"] == EVENT_TYPE
    assert headers["ce-specversion"] == "1.0"
    assert headers["ce-subject"] == "documents/flow_runs/r1"
    assert headers["ce-document"] == "flow_runs/r1"
    assert headers["ce-source"] == (
        f"//firestore.googleapis.com/projects/{project_id}/databases/(default)"
    )


@needs_emulators
async def test_updates_and_deletions_carry_the_old_value(
    emulators: Emulators, project_id: str, client: Any
) -> None:
    dispatcher = _Dispatcher()
    document = client.document("flow_runs/r1")

    async with _listening(dispatcher, emulators, project_id) as relay:
        await document.set({"a": {"b": 1, "c": 2}})
        await document.update({"a.b": 5})
        await document.delete()
        await dispatcher.received(3)
        await asyncio.wait_for(relay.idle(), _PATIENCE_SECONDS)

    # The relay promises no order: one event has only a new value, one has both, one only the
    # old.
    events = [dispatcher.event(index) for index in range(3)]
    [updated] = [event for event in events if event.value.name and event.old_value.name]
    [deleted] = [event for event in events if not event.value.name]
    assert _inner(updated.old_value) == {"b": 1, "c": 2}
    assert _inner(updated.value) == _inner(deleted.old_value) == {"b": 5, "c": 2}
    assert len({headers["ce-id"] for headers in dispatcher.headers}) == 3


def _inner(document: Any) -> dict[str, int]:
    fields = document.fields["a"].map_value.fields
    return {key: value.integer_value for key, value in fields.items()}


@needs_emulators
async def test_an_event_answered_with_500_comes_again_under_the_same_id(
    emulators: Emulators, project_id: str, client: Any
) -> None:
    dispatcher = _Dispatcher(refusals=2)

    async with _listening(dispatcher, emulators, project_id) as relay:
        await client.document("flow_runs/r1").set({"n": 1})
        await dispatcher.received(3)
        await asyncio.wait_for(relay.idle(), _PATIENCE_SECONDS)

    assert len({headers["ce-id"] for headers in dispatcher.headers}) == 1
    assert len(set(dispatcher.bodies)) == 1
    assert (relay.counters.failed, relay.counters.delivered) == (2, 1)


@needs_emulators
async def test_an_id_beyond_ascii_arrives_percent_encoded(
    emulators: Emulators, project_id: str, client: Any
) -> None:
    dispatcher = _Dispatcher()

    async with _listening(dispatcher, emulators, project_id):
        await client.document("flow_runs/a:b-é").set({"n": 1})
        await dispatcher.received(1)

    assert dispatcher.event(0).value.name.endswith("/flow_runs/a:b-é")
    assert dispatcher.headers[0]["ce-document"] == "flow_runs/a:b-%C3%A9"


@needs_emulators
async def test_other_collections_and_other_projects_stay_silent(
    emulators: Emulators, project_id: str, client: Any
) -> None:
    dispatcher = _Dispatcher()
    stranger = _client(f"{project_id}-b")

    async with _listening(dispatcher, emulators, project_id):
        await client.document("jobs/j1").set({"n": 1})
        await stranger.document("flow_runs/r1").set({"n": 1})
        await client.document("flow_runs/last").set({"n": 1})
        await dispatcher.received(1)
    stranger.close()

    assert [headers["ce-document"] for headers in dispatcher.headers] == ["flow_runs/last"]


async def test_an_emulator_that_is_not_there_takes_no_trigger() -> None:
    with pytest.raises(TriggerRefused, match="flow_runs"):
        await register_trigger(f"{LOOPBACK}:{free_port()}", "p")


@pytest.mark.parametrize("body", [b"", b"not base64!", b"AAAA", b"\xff\xfe"])
def test_a_body_that_is_no_event_is_refused(body: bytes) -> None:
    with pytest.raises(ValueError, match=r".*"):
        raw_event(body)


def test_raw_bytes_and_their_base64_text_are_the_same_event() -> None:
    assert raw_event(b"\x0a\x00") == raw_event(b"CgA=") == b"\x0a\x00"
