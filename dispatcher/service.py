"""The dispatcher's one use case: an event in; claimed steps and published jobs out."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from dispatcher.change import (
    SEND_PROTOBUF,
    DocumentChange,
    DocumentState,
    EventEmpty,
    EventUnreadable,
    decode_change,
)
from dispatcher.claiming import BelievedRun, Cause, Claims
from dispatcher.planning import Noop, executable_steps, is_worker_owned, reason_for_nothing
from dispatcher.refusing import CALL_TIMEOUT_SECONDS
from dispatcher.settings import DispatcherSettings
from shared.domain.defects import place_of
from shared.domain.document_size import MAX_DOCUMENT_BYTES, room_left
from shared.domain.errors import (
    FirestoreClaimFailed,
    FlowRunInvalid,
    FlowRunNotFound,
    InternalError,
)
from shared.domain.flow_run import FlowRun, parse_flow_run, parse_run_head
from shared.domain.trace import TRACEPARENT, parse_traceparent, trace_of_event
from shared.log import EventLogger, LogEvent
from shared.ports import PortFailure


@dataclass(frozen=True, slots=True, kw_only=True)
class Dispatcher:
    """Turns events into claimed steps and published jobs.

    An event that is handled, or that asks for nothing, returns; an exception asks for its
    redelivery. Any number of dispatchers may work on the same run, or on the same event.
    """

    claims: Claims
    log: EventLogger
    settings: DispatcherSettings

    async def handle(self, attributes: Mapping[str, str], data: bytes) -> None:
        """Handle one CloudEvent, given its context attributes and its data.

        Raises:
            FirestoreClaimFailed: Firestore did not answer, or the run changed too often.
            PortFailure: a job was claimed and its message not confirmed, or not taken.
            InternalError: a defect; names the place.
        """
        event_id, subject = attributes.get("id", ""), attributes.get("subject", "")
        trace = parse_traceparent(attributes.get(TRACEPARENT)) or trace_of_event(event_id)
        log = self.log.bind(eventId=event_id, **trace.log_fields(self.settings.shared.project))
        log.debug(LogEvent.CLOUD_EVENT_RECEIVED, subject=subject[:256])
        document_id = self._run_document(subject)
        if document_id is None:
            log.warning(LogEvent.CLOUD_EVENT_IGNORED, reason="other_collection")
            return
        log = log.bind(runId=document_id[:256])
        cause = Cause(event_id=event_id, trace=trace, log=log)
        try:
            await self._handle_change(document_id, attributes, data, cause)
        except (FirestoreClaimFailed, PortFailure) as problem:
            code = getattr(problem, "code", None)
            log.error(
                LogEvent.CLOUD_EVENT_FINISHED, str(problem), code=code, outcome="redeliver"
            )
            raise
        except Exception as problem:  # noqa: BLE001 - the server would log what it says
            defect = InternalError(place_of(problem))
            log.error(
                LogEvent.CLOUD_EVENT_FINISHED,
                defect.message,
                code=defect.code,
                outcome="redeliver",
            )
            raise defect from None

    async def _handle_change(
        self, document_id: str, attributes: Mapping[str, str], data: bytes, cause: Cause
    ) -> None:
        log = cause.log
        try:
            change = decode_change(data)
        except EventEmpty as problem:
            if "json" in attributes.get("datacontenttype", ""):
                log.error(LogEvent.CLOUD_EVENT_IGNORED, SEND_PROTOBUF, reason="unreadable")
                return
            log.info(LogEvent.CLOUD_EVENT_RECEIVED, f"{problem}: the run is read")
            change = await self._read(document_id)
        except EventUnreadable as problem:
            log.error(LogEvent.CLOUD_EVENT_IGNORED, str(problem), reason="unreadable")
            return
        if change.new is None:
            log.info(
                LogEvent.CLOUD_EVENT_IGNORED,
                reason="document_deleted",
                code=FlowRunNotFound.code,
            )
            return
        await self._handle_run(document_id, change, change.new, cause)

    async def _read(self, document_id: str) -> DocumentChange:
        """What stands in place of what the event did not bring.

        Raises:
            FirestoreClaimFailed: the run could not be read.
        """
        try:
            [found] = await self.claims.documents.read(
                [self.claims.run_ref(document_id)], timeout_seconds=CALL_TIMEOUT_SECONDS
            )
        except PortFailure as problem:
            raise FirestoreClaimFailed(f"reading the run failed: {problem}") from None
        if found is None:
            return DocumentChange(new=None, old_document=None)
        size = MAX_DOCUMENT_BYTES - room_left(found)
        new = DocumentState(version=found.version, data=found.data, size_bytes=size)
        return DocumentChange(new=new, old_document=None)

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
            await self.claims.refusing.report_invalid(
                document_id, new.data, new.version, problem, log
            )
            return
        log = log.bind(**run.labels)
        if not executable_steps(run):
            log.info(LogEvent.CLOUD_EVENT_NOOP, reason=reason_for_nothing(run))
            return
        log.info(LogEvent.CLOUD_EVENT_PARSED, flowRunSteps=_steps_for_log(run))
        if is_worker_owned(_parsed(document_id, change), run):
            log.info(LogEvent.CLOUD_EVENT_NOOP, reason=Noop.WORKER_OWNED_CHANGE)
            return
        view = BelievedRun(
            run=run,
            data=new.data,
            version=new.version,
            bytes_left=MAX_DOCUMENT_BYTES - new.size_bytes,
        )
        published = await self.claims.claim(view, replace(cause, log=log))
        if published:
            log.info(LogEvent.CLOUD_EVENT_FINISHED, jobs=published)
        else:
            log.info(LogEvent.CLOUD_EVENT_NOOP, reason=Noop.CLAIM_CONFLICT)

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
