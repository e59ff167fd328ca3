"""The scenarios of `make storm`, each with what is to be reached."""

import json
import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from random import Random

from executor.contract.tiers import ServiceTier
from tests.storm.evaluating import EvaluationBeside
from tests.storm.ledger_load import LedgerLoad, asyncio_run
from tests.storm.quotas import (
    MINUTE,
    Bucket,
    FixedWindow,
    Open,
    Outage,
    Quota,
    SlidingWindow,
)
from tests.storm.site import CALL_COST, CONCURRENCY, MODEL, Asked, Seen, Site
from tests.storm.tiers import TieredProvider

_FOR_GOOD = 10**9
_HOUR = 3_600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table."""

    scenario: str
    to_reach: str
    measured: str
    reached: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Storm:
    """The result of a storm: the worst of several providers."""

    succeeded: int
    failed: int
    paid: int
    refused_a_step: float
    #: When the last step ended, as a multiple of the shortest time possible.
    over_ideal: float


def runs(count: int, *, steps: int, model: str = MODEL, first: int = 0) -> list[Asked]:
    """Runs that all begin at once."""
    return [
        Asked(run_id=f"20260105-090000_BTCUSDT_{number:06x}", steps=steps, model=model)
        for number in range(first, first + count)
    ]


def per_minute(limit: int, *, delays: bool) -> list[Quota]:
    """The ways in which providers count a minute's quota."""
    return [
        FixedWindow(limit=limit, delays=delays, phase=17.0),
        SlidingWindow(limit=limit, delays=delays),
        Bucket(rate=lambda _: float(limit), capacity=limit / 6, delays=delays),
    ]


def storm(
    quotas: Sequence[Quota],
    asked: Sequence[Asked],
    *,
    per_minute: int,
    begins_at: float = 0.0,
    environ: dict[str, str] | None = None,
) -> Storm:
    """The worst result of the same runs against each of the providers."""
    steps = sum(run.steps for run in asked)
    ideal = steps / per_minute * MINUTE
    found: list[Storm] = []
    for quota in quotas:
        site = Site(seed=1, quotas={MODEL: quota}, runs=asked, environ=environ)
        seen = site.run(until_seconds=begins_at + 4 * ideal)
        last = max(seen.ended_at.values(), default=math.inf)
        whole = seen.ended.total() == steps
        found.append(
            Storm(
                succeeded=seen.ended["SUCCEEDED"],
                failed=seen.ended["FAILED"],
                paid=site.paid.total(),
                refused_a_step=seen.refused.total() / steps,
                over_ideal=(last - begins_at) / ideal if whole else math.inf,
            )
        )
    return Storm(
        succeeded=min(each.succeeded for each in found),
        failed=max(each.failed for each in found),
        paid=max(each.paid for each in found),
        refused_a_step=max(each.refused_a_step for each in found),
        over_ideal=max(each.over_ideal for each in found),
    )


def _stormed(
    scenario: str, found: Storm, *, steps: int, refused: float, over_ideal: float
) -> Row:
    return Row(
        scenario=scenario,
        to_reach=f"{steps} SUCCEEDED, paid calls {steps}, refused ≤ {refused:g} a step,"
        f" last end ≤ {over_ideal:.2f} times ideal",
        measured=f"{found.succeeded} SUCCEEDED, {found.failed} FAILED, paid {found.paid},"
        f" refused {found.refused_a_step:.3f} a step, {found.over_ideal:.2f} times ideal",
        reached=found.succeeded == steps
        and found.paid == steps
        and found.refused_a_step <= refused
        and found.over_ideal <= over_ideal,
    )


def honest_delays() -> Row:
    """Thirty calls a minute, and refusals name the delay."""
    found = storm(per_minute(30, delays=True), runs(30, steps=20), per_minute=30)
    name = "600 steps (30 runs of 20), 30 calls a minute, honest delays, limits not configured"
    return _stormed(name, found, steps=600, refused=0.3, over_ideal=1.15)


def no_delays() -> Row:
    """Thirty calls a minute, and refusals name no delay."""
    found = storm(per_minute(30, delays=False), runs(30, steps=20), per_minute=30)
    name = "the same without any delay in the refusals"
    return _stormed(name, found, steps=600, refused=1.0, over_ideal=1.25)


def configured() -> Row:
    """Thirty calls a minute without named delays, and the limit is known beforehand."""
    found = storm(
        per_minute(30, delays=False),
        runs(30, steps=20),
        per_minute=30,
        environ={"GEMINI_LIMITS": f'{{"{MODEL}": {{"requests": 30}}}}'},
    )
    name = "the same with limits configured"
    return _stormed(name, found, steps=600, refused=0.02, over_ideal=1.10)


