"""What no further try can mend: steps that are refused for good, and documents of others."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from dispatcher.sweep_jobs import PARK_FOR
from infra.local.gemini.faults import FaultKind
from infra.local.gemini.faults import FaultRule as ModelFault
from infra.local.plan import LocalEnvironment
from infra.local.storage.faults import StorageFault, StorageFaultKind
from shared.domain.document_size import MAX_DOCUMENT_BYTES, document_size
from shared.domain.documents import Create, DocumentRef
from shared.domain.errors import ErrorCode
from shared.domain.job_documents import COLLECTION as JOBS

_CALL_SECONDS = 30.0
#: More often than anything is asked for.
_ALWAYS = 1_000_000
#: Room for an error of a few words, and for no ending that was paid for.
_ROOM_BYTES = 600
_FLOW_RUNS = "flow_runs"
#: The source that a step may not read.
_CANDLES = "1d/ohlcv_export_1d.json"


class Refusal(StrEnum):
    """What is refused for good, each by another port."""

    PROMPT = "the model does not answer this prompt"
    KEY = "the provider does not let us call this model"
    INPUTS = "Cloud Storage does not let us read the inputs"
    UPLOAD = "Cloud Storage does not let us store the report"
    ROOM = "Firestore has no room for the outcome in the run"


#: How a step ends with which this was done.
CODES: Mapping[Refusal, ErrorCode] = {
    Refusal.PROMPT: ErrorCode.LLM_SAFETY_BLOCK,
    Refusal.KEY: ErrorCode.GEMINI_REQUEST_FAILED,
    Refusal.INPUTS: ErrorCode.GCS_READ_FAILED,
    Refusal.UPLOAD: ErrorCode.GCS_WRITE_FAILED,
    Refusal.ROOM: ErrorCode.RUN_TOO_LARGE,
}


def model_refusals(refusal: Refusal | None, model: str) -> Sequence[ModelFault]:
    """What the stand-in of the model is told."""
    match refusal:
        case Refusal.PROMPT:
            return [ModelFault(kind=FaultKind.PROMPT_BLOCKED, contains=model, times=_ALWAYS)]
        case Refusal.KEY:
            kind = FaultKind.STATUS
            return [ModelFault(kind=kind, contains=model, times=_ALWAYS, status=403)]
    return []


def storage_refusals(refusal: Refusal | None, run_id: str) -> Sequence[StorageFault]:
    """What the storage server is told."""
    match refusal:
        case Refusal.INPUTS:
            method, name = "GET", f"{run_id}/{_CANDLES}"
        case Refusal.UPLOAD:
            method, name = "POST", run_id
        case _:
            return []
    kind = StorageFaultKind.STATUS
    return [
        StorageFault(kind=kind, method=method, name_contains=name, times=_ALWAYS, status=403)
    ]


def without_room(run_id: str, run: Mapping[str, Any]) -> dict[str, Any]:
    """The run with so much in it that no outcome fits."""
    ref = DocumentRef(_FLOW_RUNS, run_id)
    empty = {**run, "progress": {"filler": ""}}
    space = MAX_DOCUMENT_BYTES - _ROOM_BYTES - document_size(ref, empty)
    return {**run, "progress": {"filler": "." * space}}


_DUE = datetime(2026, 1, 5, 8, 0, tzinfo=UTC)
_FOREIGN_RUN = DocumentRef(_FLOW_RUNS, "20260105-080000_BTCUSD_other")
#: Two jobs and a run, as the sweep's queries find them.
_FOREIGN: Mapping[DocumentRef, Mapping[str, Any]] = {
    # Another program's idea of a job.
    DocumentRef(JOBS, "~"): {"shard": 0, "wakeAt": _DUE, "kind": "mail", "owner": {"pid": 7}},
    # A job as ours, whose fields cannot be read.
    DocumentRef(JOBS, "20260105-080000_BTCUSD_odd~report_0"): {
        "shard": 5,
        "wakeAt": _DUE,
        "runId": "20260105-080000_BTCUSD_odd",
        "stepId": "report_0",
        "state": "RUNNING",
        "attempt": "two",
        "lease": [1, {"owner": None}],
    },
    # A run by its status alone.
    _FOREIGN_RUN: {"status": "RUNNING", "steps": ["a", "b"], "size": 5},
}


async def seed_foreign(environment: LocalEnvironment) -> int:
    """Store the documents of others; how many they are."""
    writes = [Create(ref=ref, data=data) for ref, data in _FOREIGN.items()]
    await environment.documents.commit(writes, timeout_seconds=_CALL_SECONDS)
    return len(writes)


async def wrong_with_foreign(environment: LocalEnvironment) -> list[str]:
    """What is not as it should be with the documents of others.

    A record that cannot be read is left alone for a while, and a run that is none says so.
    Nothing else on them is changed.
    """
    found = await environment.documents.read(list(_FOREIGN), timeout_seconds=_CALL_SECONDS)
    return [
        f"{ref}: {stored.data if stored else None}"
        for (ref, data), stored in zip(_FOREIGN.items(), found, strict=True)
        if stored is None or not _noticed(ref, data, stored.data)
    ]


def _noticed(ref: DocumentRef, data: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Whether the worker has seen the document, and changed nothing else on it."""
    if ref == _FOREIGN_RUN:
        code = now.get("error", {}).get("code")
        return code == ErrorCode.FLOW_RUN_INVALID and {**data, "error": now["error"]} == now
    return now["wakeAt"] > _DUE + PARK_FOR and {**data, "wakeAt": now["wakeAt"]} == now
