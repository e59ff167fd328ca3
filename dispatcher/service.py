"""The dispatcher's one use case: an event in; claimed steps and published jobs out."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

from dispatcher.change import DocumentChange, DocumentState, EventUnreadable, decode_change
from dispatcher.claiming import Cause, Claims, RunView
from dispatcher.planning import Noop, executable_steps, is_worker_owned, reason_for_nothing
from dispatcher.settings import DispatcherSettings
from shared.domain.defects import place_of
from shared.domain.errors import (
    FirestoreClaimFailed,
    FlowRunInvalid,
    FlowRunNotFound,
    InternalError,
)
from shared.domain.flow_run import FlowRun, parse_flow_run, parse_run_head
from shared.domain.trace import TRACEPARENT, parse_traceparent, trace_of_event
from shared.events import Event, EventLogger
from shared.ports import (
    Clock,
    DocumentStore,
    Queue,
    QueueUnavailable,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dispatcher:
    """Turns events into claimed steps and published jobs.

    An event that is handled, or that asks for nothing, returns; an exception asks for its
    redelivery. Any number of dispatchers may work on the same run, or on the same event.
    """

    documents: DocumentStore
    queue: Queue
    clock: Clock
    log: EventLogger
    settings: DispatcherSettings
    new_id: Callable[[], str]
    random: Random = field(default_factory=Random)

    async def handle(self, attributes: Mapping[str, str], data: bytes) -> None:
        """Handle one CloudEvent, given its context attributes and its data.

        Raises:
            FirestoreClaimFailed: Firestore did not answer, or the run changed too often.
            QueueUnavailable: a job was claimed and its message not confirmed.
            InternalError: a defect; names the place.
        """
        event_id, subject = attributes.get("id", ""), attributes.get("subject", "")
        trace = parse_traceparent(attributes.get(TRACEPARENT)) or trace_of_event(event_id)
        log = self.log.bind(eventId=event_id, **trace.log_fields(self.settings.shared.project))
        log.debug(Event.CLOUD_EVENT_RECEIVED, subject=subject[:256])
        document_id = self._run_document(subject)
        if document_id is None:
            log.warning(Event.CLOUD_EVENT_IGNORED, reason="other_collection")
            return
        log = log.bind(runId=document_id[:256])
        try:
            change = decode_change(data)
        except EventUnreadable as problem:
            log.error(Event.CLOUD_EVENT_IGNORED, str(problem), reason="unreadable")
            return
        if change.new is None:
            log.info(
                Event.CLOUD_EVENT_IGNORED,
                reason="document_deleted",
                code=FlowRunNotFound.code,
            )
            return
        cause = Cause(event_id=event_id, trace=trace, log=log)
        try:
            await self._handle_run(document_id, change, change.new, cause)
        except (FirestoreClaimFailed, QueueUnavailable) as problem:
            code = getattr(problem, "code", None)
            log.error(Event.CLOUD_EVENT_FINISHED, str(problem), code=code, outcome="redeliver")
            raise
        except Exception as problem:  # noqa: BLE001 - the server would log what it says
            defect = InternalError(place_of(problem))
            log.error(
                Event.CLOUD_EVENT_FINISHED,
                defect.message,
                code=defect.code,
                outcome="redeliver",
            )
            raise defect from None

    async def _handle_run(
        self,
        document_id: str,
        change: DocumentChange,
        new: DocumentState,
        cause: Cause,
    ) -> None:
        log = cause.log
        try:
            parse = parse_run_head if new.quiet else parse_flow_run
            run = parse(document_id, new.data)
        except FlowRunInvalid as problem:
            await self._claims.report_invalid(document_id, new.data, new.version, problem, log)
            return
        log = log.bind(**run.labels)
        if not executable_steps(run):
            log.info(Event.CLOUD_EVENT_NOOP, reason=reason_for_nothing(run))
            return
        log.info(Event.CLOUD_EVENT_PARSED, flowRunSteps=_steps_for_log(run))
        if is_worker_owned(_parsed(document_id, change), run):
            log.info(Event.CLOUD_EVENT_NOOP, reason=Noop.WORKER_OWNED_CHANGE)
            return
        view = RunView(run=run, data=new.data, version=new.version)
        published = await self._claims.claim(view, replace(cause, log=log))
        if published:
            log.info(Event.CLOUD_EVENT_FINISHED, jobs=published)
        else:
            log.info(Event.CLOUD_EVENT_NOOP, reason=Noop.CLAIM_CONFLICT)

    @property
    def _claims(self) -> Claims:
        return Claims(
            documents=self.documents,
            queue=self.queue,
            clock=self.clock,
            flow_runs=self.settings.shared.flow_runs,
            new_id=self.new_id,
            random=self.random,
            queued_for=self.settings.queued_for,
        )

    def _run_document(self, subject: str) -> str | None:
        prefix = f"documents/{self.settings.shared.flow_runs}/"
        document_id = subject.removeprefix(prefix)
        if document_id == subject or not document_id or "/" in document_id:
            return None
        return document_id


def _parsed(document_id: str, change: DocumentChange) -> FlowRun | None:
    """The run before the change; None where it did not exist, or was none."""
    try:
        old = change.old
        return parse_flow_run(document_id, old.data) if old else None
    except (EventUnreadable, FlowRunInvalid):
        return None


def _steps_for_log(run: FlowRun) -> list[dict[str, Any]]:
    return [
        {
            "id": step_id,
            "stepType": step.step_type,
            "status": step.status,
            "dependsOn": list(step.depends_on or ()),
        }
        for step_id, step in sorted(run.steps.items())
    ]
