"""The trace context that ties the two stages' log lines together."""

import pytest

from shared.domain.trace import TraceContext, parse_traceparent, trace_of_event

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def test_the_standards_example_is_read_and_written_back() -> None:
    text = f"00-{TRACE}-{SPAN}-01"

    context = parse_traceparent(text)

    assert context == TraceContext(trace_id=TRACE, span_id=SPAN, sampled=True)
    assert context.traceparent() == text


def test_cloud_loggings_fields_name_project_trace_and_span() -> None:
    context = TraceContext(trace_id=TRACE, span_id=SPAN, sampled=False)

    assert context.log_fields("p-1") == {
        "logging.googleapis.com/trace": f"projects/p-1/traces/{TRACE}",
        "logging.googleapis.com/spanId": SPAN,
        "logging.googleapis.com/trace_sampled": False,
    }


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        TRACE,
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01\n",
    ],
)
def test_what_is_malformed_is_no_trace(text: str | None) -> None:
    assert parse_traceparent(text) is None


def test_a_later_versions_further_parts_are_skipped() -> None:
    assert parse_traceparent(f"01-{TRACE}-{SPAN}-01-more") is not None


def test_redeliveries_of_an_event_share_a_trace_and_other_events_have_another() -> None:
    first, again, other = trace_of_event("e1"), trace_of_event("e1"), trace_of_event("e2")

    assert first == again != other
    assert parse_traceparent(first.traceparent()) == first
