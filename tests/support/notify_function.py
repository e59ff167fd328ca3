"""The function `notify` on a real socket, as the functions' framework serves it."""

import io
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import httpx2
import pytest
from functions_framework.aio import create_asgi_app

from dispatcher import wiring
from dispatcher.notify import Notifier
from dispatcher.webhook_signatures import Verifier
from infra.local.processes.bundle import REPOSITORY
from infra.local.serving.asgi import serve
from shared.adapters.clock import SystemClock
from shared.domain.hooks import HookAddress
from shared.domain.identifiers import ClaimId, RunId, StepId
from shared.domain.messages import OutgoingMessage
from shared.log import EventLogger, Severity
from shared.ports import QueueUnavailable

NEW, OLD = "n" * 32, "o" * 32
ADDRESS = HookAddress(
    run_id=RunId("20260105-090000_BTCUSD_hook"),
    step_id=StepId("1d:report ü?#%25"),
    claim_id=ClaimId("c1"),
    call=1,
    expires_at=SystemClock().now() + timedelta(hours=1),
)
TOLD = {"type": "interaction.completed", "data": {"id": "v1_abc"}}


@dataclass(slots=True)
class Topic:
    """Implements the Queue port."""

    down: bool = False
    taken: list[OutgoingMessage] = field(default_factory=list)

    async def publish(
        self, messages: Sequence[OutgoingMessage], *, timeout_seconds: float
    ) -> None:
        """See the port."""
        del timeout_seconds
        if self.down:
            raise QueueUnavailable("as told")
        self.taken += messages


@dataclass(slots=True)
class Notify:
    """The function, and what it did."""

    client: httpx2.AsyncClient
    url: str
    topic: Topic
    log: io.StringIO

    async def post(self, path: str, told: Any = TOLD, **more: Any) -> int:
        """The status that answers a hook."""
        content = told if isinstance(told, bytes) else json.dumps(told).encode()
        answer = await self.client.post(f"{self.url}/{path}", content=content, **more)
        assert answer.content == b""
        return answer.status_code

    @property
    def rejected(self) -> list[str]:
        """Why each rejected request was none of ours."""
        entries = [json.loads(line) for line in self.log.getvalue().splitlines()]
        return [each["reason"] for each in entries if each["event"] == "hook_rejected"]

    def taken_log(self) -> list[str]:
        """The same, and nothing is kept of the log."""
        reasons = self.rejected
        self.log.seek(0)
        self.log.truncate()
        return reasons


@asynccontextmanager
async def notify(
    patch: pytest.MonkeyPatch, *, down: bool = False, checks: Sequence[Verifier] = ()
) -> AsyncIterator[Notify]:
    """The function on a socket, with two secrets, for as long as the block lasts."""
    patch.setenv("GCP_PROJECT", "p")
    patch.setenv("JOBS_TOPIC", "jobs")
    wiring.settings.cache_clear()
    topic, stream = Topic(down=down), io.StringIO()
    log = EventLogger(
        component="dispatcher",
        env="test",
        clock=SystemClock(),
        threshold=Severity.DEBUG,
        stream=stream,
    )
    notifier = Notifier(
        queue=topic, clock=SystemClock(), log=log, secrets=(NEW, OLD), checks=checks
    )
    patch.setattr(wiring, "notifier", lambda: notifier)
    make_app: Any = create_asgi_app
    app = make_app("notify", str(REPOSITORY / "dispatcher/main.py"))
    async with (
        serve(app, name="notify") as url,
        httpx2.AsyncClient(trust_env=False, timeout=60) as client,
    ):
        yield Notify(client, url, topic, stream)
    wiring.settings.cache_clear()
