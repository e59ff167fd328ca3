"""Values, writes and snapshots as Firestore's messages hold them: pure.

Made of plain protobuf messages: the client library's own conversion wraps every value in
an object of a second message type and parses every field path anew.
https://cloud.google.com/firestore/docs/reference/rpc/google.firestore.v1
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from google.api_core.datetime_helpers import DatetimeWithNanoseconds
from google.cloud.firestore_v1.field_path import FieldPath as QuotedPath
from google.cloud.firestore_v1.types import BatchGetDocumentsResponse, Value
from google.cloud.firestore_v1.types import Write as WriteMessage

from shared.domain.documents import (
    DELETE,
    Create,
    DocumentRef,
    FieldPath,
    Snapshot,
    Version,
    Write,
)
from shared.domain.run_fields import stored_size

_Write = WriteMessage.pb()
_Value = Value.pb()


def write_message(write: Write, name: str) -> Any:
    """The google.firestore.v1.Write of one write.

    Args:
        write: the new document, or the changes to one.
        name: the document's full resource name.

    Raises:
        TypeError: a value is of no type that a document can hold.
        ValueError: there is no change, or one lies inside another.
    """
    message = _Write()
    message.update.name = name
    if isinstance(write, Create):
        _put_fields(message.update.fields, write.data)
        message.current_document.exists = False
    else:
        _put_changes(message, write.changes)
        message.current_document.update_time.FromNanoseconds(write.guard)
    return message


def found_snapshot(response: BatchGetDocumentsResponse) -> Snapshot | None:
    """The document in one answer of a batch read; None where there is none."""
    message = BatchGetDocumentsResponse.pb(response)
    if message.WhichOneof("result") != "found":
        return None
    return document_snapshot(message.found, plain_fields)


def document_snapshot(document: Any, decode: Callable[[Any], Mapping[str, Any]]) -> Snapshot:
    """The snapshot of a google.firestore.v1.Document, its fields decoded as told."""
    _, collection, document_id = document.name.rsplit("/", 2)
    ref = DocumentRef(collection, document_id)
    return Snapshot(
        ref=ref,
        version=Version(document.update_time.ToNanoseconds()),
        data=decode(document.fields),
        size_bytes=stored_size(document, ref),
    )


def plain_fields(fields: Any) -> dict[str, Any]:
    """All fields of a document, as Python values."""
    return {name: _value(value) for name, value in fields.items()}


def value_message(value: Any) -> Any:
    """The google.firestore.v1.Value of a Python value."""
    message = _Value()
    _put(message, value)
    return message


def _put_changes(message: Any, changes: Mapping[FieldPath, Any]) -> None:
    # Without a mask the write would replace the document.
    if not changes:
        raise ValueError("an update changes at least one field")
    for path, value in changes.items():
        if any(path[:length] in changes for length in range(1, len(path))):
            raise ValueError("a field is changed twice: by itself, and inside another")
        message.update_mask.field_paths.append(QuotedPath(*path).to_api_repr())
        if value is not DELETE:
            fields = message.update.fields
            for segment in path[:-1]:
                fields = fields[segment].map_value.fields
            _put(fields[path[-1]], value)


def _put_fields(fields: Any, data: Mapping[str, Any]) -> None:
    for name, value in data.items():
        _put(fields[name], value)


def _put(target: Any, value: Any) -> None:  # noqa: C901 -- a case for each type
    match value:
        case None:
            target.null_value = 0
        case bool():
            target.boolean_value = value
        case str():
            target.string_value = value
        case int():
            target.integer_value = value
        case float():
            target.double_value = value
        case DatetimeWithNanoseconds():
            moment = value.timestamp_pb()  # type: ignore[no-untyped-call]  # api_core's
            target.timestamp_value.CopyFrom(moment)
        case datetime():
            target.timestamp_value.FromDatetime(value)
        case bytes():
            target.bytes_value = value
        case Mapping():
            # Also where there is nothing to put in: an empty map is a value.
            target.map_value.SetInParent()
            _put_fields(target.map_value.fields, value)
        case Sequence():
            target.array_value.SetInParent()
            for item in value:
                _put(target.array_value.values.add(), item)
        case _:
            raise TypeError(f"a document cannot hold a {type(value).__name__}")


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value_type")
    match kind:
        case "map_value":
            return plain_fields(value.map_value.fields)
        case "array_value":
            return [_value(item) for item in value.array_value.values]
        case "timestamp_value":
            return DatetimeWithNanoseconds.from_timestamp_pb(  # type: ignore[no-untyped-call]
                value.timestamp_value
            )
        case None | "null_value":
            return None
    return getattr(value, kind)
