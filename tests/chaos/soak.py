"""Many steps while everything goes wrong at once: what a test and `make soak` run.

python -m tests.chaos.soak --steps 1000 --seed 1
"""

import argparse
import asyncio
import itertools
import json
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from starlette.types import ASGIApp

from infra.local.gemini.faults import FaultKind
from infra.local.gemini.faults import FaultRule as ModelFault
from infra.local.storage.faults import StorageFault, StorageFaultKind, StorageFaults
from shared.domain.errors import ErrorCode
from tests.chaos.permanent import (
    CODES,
    Refusal,
    model_refusals,
    seed_foreign,
    storage_refusals,
    without_room,
    wrong_with_foreign,
)
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
    "INVOCATION_TIMEOUT_SECONDS": "20",
}
#: As many pushes as two executor instances of production get at a time: in Terraform,
#: `executor.concurrency` is 4 by default.
PUSHES_AT_ONCE = 8
#: What a claim's budget of attempts is by default (`MAX_ATTEMPTS`).
_MAX_ATTEMPTS = 5
_REFUSED = 0.02
_SAY_EVERY_SECONDS = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """How much goes wrong."""

    steps: int
    seed: int
    duplicates: float = 0.05
    model_faults: float = 0.05
    lost_uploads: float = 0.05
    #: The share of steps that are refused for good, by one port after the other.
    refused: float = _REFUSED
    #: Whether documents of others stand beside the runs and jobs.
    foreign: bool = True
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
    #: Steps that were refused for good, and by code how they ended.
    refused: int
    ended_with: Mapping[str, int]
    model_calls: int
    firestore_calls: int
    most_attempts: int
    #: Documents of others that stood beside the runs and jobs.
    foreign_documents: int = 0
    wrong: Sequence[str] = ()

    @property
    def allowed_calls(self) -> int:
        """One a step, one more for each fault, and one for each call that was cut off."""
        return self.steps + self.model_faults + self.interrupted


