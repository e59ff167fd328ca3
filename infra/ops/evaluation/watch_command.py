"""`worker-llm eval watch`: continue, stop or done."""

import asyncio
from collections.abc import Mapping
from typing import Any

import typer

from infra.ops.cli.options import Where
from infra.ops.cli.terminal import print_json
from infra.ops.comparison.sequential import Arm, Decision
from infra.ops.environment.connection import connect
from infra.ops.evaluation.watching import Canary, CanaryLook, look_at

_EXIT_CODES: Mapping[Decision, int] = {
    Decision.DONE: 0,
    Decision.STOP: 1,
    Decision.CONTINUE: 6,
}


async def watch_canary(
    where: Where, canary: Canary, *, every_seconds: float | None, as_json: bool
) -> int:
    """Look, once or until there is a decision; 0 done, 1 stop, 6 continue."""
    async with connect(where) as connection:
        look = await look_at(connection, canary)
        while every_seconds is not None and look.decision is Decision.CONTINUE:
            typer.echo(_words(canary, look), err=True)
            await asyncio.sleep(every_seconds)
            look = await look_at(connection, canary)
    if as_json:
        print_json(_as_json(look))
    else:
        typer.echo(_words(canary, look))
    return _EXIT_CODES[look.decision]


def _words(canary: Canary, look: CanaryLook) -> str:
    low, high = look.comparison.low * 100, look.comparison.high * 100
    return (
        f"{look.decision}: first answers valid {_share(look.control)} with {canary.control},"
        f" {_share(look.canary)} with {canary.canary};"
        f" the difference is between {low:+.1f} and {high:+.1f} points"
    )


def _share(arm: Arm) -> str:
    return f"{arm.good} of {arm.ended}"


def _as_json(look: CanaryLook) -> dict[str, Any]:
    return {
        "decision": str(look.decision),
        "control": {"good": look.control.good, "ended": look.control.ended},
        "canary": {"good": look.canary.good, "ended": look.canary.ended},
        "low": look.comparison.low,
        "high": look.comparison.high,
    }
