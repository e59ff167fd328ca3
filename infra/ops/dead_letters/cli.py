"""`worker-llm dead-letters`."""

# What a command needs is imported when it runs.
# ruff: noqa: PLC0415

from datetime import timedelta
from typing import Annotated

import typer

from infra.ops.cli.moments import parse_age
from infra.ops.cli.options import AsJson, Where, for_environment
from infra.ops.cli.run_options import As, DryRun, Yes

app = typer.Typer(
    help="See what could not be delivered; replay it after the fix, or discard it.",
    no_args_is_help=True,
)

MessageId = Annotated[str, typer.Argument(help="As `dead-letters list` prints it.")]
Run = Annotated[str | None, typer.Option("--run", help="Only those of this run.")]
Reason = Annotated[
    str | None, typer.Option(help="Only those whose reason holds this text, in any case.")
]
OlderThan = Annotated[
    timedelta | None,
    typer.Option(parser=parse_age, metavar="AGE", help="Only those older: 90s, 30m, 2h, 1d."),
]
Limit = Annotated[
    int, typer.Option(min=1, max=10_000, help="Look at so many, in no promised order.")
]
Topic = Annotated[
    str, typer.Option(envvar="JOBS_TOPIC", help="Where jobs are published.", show_default=True)
]
Subscription = Annotated[
    str, typer.Option(envvar="DEAD_LETTER_SUBSCRIPTION", help="Where dead letters are pulled.")
]
TOPIC = "llm-jobs"
SUBSCRIPTION = "llm-jobs-dead-letter-pull"


@app.command("list", epilog="Example: `worker-llm dead-letters list --older-than 1h`")
@for_environment
def list_letters(
    where: Where,
    *,
    run: Run = None,
    reason: Reason = None,
    older_than: OlderThan = None,
    limit: Limit = 100,
    subscription: Subscription = SUBSCRIPTION,
    as_json: AsJson = False,
) -> None:
    """List dead letters with why they are here, the oldest first."""
    from infra.ops.cli.running import finish
    from infra.ops.dead_letters.commands import show_letters
    from infra.ops.dead_letters.letter import Selection

    chosen = Selection(run_id=run, reason=reason, older_than=older_than)
    finish(show_letters(where, subscription, chosen, limit=limit, as_json=as_json))


@app.command(epilog="Example: `worker-llm dead-letters show 17`")
@for_environment
def show(
    where: Where,
    message_id: MessageId,
    *,
    limit: Limit = 1_000,
    subscription: Subscription = SUBSCRIPTION,
    as_json: AsJson = False,
) -> None:
    """Show one dead letter: its attributes, its job, and what a replay would do.

    Ends with 3 if there is no such letter among those looked at.
    """
    from infra.ops.cli.running import finish
    from infra.ops.dead_letters.commands import show_letter

    finish(show_letter(where, subscription, message_id, limit=limit, as_json=as_json))


@app.command(
    epilog="Examples: `worker-llm dead-letters replay --dry-run` · "
    "`worker-llm dead-letters replay --reason undeliverable --rate 2`",
)
@for_environment
def replay(
    where: Where,
    *,
    run: Run = None,
    reason: Reason = None,
    older_than: OlderThan = None,
    message_id: Annotated[
        list[str] | None, typer.Option("--id", help="Only this one; may be given again.")
    ] = None,
    limit: Limit = 100,
    rate: Annotated[
        float, typer.Option(min=0.01, max=1_000, help="Jobs a second: spare the quota.")
    ] = 10.0,
    rerun: Annotated[
        bool, typer.Option("--rerun", help="Reopen steps that have FAILED, too.")
    ] = False,
    call_budget: Annotated[
        int,
        typer.Option(min=1, envvar="MAX_LLM_CALLS", help="The executor's, for the forecast."),
    ] = 5,
    dry_run: DryRun = False,
    author: As = None,
    yes: Yes = False,
    jobs_topic: Topic = TOPIC,
    subscription: Subscription = SUBSCRIPTION,
    as_json: AsJson = False,
) -> None:
    """Publish jobs again, with a fresh attempt budget; acknowledge what was published.

    Asks first, with the paid model calls that may follow. What needs no replay, such as a job
    that succeeded meanwhile, is acknowledged too. What cannot be replayed stays, and is named:
    the command ends with 1 then.
    """
    from infra.ops.cli.running import finish
    from infra.ops.dead_letters.commands import ReplayOptions, replay_letters
    from infra.ops.dead_letters.letter import Selection

    chosen = Selection(
        run_id=run,
        reason=reason,
        older_than=older_than,
        message_ids=frozenset(message_id or ()),
    )
    options = ReplayOptions(
        jobs_topic=jobs_topic,
        subscription=subscription,
        limit=limit,
        per_second=rate,
        rerun=rerun,
        call_budget=call_budget,
        dry_run=dry_run,
        author=author,
        yes=yes,
        as_json=as_json,
    )
    finish(replay_letters(where, chosen, options))


@app.command(epilog="Example: `worker-llm dead-letters discard --reason unreadable --yes`")
@for_environment
def discard(
    where: Where,
    *,
    run: Run = None,
    reason: Reason = None,
    older_than: OlderThan = None,
    message_id: Annotated[
        list[str] | None, typer.Option("--id", help="Only this one; may be given again.")
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="All of them; needed when nothing restricts.")
    ] = False,
    limit: Limit = 100,
    dry_run: DryRun = False,
    yes: Yes = False,
    subscription: Subscription = SUBSCRIPTION,
    as_json: AsJson = False,
) -> None:
    """Remove dead letters for good. Jobs that are still open are left to the sweep."""
    from infra.ops.cli.running import finish
    from infra.ops.dead_letters.commands import DiscardOptions, discard_letters
    from infra.ops.dead_letters.letter import Selection

    if not (everything or run or reason or older_than or message_id):
        raise typer.BadParameter("say which: --run, --reason, --older-than, --id or --all")
    chosen = Selection(
        run_id=run,
        reason=reason,
        older_than=older_than,
        message_ids=frozenset(message_id or ()),
    )
    options = DiscardOptions(
        subscription=subscription, limit=limit, dry_run=dry_run, yes=yes, as_json=as_json
    )
    finish(discard_letters(where, chosen, options))
