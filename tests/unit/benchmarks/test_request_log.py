"""The request log, and what is told from it."""

import json
from collections.abc import Sequence
from datetime import timedelta

import httpx2
import pytest

from infra.local.embedded.queue import QueuedMessage, push_body
from infra.local.serving.asgi import serve
from shared.adapters.clock import SystemClock
from shared.domain.hooks import HookAddress, hook_path
from shared.domain.identifiers import ClaimId, RunId, StepId
from shared.domain.messages import JobMessage
from tests.benchmarks.report import page
from tests.benchmarks.request_log import RequestLog, run_of_event, run_of_hook, run_of_push

RUN_ID = RunId("20260105-090000_BTCUSD_000001")
STEP_ID, CLAIM_ID = StepId("report"), ClaimId("c1")
SECRET = "s" * 32


def test_each_function_s_requests_name_their_run() -> None:
    message = JobMessage(run_id=RUN_ID, step_id=STEP_ID, claim_id=CLAIM_ID)
    queued = QueuedMessage(
        message_id="1", published_at="2026-01-05T09:00:00Z", content=message.encode()
    )
    address = HookAddress(
        run_id=RUN_ID,
        step_id=STEP_ID,
        claim_id=CLAIM_ID,
        call=1,
        expires_at=SystemClock().now() + timedelta(hours=1),
    )

    assert run_of_push("/", {}, push_body(queued, "jobs", 1)) == RUN_ID
    assert run_of_event("/", {"ce-document": f"flow_runs/{RUN_ID}"}, b"") == RUN_ID
    assert run_of_hook(SECRET)(f"/{hook_path(address, SECRET)}", {}, b"{}") == RUN_ID
    assert run_of_hook(SECRET)("/forged", {}, b"{}") is None


async def test_a_request_is_passed_on_and_written_down() -> None:
    async def app(scope: object, receive: object, send: object) -> None:
        del receive
        assert isinstance(scope, dict)
        status = 200 if scope["path"] == "/here" else 404
        assert callable(send)
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": b"answer"})

    log = RequestLog(run_of=lambda path, _headers, _body: path)
    async with (
        serve(app, name="function") as target,
        log.detour(target) as url,
        httpx2.AsyncClient(trust_env=False) as client,
    ):
        answer = await client.post(f"{url}/here")
        await client.post(f"{url}/there")

    assert answer.text == "answer"
    assert [entry.status for entry in log.entries] == [200, 404]
    assert [entry.run_id for entry in log.of("/here")] == ["/here"]
    assert all(entry.seconds > 0 for entry in log.entries)


def _waiting(invocations: Sequence[int], seconds: float) -> str:
    cost = {
        "invocations": invocations,
        "executor_seconds": [seconds / 2] * 2,
        "dispatcher_seconds": [seconds / 4] * 2,
        "notify_seconds": [seconds / 4] * 2,
        "late_seconds": [0.1, 0.1],
    }
    usual = {**cost, "invocations": [2, 2]}
    part = {
        "figures": {"10.0": usual, "3600.0": cost},
        "seconds": 7,
        "load before": "0",
        "machine": {"processor": "one"},
    }
    return page({"waiting": json.loads(json.dumps(part))})


@pytest.mark.parametrize(
    ("invocations", "seconds", "verdicts"),
    [
        ([2, 2], 0.4, ["yes", "yes", "yes"]),
        ([2, 3], 0.4, ["**no**", "yes", "yes"]),
        ([2, 2], 0.41, ["yes", "**no**", "yes"]),
    ],
)
def test_a_wait_is_held_against_what_it_is_to_reach(
    invocations: Sequence[int], seconds: float, verdicts: Sequence[str]
) -> None:
    lines = _waiting(invocations, seconds).splitlines()

    rows = [
        line
        for line in lines
        if line.startswith(
            ("| executor's invocations of", "| instances' time", "| the same for")
        )
    ]
    assert [row.split("|")[-2].strip() for row in rows] == verdicts
