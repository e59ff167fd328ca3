"""What 1,000 steps cost beyond the model, and a month without any; docs/reference/cost.md.

List prices in USD of us-central1, August to September 2026, without free tiers and discounts:
https://cloud.google.com/run/pricing, https://cloud.google.com/firestore/pricing,
https://cloud.google.com/pubsub/pricing, https://cloud.google.com/storage/pricing,
https://cloud.google.com/scheduler/pricing, https://cloud.google.com/secret-manager/pricing,
https://cloud.google.com/stackdriver/pricing (alerts, by condition and by series returned).
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
    storage_gib_month: float = 0.10
    schedule_month: float = 0.10
    secret_version_month: float = 0.06
    alert_condition_month: float = 0.10
    alert_series: float = 0.35 / 1_000_000


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
    lease_renewal_seconds: float = 30.0
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


@dataclass(frozen=True, slots=True, kw_only=True)
class HandedOver:
    """For how long instances had a step's requests whose call was made in the background.

    In seconds, all of one step together, each counted as if it had its instance alone.
    """

    executor: float
    dispatcher: float
    notify: float


def instances_cost(handed: HandedOver, prices: Prices) -> Mapping[str, float]:
    """USD for 1,000 such steps, by the function whose instances are paid for."""
    load = Load()
    executor = load.vcpus * prices.vcpu_second + load.gib * prices.gib_second
    small = prices.vcpu_second + load.dispatcher_gib * prices.gib_second
    one = {
        "executor instances": handed.executor * executor,
        "dispatcher instances": handed.dispatcher * small,
        "notify instances": handed.notify * small,
    }
    return {name: STEPS * dollars for name, dollars in one.items()}


def handed_over_table(measured: Mapping[float, HandedOver]) -> str:
    """Instances of calls in the background as Markdown, by the model's time in seconds."""
    columns = [instances_cost(handed, Prices()) for handed in measured.values()]
    head = [f"model takes {seconds:,g} s" for seconds in measured]
    rows = [
        _row("USD per 1,000 steps", head),
        _row("---", ["---:"] * len(columns)),
        *(_row(name, [f"{column[name]:.4f}" for column in columns]) for name in columns[0]),
        _row("**all instances**", [f"**{sum(column.values()):.4f}**" for column in columns]),
    ]
    return "\n".join(rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class QuietMonth:
    """A month of 30 days in which no step is executed."""

    sweeps: int = 43_200
    sweep_seconds: float = 0.5
    sweep_gib: float = 0.5
    sweep_reads: int = 3
    #: Seconds from one evaluation of each alert to its next; a test takes them from Terraform.
    alert_intervals: tuple[int, ...] = (60,) * 8 + (300,) * 8
    images_gib: float = 1.0


def idle_month(idle: QuietMonth, prices: Prices) -> Mapping[str, float]:
    """USD for a month without any step, by what is paid for."""
    sweep_second = prices.vcpu_second + idle.sweep_gib * prices.gib_second
    month = 30 * 24 * 3_600
    one_sweep = (
        idle.sweep_seconds * sweep_second
        + prices.request
        + idle.sweep_reads * prices.firestore_read
    )
    alerts = idle.alert_intervals
    series = sum(month / seconds for seconds in alerts)
    return {
        f"sweep every minute: {idle.sweeps:,} runs of half a second, "
        f"with {idle.sweep_reads} reads each": idle.sweeps * one_sweep,
        "Cloud Scheduler, one job": prices.schedule_month,
        "images and sources, about 1 GB": idle.images_gib * prices.storage_gib_month,
        "Secret Manager, one version": prices.secret_version_month,
        f"{len(alerts)} alert conditions": len(alerts) * prices.alert_condition_month,
        f"at most {series:,.0f} series that they return": series * prices.alert_series,
    }


def idle_table() -> str:
    """The month as Markdown."""
    month = idle_month(QuietMonth(), Prices())
    rows = [f"| {name} | {dollars:.2f} |" for name, dollars in month.items()]
    total = f"| **all** | **{sum(month.values()):.2f}** |"
    return "\n".join(["| what | USD |", "| --- | ---: |", *rows, total])


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
