"""The page of what was measured."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks.report import page
from tests.benchmarks.weighed import Weighed

_DOCS = Path(__file__).parents[3] / "docs"
_MACHINE = {"processor": "one"}


def _raw(dispatcher_seconds: float) -> dict[str, Any]:
    start = {"seconds": [1.0, 1.0], "mebibytes": [100.0, 100.0]}
    ours = {"seconds": [dispatcher_seconds] * 2, "mebibytes": [39.0, 39.0]}
    figures = {"dispatcher": ours, "executor": start, "single function": start}
    return {
        "cold_start": {
            "figures": figures,
            "seconds": 7,
            "load before": "0.1",
            "machine": _MACHINE,
        }
    }


def test_the_page_is_what_its_figures_say() -> None:
    raw = json.loads((_DOCS / "benchmarks.json").read_text(encoding="utf-8"))

    written = (_DOCS / "benchmarks.md").read_text(encoding="utf-8")
    assert written == page(raw), "run `make bench`"


@pytest.mark.parametrize(("seconds", "verdict"), [(0.4, "yes"), (0.41, "**no**")])
def test_a_target_is_reached_up_to_its_limit(seconds: float, verdict: str) -> None:
    row = next(line for line in page(_raw(seconds)).splitlines() if "cold start, of" in line)

    assert row.endswith(f"| {verdict} |")


def test_parts_that_were_not_measured_are_named() -> None:
    assert "Not measured: first_request, filter," in page(_raw(0.2))


def test_rows_of_the_storm_that_were_not_measured_are_named_below_those_that_were() -> None:
    calm = {"scenario": "calm", "to_reach": "4", "measured": "4.00", "reached": True}
    storm = {"figures": {"calm": calm}, "seconds": 7, "load before": "0", "machine": _MACHINE}

    written = page({"storm": storm})

    assert "| calm | 4 | 4.00 | yes |\n\nNot measured: honest_delays, no_delays," in written


async def test_requests_and_answers_are_weighed_by_their_kind() -> None:
    async def app(_: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"answer"})

    async def request() -> Any:
        return {"type": "http.request", "body": b"four"}

    async def nowhere(message: Any) -> None:
        del message

    weighed = Weighed(lambda method, path, query: f"{method} {path}?{query}")
    scope = {"type": "http", "method": "GET", "path": "/a", "query_string": b"b"}
    await weighed.around(app)(scope, request, nowhere)

    assert weighed.calls == {"GET /a?b": 1}
    assert weighed.sizes == {"GET /a?b": 10}
