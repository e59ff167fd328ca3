"""The geometry of graph, timeline and plot."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from infra.ops.console.graph import NODE_HEIGHT, NODE_WIDTH, graph_of
from infra.ops.console.plots import COST, LABEL_WIDTH, TOKENS, WIDTH, per_day
from infra.ops.console.timeline import Phase, spans_of, timeline_of
from infra.ops.runs.usage import usage_of
from infra.ops.runs.view import RunView, StepView, run_view

NOW = datetime(2026, 1, 5, 9, tzinfo=UTC)


def moment(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def view(needs: dict[str, list[str]], jobs: Any = None) -> RunView:
    steps = {
        name: {"stepType": "LLM_REPORT", "status": "RUNNING", "dependsOn": names}
        for name, names in needs.items()
    }
    return run_view("r", {"status": "RUNNING", "steps": steps}, jobs or {}, moment(60))


def step(**job: Any) -> StepView:
    [shown] = view({"a": []}, {"a": {"claimedAt": moment(0), **job}}).steps
    return shown


def test_a_step_stands_right_of_everything_it_depends_on() -> None:
    graph = graph_of(view({"c": ["a", "b"], "b": ["a"], "a": []}))
    x = {node.step.step_id: node.x for node in graph.nodes}

    assert x["a"] < x["b"] < x["c"]
    # a -> c is implied by a -> b -> c, and would be drawn through b.
    assert len(graph.edges) == 2


def test_a_line_that_passes_a_column_has_a_lane_beside_the_steps_there() -> None:
    graph = graph_of(view({"a": [], "x": [], "b": ["a"], "c": ["b", "x"]}))
    by_id = {node.step.step_id: node for node in graph.nodes}
    [passing] = [edge.path for edge in graph.edges if " H" in edge.path]

    lane = int(passing.split(" H")[0].rpartition(" ")[2])
    between = by_id["b"]
    assert not between.y <= lane <= between.y + NODE_HEIGHT


_ids = st.sampled_from("abcdefgh")


@given(st.dictionaries(_ids, st.lists(_ids, max_size=4), max_size=8))
def test_no_graph_is_too_odd_to_be_drawn_and_no_two_steps_overlap(
    needs: dict[str, list[str]],
) -> None:
    graph = graph_of(view(needs))

    places = [(node.x, node.y) for node in graph.nodes]
    assert len(places) == len(needs)
    for number, (x, y) in enumerate(places):
        assert 0 <= x <= graph.width - NODE_WIDTH
        assert 0 <= y <= graph.height - NODE_HEIGHT
        for other_x, other_y in places[number + 1 :]:
            assert abs(x - other_x) >= NODE_WIDTH or abs(y - other_y) >= NODE_HEIGHT


def test_the_phases_of_an_attempt_follow_each_other_without_a_gap() -> None:
    call = {"number": 1, "purpose": "report", "startedAt": moment(3), "endedAt": moment(8)}
    attempt = {
        "number": 1,
        "startedAt": moment(2),
        "calls": [{**call, "finishReason": "STOP"}],
        "storedAt": moment(9),
        "endedAt": moment(10),
    }
    spans = list(spans_of(step(state="SUCCEEDED", history=[attempt]), moment(60)))

    assert [span.phase for span in spans] == list(Phase)
    ends = [(span.end - NOW).total_seconds() for span in spans]
    assert ends == [2, 3, 8, 9, 10]
    assert [span.start for span in spans[1:]] == [span.end for span in spans[:-1]]
    assert spans[2].title == "model, report call, STOP: 5.0 s"


def test_work_that_goes_on_is_drawn_until_now_and_says_so() -> None:
    history = [{"number": 1, "startedAt": moment(2), "calls": []}]
    lease = {"owner": "x", "expiresAt": moment(100)}
    *_, last = spans_of(step(state="RUNNING", lease=lease, history=history), moment(60))

    assert (last.end, last.open) == (moment(60), True)
    assert last.title == "reading inputs, attempt 1: 58.0 s so far"


def test_a_dead_holders_attempt_ends_where_the_next_one_begins() -> None:
    history = [{"number": 1, "startedAt": moment(2)}, {"number": 2, "startedAt": moment(50)}]
    spans = list(spans_of(step(state="RUNNING", history=history), moment(60)))

    assert [(span.phase, span.note) for span in spans] == [
        (Phase.QUEUED, ""),
        (Phase.LEASED, "attempt 1"),
        (Phase.LEASED, "attempt 2"),
    ]
    assert spans[1].end == moment(50)


def test_the_wait_between_two_attempts_is_queued() -> None:
    history = [{"number": 1, "startedAt": moment(2), "endedAt": moment(4), "code": "X"}]
    *_, last = spans_of(step(state="QUEUED", history=history), moment(60))

    assert (last.phase, last.start, last.open) == (Phase.QUEUED, moment(4), True)


def test_without_any_record_of_attempts_there_is_no_timeline() -> None:
    assert timeline_of(view({"a": []}).steps, NOW) is None


_times = st.none() | st.integers(-100, 100).map(moment)
_attempts = st.fixed_dictionaries(
    {
        "number": st.integers(0, 3),
        "startedAt": _times,
        "endedAt": _times,
        "storedAt": _times,
        "calls": st.lists(
            st.fixed_dictionaries({"startedAt": _times, "endedAt": _times}), max_size=2
        ),
    }
)


@given(state=st.sampled_from(["QUEUED", "RUNNING", "FAILED"]), history=st.lists(_attempts))
def test_no_record_is_too_odd_for_a_timeline(state: str, history: list[Any]) -> None:
    shown = step(state=state, history=history)
    timeline = timeline_of([shown], moment(60))

    for row in timeline.rows if timeline else ():
        for bar in row.bars:
            assert bar.span.start <= bar.span.end
            assert bar.x >= LABEL_WIDTH
            assert bar.width > 0


def test_tokens_and_cost_are_stacked_by_model_for_each_day_the_newest_first() -> None:
    [plain] = view({"a": []}).steps

    def used(model: str, tokens: int, cost: float | None, day: int) -> StepView:
        finished = moment(day * 86_400)
        return replace(plain, model=model, tokens=tokens, cost_usd=cost, finished_at=finished)

    steps = [
        used("pro", 300, 0.03, 0),
        used("flash", 700, 0.01, 0),
        used("flash", 500, None, 1),
    ]
    usage = usage_of([replace(view({}), flow_key="daily_v1", steps=steps)])
    tokens, cost = per_day(usage, TOKENS), per_day(usage, COST)

    assert (usage.total.tokens, usage.total.priced, usage.total.reports) == (1500, 2, 3)
    assert usage.by_flow == [("daily_v1", usage.total)]
    assert tokens.series == ["flash", "pro"]
    assert [row.label for row in tokens.rows] == ["2026-01-06", "2026-01-05"]
    newest, oldest = (sum(bar.width for bar in row.bars) for row in tokens.rows)
    assert oldest == WIDTH - LABEL_WIDTH
    assert newest == oldest / 2
    assert [bar.title for bar in cost.rows[1].bars] == [
        "flash: cost $0.01, 1 reports",
        "pro: cost $0.03, 1 reports",
    ]
    assert [tick.label for tick in tokens.ticks] == ["0", "200", "400", "600", "800"]


@given(st.lists(st.tuples(st.integers(0, 10**9), st.floats(0, 1e6)), max_size=5))
def test_no_usage_is_too_odd_to_be_plotted(used: list[tuple[int, float]]) -> None:
    [plain] = view({"a": []}).steps
    steps = [replace(plain, tokens=n, cost_usd=cost, finished_at=NOW) for n, cost in used]
    usage = usage_of([replace(view({}), steps=steps)])

    for measure in (TOKENS, COST):
        plot = per_day(usage, measure)
        for row in plot.rows:
            assert sum(bar.width for bar in row.bars) <= WIDTH - LABEL_WIDTH + 1
        assert all(LABEL_WIDTH <= tick.x <= WIDTH for tick in plot.ticks)
