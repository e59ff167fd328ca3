"""The function `dispatch`, as functions-framework serves it to Eventarc."""

import json
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from functions_framework.aio import create_asgi_app

from dispatcher import wiring
from infra.local.processes.bundle import REPOSITORY
from infra.local.serving.asgi import serve

HEADERS = {
    "ce-id": "event-1",
    "ce-source": "//firestore.googleapis.com/projects/p/databases/(default)",
    "ce-specversion": "1.0",
    "ce-type": "google.cloud.firestore.document.v1.written",
    "ce-subject": "documents/flow_runs/20260105-090000_BTCUSDT_abc",
}


@pytest.fixture
def environ(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The function's settings, which a process reads once."""
    monkeypatch.setenv("GCP_PROJECT", "p")
    monkeypatch.setenv("JOBS_TOPIC", "jobs")
    made = (wiring.settings, wiring.event_handler)
    for each in made:
        each.cache_clear()
    yield
    for each in made:
        each.cache_clear()


@pytest.mark.usefixtures("environ")
@pytest.mark.parametrize("body", ['{"value": {"name": "canary"}}', '"canary"', "[]", "7", ""])
async def test_an_event_in_json_is_refused_with_what_to_do(
    capsys: pytest.CaptureFixture[str], body: str
) -> None:
    make_app: Any = create_asgi_app
    app = make_app("dispatch", str(REPOSITORY / "dispatcher/main.py"), "cloudevent")

    async with (
        serve(app, name="dispatch") as url,
        httpx2.AsyncClient(trust_env=False, timeout=30) as client,
    ):
        headers = {**HEADERS, "content-type": "application/json"}
        answer = await client.post(url, content=body, headers=headers)

    printed = capsys.readouterr().out
    entry = json.loads(printed.splitlines()[-1])
    assert answer.status_code == 200
    assert (entry["event"], entry["reason"]) == ("cloud_event_ignored", "unreadable")
    assert "canary" not in printed
    assert "application/protobuf" in entry["message"]
