"""Runs and steps that cannot be worked on: what is said of them on the run, if it has room."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from shared.domain.document_size import ENDING_BYTES
from shared.domain.documents import DELETE, DocumentRef, FieldPath, Update, Version
from shared.domain.errors import ErrorCode, FirestoreClaimFailed, FlowRunInvalid, RunTooLarge
from shared.domain.finalize import smallest_ending
from shared.domain.flow_run import FlowRun, step_field
from shared.domain.identifiers import StepId
from shared.domain.steps import StepStatus
from shared.domain.times import rfc3339
from shared.log import EventLogger, LogEvent
from shared.ports import (
    Clock,
    Conflict,
    DocumentStore,
    PortFailure,
    StoreRefused,
    StoreUnavailable,
)

#: Short enough that a first try and a read-back fit Eventarc's 10-second acknowledgement.
CALL_TIMEOUT_SECONDS = 3.0


def with_room(
    run: FlowRun, steps: Sequence[StepId], bytes_left: int
) -> tuple[tuple[StepId, ...], tuple[StepId, ...]]:
    """The steps for whose claim and end the run's document has room, and the others.

    What this worker has claimed already needs its room too.
    """
    at_work = sum(
        step.ours and step.status is StepStatus.RUNNING for step in run.steps.values()
    )
    fitting = max(0, bytes_left // ENDING_BYTES - at_work)
    return tuple(steps[:fitting]), tuple(steps[fitting:])


def refusals(
    *, run_ref: DocumentRef, guard: Version, steps: Sequence[StepId], now: datetime
) -> tuple[Update, Update]:
    """What ends steps without room: with a message, and in the fewest bytes."""
    problem = RunTooLarge("the run document has no room for the step's outcome")
    told: dict[FieldPath, Any] = {}
    least: dict[FieldPath, Any] = {}
    for step_id in steps:
        # What a former claim left goes, also where the event did not show it.
        left = {
            step_field(step_id, "outputs", "gcs_uri"): DELETE,
            step_field(step_id, "outputs", "execution"): DELETE,
        }
        told |= smallest_ending({}, step_id, problem, message=problem.message) | left
        told[step_field(step_id, "finishedAt")] = rfc3339(now)
        least |= smallest_ending({}, step_id, problem) | left
    return (
        Update(ref=run_ref, changes=told, guard=guard),
        Update(ref=run_ref, changes=least, guard=guard),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusing:
    """Writes on runs why they, or steps of them, are not worked on."""

    documents: DocumentStore
    clock: Clock
    #: The collection of the runs.
    flow_runs: str

    async def refuse(
        self,
        run: FlowRun,
        steps: Sequence[StepId],
        version: Version,
        log: EventLogger,
        cause: StoreRefused | None = None,
    ) -> None:
        """End steps for which the run's document has no room, in what room there is.

        Args:
            run: the run as it stands.
            steps: READY steps of it.
            version: the version in which it is stored.
            log: where their end is told.
            cause: the refusal that showed it, where Firestore refused their claim.

        Raises:
            FirestoreClaimFailed: Firestore did not answer, or does not let us write.
        """
        if cause is not None and not cause.unfit:
            raise FirestoreClaimFailed(f"the claim was refused: {cause}")
        if not steps:
            return
        said = "the run document has no room for the step's outcome"
        for update in refusals(
            run_ref=DocumentRef(self.flow_runs, run.run_id),
            guard=version,
            steps=steps,
            now=self.clock.now(),
        ):
            try:
                await self.documents.commit([update], timeout_seconds=CALL_TIMEOUT_SECONDS)
            except Conflict:
                return  # Written since: that write has an event of its own.
            except StoreRefused as problem:
                if not problem.unfit:
                    raise FirestoreClaimFailed(f"a refusal was refused: {problem}") from None
            except StoreUnavailable as problem:
                raise FirestoreClaimFailed(f"refusing a step failed: {problem}") from None
            else:
                break
        else:
            said = "the run document has no room even for the step's error: it stays READY"
        for step_id in steps:
            code = ErrorCode.RUN_TOO_LARGE
            log.error(LogEvent.STEP_FAILED, said, stepId=step_id, code=code)

    async def report_invalid(
        self,
        document_id: str,
        data: Mapping[str, Any],
        version: Version,
        problem: FlowRunInvalid,
        log: EventLogger,
    ) -> None:
        """Say on the run what is wrong with it, once.

        Raises:
            FirestoreClaimFailed: Firestore did not answer.
        """
        log.error(
            LogEvent.CLOUD_EVENT_IGNORED, problem.message, code=problem.code, reason="invalid"
        )
        if says_invalid(data):
            return
        write = Update(
            ref=DocumentRef(self.flow_runs, document_id),
            changes={("error",): problem.as_document()},
            guard=version,
        )
        try:
            await self.documents.commit([write], timeout_seconds=CALL_TIMEOUT_SECONDS)
        except Conflict:
            return  # Written since: the newer version has an event of its own.
        except PortFailure as failure:
            if isinstance(failure, StoreRefused) and failure.unfit:
                return  # The run has no room for it: the log says it alone.
            raise FirestoreClaimFailed(f"reporting the run failed: {failure}") from None


def says_invalid(data: Mapping[str, Any]) -> bool:
    """Whether the run says already that it is invalid."""
    error = data.get("error")
    return isinstance(error, Mapping) and error.get("code") == ErrorCode.FLOW_RUN_INVALID
