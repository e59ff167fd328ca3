"""Regular expressions that cannot hang: RE2, whose time is linear in the text.

Python's `re` backtracks, so `(a+)+$` on thirty letters already takes minutes, and it cannot be
interrupted from within the process. RE2 has no such case, at the price of look-around and back
references (https://github.com/google/re2/wiki/Syntax), which a schema seldom needs.
"""

import functools
from dataclasses import dataclass
from typing import Any

MAX_PATTERN_CHARS = 1_000
#: Bounds the compiled program, and with it the work for one character.
_MAX_MEMORY_BYTES = 262_144
#: So many instructions over one character cost about what one keyword's check does.
_INSTRUCTIONS_PER_STEP = 10_000


class PatternInvalid(ValueError):
    """RE2 has no such expression, or it is too large."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """A compiled expression."""

    _compiled: Any

    def cost(self, text: str) -> int:
        """The work of searching this text, in steps of the validation's budget."""
        instructions: int = self._compiled.programsize
        return 1 + instructions * len(text) // _INSTRUCTIONS_PER_STEP

    def found_in(self, text: str) -> bool:
        """Whether it matches anywhere, as JSON Schema means it."""
        return self._compiled.search(text) is not None


@functools.lru_cache(maxsize=256)
def compile_pattern(text: str) -> Pattern:
    """The expression.

    Raises:
        PatternInvalid: it is too long or too large, or RE2 cannot do it.
    """
    if len(text) > MAX_PATTERN_CHARS:
        raise PatternInvalid(f"longer than {MAX_PATTERN_CHARS} characters")
    # Loaded here: it takes a megabyte, and few schemas have a pattern.
    import re2  # noqa: PLC0415

    options = re2.Options()
    options.max_mem = _MAX_MEMORY_BYTES
    options.log_errors = False
    try:
        return Pattern(re2.compile(text, options))
    except (re2.error, UnicodeEncodeError):
        raise PatternInvalid("not a regular expression of RE2") from None
