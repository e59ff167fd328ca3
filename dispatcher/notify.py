"""Hooks: the provider says that a call in the background has ended, and its job is woken.

Anybody may send a request here. What counts is the signature in its path, which only this
worker can make, and that of the provider where one of its keys is set. All that is done is to
publish a message that wakes a job, whose executor then looks for the answer with its own
credentials. Nothing here can read or write a document.
"""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from http import HTTPStatus

from dispatcher.webhook_signatures import Verifier, is_signed
from shared.domain.hooks import read_hook_path
from shared.domain.messages import ENDED_CALL, JobMessage
from shared.log import EventLogger, LogEvent
from shared.ports import Clock, PortFailure, Queue

#: A hook names a call and carries no answer.
MAX_BODY_BYTES = 16_384
BODY_SECONDS = 5.0
PUBLISH_SECONDS = 5.0
#: Far above what was seen, and below what a message's attribute holds.
MAX_CALL_ID_CHARS = 512
_CALL_ID = re.compile(rf"[!-~]{{1,{MAX_CALL_ID_CHARS}}}")


class Rejection(StrEnum):
    """Why a request is nothing to us."""

    METHOD = "method"
    UNSIGNED = "unsigned"
    TOO_LARGE = "too_large"
    TOO_SLOW = "too_slow"
    UNREADABLE = "unreadable"
    #: The address is ours, and the provider did not sign the request, or not lately.
    SIGNATURE = "signature"


class NoHook(Exception):
    """The request is no hook of ours."""

    def __init__(self, why: Rejection) -> None:
        super().__init__(why)
        self.why = why


@dataclass(frozen=True, slots=True, kw_only=True)
class Notifier:
    """Answers hooks."""

    queue: Queue
    clock: Clock
    log: EventLogger
    #: Each of them signs; none: no request is a hook.
    secrets: Sequence[str] = field(repr=False)
    #: Each checks the provider's signatures by one of its keys; none: they are not asked for.
    checks: Sequence[Verifier] = ()

    async def handle(
        self, method: str, path: str, headers: Mapping[str, str], body: AsyncIterator[bytes]
    ) -> HTTPStatus:
        """The status that answers a request; the names of its headers are in lower case.

        404 for all that is no hook of ours, whatever is wrong with it, and then nothing was
        done; 503 where the job could not be woken, so that the provider tells it again.
        """
        try:
            message, call_id = await self._read(method, path, headers, body)
        except NoHook as problem:
            self.log.warning(LogEvent.HOOK_REJECTED, reason=problem.why)
            return HTTPStatus.NOT_FOUND
        log = self.log.bind(runId=message.run_id, stepId=message.step_id)
        try:
            await self.queue.publish(
                [message.encode({ENDED_CALL: call_id})], timeout_seconds=PUBLISH_SECONDS
            )
        except PortFailure as problem:
            log.error(LogEvent.HOOK_RECEIVED, f"the job was not woken: {problem}")
            return HTTPStatus.SERVICE_UNAVAILABLE
        log.info(LogEvent.HOOK_RECEIVED)
        return HTTPStatus.NO_CONTENT

    async def _read(
        self, method: str, path: str, headers: Mapping[str, str], body: AsyncIterator[bytes]
    ) -> tuple[JobMessage, str]:
        """Which job to wake, and the call that is said to have ended.

        Raises:
            NoHook: before anything is read of the body, unless the path is ours.
        """
        if method != "POST":
            raise NoHook(Rejection.METHOD)
        address = read_hook_path(path.removeprefix("/"), self.secrets, self.clock.now())
        if address is None:
            raise NoHook(Rejection.UNSIGNED)
        try:
            async with asyncio.timeout(BODY_SECONDS):
                told = await _bounded(body)
        except TimeoutError:
            raise NoHook(Rejection.TOO_SLOW) from None
        if self.checks and not is_signed(headers, told, self.checks, self.clock.now()):
            raise NoHook(Rejection.SIGNATURE)
        call_id = ended_call(told)
        message = JobMessage(
            run_id=address.run_id, step_id=address.step_id, claim_id=address.claim_id
        )
        return message, call_id


async def _bounded(body: AsyncIterator[bytes]) -> bytes:
    whole = bytearray()
    async for chunk in body:
        whole += chunk
        if len(whole) > MAX_BODY_BYTES:
            raise NoHook(Rejection.TOO_LARGE)
    return bytes(whole)


def ended_call(body: bytes) -> str:
    """The id in the body of a hook, `{"type": …, "data": {"id": …}}`.

    https://ai.google.dev/gemini-api/docs/webhooks

    Raises:
        NoHook: there is none that could be an id.
    """
    try:
        told = json.loads(body)
    except (ValueError, RecursionError):
        raise NoHook(Rejection.UNREADABLE) from None
    data = told.get("data") if isinstance(told, dict) else None
    call_id = data.get("id") if isinstance(data, dict) else None
    if not isinstance(call_id, str) or _CALL_ID.fullmatch(call_id) is None:
        raise NoHook(Rejection.UNREADABLE)
    return call_id
