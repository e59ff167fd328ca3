"""The details of google.rpc.Status, as far as they are machine words: pure.

Each is checked against the form it should have. https://google.aip.dev/193
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

#: No quota of the API lasts longer than a day
#: (https://ai.google.dev/gemini-api/docs/rate-limits): a step does not wait longer for one.
LONGEST_DELAY = timedelta(days=1)
_MAX_ITEMS = 10
_DURATION = re.compile(r"(\d{1,7}(?:\.\d{1,9})?)s")
_WORD = re.compile(r"[A-Z][A-Z0-9_]{0,63}")
_QUOTA = re.compile(r"[A-Za-z0-9_-]{1,128}")
_FIELD_PATH = re.compile(r"[A-Za-z0-9_.\[\]]{1,128}")


@dataclass(frozen=True, slots=True, kw_only=True)
class RpcDetails:
    """What stands in the details of an error."""

    #: Of google.rpc.ErrorInfo.
    reasons: Sequence[str] = ()
    #: The ids of the quotas in google.rpc.QuotaFailure.
    quotas: Sequence[str] = ()
    #: One of these quotas is zero: this project may not use the model at all.
    no_quota: bool = False
    #: The paths of the fields in google.rpc.BadRequest.
    fields: Sequence[str] = ()
    #: The delay in google.rpc.RetryInfo, the longest if there are several; at most a day.
    delay: timedelta | None = None


NO_DETAILS = RpcDetails()


def read_details(error: Mapping[str, Any]) -> RpcDetails:
    """The details of an error object; none where it has none."""
    details = [item for item in _list(error.get("details")) if isinstance(item, Mapping)]
    violations = list(_items(details, "violations"))
    wrong = _items(details, "fieldViolations")
    delays = _formed((detail.get("retryDelay") for detail in details), _DURATION)
    return RpcDetails(
        reasons=_formed((detail.get("reason") for detail in details), _WORD),
        quotas=_formed(
            (item.get("quotaId") or item.get("subject") for item in violations), _QUOTA
        ),
        no_quota=any(map(_is_zero, violations)),
        fields=_formed((item.get("field") for item in wrong), _FIELD_PATH),
        delay=_longest(delays),
    )


def _longest(delays: Sequence[str]) -> timedelta | None:
    seconds = [float(delay.removesuffix("s")) for delay in delays]
    return min(timedelta(seconds=max(seconds)), LONGEST_DELAY) if seconds else None


def _is_zero(violation: Mapping[str, Any]) -> bool:
    """Whether the quota that was met has no room at all.

    `quotaValue` is an int64, which the JSON form of a message leaves out where it is zero
    (https://protobuf.dev/programming-guides/json/): a violation that is otherwise whole and
    lacks it says zero.
    """
    if "quotaValue" in violation:
        return str(violation["quotaValue"]) == "0"
    return "quotaId" in violation and "/" in str(violation.get("quotaMetric"))


def _formed(values: Iterator[Any], form: re.Pattern[str]) -> Sequence[str]:
    texts = [value for value in values if isinstance(value, str) and form.fullmatch(value)]
    return texts[:_MAX_ITEMS]


def _items(details: Sequence[Mapping[str, Any]], name: str) -> Iterator[Mapping[str, Any]]:
    for detail in details:
        for item in _list(detail.get(name)):
            if isinstance(item, Mapping):
                yield item


def _list(value: object) -> Sequence[Any]:
    return value if isinstance(value, list) else []
