"""`worker-llm quota` at work."""

from collections.abc import Mapping, Sequence

from rich import box
from rich.table import Column, Table
from rich.text import Text

from infra.ops.cli.options import Where
from infra.ops.cli.terminal import count, harmless, print_json, print_line, say, terminal
from infra.ops.environment.connection import connect
from infra.ops.quota.reading import read_quotas
from infra.ops.quota.view import QuotaStanding, QuotaView
from infra.ops.quota.words import allowed_words, standing_words, waiting_words

_STYLES: Mapping[QuotaStanding, str] = {
    QuotaStanding.FREE: "dim",
    QuotaStanding.PACED: "bold cyan",
    QuotaStanding.PAUSED: "yellow",
    QuotaStanding.OUTAGE: "bold red",
}


async def show_quotas(where: Where, *, as_json: bool) -> int:
    """Print the quotas; 0 also if there are none."""
    async with connect(where) as connection:
        quotas = await read_quotas(connection)
    if as_json:
        print_json(quotas.as_json())
    elif console := terminal():
        nothing = Text(f"no call was ever held back in {connection.name}", style="dim")
        console.print(_table(quotas.quotas) if quotas.quotas else nothing)
    else:
        for quota in quotas.quotas:
            print_line(_fields(quota))
    if quotas.cut:
        say("there are more models than are shown here", err=True)
    return 0


def _fields(quota: QuotaView) -> Sequence[object]:
    waiting = quota.waiting
    return [
        quota.model,
        quota.endpoint,
        quota.tier,
        quota.standing,
        None if quota.allowed is None else f"{quota.allowed:.1f}",
        quota.taken,
        quota.refused,
        waiting.jobs if waiting else 0,
    ]


def _table(quotas: Sequence[QuotaView]) -> Table:
    table = Table(
        Column("Model", overflow="fold"),
        "Tier",
        "Allowed",
        Column("Taken", justify="right"),
        Column("Refused", justify="right"),
        Column("Waiting", overflow="fold"),
        Column("QuotaStanding", overflow="fold"),
        box=box.SIMPLE_HEAD,
    )
    for quota in quotas:
        table.add_row(
            harmless(f"{quota.model} at {quota.endpoint}"),
            quota.tier,
            allowed_words(quota),
            count(quota.taken),
            count(quota.refused),
            waiting_words(quota),
            Text(standing_words(quota), style=_STYLES[quota.standing]),
        )
    return table
