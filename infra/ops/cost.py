"""What 1,000 steps cost beyond the model; docs/reference/cost.md shows it.

List prices in USD of us-central1, August to September 2026, without free tiers and discounts:
https://cloud.google.com/run/pricing, https://cloud.google.com/firestore/pricing,
https://cloud.google.com/pubsub/pricing, https://cloud.google.com/storage/pricing.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

STEPS = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """USD for one of each."""

    vcpu_second: float = 0.000024
    gib_second: float = 0.0000025
    request: float = 0.40 / 1_000_000
    firestore_read: float = 0.03 / 100_000
    firestore_write: float = 0.09 / 100_000
    pubsub_byte: float = 40 / 2**40
    storage_class_a: float = 0.005 / 1_000
    storage_class_b: float = 0.0004 / 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """A step that goes well at the first attempt, and the instance that it runs on."""

    seconds: float = 20.0
    #: Steps that share an instance, all of them waiting for the model.
    concurrency: int = 4
    vcpus: float = 1.0
    gib: float = 1.0
    #: Objects read for the context, each with its metadata first.
    sources: int = 4
    lease_renewal_seconds: float = 20.0
    #: Writes of the run that reach the dispatcher: the orchestrator's, the claim, the outcome.
    events: int = 3
    event_seconds: float = 0.1
    dispatcher_gib: float = 0.5
    #: A message and its acknowledgement are counted as 1,000 bytes at least, in and out.
    message_bytes: int = 2_000


def firestore_reads() -> int:
    """The batch read of run, job, prompt and schema."""
    return 4


def firestore_writes(load: Load) -> int:
    """Claim and finalize with two documents each, lease, call begun and ended, renewals."""
    return 2 + 1 + 2 + math.floor(load.seconds / load.lease_renewal_seconds) + 2


def cost(load: Load, prices: Prices) -> Mapping[str, float]:
    """USD for 1,000 steps, by what is paid for."""
    instance_second = load.vcpus * prices.vcpu_second + load.gib * prices.gib_second
    event_second = prices.vcpu_second + load.dispatcher_gib * prices.gib_second
    one = {
        "executor instances": load.seconds / load.concurrency * instance_second,
        "dispatcher instances": load.events * load.event_seconds * event_second,
        "requests": (load.events + 1) * prices.request,
        "Firestore": firestore_reads() * prices.firestore_read
        + firestore_writes(load) * prices.firestore_write,
        "Pub/Sub": load.message_bytes * prices.pubsub_byte,
        "Cloud Storage": prices.storage_class_a + 2 * load.sources * prices.storage_class_b,
    }
    return {name: STEPS * dollars for name, dollars in one.items()}


def table(*, durations: tuple[float, ...], concurrencies: tuple[int, ...]) -> str:
    """The cost as Markdown: a row for each item, a column for each load."""
    loads = [
        replace(Load(), seconds=seconds, concurrency=concurrency)
        for seconds in durations
        for concurrency in concurrencies
    ]
    return "\n".join(_rows(loads))


def _rows(loads: list[Load]) -> Iterator[str]:
    columns = [cost(load, Prices()) for load in loads]
    heads = [f"{load.seconds:g} s, {load.concurrency} at once" for load in loads]
    yield _row("USD per 1,000 steps", heads)
    yield _row("---", ["---:"] * len(loads))
    for name in columns[0]:
        yield _row(name, [f"{column[name]:.4f}" for column in columns])
    yield _row("**all**", [f"**{sum(column.values()):.2f}**" for column in columns])


def _row(head: str, cells: list[str]) -> str:
    return f"| {head} | {' | '.join(cells)} |"
