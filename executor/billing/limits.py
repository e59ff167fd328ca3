"""Configured limits of calls: `GEMINI_LIMITS`, which repeats the provider's quota page."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

#: Tokens of a call of which nothing is known: candles, three charts and a report.
USUAL_TOKENS = 10_000.0
_MOST = 1_000_000_000


class LimitsInvalid(ValueError):
    """The text holds no limits; says where and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallLimit:
    """What one model takes in a minute; None is no limit."""

    requests: int | None = None
    tokens: int | None = None

    def calls(self, tokens_a_call: float) -> float | None:
        """Calls a minute, at so many tokens a call; None without a limit."""
        by_tokens = self.tokens / max(tokens_a_call, 1.0) if self.tokens else None
        given = [limit for limit in (self.requests, by_tokens) if limit is not None]
        return float(min(given)) if given else None


#: By the model's name.
CallLimits: TypeAlias = Mapping[str, CallLimit]


def parse_limits(text: str) -> CallLimits:
    """The limits in a JSON text such as `{"gemini-x": {"requests": 30, "tokens": 1000000}}`.

    Raises:
        LimitsInvalid: it is no such text.
    """
    try:
        models = json.loads(text)
    except (ValueError, RecursionError):
        raise LimitsInvalid("not JSON") from None
    if not isinstance(models, dict):
        raise LimitsInvalid("must map model names to limits")
    return {name: _limit(name, entry) for name, entry in models.items()}


def _limit(name: str, entry: object) -> CallLimit:
    if not isinstance(entry, dict) or not entry or not entry.keys() <= {"requests", "tokens"}:
        raise LimitsInvalid(f"{name}: has requests, tokens, or both")
    for field, value in entry.items():
        whole = isinstance(value, int) and not isinstance(value, bool)
        if not whole or not 1 <= value <= _MOST:
            raise LimitsInvalid(f"{name}.{field}: must be a whole number a minute, from 1")
    return CallLimit(requests=entry.get("requests"), tokens=entry.get("tokens"))
