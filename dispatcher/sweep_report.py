"""What a sweep did, as it is counted, logged and answered."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from dispatcher.sweep_plan import SweepOutcome

MAX_FAILED_DOCUMENTS = 10
#: So much of a name tells one document from another.
MAX_NAME_CHARS = 256


@dataclass(slots=True, kw_only=True)
class SweepReport:
    """The counts of one sweep; they grow while it works."""

    jobs: Counter[SweepOutcome] = field(default_factory=Counter)
    #: Runs that were looked at.
    runs: int = 0
    #: Jobs that were claimed and published in them.
    claimed: int = 0
    #: What went wrong, by kind; the next sweep tries again.
    failed: Counter[str] = field(default_factory=Counter)
    #: The documents about which something went wrong; the first few of them.
    failed_documents: list[str] = field(default_factory=list)
    #: Whether all was looked at that there was.
    complete: bool = True

    @property
    def finished(self) -> bool:
        """Whether nothing was left for the next sweep."""
        return self.complete and not self.failed

    def as_json(self) -> dict[str, Any]:
        """The counts by name."""
        return {
            **{str(outcome): self.jobs[outcome] for outcome in SweepOutcome},
            "runs": self.runs,
            "claimed": self.claimed,
            "failed": dict(self.failed),
            "failedDocuments": self.failed_documents,
            "complete": self.complete,
        }

    def note_failure(self, problem: BaseException, document_id: str | None = None) -> None:
        """Count what went wrong.

        By its type alone: the message of what nobody foresaw may quote a document.
        """
        self.failed[type(problem).__name__] += 1
        if document_id and len(self.failed_documents) < MAX_FAILED_DOCUMENTS:
            self.failed_documents.append(document_id[:MAX_NAME_CHARS])
