"""Asking before what is paid for or final."""

import asyncio
import sys

import typer

from infra.failures import CannotBeDone


class NotConfirmed(CannotBeDone):
    """The act was not confirmed: nothing was done."""

    exit_code = 2


async def a_reason(given: str | None) -> str:
    """The reason that was given, or that is typed now.

    Raises:
        NotConfirmed: there is none, and nobody to ask.
    """
    reason = (given or "").strip()
    if not reason and given is None and sys.stdin.isatty():
        typed = await asyncio.to_thread(typer.prompt, "Why? It is kept in the record", err=True)
        reason = str(typed).strip()
    if not reason:
        raise NotConfirmed("say why with --reason: it is kept in the record")
    return reason


async def confirmed(question: str, *, yes: bool) -> None:
    """Return once the act is confirmed.

    Raises:
        NotConfirmed: it is not, or there is nobody to ask.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise NotConfirmed(f"{question}\nnothing was done: say --yes to do it without asking")
    # Beside the event loop, which holds connections meanwhile.
    if not await asyncio.to_thread(typer.confirm, question, err=True):
        raise NotConfirmed("nothing was done")
