"""How a job record is stored in Firestore, and read from there."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from zlib import crc32

from shared.domain.attempts import (
    Attempt,
    CallPurpose,
    FormerClaim,
    ModelCall,
    OperatorAct,
)
from shared.domain.documents import (
    DELETE,
    Create,
    DocumentRef,
    FieldPath,
    Snapshot,
    Update,
    Version,
)
from shared.domain.identifiers import ClaimId, RunId, StepId, is_run_id, is_step_id, job_id
from shared.domain.jobs import BackgroundCall, JobRecord, JobState, LastError, Lease
from shared.domain.waiting import Waiting

COLLECTION = "llm_jobs"
#: The field by which waiting jobs are found in their order; absent from all others.
QUEUE = "queue"
#: Due jobs are found by (shard, wakeAt): times only grow, and an index of them alone bears 500
#: writes a second (https://cloud.google.com/firestore/docs/solutions/shard-timestamp).
SHARD, SHARDS = "shard", 16


class JobRecordInvalid(ValueError):
    """The stored record is not one that this worker wrote."""


def job_ref(run_id: RunId, step_id: StepId) -> DocumentRef:
    """Where the job record of a step is stored."""
    return DocumentRef(COLLECTION, job_id(run_id, step_id))


def shard_of(document_id: str) -> int:
    """The shard of the job record with this id, for ever the same."""
    return crc32(document_id.encode()) % SHARDS


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
        SHARD: shard_of(job_id(record.run_id, record.step_id)),
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
        "refusals": record.refusals or None,
        "waiting": record.waiting and _waiting_fields(record.waiting),
        QUEUE: _queue_key(record),
        "wakes": record.wakes or None,
        "inputDigest": record.input_digest,
        "lease": lease and {"owner": lease.owner, "expiresAt": lease.expires_at},
        "notBefore": record.not_before,
        "wakeAt": record.wake_at,
        "lastError": error and {"code": error.code, "message": error.message},
        "expireAt": record.expire_at,
        "history": [_attempt_fields(attempt) for attempt in record.history] or None,
        "operatorActs": [_act_fields(act) for act in record.operator_acts] or None,
        "formerClaims": [_claim_fields(claim) for claim in record.former_claims] or None,
        "acknowledged": record.acknowledged or None,
    }


def _queue_key(record: JobRecord) -> str | None:
    waits = record.waiting is not None and record.waiting.queued and not record.closed
    if not waits or record.waiting is None:
        return None
    return record.waiting.queue_key(job_id(record.run_id, record.step_id))


def _waiting_fields(waiting: Waiting) -> dict[str, Any]:
    return _present(
        {
            "place": waiting.place,
            "since": waiting.since,
            "until": waiting.until,
            "dueAt": waiting.due_at,
            "turn": waiting.turn,
            "dearerAt": waiting.dearer_at,
            "before": waiting.before,
            "slotUntil": waiting.slot_until,
            "refusedAt": waiting.refused_at,
            "retryAt": waiting.retry_at,
        }
    )


def _interaction_fields(call: BackgroundCall) -> dict[str, Any]:
    return _present(
        {
            "id": call.id,
            "begunAt": call.begun_at,
            "inputDigest": call.input_digest,
            "stopAt": call.stop_at,
            "missingSince": call.missing_since,
            "missingLooks": call.missing_looks or None,
        }
    )


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
            "cutOffAt": call.cut_off_at,
            "endedAt": call.ended_at,
            "code": call.code,
            "finishReason": call.finish_reason,
            "modelName": call.model_name,
            "modelVersion": call.model_version,
            "askedTier": call.asked_tier,
            "serviceTier": call.service_tier,
            "usage": dict(call.usage) if call.usage else None,
            "costUsd": call.cost_usd,
            "maybeBilled": call.maybe_billed or None,
        }
    )


def _act_fields(act: OperatorAct) -> dict[str, Any]:
    return _present(
        {
            "act": act.act,
            "at": act.at,
            "reason": act.reason,
            "by": act.by,
            "via": act.via,
            "claimId": act.claim_id,
        }
    )


def _claim_fields(claim: FormerClaim) -> dict[str, Any]:
    return _present(
        {
            "number": claim.number,
            "claimId": claim.claim_id,
            "claimedAt": claim.claimed_at,
            "state": claim.state,
            "llmCalls": claim.llm_calls,
            "code": claim.code,
            "costUsd": claim.cost_usd,
            "attempts": [_attempt_fields(attempt) for attempt in claim.attempts] or None,
        }
    )


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


def parse_stored_job(stored: Snapshot) -> JobRecord:
    """The record in a document that was found, and not asked for by its id.

    Raises:
        JobRecordInvalid: see `parse_job_record`; or it is the record of another document.
    """
    record = parse_job_record(stored.data)
    own = is_run_id(record.run_id) and is_step_id(record.step_id)
    if not own or job_ref(record.run_id, record.step_id) != stored.ref:
        raise JobRecordInvalid("bad job record: its ids are not those of its document")
    return record


def _record(data: Mapping[str, Any]) -> JobRecord:
    lease, error = data.get("lease"), data.get("lastError")
    interaction, waiting = data.get("interaction"), data.get("waiting")
    return JobRecord(
        run_id=RunId(_text(data["runId"])),
        step_id=StepId(_text(data["stepId"])),
        claim_id=ClaimId(_text(data["claimId"])),
        event_id=_text(data["eventId"]),
        claimed_at=_time(data["claimedAt"]),
        state=JobState(data["state"]),
        claim_number=int(data.get("claimNumber", 1)),
        attempt=int(data["attempt"]),
        llm_calls=int(data["llmCalls"]),
        call_open=bool(data.get("callOpen", False)),
        repair_used=bool(data.get("repairUsed", False)),
        interaction=interaction and _interaction(interaction),
        refusals=int(data.get("refusals", 0)),
        waiting=waiting and _waiting(waiting),
        wakes=int(data.get("wakes", 0)),
        input_digest=data.get("inputDigest"),
        lease=lease and Lease(owner=lease["owner"], expires_at=_time(lease["expiresAt"])),
        not_before=_optional_time(data.get("notBefore")),
        wake_at=_optional_time(data.get("wakeAt")),
        last_error=error and LastError(code=error["code"], message=error["message"]),
        expire_at=_optional_time(data.get("expireAt")),
        history=tuple(_attempt(attempt) for attempt in data.get("history", ())),
        operator_acts=tuple(_act(act) for act in data.get("operatorActs", ())),
        former_claims=tuple(_former_claim(each) for each in data.get("formerClaims", ())),
        acknowledged=bool(data.get("acknowledged", False)),
    )


def _interaction(data: Mapping[str, Any]) -> BackgroundCall:
    return BackgroundCall(
        id=data["id"],
        begun_at=_time(data["begunAt"]),
        input_digest=data["inputDigest"],
        stop_at=_optional_time(data.get("stopAt")),
        missing_since=_optional_time(data.get("missingSince")),
        missing_looks=int(data.get("missingLooks", 0)),
    )


def _act(data: Mapping[str, Any]) -> OperatorAct:
    return OperatorAct(
        act=data["act"],
        at=_time(data["at"]),
        reason=data["reason"],
        by=data.get("by"),
        via=data.get("via"),
        claim_id=data.get("claimId"),
    )


def _former_claim(data: Mapping[str, Any]) -> FormerClaim:
    return FormerClaim(
        number=int(data["number"]),
        claim_id=ClaimId(data["claimId"]),
        claimed_at=_time(data["claimedAt"]),
        state=data["state"],
        llm_calls=int(data["llmCalls"]),
        code=data.get("code"),
        cost_usd=data.get("costUsd"),
        attempts=tuple(_attempt(attempt) for attempt in data.get("attempts", ())),
    )


def _waiting(data: Mapping[str, Any]) -> Waiting:
    return Waiting(
        place=data["place"],
        since=_time(data["since"]),
        until=_time(data["until"]),
        due_at=_time(data["dueAt"]),
        turn=_time(data["turn"]),
        dearer_at=_optional_time(data.get("dearerAt")),
        before=int(data.get("before", 0)),
        slot_until=_optional_time(data.get("slotUntil")),
        refused_at=_optional_time(data.get("refusedAt")),
        retry_at=_optional_time(data.get("retryAt")),
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
        cut_off_at=_optional_time(data.get("cutOffAt")),
        ended_at=_optional_time(data.get("endedAt")),
        code=data.get("code"),
        finish_reason=data.get("finishReason"),
        model_name=data.get("modelName"),
        model_version=data.get("modelVersion"),
        asked_tier=data.get("askedTier"),
        service_tier=data.get("serviceTier"),
        usage=data.get("usage"),
        cost_usd=data.get("costUsd"),
        maybe_billed=bool(data.get("maybeBilled", False)),
    )


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("a string")
    return value


def _time(value: object) -> datetime:
    if not isinstance(value, datetime):
        raise TypeError("a time")
    return value


def _optional_time(value: object) -> datetime | None:
    return None if value is None else _time(value)
