"""A row of the table in `error_rules`, and the conditions of its rows: pure."""

import re
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus

import httpx2

from executor.adapters.error_answer import AnsweredWithError, ErrorAnswer
from executor.adapters.error_sentences import ErrorSubject
from executor.ports import SAFETY_REASONS
from shared.domain.errors import QuotaKind, StepError

#: The words by which Interactions say that the prompt or the answer was blocked
#: (https://ai.google.dev/gemini-api/docs/api-errors).
BLOCKED_WORDS = SAFETY_REASONS | {"CONTENT_BLOCKED", "IMAGE_OTHER", "LANGUAGE"}
#: https://developers.cloudflare.com/support/troubleshooting/http-status-codes/cloudflare-5xx-errors/
SENT_ON_BY_A_GATEWAY = range(520, 525)
#: No standard has it; several providers and gateways say so that they are overloaded.
OVERLOADED = 529
#: getaddrinfo's final answers; EAI_AGAIN is the one that may be another later
#: (https://man7.org/linux/man-pages/man3/getaddrinfo.3.html). EAI_NODATA is not everywhere.
_NO_SUCH_NAME = frozenset(
    {socket.EAI_NONAME, socket.EAI_FAIL, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)}
)
_PER_DAY = re.compile(r"per_?day", re.IGNORECASE)
_PER_MINUTE = re.compile(r"per_?minute", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One row of the table: what happened, and the error that it becomes."""

    when: str
    matches: Callable[[Exception], bool]
    error: type[StepError]
    says: str
    #: The model may have worked on the request, although no usable answer came. What the API
    #: itself answers with an error costs nothing (https://ai.google.dev/gemini-api/docs/billing).
    maybe_billed: bool = False
    #: No model worked on the request, and waiting is what helps.
    refused: bool = False
    #: Nothing can come of another call before the next day's quota.
    until_next_day: bool = False


def quota_kind(answer: ErrorAnswer) -> QuotaKind:
    """The longest of the limits that a refusal names."""
    named = " ".join(answer.details.quotas)
    if answer.word == "QUOTA_EXCEEDED" or _PER_DAY.search(named):
        return QuotaKind.DAY
    if answer.subject is ErrorSubject.SPENDING_RATE:
        return QuotaKind.SPENDING
    per_minute = answer.word == "RATE_LIMIT_EXCEEDED" or _PER_MINUTE.search(named)
    return QuotaKind.MINUTE if per_minute else QuotaKind.UNNAMED


def is_a(*kinds: type[Exception]) -> Callable[[Exception], bool]:
    """It is one of these exceptions."""
    return lambda failure: isinstance(failure, kinds)


def error_that(test: Callable[[ErrorAnswer], bool]) -> Callable[[Exception], bool]:
    """It is an error answer that passes the test."""
    return lambda failure: isinstance(failure, AnsweredWithError) and test(failure.answer)


def any_of(*conditions: Callable[[Exception], bool]) -> Callable[[Exception], bool]:
    """One of these holds."""
    return lambda failure: any(condition(failure) for condition in conditions)


def answered(*codes: int) -> Callable[[Exception], bool]:
    """It is an error answer with one of these statuses."""
    return error_that(lambda answer: answer.status_code in codes)


def refused_about(subject: ErrorSubject) -> Callable[[Exception], bool]:
    """It is a refusal of the request, with a sentence about this."""
    refusals = (HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
    return error_that(lambda a: a.status_code in refusals and a.subject is subject)


def limited_about(subject: ErrorSubject) -> Callable[[Exception], bool]:
    """It is a 429 with a sentence about this."""
    return error_that(
        lambda a: a.status_code == HTTPStatus.TOO_MANY_REQUESTS and a.subject is subject
    )


def is_access_refusal(answer: ErrorAnswer) -> bool:
    """Whether a 400 is about our key or project, and not about the request."""
    # The Developer API says 400 to a key that was revoked, expired or never valid, and to
    # a project without billing where only paying ones are served
    # (https://ai.google.dev/gemini-api/docs/troubleshooting).
    if answer.status_code != HTTPStatus.BAD_REQUEST:
        return False
    return (
        answer.word == "FAILED_PRECONDITION"
        or answer.subject is ErrorSubject.API_KEY
        or any(reason.startswith("API_KEY_") for reason in answer.details.reasons)
    )


def is_bad_certificate(failure: Exception) -> bool:
    """Whether the server's certificate was not trusted."""
    return isinstance(failure, httpx2.ConnectError) and any(
        isinstance(cause, ssl.SSLCertVerificationError) for cause in _causes(failure)
    )


def is_unknown_host(failure: Exception) -> bool:
    """Whether the resolver knows no address for the name, and would say so again."""
    return isinstance(failure, httpx2.ConnectError) and any(
        isinstance(cause, socket.gaierror) and cause.errno in _NO_SUCH_NAME
        for cause in _causes(failure)
    )


def is_refused_by_proxy(failure: Exception) -> bool:
    """Whether a proxy refuses us for good; one that is only overloaded is asked again."""
    return isinstance(failure, httpx2.ProxyError) and str(failure)[:1] == "4"


def _causes(failure: BaseException) -> list[BaseException]:
    found: list[BaseException] = [failure]
    while (cause := found[-1].__cause__ or found[-1].__context__) and cause not in found:
        found.append(cause)
    return found
