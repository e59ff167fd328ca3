"""`worker-llm doctor`, with its options."""

# What a command needs is imported when it runs.
# ruff: noqa: PLC0415

from infra.ops.cli.options import AsJson, Where, for_environment


@for_environment
def doctor(where: Where, *, as_json: AsJson = False) -> None:
    """Find what is set up wrong, and print the command that mends it. Reads only.

    Looks at APIs, the database's place, trigger, queue, bindings, bucket, key, models, their
    limits and what was learned of them, and at the prompts and schemas that waiting steps refer
    to. Ends with 1 if there is a problem.
    """
    from infra.ops.cli.running import finish
    from infra.ops.doctor.commands import show_doctor

    finish(show_doctor(where, as_json=as_json))
