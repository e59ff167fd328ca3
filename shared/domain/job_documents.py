"""How a job record is stored in Firestore, and read from there."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from shared.domain.attempts import Attempt, CallPurpose, ModelCall, OperatorAct
from shared.domain.documents import DELETE, Create, DocumentRef, FieldPath, Update, Version
from shared.domain.identifiers import ClaimId, RunId, StepId, job_id
from shared.domain.jobs import BackgroundCall, JobRecord, JobState, LastError, Lease

COLLECTION = "llm_jobs"


class JobRecordInvalid(ValueError):
    """The stored record is not one that this worker wrote."""


def job_ref(run_id: RunId, step_id: StepId) -> DocumentRef:
    """Where the job record of a step is stored."""
    return DocumentRef(COLLECTION, job_id(run_id, step_id))


def create_job(record: JobRecord) -> Create:
    """The write that stores a first claim's record."""
    ref = job_ref(record.run_id, record.step_id)
    return Create(ref=ref, data=job_document(record))


def update_job(record: JobRecord, guard: Version) -> Update:
    """The write that brings the stored record to this state, all fields of it."""
    fields = _fields(record)
    changes: dict[FieldPath, Any] = {
        (name,): DELETE if value is None else value for name, value in fields.items()
    }
    return Update(ref=job_ref(record.run_id, record.step_id), changes=changes, guard=guard)


def job_document(record: JobRecord) -> dict[str, Any]:
    """The fields as Firestore holds them; absent where there is nothing to say."""
    return _present(_fields(record))


def _fields(record: JobRecord) -> dict[str, Any]:
    lease, error, interaction = record.lease, record.last_error, record.interaction
    return {
        "runId": record.run_id,
        "stepId": record.step_id,
        "claimId": record.claim_id,
        "eventId": record.event_id,
        "claimedAt": record.claimed_at,
        "state": str(record.state),
        "claimNumber": record.claim_number,
        "attempt": record.attempt,
        "llmCalls": record.llm_calls,
        "callOpen": record.call_open or None,
        "repairUsed": record.repair_used or None,
        "interaction": interaction and _interaction_fields(interaction),
        "wakes": record.wakes or None,
        "inputDigest": record.input_digest,
        "lease": lease and {"owner": lease.owner, "expiresAt": lease.expires_at},
        "notBefore": record.not_before,
        "wakeAt": record.wake_at,
        "lastError": error and {"code": error.code, "message": error.message},
        "expireAt": record.expire_at,
        "history": [_attempt_fields(attempt) for attempt in record.history] or None,
        "operatorActs": [_act_fields(act) for act in record.operator_acts] or None,
    }


def _interaction_fields(call: BackgroundCall) -> dict[str, Any]:
    return {"id": call.id, "begunAt": call.begun_at, "inputDigest": call.input_digest}


def _attempt_fields(attempt: Attempt) -> dict[str, Any]:
    return _present(
        {
            "number": attempt.number,
            "startedAt": attempt.started_at,
            "endedAt": attempt.ended_at,
            "storedAt": attempt.stored_at,
            "code": attempt.code,
            "calls": [_call_fields(call) for call in attempt.calls] or None,
        }
    )


def _call_fields(call: ModelCall) -> dict[str, Any]:
    return _present(
        {
            "number": call.number,
            "purpose": str(call.purpose),
            "startedAt": call.started_at,
            "endedAt": call.ended_at,
            "code": call.code,
            "finishReason": call.finish_reason,
            "modelName": call.model_name,
            "modelVersion": call.model_version,
            "usage": dict(call.usage) if call.usage else None,
        }
    )


def _act_fields(act: OperatorAct) -> dict[str, Any]:
    return {"act": act.act, "at": act.at, "reason": act.reason}


def _present(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def parse_job_record(data: Mapping[str, Any]) -> JobRecord:
    """The record that `job_document` gave.

    Raises:
        JobRecordInvalid: a field is missing or has another type.
    """
    try:
        return _record(data)
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as problem:
        raise JobRecordInvalid(
            f"bad job record: {type(problem).__name__} at {problem}"
        ) from None


def _record(data: Mapping[str, Any]) -> JobRecord:
    lease, error = data.get("lease"), data.get("lastError")
    interaction = data.get("interaction")
    return JobRecord(
        run_id=RunId(data["runId"]),
        step_id=StepId(data["stepId"]),
        claim_id=ClaimId(data["claimId"]),
        event_id=data["eventId"],
        claimed_at=_time(data["claimedAt"]),
        state=JobState(data["state"]),
        claim_number=int(data.get("claimNumber", 1)),
        attempt=int(data["attempt"]),
        llm_calls=int(data["llmCalls"]),
        call_open=bool(data.get("callOpen", False)),
        repair_used=bool(data.get("repairUsed", False)),
        interaction=interaction and _interaction(interaction),
        wakes=int(data.get("wakes", 0)),
        input_digest=data.get("inputDigest"),
        lease=lease and Lease(owner=lease["owner"], expires_at=_time(lease["expiresAt"])),
        not_before=_optional_time(data.get("notBefore")),
        wake_at=_optional_time(data.get("wakeAt")),
        last_error=error and LastError(code=error["code"], message=error["message"]),
        expire_at=_optional_time(data.get("expireAt")),
        history=tuple(_attempt(attempt) for attempt in data.get("history", ())),
        operator_acts=tuple(
            OperatorAct(act=act["act"], at=_time(act["at"]), reason=act["reason"])
            for act in data.get("operatorActs", ())
        ),
    )


def _interaction(data: Mapping[str, Any]) -> BackgroundCall:
    return BackgroundCall(
        id=data["id"], begun_at=_time(data["begunAt"]), input_digest=data["inputDigest"]
    )


def _attempt(data: Mapping[str, Any]) -> Attempt:
    return Attempt(
        number=int(data["number"]),
        started_at=_time(data["startedAt"]),
        ended_at=_optional_time(data.get("endedAt")),
        stored_at=_optional_time(data.get("storedAt")),
        code=data.get("code"),
        calls=tuple(_call(call) for call in data.get("calls", ())),
    )


def _call(data: Mapping[str, Any]) -> ModelCall:
    return ModelCall(
        number=int(data["number"]),
        purpose=CallPurpose(data["purpose"]),
        started_at=_time(data["startedAt"]),
        ended_at=_optional_time(data.get("endedAt")),
        code=data.get("code"),
        finish_reason=data.get("finishReason"),
        model_name=data.get("modelName"),
        model_version=data.get("modelVersion"),
        usage=data.get("usage"),
    )


def _time(value: object) -> datetime:
    if not isinstance(value, datetime):
        raise TypeError("a time")
    return value


def _optional_time(value: object) -> datetime | None:
    return None if value is None else _time(value)
