"""The formats that an answer is held to; draft 2020-12 itself only annotates them."""

import re
from datetime import datetime

from jsonschema import FormatChecker

#: https://datatracker.ietf.org/doc/html/rfc3339#section-5.6, without leap seconds.
_DATE_TIME = re.compile(
    r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:[Zz]|[+-]\d\d:\d\d)", re.ASCII
)

#: Each costs a time linear in the text; `regex`, which does not, is left out.
FORMATS = FormatChecker(("date", "email", "ipv4", "ipv6", "uuid"))


@FORMATS.checks("date-time", raises=ValueError)
def _is_date_time(value: object) -> bool:
    if not isinstance(value, str):
        return True
    if _DATE_TIME.fullmatch(value) is None:
        return False
    datetime.fromisoformat(value)
    return True


CHECKED_FORMATS = frozenset(FORMATS.checkers)
