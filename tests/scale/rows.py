"""The figures to be reached, and the service limits that they come from."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from tests.scale.measures import Load, Swept, load
from tests.scale.site import STEPS_OF_A_RUN

#: https://cloud.google.com/firestore/quotas: writes to one document, sustained, and to a
#: collection whose documents have an indexed field with values that only grow.
_DOCUMENT_WRITES = 1.0
_INDEX_WRITES = 500.0
_CALLS_OF_A_STEP = 4.2
_WAIT_SECONDS = 5.0
_SWEEP_SECONDS = 60.0
_COMMITS_OF_AN_END = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One figure and its limit."""

    what: str
    value: float
    at_most: float

    @property
    def reached(self) -> bool:
        """Whether the figure is within the limit."""
        return self.value <= self.at_most

    def as_json(self) -> dict[str, object]:
        """The figures."""
        return {
            "what": self.what,
            "value": round(self.value, 2),
            "atMost": self.at_most,
            "reached": self.reached,
        }

    def __str__(self) -> str:
        missed = "" if self.reached else "  <-- NOT REACHED"
        return f"{self.what}: {self.value:.2f}, at most {self.at_most:g}{missed}"


#: What was counted: its name, the figures, and the rows that are to be reached.
Found: TypeAlias = tuple[str, object, Sequence[Row]]


def counted(steps_a_second: int, seconds: int) -> Found:
    """A steady load, without the counts themselves: those stay in the process of their site."""
    found = load(steps_a_second, seconds)
    return f"{steps_a_second} steps a second", found.as_json(), load_rows(found)


def load_rows(load: Load) -> Sequence[Row]:
    """The rows of a steady load."""
    counts = load.counts
    return [
        Row(what="steps that did not end", value=load.steps - counts.ended, at_most=0),
        Row(
            what="Firestore calls a step",
            value=counts.calls_of_a_step(),
            at_most=_CALLS_OF_A_STEP,
        ),
        Row(
            what="writes a second to one run's document, which has four steps",
            value=counts.busiest("flow_runs"),
            at_most=_DOCUMENT_WRITES * (STEPS_OF_A_RUN + 1) / 10 + _DOCUMENT_WRITES,
        ),
        Row(
            what="writes a second to one job's record",
            value=counts.busiest("llm_jobs"),
            at_most=_DOCUMENT_WRITES,
        ),
        Row(
            what="writes a second to a cursor of the sweep",
            value=counts.busiest("llm_sweeps"),
            at_most=_DOCUMENT_WRITES,
        ),
        *(
            Row(
                what=f"writes a second to the index of {name}",
                value=rate,
                at_most=_INDEX_WRITES,
            )
            for name, rate in counts.index_rates().items()
            # For the names of documents there is advice, but no figure:
            # https://cloud.google.com/firestore/docs/best-practices
            if not name.endswith("__name__")
        ),
        Row(
            what="seconds from READY to the lease, p99",
            value=counts.p99_wait(),
            at_most=_WAIT_SECONDS,
        ),
    ]


def sweep_rows(swept: Swept) -> Sequence[Row]:
    """The rows for sweeping many runs and jobs."""
    return [
        Row(what="documents that were not reached", value=not swept.all_reached, at_most=0),
        Row(what="seconds of a sweep", value=swept.longest_seconds, at_most=_SWEEP_SECONDS),
        Row(
            what="writes a second to a cursor of the sweep",
            value=swept.busiest_cursor,
            at_most=_DOCUMENT_WRITES,
        ),
    ]


def ends_row(commits: float) -> Row:
    """The row for many steps of one run that end at the same moment."""
    return Row(
        what="commits for each end, each in a process of its own",
        value=commits,
        at_most=_COMMITS_OF_AN_END,
    )
