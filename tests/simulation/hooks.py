"""The provider's announcements, which go through `notify` to the jobs topic."""

import asyncio
import contextvars
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from shared.domain.hooks import read_hook_path
from shared.domain.messages import ENDED_CALL, JobMessage
from tests.simulation.delivery import MessageStore
from tests.simulation.nemesis import Fault, Kind
from tests.simulation.process import EPOCH
from tests.simulation.stages import HOOK_SECRET
from tests.simulation.world import World

_DELAY_SECONDS = (60.0, 1500.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hooks:
    """Announces the ends of calls, as often and as wrongly as the nemesis likes."""

    world: World
    topic: MessageStore

    def announce(
        self, call_id: str, url: str, ready_at: float, others: Callable[[], list[str]]
    ) -> None:
        """Announce the call once it is ready; `others` are the ids of other jobs' calls."""
        number, fault = self.world.next_fault(Kind.HOOK, "provider", call_id)
        if fault is Fault.LOST:
            return
        delay = max(0.0, ready_at - self.world.loop.time())
        if fault is Fault.DELAYED:
            delay += self.world.nemesis.details(number).uniform(*_DELAY_SECONDS)
            self.world.disturbed(for_seconds=delay)
        if fault is Fault.EARLY:
            delay = 0.0

        async def deliver() -> None:
            await asyncio.sleep(delay)
            named = [call_id, call_id] if fault is Fault.DUPLICATE else [call_id]
            if fault is Fault.FORGED:
                named = [*others()[-1:], "call-0"]
            for each in named:
                self._take(url, each)

        # The announcement runs in the context of no process: it goes on when processes die.
        self.world.loop.create_task(deliver(), context=contextvars.Context())

    def _take(self, url: str, call_id: str) -> None:
        now = EPOCH + timedelta(seconds=self.world.loop.time())
        address = read_hook_path(url.rpartition("/")[2], [HOOK_SECRET], now)
        if address is None:
            return
        message = JobMessage(
            run_id=address.run_id, step_id=address.step_id, claim_id=address.claim_id
        )
        self.topic.take([message.encode({ENDED_CALL: call_id})])
