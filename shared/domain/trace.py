"""The trace that a run's work belongs to, as W3C Trace Context writes it.

The dispatcher takes it from the event, or begins one; the job message carries it to the
executor, so that a step's log lines of both stages are found together.
https://www.w3.org/TR/trace-context/#traceparent-header
"""

import hashlib
import re
from dataclasses import dataclass

#: The message attribute, the HTTP header and the CloudEvents extension all have this name.
TRACEPARENT = "traceparent"
_TRACEPARENT = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})(?P<trace>[0-9a-f]{32})-(?!0{16})(?P<span>[0-9a-f]{16})"
    r"-(?P<flags>[0-9a-f]{2})(?:-.*)?"
)
_SAMPLED = 0x01


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceContext:
    """One trace and the span that caused the work."""

    trace_id: str
    span_id: str
    sampled: bool

    def traceparent(self) -> str:
        """The context as a header or an attribute carries it."""
        return f"00-{self.trace_id}-{self.span_id}-{int(self.sampled):02x}"

    def log_fields(self, project: str) -> dict[str, str | bool]:
        """The fields by which Cloud Logging ties an entry to its trace.

        https://cloud.google.com/logging/docs/structured-logging#special-payload-fields
        """
        return {
            "logging.googleapis.com/trace": f"projects/{project}/traces/{self.trace_id}",
            "logging.googleapis.com/spanId": self.span_id,
            "logging.googleapis.com/trace_sampled": self.sampled,
        }


def parse_traceparent(value: str | None) -> TraceContext | None:
    """The context in a `traceparent`; None when there is none, or it is malformed."""
    match = _TRACEPARENT.fullmatch(value or "")
    if match is None:
        return None
    return TraceContext(
        trace_id=match["trace"],
        span_id=match["span"],
        sampled=bool(int(match["flags"], 16) & _SAMPLED),
    )


def trace_of_event(event_id: str) -> TraceContext:
    """The trace that an event begins; every redelivery of it belongs to the same one."""
    digest = hashlib.sha256(event_id.encode("utf-8", "surrogatepass")).hexdigest()
    return TraceContext(trace_id=digest[:32], span_id=digest[32:48], sampled=False)
