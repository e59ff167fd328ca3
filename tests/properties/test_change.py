"""Reading events: a part of what the library would read, and bytes of any kind."""

from datetime import UTC, datetime
from typing import Any

from google.events.cloud.firestore_v1.types import DocumentEventData
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.change import DocumentChange, EventUnreadable, decode_change
from dispatcher.planning import executable_steps
from infra.local.cloud.cloud_events import Document, document_event
from shared.domain.errors import FlowRunInvalid
from shared.domain.flow_run import FlowRun, parse_flow_run
from shared.domain.steps import StepStatus

RUN_ID = "20260105-090000_BTCUSDT_abc"
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=6) | st.just("READY"),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner, max_size=2)
    ),
    max_leaves=4,
)
STEPS = st.fixed_dictionaries(
    {
        "stepType": st.sampled_from(["LLM_REPORT", "CHART_EXPORT"]),
        "status": st.sampled_from([str(status) for status in StepStatus]),
    },
    optional={
        "timeframe": VALUES,
        "dependsOn": st.lists(st.sampled_from(["a", "b"]), max_size=2) | VALUES,
        "inputs": VALUES | st.fixed_dictionaries({"llm": VALUES, "ohlcv": VALUES}),
        "outputs": VALUES,
    },
)
RUNS = st.fixed_dictionaries(
    {"status": st.sampled_from(["RUNNING", "PENDING"])},
    optional={
        "steps": st.dictionaries(st.sampled_from(["a", "b", "1d:c-é"]), STEPS | VALUES),
        "runId": st.just(RUN_ID) | VALUES,
        "scope": VALUES,
        "error": VALUES,
        "other": VALUES,
    },
)


def event(old: dict[str, Any] | None, new: dict[str, Any] | None) -> bytes:
    def document(fields: dict[str, Any] | None) -> Document | None:
        if fields is None:
            return None
        return Document(fields=fields, create_time=1_000, update_time=2_000)

    return document_event(
        project="p",
        document_path=f"flow_runs/{RUN_ID}",
        old=document(old),
        new=document(new),
        event_id="e",
        time=datetime(2026, 1, 5, 9, tzinfo=UTC),
    ).body


def parsed(data: Any) -> FlowRun | None:
    """The run; None for one that breaks the contract (which fault is named varies)."""
    try:
        return parse_flow_run(RUN_ID, data)
    except FlowRunInvalid:
        return None


@given(old=RUNS, new=RUNS)
def test_decisions_on_the_event_are_those_on_the_whole_document(
    old: dict[str, Any], new: dict[str, Any]
) -> None:
    change = decode_change(event(old, new))

    assert change.new is not None
    assert change.old is not None
    assert parsed(change.old.data) == parsed(old)
    if change.new.quiet:
        whole = parsed(new)
        assert whole is None or executable_steps(whole) == ()
    else:
        assert parsed(change.new.data) == parsed(new)


@given(new=RUNS)
def test_the_inputs_of_a_ready_step_come_along(new: dict[str, Any]) -> None:
    change = decode_change(event(None, new))

    assert change.new is not None
    steps = new.get("steps")
    for name, step in steps.items() if isinstance(steps, dict) else ():
        if isinstance(step, dict) and step.get("status") == "READY" and "inputs" in step:
            assert change.new.data["steps"][name]["inputs"] == hinting(step["inputs"])


def hinting(inputs: Any) -> Any:
    """The part of a step's inputs that may stand in its job's message."""
    if not isinstance(inputs, dict):
        return inputs
    return {name: value for name, value in inputs.items() if name == "llm"}


def read(data: bytes) -> DocumentChange | None:
    """The change with both documents decoded; None for bytes that are no event."""
    try:
        change = decode_change(data)
        assert change.old is None or change.old.version >= 0
    except EventUnreadable:
        return None
    return change


@given(data=st.binary(max_size=200))
def test_bytes_of_any_kind_are_an_event_or_refused(data: bytes) -> None:
    read(data)


@given(new=RUNS, cut=st.integers(0, 400), at=st.integers(0, 400), byte=st.integers(0, 255))
def test_where_the_library_reads_a_damaged_event_we_read_the_same_or_refuse_it(
    new: dict[str, Any], cut: int, at: int, byte: int
) -> None:
    sound = event(None, new)
    damaged = bytearray(sound[: max(1, len(sound) - cut % len(sound))])
    damaged[at % len(damaged)] = byte

    change = read(bytes(damaged))

    try:
        library = DocumentEventData.pb().FromString(bytes(damaged))
    except DecodeError:
        return
    if change is not None and change.new is not None:
        assert change.new.version == library.value.update_time.ToNanoseconds()
