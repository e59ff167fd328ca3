"""What the comparison under faults counts with, and the page that it wrote."""

import asyncio
import json
from pathlib import Path

import httpx2
import pytest
from starlette.types import Receive, Scope, Send

from infra.local.serving.asgi import serve
from tests.benchmarks.rivals.gate import Gate, Point
from tests.benchmarks.rivals.page import page

_DOCS = Path(__file__).parents[3] / "docs"
_CALL = "/v1beta/models/gemini-3.5-flash:generateContent"


async def completed(scope: Scope, receive: Receive, send: Send) -> None:
    del scope, receive
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b'{"status":"completed"}'})


def test_the_page_is_what_its_counts_say() -> None:
    raw = json.loads((_DOCS / "benchmarks-rivals.json").read_text(encoding="utf-8"))

    written = (_DOCS / "benchmarks-rivals.md").read_text(encoding="utf-8")
    assert written == page(raw), "run `make bench-rivals`"


@pytest.mark.parametrize(
    ("point", "method", "path"),
    [
        (Point.CALL, "POST", _CALL),
        (Point.ANSWER, "POST", _CALL),
        (Point.BEGIN, "POST", "/v1beta/interactions"),
        (Point.CALL, "GET", "/v1beta/interactions/1"),
        (Point.ANSWER, "GET", "/v1beta/interactions/1"),
    ],
)
async def test_a_request_at_the_point_is_held_until_the_gate_opens(
    point: Point, method: str, path: str
) -> None:
    gate = Gate()
    async with (
        serve(gate.model(completed), name="stand-in") as url,
        httpx2.AsyncClient(trust_env=False, timeout=60) as client,
    ):
        gate.close(point, 1)
        held = asyncio.create_task(client.request(method, f"{url}{path}"))
        await gate.full(within_seconds=60)
        assert not held.done()
        gate.open()

        assert (await held).json() == {"status": "completed"}
        assert (gate.held, gate.calls) == (1, int(method == "POST"))


async def test_an_upload_whose_sender_died_does_not_arrive() -> None:
    gate, arrived = Gate(), asyncio.Event()

    async def storage(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            arrived.set()
            await completed(scope, receive, send)

    async with (
        serve(gate.storage(storage), name="storage") as url,
        httpx2.AsyncClient(trust_env=False, timeout=60) as client,
    ):
        gate.close(Point.UPLOAD, 1)
        upload = asyncio.create_task(client.post(f"{url}/upload/o"))
        await gate.full(within_seconds=60)
        gate.open()

        assert (await upload).status_code == 500
        assert not arrived.is_set()
        assert (await client.post(f"{url}/upload/o")).is_success
