"""Failures that are no answer of the provider: of network or credentials, or cancellation."""

import asyncio
import json
import socket
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import NoReturn

import pytest
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from executor.adapters.bounded_http import MAX_ANSWER_BYTES
from executor.adapters.gemini import GeminiModel
from executor.adapters.provider_client import make_client
from executor.contract.profile import parse_profile
from executor.ports import ModelRequest
from executor.settings import Backend, GeminiSettings
from infra.local.gemini import create_app
from infra.local.gemini.calls import Calls
from infra.local.gemini.faults import FaultKind, FaultRule
from infra.local.serving.asgi import serve
from infra.local.serving.free_ports import free_port
from shared.adapters.clock import SystemClock
from shared.domain.errors import GeminiAccessDenied, GeminiRequestFailed, StepError
from tests.support import failing_http

MODEL = "gemini-3.5-flash"
LONG_SECONDS = 60.0


def model_request(text: str = "hello") -> ModelRequest:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}}
    return ModelRequest(
        profile=parse_profile({"modelName": MODEL, "jsonSchema": schema}),
        system_instruction="",
        user_text=text,
        images=[],
        json_schema=schema,
    )


def settings(base_url: str | None, backend: Backend = Backend.AI_STUDIO) -> GeminiSettings:
    return GeminiSettings(
        backend=backend,
        api_key=SecretStr("k") if backend is Backend.AI_STUDIO else None,
        location="europe-west4",
        base_url=base_url,
        timeout_seconds=30,
    )


@asynccontextmanager
async def model_at(
    base_url: str | None, backend: Backend = Backend.AI_STUDIO
) -> AsyncIterator[GeminiModel]:
    model = GeminiModel(make_client(settings(base_url, backend), "some-project"), SystemClock())
    try:
        yield model
    finally:
        await model.aclose()


@asynccontextmanager
async def served(*faults: FaultRule) -> AsyncIterator[tuple[GeminiModel, Calls]]:
    app = create_app(latency_seconds=0, faults=faults)
    async with (
        serve(app, name="Gemini stand-in") as url,
        model_at(url) as model,
    ):
        yield model, app.state.calls


async def came(calls: Calls, count: int) -> None:
    """Wait until so many requests have come."""
    while calls.received[MODEL] < count:  # noqa: ASYNC110 - the server tells nobody
        await asyncio.sleep(0.01)


async def test_nobody_at_the_other_end_costs_nothing() -> None:
    async with model_at(f"http://127.0.0.1:{free_port()}") as model:
        with pytest.raises(GeminiRequestFailed) as failure:
            await model.generate(model_request(), timeout_seconds=LONG_SECONDS)

    assert failure.value.message == "the provider cannot be reached: ConnectError"
    assert not failure.value.maybe_billed


@pytest.mark.parametrize(
    "kind",
    [FaultKind.RESET_BEFORE_ANSWER, FaultKind.CUT_ANSWER, FaultKind.STATUS],
)
async def test_one_call_is_one_request_whatever_becomes_of_it(kind: FaultKind) -> None:
    async with served(FaultRule(kind=kind, times=9)) as (model, calls):
        with pytest.raises(GeminiRequestFailed):
            await model.generate(model_request(), timeout_seconds=LONG_SECONDS)

    assert calls.received == {MODEL: 1}


async def test_a_model_that_wants_to_go_on_is_not_asked_to_behind_the_caller_s_back() -> None:
    """By default the library would ask on, and make several paid calls out of one."""
    goes_on = FaultRule(kind=FaultKind.FINISH_REASON, reason="CONTINUATION", times=9)

    async with served(goes_on) as (model, calls):
        answer = await model.generate(model_request(), timeout_seconds=LONG_SECONDS)

    assert answer.finish_reason == "CONTINUATION"
    assert calls.received == {MODEL: 1}


async def test_a_call_that_was_canceled_leaves_the_model_usable() -> None:
    async with served(FaultRule(kind=FaultKind.HANG)) as (model, calls):
        call = asyncio.create_task(
            model.generate(model_request(), timeout_seconds=LONG_SECONDS)
        )
        await came(calls, 1)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call

        answer = await model.generate(model_request(), timeout_seconds=LONG_SECONDS)

    assert answer.finish_reason == "STOP"


async def test_calls_that_hang_do_not_hold_up_the_others() -> None:
    """Steps of one instance share a client and its connections."""
    hanging = FaultRule(kind=FaultKind.HANG, contains="stuck", times=16)
    async with served(hanging) as (model, calls):
        stuck = [
            asyncio.create_task(
                model.generate(model_request("stuck"), timeout_seconds=LONG_SECONDS)
            )
            for _ in range(hanging.times)
        ]
        await came(calls, hanging.times)

        answers = await asyncio.gather(
            *(model.generate(model_request(), timeout_seconds=LONG_SECONDS) for _ in range(8))
        )
        for call in stuck:
            call.cancel()
        await asyncio.gather(*stuck, return_exceptions=True)

    assert [answer.finish_reason for answer in answers] == ["STOP"] * 8


