"""The functions under the platform's environment: one entry, a status, no traceback."""

import asyncio
import base64
import importlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest
from functions_framework.aio import create_asgi_app

from infra.local.cloud.cloud_events import Document, document_event
from infra.local.processes.bundle import REPOSITORY
from infra.local.processes.functions import function_environ
from infra.local.serving.asgi import serve
from shared.domain.times import parse_time

RUN_ID = "20260105-090000_BTCUSDT_abc"
EVENT = {
    "ce-id": "event-1",
    "ce-source": "//firestore.googleapis.com/projects/p/databases/(default)",
    "ce-specversion": "1.0",
    "ce-type": "google.cloud.firestore.document.v1.written",
    "ce-subject": f"documents/flow_runs/{RUN_ID}",
    "content-type": "application/protobuf",
}
CLOUD_TRACE = {"x-cloud-trace-context": "0af7651916cd43dd8448eb211c80319c/123;o=1"}
STAGES = {"dispatch": "dispatcher", "sweep": "dispatcher", "execute": "executor"}
CANARY = "canary-4711"


@pytest.fixture(params=["true", ""], ids=["LOG_EXECUTION_ID", "plain"])
def platform(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The platform's variables, with a proxy in the way and without credentials."""
    for name, value in function_environ("p", "http://127.0.0.1:9").items():
        monkeypatch.setenv(name, value)
    for name in ("FIRESTORE_EMULATOR_HOST", "PUBSUB_EMULATOR_HOST", "STORAGE_EMULATOR_HOST"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LOG_EXECUTION_ID", request.param)
    monkeypatch.setenv("K_SERVICE", "worker")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/nonexistent/canary-4711.json")
    for stage in ("dispatcher", "executor"):
        wiring: Any = importlib.import_module(f"{stage}.wiring")
        for made in vars(wiring).values():
            if hasattr(made, "cache_clear"):
                made.cache_clear()


@asynccontextmanager
async def serving(function: str) -> AsyncIterator[str]:
    """The function as functions-framework serves it."""
    make_app: Any = create_asgi_app
    app = make_app(function, str(REPOSITORY / STAGES[function] / "main.py"), "cloudevent")
    async with serve(app, name=function) as url:
        yield url


def ready_run() -> bytes:
    step = {"stepType": "LLM_REPORT", "status": "READY", "inputs": {}}
    fields = {"status": "RUNNING", "steps": {"a": step}}
    document = Document(fields=fields, create_time=1_000, update_time=2_000)
    moment = parse_time("2026-01-05T09:00:00Z")
    assert moment is not None
    return document_event(
        project="p",
        document_path=f"flow_runs/{RUN_ID}",
        old=None,
        new=document,
        event_id="event-1",
        time=moment,
    ).body


def push() -> bytes:
    job = {"schemaVersion": 1, "runId": RUN_ID, "stepId": "a", "claimId": "c"}
    data = base64.b64encode(json.dumps(job).encode()).decode()
    return json.dumps({"message": {"data": data, "messageId": "1"}}).encode()


async def post(url: str, body: bytes, headers: dict[str, str]) -> httpx2.Response:
    async with httpx2.AsyncClient(trust_env=False, timeout=30) as client:
        return await client.post(url, content=body, headers=headers)


def entries(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    """All that was printed: entries on standard output, nothing anywhere else."""
    printed = capsys.readouterr()
    assert "Traceback" not in printed.out + printed.err
    assert CANARY not in printed.out + printed.err
    return [json.loads(line) for line in printed.out.splitlines()]


@pytest.mark.usefixtures("platform")
@pytest.mark.parametrize(
    ("function", "event"),
    [
        ("dispatch", "cloud_event_finished"),
        ("sweep", "sweep_failed"),
        ("execute", "job_deferred"),
    ],
)
async def test_without_credentials_a_request_is_one_entry_and_asked_for_again(
    function: str, event: str, capsys: pytest.CaptureFixture[str]
) -> None:
    body = ready_run() if function == "dispatch" else push()
    async with serving(function) as url:
        answer = await post(url, body, {**EVENT, **CLOUD_TRACE})

    failures = [entry for entry in entries(capsys) if entry["severity"] == "ERROR"]
    assert answer.status_code in {500, 503}
    assert [(entry["event"], entry["code"]) for entry in failures] == [
        (event, "INTERNAL_ERROR")
    ]


@pytest.mark.usefixtures("platform")
async def test_an_entry_s_span_is_that_of_its_own_trace(
    capsys: pytest.CaptureFixture[str],
) -> None:
    traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    async with serving("dispatch") as url:
        await post(url, b"\xff", {**EVENT, **CLOUD_TRACE, "ce-traceparent": traceparent})

    [entry] = entries(capsys)
    assert entry["logging.googleapis.com/spanId"] == "b7ad6b7169203331"
    assert entry["logging.googleapis.com/trace"].endswith("0af7651916cd43dd8448eb211c80319c")


@pytest.mark.usefixtures("platform")
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"ce-id": CANARY},
        {**EVENT, "ce-id": ""},
        {"content-type": "application/cloudevents+json"},
    ],
)
async def test_what_is_no_event_is_refused_and_not_repeated(
    headers: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    async with serving("dispatch") as url:
        answer = await post(url, CANARY.encode(), headers)

    [entry] = entries(capsys)
    assert answer.status_code == 400
    assert CANARY not in answer.text
    assert (entry["event"], entry["reason"]) == ("cloud_event_ignored", "not_an_event")


@pytest.mark.usefixtures("platform")
@pytest.mark.parametrize("function", ["dispatch", "execute"])
async def test_a_connection_that_closes_within_the_body_is_one_entry(
    function: str, capsys: pytest.CaptureFixture[str]
) -> None:
    async with serving(function) as url:
        place = urlsplit(url)
        _, writer = await asyncio.open_connection(place.hostname, place.port)
        head = "\r\n".join(f"{name}: {value}" for name, value in EVENT.items())
        writer.write(
            f"POST / HTTP/1.1\r\nHost: x\r\n{head}\r\nContent-Length: 99\r\n\r\n".encode()
        )
        writer.write(CANARY.encode())
        await writer.drain()
        writer.close()
        await writer.wait_closed()
        # The server sees by itself that the client left; another request is answered after the
        # server saw it.
        await asyncio.sleep(0.1)

    [entry] = entries(capsys)
    assert entry["severity"] == "WARNING"
    assert "left before its request was whole" in entry["message"]


@pytest.mark.usefixtures("platform")
async def test_whatever_is_pushed_without_credentials_is_asked_for_again(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async with serving("execute") as url:
        answers = [
            await post(url, body, {})
            for body in (b"", b"\xff\xfe", CANARY.encode(), b'{"message": "canary-4711"}')
        ]

    failures = [entry["event"] for entry in entries(capsys) if entry["severity"] == "ERROR"]
    # Without credentials nothing is read at all.
    assert [answer.status_code for answer in answers] == [500] * 4
    assert failures == ["job_deferred"] * 4
