"""Firestore document events as production delivers them, made from plain Python values.

The encoding is CloudEvents 1.0, HTTP binding, binary mode, with a
`google.events.cloud.firestore.v1.DocumentEventData` protobuf as the body. The field numbers
and attribute names are those of Eventarc's Firestore events.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, TypeGuard
from urllib.parse import quote

from google.events.cloud import firestore

from shared.domain.document_size import fields_size

EVENT_TYPE = "google.cloud.firestore.document.v1.written"
CONTENT_TYPE = "application/protobuf"
_SCHEMA = (
    "https://github.com/googleapis/google-cloudevents/blob/main"
    "/proto/google/events/cloud/firestore/v1/data.proto"
)
_LOCATION = "us-central1"
#: What an HTTP header carries as it is by the CloudEvents HTTP binding, section 3.1.3.2.
_PLAIN_IN_HEADERS = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in '"%')
_NANOSECONDS = 1_000_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_Data: Any = firestore.DocumentEventData.pb()
_Document: Any = firestore.Document.pb()


@dataclass(frozen=True, kw_only=True)
class Document:
    """A document at one version; the times are nanoseconds since 1970."""

    fields: Mapping[str, Any]
    create_time: int
    update_time: int

    @cached_property
    def fields_bytes(self) -> int:
        """What its fields take, as Firestore counts it."""
        return fields_size(self.fields)

    @cached_property
    def message(self) -> Any:
        """Its protobuf without its name, made once: two events carry the same version.

        Raises:
            TypeError: A value has a type that events do not carry, or is a naive datetime.
            ValueError: An int is beyond 64 bits.
        """
        message = _Document()
        for key, value in self.fields.items():
            _put(message.fields[key], value, key)
        _put_time(message.create_time, self.create_time)
        _put_time(message.update_time, self.update_time)
        return message


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudEventMessage:
    """An event as it travels: HTTP headers with lower-case names, and the raw body."""

    headers: Mapping[str, str]
    body: bytes

    @property
    def event_id(self) -> str:
        """The id that every redelivery of this event keeps."""
        return self.headers["ce-id"]


def document_event(
    *,
    project: str,
    database: str = "(default)",
    document_path: str,
    old: Document | None,
    new: Document | None,
    event_id: str,
    time: datetime,
) -> CloudEventMessage:
    """Return the event of one change: created (no `old`), updated, or deleted (no `new`).

    `document_path` is relative to the database, such as `flow_runs/x`. Fields are None, bool,
    int, float, str, bytes, aware datetime, list, tuple and dict with string keys.

    Raises:
        TypeError: A value of another type (the message names its path), or a naive datetime.
        ValueError: Neither document given, or an int beyond 64 bits.
    """
    if old is None and new is None:
        raise ValueError("a change has an old document, a new one, or both")
    name = f"projects/{project}/databases/{database}/documents/{document_path}"
    data = _Data()
    # Set and empty, as the emulator sends it: no code may rely on it.
    data.update_mask.SetInParent()
    for target, document in ((data.old_value, old), (data.value, new)):
        if document is not None:
            target.CopyFrom(document.message)
            target.name = name
    headers = cloud_event_headers(
        project=project,
        database=database,
        document_path=document_path,
        event_id=event_id,
        time=time,
    )
    return CloudEventMessage(headers=headers, body=data.SerializeToString())


def cloud_event_headers(
    *, project: str, database: str, document_path: str, event_id: str, time: datetime
) -> Mapping[str, str]:
    """Return the headers of a document's `written` event, values fit for HTTP."""
    moment = time.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    attributes = {
        "specversion": "1.0",
        "type": EVENT_TYPE,
        "source": f"//firestore.googleapis.com/projects/{project}/databases/{database}",
        "id": event_id,
        "subject": f"documents/{document_path}",
        "time": moment,
        "dataschema": _SCHEMA,
        "location": _LOCATION,
        "project": project,
        "database": database,
        "namespace": "(default)",
        "document": document_path,
    }
    headers = {f"ce-{name}": header_value(value) for name, value in attributes.items()}
    return headers | {"content-type": CONTENT_TYPE}


def header_value(text: str) -> str:
    """Percent-encode an attribute for a header, by the CloudEvents HTTP binding.

    >>> header_value("documents/flow_runs/a b%é")
    'documents/flow_runs/a%20b%25%C3%A9'
    """
    return quote(text, safe=_PLAIN_IN_HEADERS)


def _put(target: Any, value: Any, path: str) -> None:
    """Encode one value in place; Firestore's limit of 20 levels bounds the recursion."""
    match value:
        case None:
            target.null_value = 0
        case bool():
            target.boolean_value = value
        case int():
            target.integer_value = value
        case float():
            target.double_value = value
        case str():
            target.string_value = value
        case bytes():
            target.bytes_value = value
        case datetime():
            _put_time(target.timestamp_value, nanoseconds_of(value))
        case Mapping():
            _put_map(target.map_value, value, path)
        case list() | tuple():
            _put_array(target.array_value, value, path)
        case _:
            kind = type(value).__name__
            raise TypeError(f"{path} holds a {kind}, which these events do not carry")


def _put_map(target: Any, fields: Mapping[str, Any], path: str) -> None:
    target.SetInParent()
    for key, value in fields.items():
        _put(target.fields[key], value, f"{path}.{key}")


def _put_array(target: Any, values: Sequence[Any], path: str) -> None:
    target.SetInParent()
    for index, value in enumerate(values):
        _put(target.values.add(), value, f"{path}[{index}]")


def _put_time(target: Any, nanoseconds: int) -> None:
    target.seconds, target.nanos = divmod(nanoseconds, _NANOSECONDS)


def nanoseconds_of(moment: datetime) -> int:
    """Return the nanoseconds since 1970 of an aware time, exact for Firestore's own type."""
    since = moment - _EPOCH
    whole = (since.days * 86_400 + since.seconds) * _NANOSECONDS
    if _has_nanoseconds(moment):
        return whole + moment.nanosecond
    return whole + since.microseconds * 1_000


class _PreciseTime(datetime):
    """What google.api_core calls DatetimeWithNanoseconds."""

    nanosecond: int


def _has_nanoseconds(moment: datetime) -> TypeGuard[_PreciseTime]:
    return hasattr(moment, "nanosecond")
