"""The first page: what needs attention, and the runs, filtered and page after page."""

from collections.abc import Mapping
from datetime import UTC, datetime
from urllib.parse import urlencode

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from infra.ops.console.newest import NewestRuns
from infra.ops.console.reads import live_seconds, metered
from infra.ops.console.runbooks import runbook_of
from infra.ops.console.site import Site
from infra.ops.runs.attention import what_needs_attention
from infra.ops.runs.finding import RunFilter, RunPage, find_runs
from shared.domain.steps import StepStatus

_RUNS_SHOWN = 20
_LIST_SECONDS = 4.0
#: By field of the filter: its name in the address and in the form.
_FIELDS = ("status", "flow", "symbol", "timeframe", "id", "since", "until")
_MOST_CHARS = 200


class RunsPage:
    """Serves the list; keeps the newest runs, so that a page kept open reads little."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._newest = NewestRuns(limit=_RUNS_SHOWN)

    async def show(self, request: Request) -> Response:
        """The page at this address: its query is the filter, and can be shared."""
        given = _given(request)
        wanted, cursor = _filter(given), request.query_params.get("after")
        connection, meter = metered(self._site.connection)
        attention = await what_needs_attention(connection)
        is_first = not given and cursor is None
        if is_first:
            page = await self._newest.page(connection)
        else:
            page = await find_runs(connection, wanted, limit=_RUNS_SHOWN, cursor=cursor)
        values = {
            "page": page,
            "attention": attention,
            "runbook": runbook_of,
            "given": given,
            "statuses": [str(status) for status in StepStatus],
            "next_address": _next_address(given, page),
            "is_first": is_first,
            "live_seconds": live_seconds(meter.reads, at_least=_LIST_SECONDS),
        }
        response = self._site.page("runs.html", values)
        response.headers["x-document-reads"] = str(meter.reads)
        return response


def _given(request: Request) -> Mapping[str, str]:
    """The filter's fields that say something."""
    found = {name: request.query_params.get(name, "").strip() for name in _FIELDS}
    return {name: text[:_MOST_CHARS] for name, text in found.items() if text}


def _filter(given: Mapping[str, str]) -> RunFilter:
    status = given.get("status")
    if status is not None and status.upper() not in set(StepStatus):
        raise HTTPException(400, f"there is no status {status!r}")
    return RunFilter(
        status=status and status.upper(),
        flow_key=given.get("flow"),
        symbol=given.get("symbol"),
        timeframe=given.get("timeframe"),
        id_part=given.get("id"),
        since=_moment(given, "since"),
        until=_moment(given, "until"),
    )


def _moment(given: Mapping[str, str], name: str) -> datetime | None:
    text = given.get(name)
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise HTTPException(400, f"{name} is no time: {text!r}") from None


def _next_address(given: Mapping[str, str], page: RunPage) -> str | None:
    return page.next and "/?" + urlencode({**given, "after": page.next})
