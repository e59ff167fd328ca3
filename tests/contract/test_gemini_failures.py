"""Failures below and beside the provider's answers: the network, credentials, cancellation."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from pydantic import SecretStr

from executor.adapters.gemini import GeminiModel, make_client
from executor.ports import ModelRequest
from executor.settings import Backend, GeminiSettings
from infra.local.gemini import create_app
from infra.local.gemini.calls import Calls
from infra.local.gemini.faults import FaultKind, FaultRule
from infra.local.ports import free_port
from infra.local.serve import serve
from shared.adapters.clock import SystemClock
from shared.domain.errors import GeminiAccessDenied, GeminiRequestFailed
from shared.domain.profile import parse_profile

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
    """Wait for so many requests."""
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
    """The library would, by default: several paid calls for one."""
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
    """Steps share one client, and its connections, per instance."""
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
