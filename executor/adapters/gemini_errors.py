"""Every failure of a call to Gemini, mapped to one error of the domain: pure, one table.

The table's rows are tried from the top; the last one takes whatever nobody thought of. What
a request cannot change about its own fate is not repeated: the provider's refusals end the
step at once, while silence, overload and broken answers may be tried again.

Error messages of the provider can quote the request, so none is passed on: only its status,
its machine-readable reason, the paths of offending fields and the name of a quota are.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from http import HTTPStatus

import google.auth.exceptions
import httpx2
from google.genai import errors

from executor.adapters.envelope import EnvelopeBroken
from executor.adapters.rpc_status import (
    asked_delay,
    quotas,
    reasons,
    status_name,
    wrong_fields,
)
from shared.domain.errors import (
    GeminiAccessDenied,
    GeminiRequestFailed,
    LlmProfileInvalid,
    RateLimited,
    RetryableError,
    StepError,
)

#: Requests per day are counted anew at midnight Pacific time
#: (https://ai.google.dev/gemini-api/docs/rate-limits), which is 07:00 or 08:00 UTC.
DAILY_RESET_UTC_HOUR = 8
_PER_DAY = re.compile(r"per_?day", re.IGNORECASE)
_SERVER_ERRORS = range(500, 600)
_CLIENT_ERRORS = range(400, 500)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One row of the table: what happened, and the error that it becomes."""

    when: str
    matches: Callable[[Exception], bool]
    error: type[StepError]
    says: str
    #: Nothing can come of another call before the next day's quota.
    until_next_day: bool = False
    #: The model may have worked on the request, although no usable answer came. What the API
    #: itself answers with an error costs nothing (https://ai.google.dev/gemini-api/docs/billing).
    maybe_billed: bool = False


def classify(failure: Exception, *, now: datetime) -> StepError:
    """The error that a failed call is; `now` tells how far off the next day's quota is."""
    rule = next(rule for rule in RULES if rule.matches(failure))
    if not isinstance(failure, errors.APIError):
        return _error(rule, type(failure).__name__, {}, None)
    wait = asked_delay(failure)
    if rule.until_next_day:
        wait = max(wait or timedelta(0), _until_reset(now))
    details = {
        "httpStatus": failure.code,
        "reasons": reasons(failure),
        "fields": wrong_fields(failure),
        "quotas": quotas(failure),
    }
    present = {name: value for name, value in details.items() if value}
    return _error(rule, status_name(failure), present, wait)


def _error(
    rule: Rule, name: str, details: dict[str, object], wait: timedelta | None
) -> StepError:
    message = f"{rule.says}: {name}"
    if issubclass(rule.error, GeminiRequestFailed):
        return rule.error(
            message, details=details, retry_after=wait, maybe_billed=rule.maybe_billed
        )
    if issubclass(rule.error, RetryableError):
        return rule.error(message, details=details, retry_after=wait)
    return rule.error(message, details=details)


def _until_reset(now: datetime) -> timedelta:
    reset = now.replace(hour=DAILY_RESET_UTC_HOUR, minute=0, second=0, microsecond=0)
    return reset - now if now < reset else reset + timedelta(days=1) - now


def _is(*kinds: type[Exception]) -> Callable[[Exception], bool]:
    return lambda failure: isinstance(failure, kinds)


def _answered(*codes: int) -> Callable[[Exception], bool]:
    return lambda failure: isinstance(failure, errors.APIError) and failure.code in codes


def _is_access_refusal(failure: Exception) -> bool:
    # The Developer API says 400 to a key that was revoked, expired or never valid, and to
    # a project without billing where only paying ones are served
    # (https://ai.google.dev/gemini-api/docs/troubleshooting).
    if not isinstance(failure, errors.APIError) or failure.code != HTTPStatus.BAD_REQUEST:
        return False
    return failure.status == "FAILED_PRECONDITION" or "API_KEY_INVALID" in reasons(failure)


def _is_daily_quota(failure: Exception) -> bool:
    return isinstance(failure, errors.APIError) and (
        failure.code == HTTPStatus.TOO_MANY_REQUESTS
        and any(_PER_DAY.search(quota) for quota in quotas(failure))
    )