def outage() -> Row:
    """Half an hour of nothing but refusals."""
    ends = 1_800.0
    after = [Outage(until=ends, then=quota) for quota in per_minute(60, delays=False)]
    found = storm(after, runs(25, steps=20), per_minute=60, begins_at=ends)
    name = "500 steps, all refused for 30 minutes (429, then 503), then 60 a minute"
    return _stormed(name, found, steps=500, refused=3.0, over_ideal=1.20)


def wandering() -> Row:
    """A pool that grows and shrinks, slowly and by chance."""
    taken, failed = zip(*(_wandered(rate) for rate in _wanderings()), strict=True)
    return Row(
        scenario="a shared pool that wanders between 10 and 120 a minute for an hour",
        to_reach="0 FAILED, taken ≥ 0.85 of what was offered",
        measured=f"{max(failed)} FAILED, taken {min(taken):.2f} of what was offered",
        reached=max(failed) == 0 and min(taken) >= 0.85,
    )


def _wandered(rate: Callable[[float], float]) -> tuple[float, int]:
    pool = Bucket(rate=rate, capacity=10, delays=False)
    site = Site(seed=1, quotas={MODEL: pool}, runs=runs(250, steps=20))
    seen = site.run(until_seconds=_HOUR)
    pool.fill(_HOUR)
    return seen.taken[MODEL] / pool.offered, seen.ended["FAILED"]


