"""Faults on demand for the storage server, and its count of requests."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from infra.local.serving.broken_answers import DrippedAnswer, LostAnswer

_DRIP_PIECES = 40


class StorageFaultKind(StrEnum):
    """What can go wrong with a request."""

    #: The work is done; its answer is lost to a connection reset.
    DROP_RESPONSE_AFTER_COMMIT = "drop_response_after_commit"
    #: The work is not done; the answer is an error with the rule's `status`.
    STATUS = "status"
    #: The work begins `seconds` later.
    LATENCY = "latency"
    #: The work is done; its answer takes `seconds` to arrive, in small pieces.
    SLOW_DRIP = "slow_drip"


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageFault:
    """A fault for the next `times` requests of this method and with this text in the name."""

    kind: StorageFaultKind
    method: str | None = None
    name_contains: str = ""
    times: int = 1
    status: int = 503
    seconds: float = 1.0

    def matches(self, method: str, name: str) -> bool:
        """Whether the rule is meant for this request."""
        return self.method in {None, method} and self.name_contains in name


class StorageFaults:
    """The rules still in force and the requests counted so far, of one server."""

    def __init__(self, rules: Iterable[StorageFault] = ()) -> None:
        self.methods: Counter[str] = Counter()
        self.operations: Counter[str] = Counter()
        self._rules: list[tuple[StorageFault, int]] = []
        self.add(rules)

    def add(self, rules: Iterable[StorageFault]) -> None:
        """Put rules in force behind those that are."""
        self._rules += [(rule, rule.times) for rule in rules]

    def clear(self) -> None:
        """Drop all rules."""
        self._rules = []

    async def perform(
        self, request: Request, operation: str, name: str, work: Callable[[], Response]
    ) -> Response:
        """Count the request and do its (blocking) work in a thread, unless a rule says else."""
        self.methods[request.method] += 1
        self.operations[operation] += 1
        rule = self._take(request.method, name)
        match rule.kind if rule else None:
            case StorageFaultKind.STATUS if rule:
                return error_answer(rule.status, "backendError", "fault on demand")
            case StorageFaultKind.LATENCY if rule:
                await asyncio.sleep(rule.seconds)
        answer = await run_in_threadpool(work)
        match rule.kind if rule else None:
            case StorageFaultKind.DROP_RESPONSE_AFTER_COMMIT:
                return LostAnswer()
            case StorageFaultKind.SLOW_DRIP if rule:
                return DrippedAnswer(answer, seconds=rule.seconds, pieces=_DRIP_PIECES)
        return answer

    def _take(self, method: str, name: str) -> StorageFault | None:
        for index, (rule, left) in enumerate(self._rules):
            if rule.matches(method, name):
                self._rules[index : index + 1] = [(rule, left - 1)] if left > 1 else []
                return rule
        return None


def error_answer(code: int, reason: str, message: str, **more: str) -> JSONResponse:
    """An error as the Cloud Storage JSON API words it."""
    detail = {"domain": "global", "reason": reason, "message": message, **more}
    envelope = {"code": code, "message": message, "errors": [detail]}
    return JSONResponse({"error": envelope}, status_code=code)


def fault_rules(document: Any) -> list[StorageFault]:
    """The rules in a control request: a list of objects with the fields of `StorageFault`.

    Raises:
        ValueError: it is something else.
    """
    if not isinstance(document, list):
        raise ValueError("a list of rules is needed")  # noqa: TRY004  # one error for bad input
    return [_fault_rule(item) for item in document]


def _fault_rule(item: Any) -> StorageFault:
    known = {field.name for field in fields(StorageFault)}
    if not isinstance(item, Mapping) or not {"kind"} <= set(item) <= known:
        raise ValueError(f"a rule has a kind and, at will, the rest of {sorted(known)}")
    return StorageFault(**{**item, "kind": StorageFaultKind(item["kind"])})