def credentials_file(folder: Path, token_uri: str) -> Path:
    path = folder / "credentials.json"
    document = {
        "type": "authorized_user",
        "client_id": "x",
        "client_secret": "canary-secret",
        "refresh_token": "canary-token",
        "token_uri": token_uri,
    }
    path.write_text(json.dumps(document))
    return path


async def test_no_credentials_on_vertex_ends_the_step_at_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "missing.json"))

    async with model_at(None, Backend.VERTEX) as model:
        with pytest.raises(GeminiAccessDenied) as failure:
            await model.generate(model_request(), timeout_seconds=LONG_SECONDS)

    expected = "there are no application default credentials: DefaultCredentialsError"
    assert failure.value.message == expected


async def test_a_token_server_that_is_away_is_asked_again_and_nothing_was_billed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    nowhere = f"http://127.0.0.1:{free_port()}/token"
    path = credentials_file(tmp_path, nowhere)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(path))

    async with model_at(None, Backend.VERTEX) as model:
        with pytest.raises(GeminiRequestFailed) as failure:
            await model.generate(model_request(), timeout_seconds=LONG_SECONDS)

    assert failure.value.message.startswith("no access token: ")
    assert not failure.value.maybe_billed


async def test_another_server_than_google_s_gets_no_real_credentials(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = credentials_file(tmp_path, f"http://127.0.0.1:{free_port()}/token")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(path))
    app = create_app(latency_seconds=0)
    app.state.calls.keep = True

    async with (
        serve(app, name="Gemini stand-in") as url,
        model_at(url, Backend.VERTEX) as model,
    ):
        await model.generate(model_request(), timeout_seconds=LONG_SECONDS)

    [call] = app.state.calls.kept
    assert call.headers["authorization"] == "Bearer local"


EXPIRED = FaultRule(kind=FaultKind.TOKEN_EXPIRED)


async def test_an_expired_token_is_replaced_once() -> None:
    app = create_app(latency_seconds=0, faults=[EXPIRED])
    async with (
        serve(app, name="Gemini stand-in") as url,
        model_at(url, Backend.VERTEX) as model,
    ):
        answer = await model.generate(model_request(), timeout_seconds=LONG_SECONDS)

    assert answer.finish_reason == "STOP"
    assert app.state.calls.received == {MODEL: 2}


@pytest.mark.parametrize("backend", Backend)
async def test_a_token_that_is_refused_again_ends_the_step(backend: Backend) -> None:
    app = create_app(latency_seconds=0, faults=[replace(EXPIRED, times=9)])
    async with (
        serve(app, name="Gemini stand-in") as url,
        model_at(url, backend) as model,
    ):
        with pytest.raises(GeminiAccessDenied, match="401 UNAUTHENTICATED"):
            await model.generate(model_request(), timeout_seconds=LONG_SECONDS)

    # A key cannot be refreshed, unlike other credentials.
    assert app.state.calls.received == {MODEL: 2 if backend is Backend.VERTEX else 1}


async def test_a_key_is_not_taken_to_where_a_redirect_leads() -> None:
    asked: list[str] = []

    async def redirects(request: Request) -> Response:
        asked.append(request.url.path)
        return Response(status_code=307, headers={"location": "/elsewhere"})

    app = Starlette(routes=[Route("/{path:path}", redirects, methods=["GET", "POST"])])
    async with serve(app, name="A gateway") as url, model_at(url) as model:
        with pytest.raises(GeminiRequestFailed, match="none of an API: 307"):
            await model.generate(model_request(), timeout_seconds=LONG_SECONDS)

    assert len(asked) == 1


@pytest.mark.parametrize(
    ("retry_after", "seconds"), [("17", 17), ("soon", None), ("-1", None), ("99999999", 86_400)]
)
async def test_a_gateway_s_delay_is_heeded(retry_after: str, seconds: int | None) -> None:
    async def busy(_: Request) -> Response:
        return Response("busy", 503, headers={"Retry-After": retry_after})

    app = Starlette(routes=[Route("/{path:path}", busy, methods=["POST"])])
    async with serve(app, name="A gateway") as url, model_at(url) as model:
        with pytest.raises(GeminiRequestFailed) as failure:
            await model.generate(model_request(), timeout_seconds=LONG_SECONDS)

    asked = failure.value.retry_after
    assert (asked and asked.total_seconds()) == seconds
    assert failure.value.refused


class Endless:
    """Answers with a status, and then sends bytes until nobody takes them."""

    def __init__(self, status: str, piece: bytes = b" " * 65_536, *headers: str) -> None:
        self.head = "\r\n".join([f"HTTP/1.1 {status}", *headers, "", ""]).encode()
        self.piece = piece
        self.sent = 0

    async def __call__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(self.head)
        # The bytes are bounded, so that a reader without a bound fails the test and not the
        # machine.
        while self.sent < 16 * MAX_ANSWER_BYTES:
            writer.write(self.piece)
            self.sent += len(self.piece)
            await writer.drain()


