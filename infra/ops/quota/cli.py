"""`worker-llm quota`."""

# What a command needs is imported when it runs.
# ruff: noqa: PLC0415

from infra.ops.cli.options import AsJson, Where, for_environment


@for_environment
def quota(where: Where, *, as_json: AsJson = False) -> None:
    """Show what the provider takes of each model, and how many jobs wait for it.

    By model and service tier: the calls a minute that `GEMINI_LIMITS` allows or that were
    learned from refusals, what was taken and refused in the last quarter of an hour, and the
    queue. A model that was never refused, and has no limit, is not there.
    """
    from infra.ops.cli.running import finish
    from infra.ops.quota.commands import show_quotas

    finish(show_quotas(where, as_json=as_json))
