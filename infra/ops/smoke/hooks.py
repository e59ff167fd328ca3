"""The smoke test's hooks: what nobody signed is refused, what is signed is taken."""

import asyncio
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from http import HTTPStatus

import requests

from infra.ops.smoke.plan import STEP
from shared.domain.hooks import HookAddress, hook_path
from shared.domain.identifiers import ClaimId, RunId

#: An instance may have to start.
_ANSWER_SECONDS = 60.0
_GOOD_FOR = timedelta(minutes=5)
#: As long as a secret must be, and nobody's.
_NOBODYS_SECRET = 32 * "x"
_BODY = json.dumps({"type": "interaction.completed", "data": {"id": "v1_smoke"}})


class Hooks(StrEnum):
    """How far hooks were tried."""

    OFF = "off"  #: Calls are announced to nobody.
    FORGED = "forged"  #: A forged one; the secret was not at hand to sign one.
    ALL = "all"  #: A forged one, and one that is signed.


@dataclass(frozen=True, slots=True, kw_only=True)
class HookTarget:
    """The function `notify`, as far as it is known from outside."""

    url: str
    #: What it checks addresses with; None where that is not at hand.
    secret: str | None = field(repr=False)
    #: Whether it asks for the provider's own signatures too, which nobody here can make.
    provider_signs: bool = False
    #: Whether it may be reached through a proxy that the environment names.
    remote: bool = True


def tried(target: HookTarget | None) -> Hooks:
    """How far the hooks of a target can be tried."""
    if target is None:
        return Hooks.OFF
    return Hooks.FORGED if target.secret is None else Hooks.ALL


def words(hooks: Hooks) -> str:
    """The same for a person."""
    match hooks:
        case Hooks.OFF:
            return "hooks: off, no call is announced"
        case Hooks.FORGED:
            return "hooks: a forged one is sent; set WEBHOOK_SECRET to have one signed, too"
        case Hooks.ALL:
            return "hooks: a forged one and a signed one are sent, for a run that is not there"


async def hook_problems(
    target: HookTarget | None, run_id: RunId, now: datetime
) -> Sequence[str]:
    """Send hooks about a run that is not there; what is wrong with the answers."""
    if target is None:
        return ()
    address = HookAddress(
        run_id=run_id,
        step_id=STEP,
        claim_id=ClaimId("smoke"),
        call=1,
        expires_at=now + _GOOD_FOR,
    )
    return await asyncio.to_thread(lambda: [*_problems(target, address)])


def _problems(target: HookTarget, address: HookAddress) -> Iterator[str]:
    with requests.Session() as session:
        session.trust_env = target.remote
        forged = _answer(session, target, hook_path(address, _NOBODYS_SECRET))
        if forged != HTTPStatus.NOT_FOUND:
            yield f"a forged hook: {forged} instead of 404"
        if target.secret is None:
            return
        # Where the provider signs, an address alone is worth nothing.
        wanted = HTTPStatus.NOT_FOUND if target.provider_signs else HTTPStatus.NO_CONTENT
        signed = _answer(session, target, hook_path(address, target.secret))
        if signed != wanted:
            yield f"a hook with a signed address: {signed} instead of {wanted:d}"


def _answer(session: requests.Session, target: HookTarget, path: str) -> int | str:
    try:
        answer = session.post(
            f"{target.url.rstrip('/')}/{path}",
            data=_BODY,
            headers={"content-type": "application/json"},
            timeout=_ANSWER_SECONDS,
        )
    except requests.RequestException as error:
        return f"no answer ({type(error).__name__})"
    return answer.status_code
