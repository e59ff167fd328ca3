"""Functions are killed by real signals at every point of their path: each step ends well."""

import asyncio
import signal
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tests.chaos.site import ChaosSite, Ended, chaos_site, run_ids

pytestmark = [pytest.mark.emulators, pytest.mark.timeout(900)]

PATIENCE_SECONDS = 120.0
#: This is long enough that no renewal comes between the calls that are counted here.
SETTINGS = {"LEASE_SECONDS": "5", "LEASE_RENEW_SECONDS": "2.5"}

#: The place where a function is killed with SIGKILL -> how many model calls its step takes in
#: all. Only a report that was paid for and not stored yet is paid for again.
KILLS = {
    "dispatcher Commit 1: request": 1,
    "dispatcher Commit 1: answer": 1,
    "executor BatchGetDocuments 1: request": 1,
    "executor BatchGetDocuments 1: answer": 1,
    "executor Commit 1: request": 1,
    "executor Commit 1: answer": 1,
    "model: request": 2,
    "model: answer": 2,
    "upload: request": 2,
    "upload: answer": 1,
    "executor Commit 2: request": 1,
    "executor Commit 2: answer": 1,
}
#: The same with SIGTERM, which leaves time to give the lease back.
STOPS = {"model: request": 2, "upload: answer": 1}


@dataclass(slots=True)
class Trap:
    """Springs when a function comes to a point, once, and holds it there for a moment."""

    point: str = ""
    spring: Callable[[], None] = field(default=lambda: None)
    #: How many calls there were since the trap was set.
    seen: Counter[str] = field(default_factory=Counter)

    def set(self, point: str, spring: Callable[[], None]) -> None:
        """Arm it."""
        self.point, self.spring = point, spring
        self.seen.clear()

    async def reached(self, point: str) -> bool:
        """Note that a function came to this point; return whether the trap sprang there."""
        if point != self.point:
            return False
        self.point = ""
        self.spring()
        await asyncio.sleep(0.3)
        return True

    def around(self, name: str, *, path: str, drops: bool) -> Callable[[ASGIApp], ASGIApp]:
        """A wrapper that notes requests with this in their path, and the answers to them.

        With `drops`, the server does not get the request at which the trap sprang.
        """

        def wrap(app: ASGIApp) -> ASGIApp:
            async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
                async def answer(message: Message) -> None:
                    if message["type"] == "http.response.start":
                        await self.reached(f"{name}: answer")
                    await send(message)

                watched = scope["type"] == "http" and path in scope["path"]
                sprang = watched and await self.reached(f"{name}: request")
                if not (sprang and drops):
                    await app(scope, receive, answer if watched else send)

            return wrapped

        return wrap

    def watch(self, site: ChaosSite) -> None:
        """Note the functions' Firestore calls too."""
        for function, proxy in site.instruments.firestore.items():
            proxy.on_request = self._teller(function, counts=True)
            proxy.on_answer = self._teller(function, counts=False)

    def _teller(self, function: str, *, counts: bool) -> Callable[[str], Awaitable[None]]:
        async def tell(method: str) -> None:
            name = f"{function} {method}"
            self.seen[name] += counts
            await self.reached(f"{name} {self.seen[name]}: {'request' if counts else 'answer'}")

        return tell


async def ended_after(
    site: ChaosSite, trap: Trap, run_id: str, point: str, number: signal.Signals
) -> tuple[Ended, int]:
    """The step after it has ended, and how many model calls it took."""
    await site.all_answer()
    before = site.model_calls
    function = "dispatcher" if point.startswith("dispatcher") else "executor"
    trap.set(point, lambda: site.signal(function, number))
    steps = await site.seed([run_id])
    [ended] = await site.all_ended(steps, within_seconds=PATIENCE_SECONDS)
    assert not trap.point, f"nothing came to {point}"
    return ended, site.model_calls - before


async def test_a_function_killed_anywhere_on_its_path_loses_and_doubles_nothing(
    tmp_path: Path,
) -> None:
    trap = Trap()
    async with chaos_site(
        tmp_path,
        settings=SETTINGS,
        # The sweep comes later than any event: it would claim for a dispatcher that is slow to
        # wake.
        sweep_every_seconds=5.0,
        gemini_wrapper=trap.around("model", path=":generateContent", drops=False),
        storage_wrapper=trap.around("upload", path="/upload/", drops=True),
    ) as site:
        trap.watch(site)
        ids = iter(run_ids(len(KILLS) + len(STOPS)))
        killed = {
            point: await ended_after(site, trap, next(ids), point, signal.SIGKILL)
            for point in KILLS
        }
        stopped = {
            point: await ended_after(site, trap, next(ids), point, signal.SIGTERM)
            for point in STOPS
        }
        artifacts = site.artifacts()

    every = [*killed.values(), *stopped.values()]
    assert [ended.error for ended, _ in every if ended.status != "SUCCEEDED"] == []
    assert {ended.gcs_uri for ended, _ in every} == artifacts
    assert {point: calls for point, (_, calls) in killed.items()} == KILLS
    assert {point: calls for point, (_, calls) in stopped.items()} == STOPS
    for ended, _ in stopped.values():
        first, *_ = ended.job.history
        assert first.ended_at is not None, "the lease was not given back"