def _wanderings() -> Iterator[Callable[[float], float]]:
    yield lambda seconds: 65 + 55 * math.sin(seconds * 2 * math.pi / 1_200)
    draw, level, levels = Random(1), 60.0, list[float]()
    for _ in range(150):
        level = min(120.0, max(10.0, level * math.exp(draw.gauss(0, 0.35))))
        levels.append(level)
    yield lambda seconds: levels[int(seconds // 30)]


def two_models() -> Row:
    """One model takes no call, the other takes every call."""
    asked = [*runs(15, steps=20), *runs(15, steps=20, model="other", first=15)]
    quotas: dict[str, Quota] = {MODEL: Outage(until=_FOR_GOOD, then=Open()), "other": Open()}
    seen = Site(seed=1, quotas=quotas, runs=asked).run(until_seconds=900)
    alone = Site(seed=1, quotas={"other": Open()}, runs=asked[15:]).run(until_seconds=900)
    others = {run.run_id for run in asked[15:]}
    ended = [at for (run_id, _), at in seen.ended_at.items() if run_id in others]
    waited = sum(job.partition("~")[0] in others for job in seen.queued)
    last, best = max(ended, default=math.inf), max(alone.ended_at.values())
    return Row(
        scenario="two models, one exhausted",
        to_reach="the other one's steps wait for nothing",
        measured=f"{len(ended)} of 300 ended, {waited} of them ever waited;"
        f" the last after {last:.0f} s, alone after {best:.0f} s",
        reached=len(ended) == 300 and waited == 0 and last <= 1.15 * best,
    )


def urgent() -> Row:
    """A step that is due soon, in the middle of the first storm."""
    run_id = "20260105-090000_BTCUSDT_urgent"
    took = []
    for quota in per_minute(30, delays=True):
        step = Asked(run_id=run_id, steps=1, at_seconds=300, due_in_seconds=600)
        site = Site(seed=1, quotas={MODEL: quota}, runs=[*runs(30, steps=20), step])
        seen = site.run(until_seconds=500)
        claimed, ended = seen.claimed_at, seen.ended_at
        took.append(ended.get((run_id, "s000"), math.inf) - claimed[run_id, "s000"])
    return Row(
        scenario="one urgent step (`dueAt` in 10 min) claimed in the middle of the first storm",
        to_reach="ends within 90 s",
        measured=f"ended after {max(took):.0f} s",
        reached=max(took) <= 90,
    )


def evaluation_beside() -> Row:
    """An evaluation that would take the whole quota, beside production that needs it."""
    slot = MINUTE / 30
    longer, asked, refused = [], [], 0
    for alone, shared in zip(*(per_minute(30, delays=False) for _ in range(2)), strict=True):
        waits, _ = _waits(alone, evaluated=False)
        beside, calls = _waits(shared, evaluated=True)
        # The longest wait is compared with the longest, the second with the second, and so on.
        longer.append(max(after - before for before, after in zip(waits, beside, strict=True)))
        asked.append(calls["taken"])
        refused += calls["refused"]
    return Row(
        scenario="30 calls a minute, configured: production asks 20 times a minute, an"
        " evaluation beside it is told to ask 30 times",
        to_reach="no step waits longer than alone by more than one slot (2 s);"
        " the evaluation makes ≥ 3 calls a minute",
        measured=f"at most {max(longer):.1f} s longer; the evaluation made"
        f" {min(asked) / _BESIDE_MINUTES:.1f} to {max(asked) / _BESIDE_MINUTES:.1f} calls a"
        f" minute, {refused} were refused",
        reached=max(longer) <= slot and min(asked) >= 3 * _BESIDE_MINUTES,
    )


_BESIDE_MINUTES = 9


def _waits(quota: Quota, *, evaluated: bool) -> tuple[list[float], Counter[str]]:
    """How long the steps waited for their call, shortest first, and the evaluation's calls."""
    # Production is alone for three minutes: then instances have started, and what it takes is
    # known.
    begins_at = 180.0
    count = round((begins_at + _BESIDE_MINUTES * MINUTE) / 3)
    asked = [
        Asked(run_id=f"20260105-090000_BTCUSDT_{number:06x}", steps=1, at_seconds=3.0 * number)
        for number in range(count)
    ]
    limits = {"GEMINI_LIMITS": f'{{"{MODEL}": {{"requests": 30}}}}'}
    site = Site(seed=1, quotas={MODEL: quota}, runs=asked, environ=limits)
    beside = EvaluationBeside(site=site, cases=300, begins_at=begins_at, calls_per_minute=30)
    if evaluated:
        site.outside(beside.run())
    seen = site.run(until_seconds=_HOUR)
    waits = (
        seen.called_at.get(step, math.inf) - claimed
        for step, claimed in seen.claimed_at.items()
        if claimed >= begins_at
    )
    return sorted(waits), beside.calls


def day_ceiling() -> Row:
    """More steps than the day's ceiling allows, on ten instances."""
    # A call reserves 110 millionths of a dollar, and costs 20.
    price = {"from": "2026-01-01", "input": "0", "output": "1"}
    prices = json.dumps({MODEL: [price]})
    site = Site(
        seed=1,
        quotas={MODEL: Open()},
        runs=runs(50, steps=20),
        environ={"MODEL_PRICES": prices, "MAX_DAY_COST_USD": f"{700 * CALL_COST / 1e6:.6f}"},
        call_cost=CALL_COST,
        most_output=110,
    )
    seen = site.run(until_seconds=2 * _HOUR)
    made, commits = seen.taken.total(), seen.ledger_commits / 1_000
    return Row(
        scenario="a thousand steps, 10 instances, a day's ceiling for 700",
        to_reach="never above the ceiling; ≥ 690 made; ≤ 0.1 ledger commits a step",
        measured=f"{made} made, {seen.ended['FAILED']} refused by the ceiling,"
        f" {commits:.3f} ledger commits a step",
        reached=690 <= made <= 700 and commits <= 0.1 and seen.ended.total() == 1_000,
    )


def ledger_at_scale() -> Row:
    """The ledger alone, at a thousand steps a second for ten minutes."""
    load = asyncio_run(LedgerLoad(instances=100, a_second=1_000, seconds=600))
    commits = load.commits / load.steps
    busiest = max(load.writes.values()) / load.seconds
    return Row(
        scenario="1,000 steps a second under a day's ceiling, 10 virtual minutes"
        " (the ledger alone, 100 instances)",
        to_reach="0 reservations given up, ≤ 0.05 ledger commits a step,"
        " no document over 1 write a second sustained",
        measured=f"{load.given_up} of {load.steps} given up, {commits:.5f} commits a step,"
        f" at most {busiest:.2f} writes a second on one document",
        reached=load.given_up == 0 and commits <= 0.05 and busiest <= 1.0,
    )


TIERS = {
    "GEMINI_API": "interactions",
    "GEMINI_SERVICE_TIERS": "flex,standard",
    "GEMINI_BACKGROUND_TIMEOUT_SECONDS": "3600",
}
DUE_SECONDS = 1_800.0


@dataclass(frozen=True, slots=True, kw_only=True)
class HalfPrice:
    """What happened to steps with a `dueAt` when room in the cheap tier comes and goes."""

    provider: TieredProvider
    succeeded: int
    late: int

    @property
    def share(self) -> float:
        """The share of the answers that came at half the price."""
        answered = self.provider.answered
        return answered[ServiceTier.FLEX] / max(1, answered.total())

    @property
    def answers_a_step(self) -> int:
        """The most answers that one step got."""
        return max(self.provider.answers_of.values(), default=0)


def half_priced(
    room: Callable[[float], float], *, steps: int, every_seconds: float, seed: int = 1
) -> HalfPrice:
    """Steps that start one after the other, each due in half an hour."""
    provider = TieredProvider(room=room, draw=Random(seed))
    asked = [
        Asked(
            run_id=f"20260105-090000_BTCUSDT_{number:06x}",
            steps=1,
            at_seconds=number * every_seconds,
            due_in_seconds=DUE_SECONDS,
        )
        for number in range(steps)
    ]
    site = Site(
        seed=seed, quotas={MODEL: Open()}, runs=asked, environ=TIERS, background=provider
    )
    seen = site.run(until_seconds=steps * every_seconds + 2 * DUE_SECONDS)
    # At standard alone, each step would have ended within half a minute.
    late = steps - sum(
        ended - seen.claimed_at[key] <= DUE_SECONDS for key, ended in seen.ended_at.items()
    )
    return HalfPrice(provider=provider, succeeded=seen.ended["SUCCEEDED"], late=late)


def _rooms() -> Iterator[Callable[[float], float]]:
    """Room that varies between none and all that is asked for, in turns and by chance."""
    yield lambda seconds: 20 + 20 * math.sin(seconds * 2 * math.pi / 900)
    yield lambda seconds: 40.0 if seconds % 1_200 < 600 else 0.0
    draw = Random(1)
    levels = [draw.choice([0.0, 0.0, 5.0, 20.0, 40.0]) for _ in range(200)]
    yield lambda seconds: levels[int(seconds // 180) % len(levels)]


def half_price() -> Row:
    """Half an hour for each step, and a cheap tier that is there only at times."""
    steps = 120
    found = [half_priced(room, steps=steps, every_seconds=30.0) for room in _rooms()]
    share, late = min(each.share for each in found), max(each.late for each in found)
    answers = max(each.answers_a_step for each in found)
    beside = max(each.provider.most_beside for each in found)
    return Row(
        scenario="`dueAt` in 30 min, `flex,standard`, flex capacity wandering between none and"
        f" all ({steps} steps, three ways to wander)",
        to_reach="≥ 90 % of answered calls at half price, 0 late that standard alone would have"
        " made in time, ≤ 1 answered call a step, never two at work",
        measured=f"{share:.1%} at half price, {late} late, {answers} answered a step at most,"
        f" {beside} at work at once",
        reached=share >= 0.9
        and late == 0
        and answers <= 1
        and beside <= 1
        and min(each.succeeded for each in found) == steps,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class InFlight:
    """The result of many steps on few executors, when nobody waits for the model."""

    steps: int
    succeeded: int
    #: How many steps had calls at work at the same time.
    at_once: int
    #: The most answers that one step got.
    answers_a_step: int
    #: The time from the first claim to the last end, in seconds.
    seconds: float


def in_flight_with(
    instances: int, *, steps: int = 600, model_seconds: float = 600.0
) -> InFlight:
    """Run steps that all become READY at once, with calls in the background."""
    lasting = (model_seconds, model_seconds)
    provider = TieredProvider(
        room=lambda _: 0.0, draw=Random(1), call_seconds={ServiceTier.STANDARD: lasting}
    )
    asked = runs(steps // 20, steps=20)
    site = Site(
        seed=1,
        quotas={MODEL: Open()},
        runs=asked,
        environ={"GEMINI_API": "interactions"},
        background=provider,
        instances=instances,
    )
    seen = site.run(until_seconds=2 * _HOUR)
    return InFlight(
        steps=steps,
        succeeded=seen.ended["SUCCEEDED"],
        at_once=provider.most_steps,
        answers_a_step=max(provider.answers_of.values(), default=0),
        seconds=max(seen.ended_at.values()) - min(seen.claimed_at.values()),
    )


def in_flight() -> Row:
    """One executor, and a model that takes ten minutes."""
    found = in_flight_with(1)
    return Row(
        scenario=f"one executor of {CONCURRENCY} requests, {found.steps} steps at once in the"
        " background, whose model takes 10 min",
        to_reach="≥ 500 steps with a call at work at the same time",
        measured=f"{found.at_once} at the same time, {found.succeeded} SUCCEEDED,"
        f" {found.answers_a_step} answer a step at most, all over after {found.seconds:.0f} s",
        reached=found.at_once >= 500
        and found.succeeded == found.steps
        and found.answers_a_step <= 1,
    )


def calm() -> Row:
    """A provider that refuses nothing."""
    steps = 200
    site = Site(
        seed=1, quotas={MODEL: Open()}, runs=runs(steps, steps=1), call_seconds=(2.0, 18.0)
    )
    seen: Seen = site.run(until_seconds=_HOUR)
    each = seen.database_calls / steps
    return Row(
        scenario="nobody refuses, nothing configured",
        to_reach="4.00 Firestore calls a step",
        measured=f"{each:.2f} calls a step",
        reached=seen.ended["SUCCEEDED"] == steps and round(each, 2) == 4.0,
    )


ROWS: tuple[Callable[[], Row], ...] = (
    honest_delays,
    no_delays,
    configured,
    outage,
    wandering,
    two_models,
    urgent,
    half_price,
    in_flight,
    evaluation_beside,
    day_ceiling,
    ledger_at_scale,
    calm,
)


def run_row(name: str) -> tuple[Row, float]:
    """The row of this name, and the seconds that it took; run by a pool of processes."""
    began = time.monotonic()
    row = next(row for row in ROWS if row.__name__ == name)()
    return row, time.monotonic() - began
