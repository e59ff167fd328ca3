"""What a call took, as far as the provider says: pure.

Usage is read as a bill. Where it can be read in more than one way, the dearest counts; where it
cannot be read, what the call took is unknown, and never nothing.
https://ai.google.dev/api/generate-content#UsageMetadata
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

#: The API's counts are int32; sums of larger ones would outgrow a document's integers.
_MAX_COUNT = 2_147_483_647
_DIGITS = re.compile(r"[0-9]{1,10}(?:\.0+)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """Tokens of one call, or of several together."""

    #: All of the request, what came from a cache included.
    input: int = 0
    cached: int = 0
    output: int = 0
    thought: int = 0
    #: What the total counts, and none of its parts does.
    unseen: int = 0

    @property
    def total(self) -> int:
        """All of them; what came from a cache is part of the input."""
        return self.input + self.output + self.thought + self.unseen

    def __add__(self, other: "Tokens") -> "Tokens":
        return Tokens(
            input=self.input + other.input,
            cached=self.cached + other.cached,
            output=self.output + other.output,
            thought=self.thought + other.thought,
            unseen=self.unseen + other.unseen,
        )


def usage_tokens(usage: Mapping[str, Any] | None) -> Tokens | None:
    """The tokens in a call's `usageMetadata`; None where it is not known what the call took.

    The total is a floor: what it has beyond its parts is output that nobody saw, or thoughts.
    Without a total that can be read, parts may be missing as well. Parts that sum to more than
    the total count in full.
    """
    total = _count(usage, "totalTokenCount")
    if usage is None or not total:
        return None
    prompt = _count(usage, "promptTokenCount") or 0
    cached = _count(usage, "cachedContentTokenCount") or 0
    output = _count(usage, "candidatesTokenCount") or 0
    thought = _count(usage, "thoughtsTokenCount") or 0
    # The prompt includes what came from a cache; a smaller one cannot.
    asked = (prompt if cached <= prompt else prompt + cached) + (
        _count(usage, "toolUsePromptTokenCount") or 0
    )
    return Tokens(
        input=asked,
        cached=cached,
        output=output,
        thought=thought,
        unseen=max(total - asked - output - thought, 0),
    )


def _count(usage: Mapping[str, Any] | None, name: str) -> int | None:
    """The count of this name; None where there is none that can be read.

    JSON carries 64-bit integers as strings (https://protobuf.dev/programming-guides/json/), and
    some gateways write floating-point numbers.
    """
    value = usage.get(name) if usage else None
    if isinstance(value, bool):
        return None
    if isinstance(value, str) and _DIGITS.fullmatch(value):
        value = int(value.partition(".")[0])
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, int) and 0 <= value <= _MAX_COUNT else None
