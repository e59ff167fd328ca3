"""How long a step waits after its executor was killed in the middle of the model call."""

import asyncio
import signal
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.site import ChaosSite, chaos_site, run_ids

LEASE_SECONDS = 5
SWEEP_SECONDS = 1.0
MODEL_SECONDS = 1.0
_PATIENCE_SECONDS = 120.0
_POLL_SECONDS = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """Seconds from the kill to the next attempt's lease, and to the step's end."""

    to_lease: Sequence[float]
    to_end: Sequence[float]


def measure_recovery(kills: int) -> Recovery:
    """Kill an executor with SIGKILL during the call, again and again."""
    with tempfile.TemporaryDirectory() as root:
        return asyncio.run(_measured(Path(root), kills))


async def _measured(root: Path, kills: int) -> Recovery:
    settings = {"LEASE_SECONDS": str(LEASE_SECONDS), "LEASE_RENEW_SECONDS": "2"}
    to_lease, to_end = [], []
    async with chaos_site(root, settings=settings, latency_seconds=MODEL_SECONDS) as site:
        for run_id in run_ids(kills):
            before = site.model_calls
            steps = await site.seed([run_id])
            await _called(site, before)
            killed_at = time.time()  # noqa: TID251 -- compared with the records' times
            site.signal("executor", signal.SIGKILL)
            [ended] = await site.all_ended(steps, within_seconds=_PATIENCE_SECONDS)
            _, second, *_ = ended.job.history
            assert second.ended_at is not None
            to_lease.append(second.started_at.timestamp() - killed_at)
            to_end.append(second.ended_at.timestamp() - killed_at)
    return Recovery(to_lease=to_lease, to_end=to_end)


async def _called(site: ChaosSite, before: int) -> None:
    for _ in range(round(_PATIENCE_SECONDS / _POLL_SECONDS)):
        if site.model_calls > before:
            return
        await asyncio.sleep(_POLL_SECONDS)
    raise TimeoutError("the model was not called")
