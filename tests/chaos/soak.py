"""Many steps while everything goes wrong at once: what a test and `make soak` run.

python -m tests.chaos.soak --steps 1000 --seed 1
"""

import argparse
import asyncio
import json
import random
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from starlette.types import ASGIApp

from infra.local.gemini.faults import FaultKind
from infra.local.gemini.faults import FaultRule as ModelFault
from infra.local.storage.faults import StorageFault, StorageFaultKind
from tests.chaos.site import ChaosSite, Ended, WidePushes, chaos_site, run_ids

MODEL_FAULTS = (
    FaultKind.STATUS,
    FaultKind.RATE_LIMIT,
    FaultKind.RESET_BEFORE_ANSWER,
    FaultKind.RESET_AFTER_ANSWER,
    FaultKind.TRUNCATED_ENVELOPE,
    FaultKind.HANG,
)
#: Short enough that a hanging model is given up while somebody watches.
SETTINGS = {
    "GEMINI_TIMEOUT_SECONDS": "6",
    "FINALIZE_BUDGET_SECONDS": "6",
    "INVOCATION_TIMEOUT_SECONDS": "30",
}
#: What two executor instances of production are given at a time (`executor.concurrency` is 4
#: in Terraform by default).
PUSHES_AT_ONCE = 8
_SAY_EVERY_SECONDS = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """How much goes wrong."""

    steps: int
    seed: int
    duplicates: float = 0.05
    model_faults: float = 0.05
    lost_uploads: float = 0.05
    kill_every_seconds: tuple[float, float] = (3.0, 7.0)
    pushes_at_once: int = PUSHES_AT_ONCE


@dataclass(frozen=True, slots=True, kw_only=True)
class Toll:
    """What it came to."""

    steps: int
    seconds: float
    succeeded: int
    artifacts: int
    duplicated_events: int
    duplicated_pushes: int
    kills: int
    #: Deliveries that were under way when their executor was killed.
    interrupted: int
    model_faults: int
    lost_uploads: int
    model_calls: int
    firestore_calls: int
    most_attempts: int
    wrong: Sequence[str]

    @property
    def allowed_calls(self) -> int:
        """One a step, one more for each fault, and one for each call that was cut off."""
        return self.steps + self.model_faults + self.interrupted


async def soak(root: Path, trouble: Trouble, *, within_seconds: float) -> Toll:
    """Run so many steps through so much trouble; every step has ended then.

    Raises:
        AssertionError: a step was still open at the end.
    """
    chance = random.Random(trouble.seed)
    storage: list[ASGIApp] = []

    def keep(app: ASGIApp) -> ASGIApp:
        storage.append(app)
        return app

    async with chaos_site(
        root,
        settings=SETTINGS,
        storage_wrapper=keep,
        pushes=WidePushes(chance=chance, at_once=trouble.pushes_at_once),
        say=_ignore,
    ) as site:
        site.instruments.relay.disturbance.duplicate = trouble.duplicates
        site.pushes.duplicate = trouble.duplicates
        begun = time.monotonic()
        async with _killing(site, trouble, chance) as killed:
            steps, faults = await _seeded(site, trouble, chance)
            losses = [run for run, _ in steps if chance.random() < trouble.lost_uploads]
            storage[0].state.faults.add(_lost_upload(run) for run in losses)  # type: ignore[attr-defined]
            ended = await site.all_ended(
                steps, within_seconds=within_seconds, told=_Progress(site, killed, begun)
            )
        return _toll(site, ended, killed, time.monotonic() - begun, faults, len(losses))


async def _seeded(
    site: ChaosSite, trouble: Trouble, chance: random.Random
) -> tuple[list[tuple[str, str]], int]:
    steps: list[tuple[str, str]] = []
    faults = 0
    for number, run_id in enumerate(run_ids(trouble.steps)):
        model = None
        if chance.random() < trouble.model_faults:
            faults += 1
            model = f"gemini-troubled-{number}"
            rule = ModelFault(kind=chance.choice(MODEL_FAULTS), contains=model)
            site.gemini.state.faults.add([rule])
        steps += await site.seed([run_id], model=model)
    return steps, faults


def _ignore(_line: str) -> None:
    """Of thousands of refused deliveries nobody reads each one."""


def _lost_upload(run_id: str) -> StorageFault:
    return StorageFault(
        kind=StorageFaultKind.DROP_RESPONSE_AFTER_COMMIT, method="POST", name_contains=run_id
    )


@dataclass(slots=True)
class _Killed:
    kills: int = 0
    interrupted: int = 0


@dataclass(slots=True)
class _Progress:
    """Says every few seconds how far it is, so that slow can be told from stuck."""

    site: ChaosSite
    killed: _Killed
    begun: float
    _said: float = 0.0

    def __call__(self, ended: int) -> None:
        now = time.monotonic() - self.begun
        if now - self._said < _SAY_EVERY_SECONDS:
            return
        self._said = now
        sys.stderr.write(
            f"{now:5.0f} s: {ended} steps ended, {self.site.model_calls} model calls, "
            f"{self.site.pushes.in_flight} pushes in flight, {self.killed.kills} kills\n"
        )


@asynccontextmanager
async def _killing(
    site: ChaosSite, trouble: Trouble, chance: random.Random
) -> AsyncIterator[_Killed]:
    """Kill one of both functions again and again, politely every other time."""
    killed = _Killed()

    async def kill() -> None:
        while True:
            await asyncio.sleep(chance.uniform(*trouble.kill_every_seconds))
            function = chance.choice(["dispatcher", "executor"])
            if not site.instruments.functions[function].is_running:
                continue
            killed.kills += 1
            if function == "executor":
                killed.interrupted += site.pushes.in_flight
            site.signal(function, chance.choice([signal.SIGKILL, signal.SIGTERM]))

    task = asyncio.create_task(kill())
    try:
        yield killed
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def _toll(
    site: ChaosSite,
    ended: Sequence[Ended],
    killed: _Killed,
    seconds: float,
    faults: int,
    losses: int,
) -> Toll:
    artifacts = site.artifacts()
    succeeded = [each for each in ended if each.status == "SUCCEEDED"]
    return Toll(
        steps=len(ended),
        seconds=round(seconds, 1),
        succeeded=len(succeeded),
        artifacts=len(artifacts),
        duplicated_events=site.instruments.relay.counters.duplicated,
        duplicated_pushes=site.pushes.duplicated,
        kills=killed.kills,
        interrupted=killed.interrupted,
        model_faults=faults,
        lost_uploads=losses,
        model_calls=site.model_calls,
        firestore_calls=site.environment.firestore_calls(),
        most_attempts=max(each.job.attempt for each in ended),
        wrong=[
            f"{each.run_id}: {each.status} {each.error}"
            for each in ended
            if each.status != "SUCCEEDED" or each.gcs_uri not in artifacts
        ],
    )


def main() -> int:
    """Soak, print the toll as JSON; 0 if every step ended as it should."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--pushes", type=int, default=PUSHES_AT_ONCE)
    parser.add_argument("--within-seconds", type=float, default=3_600)
    given = parser.parse_args()
    trouble = Trouble(steps=given.steps, seed=given.seed, pushes_at_once=given.pushes)
    with tempfile.TemporaryDirectory() as root:
        toll = asyncio.run(soak(Path(root), trouble, within_seconds=given.within_seconds))
    sys.stdout.write(json.dumps(asdict(toll), indent=2) + "\n")
    return int(bool(toll.wrong) or toll.model_calls > toll.allowed_calls)


if __name__ == "__main__":
    sys.exit(main())
