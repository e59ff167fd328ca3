"""Reading a Firestore event: only the fields that the decision needs are decoded.

The event carries the whole document twice, up to a mebibyte each, and every write to every
run causes one: most of them change nothing for this worker.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from google.events.cloud.firestore_v1.types import Document
from google.protobuf.message import DecodeError

from shared.domain.documents import DocumentRef, Version
from shared.domain.run_fields import deciding_fields, stored_size
from shared.domain.steps import StepStatus

_STATUSES = frozenset(StepStatus)
#: The string READY as a value: field 17 of google.firestore.v1.Value, five bytes long. A
#: document without these bytes has no READY step.
_READY = b"\x8a\x01\x05READY"
#: Fields of google.events.cloud.firestore.v1.DocumentEventData.
_VALUE, _OLD_VALUE = 1, 2
_VARINT, _LENGTH_DELIMITED = 0, 2
_FIXED_BYTES = {1: 8, 5: 4}
_MAX_VARINT_BYTES = 10
_LAST_BYTE = 0x7F
#: Said of data in another form.
SEND_PROTOBUF = (
    "the data is no DocumentEventData protobuf: does the trigger send application/protobuf?"
)


class EventUnreadable(Exception):
    """The event's data is no Firestore document event; says why, never what was in it."""


class EventEmpty(EventUnreadable):
    """The event came without its data, as a large one does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentState:
    """The fields that decide, of one version of a run."""

    version: Version
    data: Mapping[str, Any]
    #: At most so many bytes, as Firestore counts them; 0 where it is quiet.
    size_bytes: int
    #: No step is READY, each has a type and a known status, and their fields are left out of
    #: `data`: nobody needs them.
    quiet: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentChange:
    """A run before and after a write; None where it did not exist."""

    new: DocumentState | None
    #: Decoded when somebody asks for it: most events are over before that.
    old_document: bytes | None

    @property
    def old(self) -> DocumentState | None:
        """The run before the write.

        Raises:
            EventUnreadable: these bytes are no document.
        """
        if self.old_document is None:
            return None
        return _state(_parsed(self.old_document))


def decode_change(data: bytes) -> DocumentChange:
    """The change in the data of a `google.cloud.firestore.document.v1.written` event.

    Raises:
        EventUnreadable: these bytes are no such event.
        EventEmpty: there are no bytes, or no documents in them.
    """
    documents = _documents(data)
    new, old = documents.get(_VALUE), documents.get(_OLD_VALUE)
    if old is None and new is None:
        raise EventEmpty("the event carries neither an old nor a new document")
    if new is None:
        return DocumentChange(new=None, old_document=old)
    document = _parsed(new)
    quiet = _READY not in new and _plainly_quiet(document.fields)
    return DocumentChange(new=_state(document, quiet=quiet), old_document=old)


def _documents(data: bytes) -> Mapping[int, bytes]:
    """The parts of the event by field, not decoded: the library would decode both documents.

    https://protobuf.dev/programming-guides/encoding
    """
    parts: dict[int, bytes] = {}
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        if tag >> 3 == 0:
            raise EventUnreadable(SEND_PROTOBUF)
        if tag & 7 == _LENGTH_DELIMITED:
            length, at = _varint(data, at)
            parts[tag >> 3] = data[at : at + length]
            at += length
        elif tag & 7 in _FIXED_BYTES:
            at += _FIXED_BYTES[tag & 7]
        elif tag & 7 == _VARINT:
            _, at = _varint(data, at)
        else:
            raise EventUnreadable(SEND_PROTOBUF)
    if at > len(data):
        raise EventUnreadable(SEND_PROTOBUF)
    return parts


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """The number that begins there, seven bits a byte, and where the next field does."""
    value = 0
    for shift, byte in enumerate(data[at : at + _MAX_VARINT_BYTES]):
        value |= (byte & 0x7F) << (7 * shift)
        if byte <= _LAST_BYTE:
            return value, at + shift + 1
    raise EventUnreadable(SEND_PROTOBUF)


def _parsed(data: bytes) -> Any:
    document = Document.pb()()
    try:
        document.ParseFromString(data)
    except DecodeError:
        raise EventUnreadable(SEND_PROTOBUF) from None
    return document


def _plainly_quiet(fields: Any) -> bool:
    """Whether every step has a type and a known status."""
    steps = fields.get("steps")
    return (
        steps is not None
        and steps.WhichOneof("value_type") == "map_value"
        and all(map(_is_plain, steps.map_value.fields.values()))
    )


def _is_plain(step: Any) -> bool:
    fields = step.map_value.fields
    # Not by index: that would put in what is missing.
    step_type, status = fields.get("stepType"), fields.get("status")
    return (
        step_type is not None
        and step_type.string_value != ""
        and status is not None
        and status.string_value in _STATUSES
    )


def _state(document: Any, *, quiet: bool = False) -> DocumentState:
    version = Version(document.update_time.ToNanoseconds())
    data = deciding_fields(document.fields, quiet=quiet)
    size = 0 if quiet else stored_size(document, _ref(document.name))
    return DocumentState(version=version, data=data, size_bytes=size, quiet=quiet)


def _ref(name: str) -> DocumentRef:
    path, _, document_id = name.rpartition("/")
    return DocumentRef(path.rpartition("/")[2], document_id)
