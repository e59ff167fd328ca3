"""Every failure of a call to Gemini, mapped to one error of the domain: pure.

The table is in `error_rules`. What a request cannot change about its own fate is not repeated:
the provider's refusals of the request end the step at once, while silence, overload and broken
answers may be tried again.

Error messages of the provider can quote the request, so none is passed on: only its status,
its machine-readable words, the paths of offending fields and the names of quotas are.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

from google.genai import errors

from executor.adapters.error_answer import AnsweredWithError, ErrorAnswer, read_error
from executor.adapters.error_rule import Rule, quota_kind
from executor.adapters.error_rules import DAILY_RESET_UTC_HOUR, RULES
from executor.adapters.rpc_status import LONGEST_DELAY
from shared.domain.errors import (
    GeminiRequestFailed,
    LlmProfileInvalid,
    RateLimited,
    StepError,
)

_SECONDS = re.compile(r"\d{1,9}")


def classify(failure: Exception, *, now: datetime) -> StepError:
    """The error that a failed call is; `now` tells how far off the next day's quota is."""
    failure = as_answer(failure)
    rule = next(rule for rule in RULES if rule.matches(failure))
    if not isinstance(failure, AnsweredWithError):
        return _error(rule, type(failure).__name__, {}, None)
    answer = failure.answer
    wait = _asked_delay(answer, now)
    if rule.error is LlmProfileInvalid:
        return LlmProfileInvalid(_profile_message(rule, answer), details=_details(answer))
    if rule.error is not RateLimited:
        return _error(rule, answer.name, _details(answer), wait)
    if rule.until_next_day:
        wait = max(wait or timedelta(0), _until_reset(now))
    message = f"{rule.says}: {answer.name}"
    return RateLimited(
        message, details=_details(answer), retry_after=wait, quota=quota_kind(answer)
    )


def as_answer(failure: Exception) -> Exception:
    """The failure, with an error answer of the client library in our own form."""
    if not isinstance(failure, errors.APIError):
        return failure
    headers = getattr(failure.response, "headers", None) or {}
    retry_after = headers.get("retry-after") if isinstance(headers, Mapping) else None
    return AnsweredWithError(read_error(failure.code, failure.details, retry_after=retry_after))


def _profile_message(rule: Rule, answer: ErrorAnswer) -> str:
    named = "".join(f"{name}: " for name in answer.parameters[:1])
    return f"{named}{rule.says}: {answer.name}"


def _details(answer: ErrorAnswer) -> dict[str, object]:
    found = answer.details
    details: Mapping[str, object] = {
        "httpStatus": answer.status_code,
        "reasons": found.reasons,
        "fields": found.fields,
        "quotas": found.quotas,
        "subject": answer.subject and str(answer.subject),
    }
    return {name: value for name, value in details.items() if value}


def _error(
    rule: Rule, name: str, details: dict[str, object], wait: timedelta | None
) -> StepError:
    message = f"{rule.says}: {name}"
    if issubclass(rule.error, GeminiRequestFailed):
        return rule.error(
            message,
            details=details,
            retry_after=wait,
            maybe_billed=rule.maybe_billed,
            refused=rule.refused,
        )
    return rule.error(message, details=details)


def _asked_delay(answer: ErrorAnswer, now: datetime) -> timedelta | None:
    """The delay that RetryInfo asks for, else that of the header Retry-After; at most a day."""
    if answer.details.delay is not None or answer.retry_after is None:
        return answer.details.delay
    asked = answer.retry_after.strip()
    if _SECONDS.fullmatch(asked):
        return min(timedelta(seconds=int(asked)), LONGEST_DELAY)
    try:
        moment = parsedate_to_datetime(asked)
    except ValueError:
        return None
    # A date without a zone is in UTC (https://www.rfc-editor.org/rfc/rfc5322#section-3.3).
    wait = moment.replace(tzinfo=moment.tzinfo or UTC) - now
    return min(max(wait, timedelta(0)), LONGEST_DELAY)


def _until_reset(now: datetime) -> timedelta:
    reset = now.replace(hour=DAILY_RESET_UTC_HOUR, minute=0, second=0, microsecond=0)
    return reset - now if now < reset else reset + timedelta(days=1) - now
