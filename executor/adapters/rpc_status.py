"""What an error answer of a Google API says besides its message: pure.

The message can quote the request, so it stays here. What is read instead are machine words:
each is checked against the form it should have. https://google.aip.dev/193
"""

import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

from google.genai import errors

#: No quota of the API lasts longer than a day
#: (https://ai.google.dev/gemini-api/docs/rate-limits): a step does not wait longer for one.
LONGEST_DELAY = timedelta(days=1)
_MAX_ITEMS = 10
_DURATION = re.compile(r"(\d{1,7}(?:\.\d{1,9})?)s")
_WORD = re.compile(r"[A-Z][A-Z0-9_]{0,63}")
_QUOTA = re.compile(r"[A-Za-z0-9_-]{1,128}")
_FIELD_PATH = re.compile(r"[A-Za-z0-9_.\[\]]{1,128}")


def status_name(failure: errors.APIError) -> str:
    """The HTTP status, and the canonical code's name when there is one."""
    status = failure.status
    known = isinstance(status, str) and _WORD.fullmatch(status)
    return f"{failure.code} {status}" if known else f"{failure.code}"


def reasons(failure: errors.APIError) -> list[str]:
    """The reasons in google.rpc.ErrorInfo."""
    return _texts(failure, "reason", _WORD)


def quotas(failure: errors.APIError) -> list[str]:
    """The ids of the quotas in google.rpc.QuotaFailure."""
    ids = [item.get("quotaId") or item.get("subject") for item in _items(failure, "violations")]
    return _formed(ids, _QUOTA)


def wrong_fields(failure: errors.APIError) -> list[str]:
    """The paths of the fields in google.rpc.BadRequest."""
    paths = [item.get("field") for item in _items(failure, "fieldViolations")]
    return _formed(paths, _FIELD_PATH)


def asked_delay(failure: errors.APIError) -> timedelta | None:
    """The delay in google.rpc.RetryInfo, the longest if there are several; at most a day."""
    delays = _texts(failure, "retryDelay", _DURATION)
    seconds = [float(delay.removesuffix("s")) for delay in delays]
    return min(timedelta(seconds=max(seconds)), LONGEST_DELAY) if seconds else None


def _texts(failure: errors.APIError, name: str, form: re.Pattern[str]) -> list[str]:
    return _formed([detail.get(name) for detail in _details(failure)], form)


def _formed(values: list[Any], form: re.Pattern[str]) -> list[str]:
    texts = [value for value in values if isinstance(value, str) and form.fullmatch(value)]
    return texts[:_MAX_ITEMS]


def _items(failure: errors.APIError, name: str) -> Iterator[Mapping[str, Any]]:
    for detail in _details(failure):
        items = detail.get(name)
        for item in items if isinstance(items, list) else []:
            if isinstance(item, Mapping):
                yield item


def _details(failure: errors.APIError) -> Iterator[Mapping[str, Any]]:
    envelope = failure.details if isinstance(failure.details, Mapping) else {}
    inner = envelope.get("error")
    details = inner.get("details") if isinstance(inner, Mapping) else None
    for detail in details if isinstance(details, list) else []:
        if isinstance(detail, Mapping):
            yield detail
