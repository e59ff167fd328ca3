"""The sources of a report, as they were read."""

from dataclasses import dataclass

from executor.contract.artifacts import GcsUri


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceDigest:
    """Which bytes a source had when it was read, and what they were read for."""

    role: str
    uri: GcsUri
    generation: int
    sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PreviousReportText:
    """A previous report, as JSON text."""

    #: The step it comes from; None for a report from outside of this run.
    step_id: str | None
    uri: str
    json_text: str
