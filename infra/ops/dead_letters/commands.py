"""`worker-llm dead-letters` at work: pull, choose, show, replay or discard."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from google.pubsub_v1.services.publisher import PublisherAsyncClient
from google.pubsub_v1.services.subscriber import SubscriberAsyncClient
from rich.console import Console
from rich.progress import Progress
from rich.table import Column, Table

from infra.local.emulators.clients import publisher_client, subscriber_client
from infra.ops.cli.asking import confirmed
from infra.ops.cli.options import Where
from infra.ops.cli.terminal import age, harmless, print_json, print_line, say, terminal
from infra.ops.dead_letters.box import DeadLetterBox, HeldLetter, PubSubDeadLetters, pulled
from infra.ops.dead_letters.letter import DeadLetter, ReplayRules, Selection, Verdict
from infra.ops.dead_letters.replay import Replay, Replayed
from infra.ops.environment.connection import Connection, connect
from infra.ops.runs.reading import NotFound
from shared.adapters.clock import SystemClock
from shared.adapters.pubsub import PubSubQueue
from shared.domain.times import rfc3339
from shared.settings import topic_path

#: As the dispatcher's own messages: long enough for a queue, short enough for a person.
WAKE_AFTER = timedelta(seconds=120)
_FORECAST = ReplayRules(rerun=False, call_budget=5, wake_after=WAKE_AFTER)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayOptions:
    """What `dead-letters replay` was told, besides which letters."""

    jobs_topic: str
    subscription: str
    limit: int
    per_second: float
    rerun: bool
    call_budget: int
    dry_run: bool
    #: None: the account of the credentials.
    author: str | None
    yes: bool
    as_json: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class DiscardOptions:
    """What `dead-letters discard` was told, besides which letters."""

    subscription: str
    limit: int
    dry_run: bool
    yes: bool
    as_json: bool


async def show_letters(
    where: Where, subscription: str, chosen: Selection, *, limit: int, as_json: bool
) -> int:
    """Print the letters that are meant, and leave them where they are."""
    async with _held(where, subscription, limit) as (_, _, held):
        letters = _chosen(held, chosen)
    if as_json:
        print_json({"letters": [_as_json(letter) for letter in letters], "limit": limit})
        return 0
    _print(("message", "age", "run", "step", "reason"), [_row(letter) for letter in letters])
    if len(held) == limit:
        say(f"{limit} were looked at, and there may be more: see --limit", err=True)
    return 0


async def show_letter(
    where: Where, subscription: str, message_id: str, *, limit: int, as_json: bool
) -> int:
    """Print one letter and what a replay would do with it."""
    async with _held(where, subscription, limit) as (connection, box, held):
        found = held.get(message_id)
        if found is None:
            raise NotFound(f"there is no {message_id!r} among {len(held)} dead letters")
        [forecast] = await replay_with(connection, box, _FORECAST).preview([found.letter])
    facts = {
        **_as_json(found.letter),
        "attributes": dict(found.letter.attributes),
        "bytes": len(found.letter.data),
        "replay": str(forecast.plan.verdict),
        "why": forecast.plan.why,
    }
    if as_json:
        print_json(facts)
        return 0
    for name, value in facts.items():
        print_line((name, value))
    return 0


async def replay_letters(where: Where, chosen: Selection, options: ReplayOptions) -> int:
    """Replay the letters that are meant; 1 when some of them had to stay."""
    rules = ReplayRules(
        rerun=options.rerun, call_budget=options.call_budget, wake_after=WAKE_AFTER
    )
    async with _held(where, options.subscription, options.limit) as (connection, box, held):
        letters = _chosen(held, chosen)
        author = None if options.dry_run else connection.author(options.author)
        replay = replay_with(
            connection, box, rules, options.jobs_topic, author=author, via="command line"
        )
        results = await replay.preview(letters)
        if not options.dry_run and letters:
            question = _replay_question(results, connection, str(author))
            await confirmed(question, yes=options.yes)
            results = await _run(replay, held, letters, options.per_second)
    _print_results(results, dry_run=options.dry_run, as_json=options.as_json)
    return int(any(result.plan.verdict is Verdict.KEEP for result in results))


async def discard_letters(where: Where, chosen: Selection, options: DiscardOptions) -> int:
    """Remove the letters that are meant; 1 when that was not confirmed."""
    async with _held(where, options.subscription, options.limit) as (connection, box, held):
        letters = _chosen(held, chosen)
        if letters and not options.dry_run:
            question = f"Remove {len(letters)} dead letters of {connection.described} for good?"
            await confirmed(question, yes=options.yes)
        if not options.dry_run:
            await box.acknowledge([held[letter.message_id].ack_id for letter in letters])
            for letter in letters:
                del held[letter.message_id]
    if options.as_json:
        print_json({"dryRun": options.dry_run, "discarded": [_as_json(one) for one in letters]})
    else:
        done = "would be discarded" if options.dry_run else "discarded"
        say(f"{len(letters)} {done}")
    return 0


@asynccontextmanager
async def _held(
    where: Where, subscription: str, limit: int
) -> AsyncIterator[tuple[Connection, DeadLetterBox, dict[str, HeldLetter]]]:
    async with connect(where) as connection:
        name = subscription
        if not name.startswith("projects/"):
            name = f"projects/{connection.project}/subscriptions/{subscription}"
        async with subscriber_of(connection) as client:
            box = PubSubDeadLetters(client, name)
            async with pulled(box, limit) as held:
                yield connection, box, held


def subscriber_of(connection: Connection) -> SubscriberAsyncClient:
    """A subscriber of the environment; closed by `async with`."""
    if connection.local and connection.local.pubsub_host:
        return subscriber_client(connection.local.pubsub_host)
    return SubscriberAsyncClient()


def _replay_question(results: Sequence[Replayed], connection: Connection, author: str) -> str:
    at_least = sum(result.plan.calls_at_least for result in results)
    at_most = sum(result.plan.calls_at_most for result in results)
    return (
        f"Replay {len(results)} dead letters of {connection.described}, as {author}? "
        f"Paid model calls that may follow: {at_least} to {at_most}."
    )


def replay_with(
    connection: Connection,
    box: DeadLetterBox,
    rules: ReplayRules,
    topic: str = "",
    *,
    author: str | None = None,
    via: str | None = None,
) -> Replay:
    """What replays letters of the box in the environment, publishing to this topic."""
    local = connection.local
    publisher = (
        publisher_client(local.pubsub_host)
        if local and local.pubsub_host
        else PublisherAsyncClient()
    )
    return Replay(
        documents=connection.documents,
        flow_runs=connection.flow_runs,
        jobs=PubSubQueue(publisher, topic_path(connection.project, topic)),
        box=box,
        clock=SystemClock(),
        rules=rules,
        author=author,
        via=via,
    )


async def _run(
    replay: Replay,
    held: dict[str, HeldLetter],
    letters: Sequence[DeadLetter],
    per_second: float,
) -> Sequence[Replayed]:
    """Replay under a bar on standard error, which leaves standard output to the results."""
    results: list[Replayed] = []
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("dead letters", total=len(letters))
        async for result in replay.run(held, letters, per_second=per_second):
            results.append(result)
            bar.advance(task)
    return results


def _chosen(held: Mapping[str, HeldLetter], chosen: Selection) -> Sequence[DeadLetter]:
    now = SystemClock().now()
    letters = (one.letter for one in held.values() if chosen.takes(one.letter, now))
    return sorted(letters, key=lambda letter: (letter.published_at, letter.message_id))


def _print_results(results: Sequence[Replayed], *, dry_run: bool, as_json: bool) -> None:
    plans = [result.plan for result in results]
    at_least = sum(plan.calls_at_least for plan in plans)
    at_most = sum(plan.calls_at_most for plan in plans)
    counts = {str(one): sum(plan.verdict is one for plan in plans) for one in Verdict}
    if as_json:
        letters = [
            {**_as_json(one.letter), "verdict": str(one.plan.verdict), "why": one.plan.why}
            for one in results
        ]
        calls = {"atLeast": at_least, "atMost": at_most}
        body = {"dryRun": dry_run, "counts": counts, "paidModelCalls": calls}
        print_json({**body, "letters": letters})
        return
    rows = [(*_row(one.letter)[:4], one.plan.verdict, one.plan.why) for one in results]
    _print(("message", "age", "run", "step", "verdict", "because"), rows)
    said = ", ".join(f"{number} {name}" for name, number in counts.items())
    tense = "would follow" if dry_run else "may follow"
    say(f"{said}; paid model calls that {tense}: {at_least} to {at_most}", err=True)


def _as_json(letter: DeadLetter) -> dict[str, Any]:
    job = letter.job
    return {
        "messageId": letter.message_id,
        "publishedAt": rfc3339(letter.published_at),
        "reason": letter.reason,
        "runId": job.run_id if job else letter.attributes.get("runId"),
        "stepId": job.step_id if job else letter.attributes.get("stepId"),
        "claimId": job.claim_id if job else None,
    }


def _row(letter: DeadLetter) -> tuple[str, ...]:
    facts = _as_json(letter)
    seconds = int((SystemClock().now() - letter.published_at).total_seconds())
    names = (facts["runId"] or "", facts["stepId"] or "")
    return (letter.message_id, age(seconds), *names, letter.reason)


def _print(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    console = terminal()
    if console is None:
        for row in rows:
            print_line(row)
        return
    if not rows:
        console.print("no dead letters", style="dim")
        return
    table = Table(*(Column(name, overflow="fold") for name in head))
    for row in rows:
        table.add_row(*(harmless(cell) for cell in row))
    console.print(table)
