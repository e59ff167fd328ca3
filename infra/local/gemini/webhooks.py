"""The stand-in's webhooks: a call that has ended is announced where its beginner said.

Signed in both ways of Standard Webhooks, delivered at least once until somebody takes it, and
to loopback addresses alone. https://ai.google.dev/gemini-api/docs/webhooks
"""

import asyncio
import base64
import hashlib
import hmac
import json
import secrets
import ssl
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httpx2
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from infra.local.gemini.faults import Asked, FaultKind, FaultRule, Faults
from infra.local.serving.own_host import LOOPBACK_NAMES
from shared.adapters.clock import SystemClock
from shared.domain.times import rfc3339

_SOUND = FaultRule(kind=FaultKind.NONE, at=Asked.HOOK)
_DELIVERY_SECONDS = 10.0
_FIRST_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 60.0
#: How often a call is looked at that has not ended: it may be stopped, or evicted.
_LOOK_SECONDS = 0.05
_EVENTS = {"failed": "interaction.failed", "requires_action": "interaction.requires_action"}
_COMPLETED = "interaction.completed"
# Loading the CA bundle would be all cost: nothing but loopback is ever reached.
_NO_CERTIFICATES = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Announcement:
    """What is announced of a call, and to whom."""

    call_id: str
    uris: Sequence[str]
    metadata: Mapping[str, Any] | None
    #: The status of the call once it has ended; None before that.
    ended_as: Callable[[], str | None]
    #: The words by which a rule can mean this call.
    words: Sequence[str]


def announcement(
    config: Any, call_id: str, ended_as: Callable[[], str | None], *words: str
) -> Announcement | None:
    """What the `webhook_config` of a call asks for; None without an address on this machine."""
    asked = config if isinstance(config, Mapping) else {}
    uris = [uri for uri in asked.get("uris") or [] if isinstance(uri, str) and _is_here(uri)]
    metadata = asked.get("user_metadata")
    if not uris:
        return None
    return Announcement(
        call_id=call_id, uris=uris, metadata=metadata, ended_as=ended_as, words=words
    )


@dataclass(slots=True, kw_only=True)
class Webhooks:
    """The courier of one stand-in."""

    faults: Faults
    _secret: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)
    _private: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    _under_way: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def signing_keys(self) -> tuple[str, str]:
        """What its signatures are checked by: the secret for `v1`, the key for `v1a`."""
        public = self._private.public_key().public_bytes_raw()
        return f"whsec_{_base64(self._secret)}", f"whpk_{_base64(public)}"

    async def announce(self, told: Announcement) -> None:
        """See to it that the end of the call is announced.

        It returns at once, unless a rule wants the hook to come before the call's id.
        """
        rule = self.faults.take(*told.words, at=Asked.HOOK) or _SOUND
        if rule.kind is FaultKind.HOOK_LOST:
            return
        if rule.kind is FaultKind.HOOK_EARLY:
            for uri in told.uris:
                await self._delivered(uri, f"msg_{uuid.uuid4().hex}", _event(told))
            return
        task = asyncio.create_task(self._announced(told, rule))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def aclose(self) -> None:
        """Give up what was not delivered yet."""
        tasks = list(self._under_way)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _announced(self, told: Announcement, rule: FaultRule) -> None:
        while told.ended_as() is None:  # noqa: ASYNC110 - its end is a matter of the clock
            await asyncio.sleep(_LOOK_SECONDS)
        if rule.kind is FaultKind.HOOK_LATE:
            await asyncio.sleep(rule.seconds)
        times = 2 if rule.kind is FaultKind.HOOK_DOUBLED else 1
        message_id = f"msg_{uuid.uuid4().hex}"
        await asyncio.gather(
            *(
                self._until_taken(uri, message_id, _event(told))
                for uri in told.uris
                for _ in range(times)
            )
        )

    async def _until_taken(self, uri: str, message_id: str, body: bytes) -> None:
        pause = _FIRST_PAUSE_SECONDS
        while not await self._delivered(uri, message_id, body):
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)

    async def _delivered(self, uri: str, message_id: str, body: bytes) -> bool:
        """Whether somebody took it."""
        headers = self.headers(message_id, int(SystemClock().now().timestamp()), body)
        with suppress(httpx2.TransportError):
            async with httpx2.AsyncClient(
                trust_env=False, timeout=_DELIVERY_SECONDS, verify=_NO_CERTIFICATES
            ) as client:
                return (await client.post(uri, content=body, headers=headers)).is_success
        return False

    def headers(self, message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
        """The headers of one delivery, signed in both ways.

        https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
        """
        signed = f"{message_id}.{timestamp}.".encode() + body
        by_secret = hmac.new(self._secret, signed, hashlib.sha256).digest()
        by_key = self._private.sign(signed)
        return {
            "content-type": "application/json",
            "webhook-id": message_id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": f"v1,{_base64(by_secret)} v1a,{_base64(by_key)}",
        }


def _event(told: Announcement) -> bytes:
    """The thin event: which call, and how it ended."""
    event = {
        "version": "v1",
        "type": _EVENTS.get(told.ended_as() or "", _COMPLETED),
        "timestamp": rfc3339(SystemClock().now()),
        "data": {"id": told.call_id},
        **({"user_metadata": told.metadata} if told.metadata else {}),
    }
    return json.dumps(event).encode()


def _is_here(uri: str) -> bool:
    """Whether the address is on this machine: a stand-in tells nobody else of anything."""
    try:
        parts = urlsplit(uri)
    except ValueError:
        return False
    return parts.scheme == "http" and parts.hostname in LOOPBACK_NAMES


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