async def test_an_answer_that_does_not_end_is_read_up_to_a_bound() -> None:
    endless = Endless("200 OK")

    async with failing_http.serving(endless) as url, model_at(url) as model:
        with pytest.raises(
            GeminiRequestFailed, match="is longer than 8,388,608 byt"
        ) as failure:
            await model.generate(model_request(), timeout_seconds=LONG_SECONDS)

    assert failure.value.maybe_billed
    # Beside what was read, the buffers of the sockets hold some bytes.
    assert endless.sent < 2 * MAX_ANSWER_BYTES


@pytest.mark.parametrize(("over", "read"), [(0, True), (1, False)])
async def test_the_bound_is_that_of_the_longest_answer(over: int, *, read: bool) -> None:
    envelope = b'{"candidates": [{"finishReason": "STOP"}]}'
    body = envelope + b" " * (MAX_ANSWER_BYTES + over - len(envelope))

    async def whole(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        await writer.drain()

    async with failing_http.serving(whole) as url, model_at(url) as model:
        if read:
            answer = await model.generate(model_request(), timeout_seconds=LONG_SECONDS)
            assert answer.finish_reason == "STOP"
        else:
            with pytest.raises(GeminiRequestFailed, match="longer"):
                await model.generate(model_request(), timeout_seconds=LONG_SECONDS)


async def test_what_inflates_is_measured_as_it_is_when_inflated() -> None:
    deflate = zlib.compressobj(wbits=31)
    packed = deflate.compress(b" " * (8 * MAX_ANSWER_BYTES)) + deflate.flush()
    head = f"Content-Encoding: gzip\r\nContent-Length: {len(packed)}"

    async def bomb(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 200 OK\r\n{head}\r\n\r\n".encode() + packed)
        await writer.drain()

    async with failing_http.serving(bomb) as url, model_at(url) as model:
        with pytest.raises(GeminiRequestFailed, match="longer"):
            await model.generate(model_request(), timeout_seconds=LONG_SECONDS)


async def test_of_an_error_that_does_not_end_the_status_decides() -> None:
    endless = Endless("503 Service Unavailable", b" " * 65_536, "Retry-After: 17")

    async with failing_http.serving(endless) as url, model_at(url) as model:
        with pytest.raises(GeminiRequestFailed, match="the provider failed: 503") as failure:
            await model.generate(model_request(), timeout_seconds=LONG_SECONDS)

    assert failure.value.refused
    assert failure.value.retry_after == timedelta(seconds=17)
    assert endless.sent < MAX_ANSWER_BYTES


@pytest.mark.parametrize("status", ["200 OK", "400 Bad Request"])
async def test_a_token_server_that_does_not_end_is_asked_again(
    status: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    endless = Endless(status)
    async with failing_http.serving(endless) as url, model_at(None, Backend.VERTEX) as model:
        path = credentials_file(tmp_path, f"{url}/token")
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(path))
        with pytest.raises(GeminiRequestFailed, match="no access token: ") as failure:
            await model.generate(model_request(), timeout_seconds=LONG_SECONDS)

    assert not failure.value.maybe_billed
    assert endless.sent < MAX_ANSWER_BYTES


@pytest.mark.parametrize(
    ("answer", "final"),
    [
        (socket.EAI_NONAME, True),
        (socket.EAI_FAIL, True),
        (socket.EAI_NODATA, True),
        (socket.EAI_AGAIN, False),
    ],
    ids=["no such name", "failed for good", "no address", "not for now"],
)
@pytest.mark.parametrize("behind_a_proxy", [False, True])
async def test_a_name_that_nobody_has_is_the_environment_s_mistake(
    answer: int, *, final: bool, behind_a_proxy: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the resolver only cannot answer for now, it is asked again instead."""

    def resolve(host: str | bytes | None, *_: object, **__: object) -> NoReturn:
        assert host in {"gemini.invalid", "proxy.invalid", b"gemini.invalid", b"proxy.invalid"}
        raise socket.gaierror(answer, "as the resolver says")

    if behind_a_proxy:
        monkeypatch.setenv("HTTPS_PROXY", "http://proxy.invalid:8080")
    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    async with model_at("https://gemini.invalid") as model:
        with pytest.raises(StepError) as failure:
            await model.generate(model_request(), timeout_seconds=LONG_SECONDS)

    failed = failure.value
    assert isinstance(failed, GeminiAccessDenied) is final
    assert failed.retryable is not final
    assert failed.refused is not final
    assert not failed.maybe_billed
    assert ("see GEMINI_BASE_URL, GEMINI_LOCATION" in failed.message) is final


async def test_a_server_on_this_machine_is_reached_without_the_environment_s_proxy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "socks5://127.0.0.1:9")

    async with served() as (model, _):
        answer = await model.generate(model_request(), timeout_seconds=LONG_SECONDS)

    assert answer.finish_reason == "STOP"


async def test_a_proxy_that_refuses_ends_the_step_and_nothing_was_billed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
        await writer.drain()

    async with failing_http.serving(refuse) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy)
        async with model_at("https://gemini.invalid") as model:
            with pytest.raises(GeminiAccessDenied, match="HTTPS_PROXY") as failure:
                await model.generate(model_request(), timeout_seconds=LONG_SECONDS)

    assert not failure.value.maybe_billed
