"""What needs an operator, asked of the database and not of the newest runs.

Failed steps are found by their job records, whatever became of their runs and however old they
are; stuck ones by jobs that are overdue and in the runs that are open. Each look is bounded:
one that was cut is said to be, and there is no all-clear then.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from infra.ops.environment.connection import Connection
from infra.ops.environment.listing import ById, Overdue
from infra.ops.environment.stored_documents import at, text_at
from infra.ops.runs.diagnosis import GRACE, Finding
from infra.ops.runs.finding import runs_of_status
from infra.ops.runs.reading import CALL_SECONDS, at_work, read_documents, views_of
from infra.ops.runs.view import RunView, StepView
from shared.adapters.clock import SystemClock
from shared.domain.documents import DocumentRef, Snapshot
from shared.domain.flow_run import RunStatus
from shared.domain.identifiers import JobId, split_job_id
from shared.domain.job_documents import COLLECTION as JOBS
from shared.domain.jobs import JobState
from shared.domain.steps import StepStatus
from shared.ports import Clock

#: Documents that each look reads at most, and one more that shows whether there are others.
MOST_FAILED_JOBS = 100
MOST_OVERDUE_JOBS = 50
MOST_OPEN_RUNS = 100
MOST_FAILED_RUNS = 50
_STUCK = "stuck"

#: A run and a step of it.
_JobKey: TypeAlias = tuple[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionItem:
    """A step, or a run that the worker refuses, which goes on only with an operator."""

    run: RunView
    #: None: the run itself, of whose steps none is known.
    step: StepView | None
    finding: Finding

    @property
    def code(self) -> str:
        """The error's code, or `stuck`."""
        return (self.step and self.step.error_code) or _STUCK

    @property
    def message(self) -> str:
        """What happened, as it was said for this very step."""
        said = self.step and self.step.error_message
        return said if said and self.code != _STUCK else self.finding.reason

    @property
    def cause(self) -> tuple[str, str]:
        """Equal for all steps that failed for one cause, as it leaves out their names."""
        names = [self.run.run_id, *([self.step.step_id] if self.step else [])]
        own = "|".join(re.escape(name) for name in names)
        return self.code, re.sub(rf"(?<![\w-])(?:{own})(?![\w-])", "…", self.message)


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionCause:
    """Steps that need attention for the same reason."""

    code: str
    message: str
    items: Sequence[AttentionItem]

    @property
    def finding(self) -> Finding:
        """What is to be said, and to be done, of each of them."""
        return self.items[0].finding

    def as_json(self) -> dict[str, Any]:
        """The cause as `runs attention --json` prints it."""
        return {
            "code": self.code,
            "message": self.message,
            "reason": self.finding.reason,
            "remedy": self.finding.remedy,
            "steps": [
                {"runId": one.run.run_id, "stepId": one.step and one.step.step_id}
                for one in self.items
            ],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Attention:
    """All that needs an operator."""

    #: The largest first.
    causes: Sequence[AttentionCause]
    #: Failed steps that somebody has seen to and that are not among the causes.
    acknowledged: int
    #: What was not looked at to its end, such as "the 100 oldest open runs".
    cut: Sequence[str]

    @property
    def total(self) -> int:
        """How many steps."""
        return sum(len(cause.items) for cause in self.causes)

    @property
    def headline(self) -> str:
        """The first line of the screen."""
        total = self.total
        steps = "step needs" if total == 1 else "steps need"
        if self.cut:
            looked = " and ".join(self.cut)
            found = f"At least {total} {steps} attention" if total else "Nothing found so far"
            return f"{found}: only {looked} were looked at"
        if total:
            return f"{total} {steps} attention"
        return "Nothing needs attention: no step failed, none is stuck"

    @property
    def all_clear(self) -> bool:
        """Whether everything was looked at and nothing was found."""
        return not self.total and not self.cut

    def as_json(self) -> dict[str, Any]:
        """The same as `runs attention --json` prints it."""
        return {
            "total": self.total,
            "acknowledged": self.acknowledged,
            "cut": list(self.cut),
            "causes": [cause.as_json() for cause in self.causes],
        }


async def what_needs_attention(connection: Connection, clock: Clock | None = None) -> Attention:
    """All steps that failed or are stuck, and that nobody has acknowledged.

    Raises:
        StoreUnavailable: Firestore did not answer.
    """
    clock = clock or SystemClock()
    overdue = Overdue(moment=clock.now() - GRACE, limit=MOST_OVERDUE_JOBS + 1)
    failed = ById(
        collection=JOBS, equal={"state": str(JobState.FAILED)}, limit=MOST_FAILED_JOBS + 1
    )
    looks = {
        f"the {MOST_FAILED_JOBS} oldest failed jobs": (
            await connection.runs.find(failed, timeout_seconds=CALL_SECONDS),
            MOST_FAILED_JOBS,
        ),
        f"the {MOST_OVERDUE_JOBS} most overdue jobs": (
            await connection.runs.find(overdue, timeout_seconds=CALL_SECONDS),
            MOST_OVERDUE_JOBS,
        ),
        **await _looks_at_runs(connection),
    }
    every = [one for found, _ in looks.values() for one in found]
    cut = [name for name, (found, most) in looks.items() if len(found) > most]
    acknowledged = {_key(job) for job in every if at(job.data, "acknowledged") is True}
    runs = await _runs_of(connection, every, acknowledged)
    # Where a look was cut, a step may be acknowledged without being in `acknowledged`: its own
    # record has to be read.
    views = await views_of(
        connection, runs, clock, with_job=_failed_or_at_work if cut else at_work
    )
    return Attention(
        causes=_grouped(_items(views, acknowledged)),
        acknowledged=len(acknowledged),
        cut=cut,
    )


async def _looks_at_runs(
    connection: Connection,
) -> Mapping[str, tuple[Sequence[Snapshot], int]]:
    kinds = (
        (RunStatus.RUNNING, "open", MOST_OPEN_RUNS),
        (RunStatus.PENDING, "pending", MOST_FAILED_RUNS),
        (RunStatus.FAILED, "failed", MOST_FAILED_RUNS),
    )
    return {
        f"the {most} oldest {word} runs": (
            await runs_of_status(connection, status, limit=most + 1),
            most,
        )
        for status, word, most in kinds
    }


async def _runs_of(
    connection: Connection, found: Sequence[Snapshot], acknowledged: set[_JobKey]
) -> Sequence[Snapshot]:
    """The runs that were found, and those of the jobs that were, each once, by id."""
    runs = {one.ref: one for one in found if one.ref.collection == connection.flow_runs}
    jobs = [one for one in found if one.ref.collection == JOBS]
    wanted = dict.fromkeys(
        DocumentRef(connection.flow_runs, _key(job)[0])
        for job in jobs
        if _key(job) not in acknowledged
    )
    missing = [ref for ref in wanted if ref not in runs]
    runs.update(await read_documents(connection, missing))
    return [runs[ref] for ref in sorted(runs, key=lambda ref: ref.document_id)]


def _key(job: Snapshot) -> _JobKey:
    return split_job_id(JobId(job.ref.document_id))


def _failed_or_at_work(step: object) -> bool:
    return at_work(step) or text_at(step, "status") == StepStatus.FAILED


def _items(runs: Sequence[RunView], acknowledged: set[_JobKey]) -> Iterator[AttentionItem]:
    for run in runs:
        wanting = [
            AttentionItem(run=run, step=step, finding=step.finding)
            for step in run.steps
            if step.ours
            and step.finding.level.wants_operator
            and (run.run_id, step.step_id) not in acknowledged
            and not (step.job and step.job.acknowledged)
        ]
        yield from wanting
        if run.own_finding and not wanting:
            yield AttentionItem(run=run, step=None, finding=run.own_finding)


def _grouped(items: Iterator[AttentionItem]) -> Sequence[AttentionCause]:
    groups: dict[tuple[str, str], list[AttentionItem]] = {}
    for item in items:
        groups.setdefault(item.cause, []).append(item)
    causes = [
        # The newest first: a run's id begins with its time.
        AttentionCause(
            code=code, message=message, items=sorted(items, key=_run_id, reverse=True)
        )
        for (code, message), items in groups.items()
    ]
    return sorted(causes, key=lambda cause: (-len(cause.items), _run_id(cause.items[0])))


def _run_id(item: AttentionItem) -> str:
    return item.run.run_id
