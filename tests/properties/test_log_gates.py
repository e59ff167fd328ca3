"""Whatever is logged, the log never raises, and an entry is one line without a secret."""

import io
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.log import EventLogger, LogEvent

CANARY = "canary-c0ffee"
FORBIDDEN = st.sampled_from(
    ["apiKey", "API_KEY", "token", "Secret", "authorization", "credentials", "userPrompt"]
)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
ANYTHING = st.recursive(
    SCALARS | st.binary(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=6) | st.integers(), inner, max_size=4)
    ),
    max_leaves=12,
)


class _Nine:
    def now(self) -> datetime:
        return datetime(2026, 1, 5, 9, tzinfo=UTC)

    def monotonic(self) -> float:
        return 0.0


def line_of(fields: dict[str, Any]) -> str:
    stream = io.StringIO()
    log = EventLogger(component="c", env="e", clock=_Nine(), stream=stream)
    log.info(LogEvent.JOB_RECEIVED, **fields)
    return stream.getvalue()


@given(fields=st.dictionaries(st.text(max_size=6), ANYTHING, max_size=4))
def test_any_fields_at_all_give_one_line_of_strict_json(fields: dict[str, Any]) -> None:
    line = line_of(fields)

    assert line.count("\n") == 1
    assert line.endswith("\n")
    entry = json.loads(line, parse_constant=pytest.fail)
    assert entry["event"] in {"job_received", "log_entry_rejected"}


@st.composite
def hiding_places(draw: st.DrawFn) -> dict[str, Any]:
    """A secret under a forbidden key, wrapped in maps and lists."""
    value: Any = {draw(FORBIDDEN): CANARY}
    for _ in range(draw(st.integers(0, 6))):
        beside = draw(SCALARS)
        value = draw(st.sampled_from([{"a": value}, [beside, value], {"llm": {"x": value}}]))
    return {"field": value}


@given(fields=hiding_places())
def test_a_secret_never_shows_however_it_is_wrapped(fields: dict[str, Any]) -> None:
    line = line_of(fields)

    assert CANARY not in line
    assert json.loads(line)["event"] == "log_entry_rejected"
