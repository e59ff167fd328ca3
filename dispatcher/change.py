"""Reading a Firestore event: only the fields that the decision needs are decoded.

The event carries the whole document twice, up to a mebibyte each, and every write to every
run causes one: most of them change nothing for this worker.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from google.events.cloud.firestore_v1.types import DocumentEventData
from google.protobuf.message import DecodeError

from shared.domain.documents import Version

_RUN_FIELDS = ("runId", "status", "flowKey", "scope", "error")
_STEP_FIELDS = ("stepType", "status", "timeframe", "dependsOn")


class EventUnreadable(Exception):
    """The event's data is no Firestore document event; says why, never what was in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentState:
    """The fields that decide, of one version of a run."""

    version: Version
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentChange:
    """A run before and after a write; None where it did not exist."""

    old: DocumentState | None
    new: DocumentState | None


def decode_change(data: bytes) -> DocumentChange:
    """The change in the data of a `google.cloud.firestore.document.v1.written` event.

    Raises:
        EventUnreadable: these bytes are no such event.
    """
    event = DocumentEventData.pb()()
    try:
        event.ParseFromString(data)
    except DecodeError:
        raise EventUnreadable("the data is no DocumentEventData protobuf") from None
    old = _state(event.old_value) if event.HasField("old_value") else None
    new = _state(event.value) if event.HasField("value") else None
    if old is None and new is None:
        raise EventUnreadable("the event carries neither an old nor a new document")
    return DocumentChange(old=old, new=new)


def _state(document: Any) -> DocumentState:
    fields = document.fields
    data = _some(fields, _RUN_FIELDS)
    if "steps" in fields:
        data["steps"] = _steps(fields["steps"])
    return DocumentState(
        version=Version(document.update_time.ToNanoseconds()),
        data=data,
    )


def _steps(value: Any) -> Any:
    if value.WhichOneof("value_type") != "map_value":
        return _plain(value)
    return {name: _step(step) for name, step in value.map_value.fields.items()}


def _step(value: Any) -> Any:
    if value.WhichOneof("value_type") != "map_value":
        return _plain(value)
    fields = value.map_value.fields
    step = _some(fields, _STEP_FIELDS)
    if step.get("status") == "READY" and "inputs" in fields:
        step["inputs"] = _plain(fields["inputs"])
    return step


def _some(fields: Any, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: _plain(fields[name]) for name in names if name in fields}


def _plain(value: Any) -> Any:
    kind = value.WhichOneof("value_type")
    if kind == "map_value":
        return {name: _plain(item) for name, item in value.map_value.fields.items()}
    if kind == "array_value":
        return [_plain(item) for item in value.array_value.values]
    if kind in {None, "null_value"}:
        return None
    return getattr(value, kind)
