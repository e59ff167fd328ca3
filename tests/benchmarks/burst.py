"""A run whose steps become READY all at once: what side by side costs in time and calls."""

import asyncio
import random
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from shared.domain.documents import DocumentRef
from tests.chaos.site import ChaosSite, WidePushes, chaos_site

WIDTHS = (1, 10, 50)
MODEL_SECONDS = 1.0
_SECONDS = 180.0
#: Longer than any step here takes: renewals are left aside.
_SETTINGS = {"LEASE_SECONDS": "600", "LEASE_RENEW_SECONDS": "200", "QUEUED_SECONDS": "600"}


@dataclass(slots=True, kw_only=True)
class Burst:
    """Samples of runs with so many steps."""

    #: From the write that makes all READY to the last step's end, beyond the model's time.
    seconds: list[float] = field(default_factory=list)
    firestore_calls_per_step: list[float] = field(default_factory=list)
    model_calls_per_step: list[float] = field(default_factory=list)


def measure_bursts(rounds: int) -> Mapping[int, Burst]:
    """Steps of a run -> its samples, its pushes all at once."""
    with tempfile.TemporaryDirectory() as root:
        return asyncio.run(_measured(Path(root), rounds))


async def _measured(root: Path, rounds: int) -> Mapping[int, Burst]:
    bursts = {width: Burst() for width in WIDTHS}
    pushes = WidePushes(chance=random.Random(1))
    async with chaos_site(
        root,
        settings=_SETTINGS,
        latency_seconds=MODEL_SECONDS,
        sweep_every_seconds=60.0,
        pushes=pushes,
    ) as site:
        await _one(site, 0, 1, Burst())
        number = 0
        for _ in range(rounds):
            for width, burst in bursts.items():
                number += 1
                await _one(site, number, width, burst)
    return bursts


async def _one(site: ChaosSite, number: int, width: int, burst: Burst) -> None:
    calls, model = site.instruments.firestore_calls, site.model_calls
    run_id = f"20260105-090000_BTCUSD_{number:06x}"
    begun = time.time()  # noqa: TID251 -- compared with the database's times
    steps = await site.seed([run_id], steps=width)
    await site.all_ended(steps, within_seconds=_SECONDS)
    ref = DocumentRef("flow_runs", run_id)
    [run] = await site.environment.documents.read([ref], timeout_seconds=_SECONDS)
    assert run is not None
    burst.seconds.append(run.version / 1e9 - begun - MODEL_SECONDS)
    async with asyncio.timeout(_SECONDS):
        await site.instruments.relay.idle()
    burst.firestore_calls_per_step.append((site.instruments.firestore_calls - calls) / width)
    burst.model_calls_per_step.append((site.model_calls - model) / width)
