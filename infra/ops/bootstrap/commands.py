"""`worker-llm bootstrap`: look, do what is missing, and say each line as it goes."""

import shlex
from typing import Any

from infra.ops.bootstrap.gcloud import Gcloud
from infra.ops.bootstrap.plan import (
    DEPLOYER_ID,
    PLANNER_ID,
    PROVIDER,
    UNKNOWN_NUMBER,
    Command,
    Wanted,
    number_command,
    pool_name,
    steps,
)
from infra.ops.cli.terminal import harmless, say


async def prepare(
    project: str,
    region: str,
    github: str | None,
    *,
    dry_run: bool,
    gcloud: Gcloud | None = None,
) -> int:
    """Bring a project to where `terraform apply` can begin; what is there stays as it is.

    What is printed can be run by a shell. A dry run prints what an empty project needs, and
    runs nothing.

    Raises:
        BootstrapRefused: an argument is not what it should be, or something is there that is
            not what is wanted.
        GcloudFailed: a command failed. Run it again afterwards: it goes on where it stopped.
    """
    wanted = Wanted(project=project, region=region, github=github)
    gcloud = gcloud or Gcloud()
    number = UNKNOWN_NUMBER
    if not dry_run:
        number = str((await gcloud.look(number_command(wanted)))["projectNumber"])
    seen: dict[Command, Any] = {}
    for step in steps(wanted, number):
        if step.look and not dry_run and step.look not in seen:
            # Asked once for all steps: no step removes what another one looks for.
            seen[step.look] = await gcloud.look(step.look)
        commands = step.missing(seen.get(step.look) if step.look else None)
        say(f"# {step.why}{'' if commands else ': it is there'}")
        for command in commands:
            say(spelled(command))
            if not dry_run:
                await gcloud.change(command)
    for line in _next(wanted, number):
        say(f"# {line}")
    return 0


def spelled(command: Command) -> str:
    """The line as a shell takes it."""
    return harmless(shlex.join(("gcloud", *command)))


def _next(wanted: Wanted, number: str) -> list[str]:
    lines = [f"Next: terraform init -backend-config=bucket={wanted.bucket}"]
    if wanted.github:
        lines += [
            f"workload_identity_provider: {pool_name(number)}/providers/{PROVIDER}",
            f"service_account to apply: {wanted.account(DEPLOYER_ID)}",
            f"service_account to plan: {wanted.account(PLANNER_ID)}",
        ]
    return lines
