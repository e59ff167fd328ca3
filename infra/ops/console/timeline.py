"""What the time of a step went into: a bar for each phase of each attempt. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from infra.ops.runs.job_view import AttemptView, JobView
from infra.ops.runs.view import StepView

WIDTH, LABEL_WIDTH = 960, 220
ROW_HEIGHT, _TOP = 30, 26
_MOST_TICKS = 8
_TICK_WIDTH = 40
_STEPS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1_800, 3_600, 21_600, 86_400)


class Phase(StrEnum):
    """What happens in a span of time."""

    QUEUED = "queued"  #: Claimed or given back, and waiting for an executor.
    LEASED = "leased"  #: An executor reads and checks the inputs.
    MODEL = "model"  #: A model call is under way.
    ARTIFACT = "artifact"  #: The answer is checked and the report stored.
    FINALIZE = "finalize"  #: The outcome is written.

    @property
    def words(self) -> str:
        """What happens, as a reader is told."""
        return _WORDS[self]


_WORDS = {
    Phase.QUEUED: "waiting",
    Phase.LEASED: "reading inputs",
    Phase.MODEL: "model",
    Phase.ARTIFACT: "checking and storing",
    Phase.FINALIZE: "writing the outcome",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """One phase; `open` while nobody recorded its end."""

    phase: Phase
    start: datetime
    end: datetime
    note: str = ""
    open: bool = False

    @property
    def title(self) -> str:
        """What the bar says to a pointer and to a screen reader."""
        seconds = (self.end - self.start).total_seconds()
        note = f", {self.note}" if self.note else ""
        return f"{self.phase.words}{note}: {seconds:.1f} s{' so far' if self.open else ''}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """A span's place."""

    span: Span
    x: float
    width: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A step's bars."""

    step: StepView
    y: int
    bars: Sequence[Bar]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """A mark on the axis."""

    x: float
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """The picture and its size."""

    height: int
    rows: Sequence[Row]
    ticks: Sequence[Tick]

    @property
    def phases(self) -> Sequence[Phase]:
        """What the colors stand for."""
        return list(Phase)


def timeline_of(steps: Sequence[StepView], now: datetime) -> Timeline | None:
    """The steps' spans on one axis; None when nothing was recorded."""
    spans = {step.step_id: list(spans_of(step, now)) for step in steps}
    every = [span for of_step in spans.values() for span in of_step]
    if not every:
        return None
    start, end = min(span.start for span in every), max(span.end for span in every)
    scale = (WIDTH - LABEL_WIDTH) / max((end - start).total_seconds(), 0.001)

    def x_of(moment: datetime) -> float:
        return LABEL_WIDTH + (moment - start).total_seconds() * scale

    shown = [step for step in steps if spans[step.step_id]]
    return Timeline(
        height=_TOP + len(shown) * ROW_HEIGHT,
        rows=[
            Row(
                step=step,
                y=_TOP + number * ROW_HEIGHT,
                bars=[
                    # A phase too short to see is still there.
                    Bar(
                        span=span,
                        x=round(x_of(span.start), 1),
                        width=round(max(x_of(span.end) - x_of(span.start), 1.5), 1),
                    )
                    for span in spans[step.step_id]
                ],
            )
            for number, step in enumerate(shown)
        ],
        ticks=_ticks((end - start).total_seconds(), scale),
    )


def spans_of(step: StepView, now: datetime) -> Iterator[Span]:
    """What the step's time went into, the oldest first."""
    job = step.job
    if job is None:
        return
    free_since = job.claimed_at
    for attempt in job.attempts:
        if attempt.started_at is None:
            continue
        if free_since is not None and free_since < attempt.started_at:
            yield Span(phase=Phase.QUEUED, start=free_since, end=attempt.started_at)
        yield from _attempt(attempt, job, now)
        free_since = attempt.ended_at
    if job.state == "QUEUED" and free_since is not None and free_since < now:
        yield Span(phase=Phase.QUEUED, start=free_since, end=now, open=True)


def _attempt(attempt: AttemptView, job: JobView, now: datetime) -> Iterator[Span]:
    """The attempt's phases: each lasts until the next recorded moment."""
    end, is_open = _end(attempt, job, now)
    marks = sorted(mark for mark in _marks(attempt) if mark[0] < end)
    ends = [*(start for start, _, _, _ in marks[1:]), end] if marks else []
    for (start, _, phase, note), until in zip(marks, ends, strict=True):
        if start < until:
            last = is_open and until is end
            yield Span(phase=phase, start=start, end=until, note=note, open=last)


def _marks(attempt: AttemptView) -> Iterator[tuple[datetime, int, Phase, str]]:
    """The moments at which a phase began, numbered to keep their order."""
    found: list[tuple[datetime | None, Phase, str]] = [
        (attempt.started_at, Phase.LEASED, f"attempt {attempt.number}")
    ]
    for call in attempt.calls:
        what = f"{call.purpose} call, {call.code or call.finish_reason or 'no answer'}"
        found += [(call.started_at, Phase.MODEL, what), (call.ended_at, Phase.ARTIFACT, "")]
    found.append((attempt.stored_at, Phase.FINALIZE, ""))
    for number, (start, phase, note) in enumerate(found):
        if start is not None:
            yield start, number, phase, note


def _end(attempt: AttemptView, job: JobView, now: datetime) -> tuple[datetime, bool]:
    """When the attempt ended, and whether it goes on.

    One whose holder died ends with its lease.
    """
    if attempt.ended_at is not None:
        return attempt.ended_at, False
    is_last = attempt is job.attempts[-1]
    if is_last and job.state == "RUNNING":
        return min(now, job.lease_expires_at or now), True
    later = [other.started_at for other in job.attempts if other.started_at]
    after = [moment for moment in later if attempt.started_at and moment > attempt.started_at]
    return min(after, default=attempt.started_at or now), False


def _ticks(seconds: float, scale: float) -> Sequence[Tick]:
    step = next((size for size in _STEPS if seconds / size <= _MOST_TICKS), _STEPS[-1])
    count = min(int(seconds / step), _MOST_TICKS) + 1
    return [
        Tick(x=round(LABEL_WIDTH + n * step * scale, 1), label=_label(n * step))
        for n in range(count)
        if n * step * scale < WIDTH - LABEL_WIDTH - _TICK_WIDTH
    ]


def _label(seconds: float) -> str:
    if seconds < 60:  # noqa: PLR2004 - a minute
        return f"{seconds:g} s"
    text = str(timedelta(seconds=round(seconds)))
    return text.removeprefix("0:")