async def soak(root: Path, trouble: Trouble, *, within_seconds: float) -> Toll:
    """Run so many steps through so much trouble; every step has ended then.

    A step that is sound, since nothing refuses it for good, has succeeded; every other one has
    ended with the code of its refusal. What is otherwise is in `wrong`.

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
        foreign = await seed_foreign(site.environment) if trouble.foreign else 0
        begun = time.monotonic()
        async with _killing(site, trouble, chance) as killed:
            troubled = _Troubled(storage=storage[0].state.faults)  # type: ignore[attr-defined]
            steps = await _seeded(site, trouble, troubled)
            ended = await site.all_ended(
                steps, within_seconds=within_seconds, told=_Progress(site, killed, begun)
            )
        toll = _toll(site, ended, killed, time.monotonic() - begun, troubled)
        wrong = await wrong_with_foreign(site.environment) if trouble.foreign else []
        return replace(toll, foreign_documents=foreign, wrong=[*toll.wrong, *wrong])


@dataclass(slots=True)
class _Troubled:
    """What was done to which steps."""

    storage: StorageFaults
    model_faults: int = 0
    lost_uploads: int = 0
    #: By run id.
    refusals: dict[str, Refusal] = field(default_factory=dict)


async def _seeded(
    site: ChaosSite, trouble: Trouble, troubled: _Troubled
) -> list[tuple[str, str]]:
    # Of its own: which steps are in trouble depends on the seed alone, not on the time.
    chance = random.Random(trouble.seed)
    steps: list[tuple[str, str]] = []
    in_turn = itertools.cycle(Refusal)
    for number, run_id in enumerate(run_ids(trouble.steps)):
        model = f"gemini-troubled-{number:06}"
        faults: Sequence[ModelFault] = ()
        refusal = None
        if chance.random() < trouble.refused:
            refusal = troubled.refusals[run_id] = next(in_turn)
            faults = model_refusals(refusal, model)
            troubled.storage.add(storage_refusals(refusal, run_id))
        elif chance.random() < trouble.model_faults:
            troubled.model_faults += 1
            faults = [ModelFault(kind=chance.choice(MODEL_FAULTS), contains=model)]
        if refusal is None and chance.random() < trouble.lost_uploads:
            troubled.lost_uploads += 1
            troubled.storage.add([_lost_upload(run_id)])
        site.gemini.state.faults.add(faults)
        steps += await site.seed(
            [run_id],
            model=model if faults else None,
            changed=without_room if refusal is Refusal.ROOM else _as_it_is,
        )
    return steps


def _as_it_is(_run_id: str, run: dict[str, Any]) -> dict[str, Any]:
    return run


def _ignore(_line: str) -> None:
    """Print nothing: thousands of deliveries are refused, and nobody reads about each."""


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
    """Kill one of both functions again and again, politely every other time.

    A function has been up for a while by then. On a busy machine it would otherwise be killed
    again and again while it starts, and nothing would ever be interrupted.
    """
    killed = _Killed()

    async def kill() -> None:
        while True:
            function = chance.choice(["dispatcher", "executor"])
            await site.answers(function)
            await asyncio.sleep(chance.uniform(*trouble.kill_every_seconds))
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
    troubled: _Troubled,
) -> Toll:
    artifacts = site.artifacts()
    codes = Counter(each.error["code"] for each in ended if each.error)
    return Toll(
        steps=len(ended),
        seconds=round(seconds, 1),
        succeeded=sum(each.status == "SUCCEEDED" for each in ended),
        artifacts=len(artifacts),
        duplicated_events=site.instruments.relay.counters.duplicated,
        duplicated_pushes=site.pushes.duplicated,
        kills=killed.kills,
        interrupted=killed.interrupted,
        model_faults=troubled.model_faults,
        lost_uploads=troubled.lost_uploads,
        refused=len(troubled.refusals),
        ended_with=dict(codes),
        model_calls=site.model_calls,
        firestore_calls=site.environment.firestore_calls(),
        most_attempts=max(each.claim.attempt if each.claim else 0 for each in ended),
        wrong=[
            f"{each.run_id}: {each.status} {each.error}"
            for each in ended
            if not _as_it_should(each, troubled.refusals.get(each.run_id), artifacts)
        ],
    )


def _as_it_should(step: Ended, refusal: Refusal | None, artifacts: Collection[str]) -> bool:
    """Whether the step succeeded, or ended with the code of its refusal."""
    if refusal is None:
        return step.status == "SUCCEEDED" and step.gcs_uri in artifacts
    codes = {CODES[refusal]}
    if step.claim is not None and step.claim.attempt >= _MAX_ATTEMPTS:
        # Its executor was killed as often as it may be, before it could say more.
        codes.add(ErrorCode.ATTEMPTS_EXHAUSTED)
    return step.status == "FAILED" and step.error is not None and step.error["code"] in codes


def main() -> int:
    """Soak, print the toll as JSON; 0 if every step ended as it should."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--pushes", type=int, default=PUSHES_AT_ONCE)
    parser.add_argument("--refused", type=float, default=_REFUSED)
    parser.add_argument("--without-foreign", action="store_true")
    parser.add_argument("--within-seconds", type=float, default=3_600)
    given = parser.parse_args()
    trouble = Trouble(
        steps=given.steps,
        seed=given.seed,
        pushes_at_once=given.pushes,
        refused=given.refused,
        foreign=not given.without_foreign,
    )
    with tempfile.TemporaryDirectory() as root:
        toll = asyncio.run(soak(Path(root), trouble, within_seconds=given.within_seconds))
    sys.stdout.write(json.dumps(asdict(toll), indent=2) + "\n")
    return int(bool(toll.wrong) or toll.model_calls > toll.allowed_calls)


if __name__ == "__main__":
    sys.exit(main())