#: In the order in which they are tried.
RULES: tuple[Rule, ...] = (
    Rule(
        when="no whole answer before the call's deadline, cut off by the wall clock",
        matches=_is(TimeoutError),
        error=GeminiRequestFailed,
        says="no answer in time",
        maybe_billed=True,
    ),
    Rule(
        when="400 with the reason `API_KEY_INVALID`, or with `FAILED_PRECONDITION`",
        matches=_is_access_refusal,
        error=GeminiAccessDenied,
        says="the provider refuses the API key or its project",
    ),
    Rule(
        when="401, 403",
        matches=_answered(HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN),
        error=GeminiAccessDenied,
        says="the provider refuses our credentials",
    ),
    Rule(
        when="404",
        matches=_answered(HTTPStatus.NOT_FOUND),
        error=LlmProfileInvalid,
        says="modelName: the provider has no such model here",
    ),
    Rule(
        when="429 whose `QuotaFailure` names a quota per day",
        matches=_is_daily_quota,
        error=RateLimited,
        says="the provider's quota of the day is used up",
        until_next_day=True,
    ),
    Rule(
        when="429",
        matches=_answered(HTTPStatus.TOO_MANY_REQUESTS),
        error=RateLimited,
        says="the provider's rate limit is reached",
    ),
    Rule(
        when="501, 505",
        matches=_answered(HTTPStatus.NOT_IMPLEMENTED, HTTPStatus.HTTP_VERSION_NOT_SUPPORTED),
        error=LlmProfileInvalid,
        says="the provider does not support the request",
    ),
    Rule(
        when="408, 499, 502, 504: something in between gave up waiting",
        # 499 is CANCELLED (google/rpc/code.proto).
        matches=_answered(408, 499, HTTPStatus.BAD_GATEWAY, HTTPStatus.GATEWAY_TIMEOUT),
        error=GeminiRequestFailed,
        says="the provider gave up",
        maybe_billed=True,
    ),
    Rule(
        when="any other 5xx; 409, 425",
        # 409 is ABORTED (google/rpc/code.proto).
        matches=_answered(*_SERVER_ERRORS, HTTPStatus.CONFLICT, HTTPStatus.TOO_EARLY),
        error=GeminiRequestFailed,
        says="the provider failed",
    ),
    Rule(
        when="any other 4xx, 400 among them",
        matches=_answered(*_CLIENT_ERRORS),
        error=LlmProfileInvalid,
        says="the provider refuses the request",
    ),
    Rule(
        when="any other status",
        matches=_is(errors.APIError),
        error=GeminiRequestFailed,
        says="the provider's status is none of an API",
    ),
    Rule(
        when="no connection: refused, name not resolved, TLS failed",
        matches=_is(httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout),
        error=GeminiRequestFailed,
        says="the provider cannot be reached",
    ),
    Rule(
        when="the connection reset or lost, or its bytes unreadable",
        matches=_is(httpx2.HTTPError, httpx2.StreamError),
        error=GeminiRequestFailed,
        says="the transport failed",
        maybe_billed=True,
    ),
    Rule(
        when="an answer with status 200 that is not the API's JSON",
        matches=_is(EnvelopeBroken, errors.UnknownApiResponseError, UnicodeError),
        error=GeminiRequestFailed,
        says="the provider's envelope cannot be read",
        maybe_billed=True,
    ),
    Rule(
        when="no credentials are configured",
        matches=_is(google.auth.exceptions.DefaultCredentialsError),
        error=GeminiAccessDenied,
        says="there are no application default credentials",
    ),
    Rule(
        # Also what a metadata server that is away for a moment ends in.
        when="no access token from the credentials",
        matches=_is(google.auth.exceptions.GoogleAuthError),
        error=GeminiRequestFailed,
        says="no access token",
    ),
    Rule(
        when="anything else that the client library raises",
        matches=_is(Exception),
        error=GeminiRequestFailed,
        says="unexpected",
        maybe_billed=True,
    ),
)
