"""The fields of a run that decide what to claim, out of Firestore's own messages.

A run may hold a mebibyte that nobody here needs: it is left as it came. The messages of an
event and those of a query are of different classes with the same fields, so none is imported.
https://cloud.google.com/firestore/docs/reference/rpc/google.firestore.v1#document
"""

from typing import Any

from shared.domain.document_size import MAX_DOCUMENT_BYTES, document_overhead, text_size
from shared.domain.documents import DocumentRef

#: A place takes 16 bytes, and its message may take 4.
_MOST_BYTES_PER_MESSAGE_BYTE = 4
_SURELY_SMALL = MAX_DOCUMENT_BYTES // 2
_FIXED_SIZES = {
    "integer_value": 8,
    "double_value": 8,
    "timestamp_value": 8,
    "geo_point_value": 16,
}
_RUN_FIELDS = ("runId", "status", "flowKey", "scope", "error")
_STEP_FIELDS = ("stepType", "status", "timeframe", "dependsOn")


def deciding_fields(fields: Any, *, quiet: bool = False) -> dict[str, Any]:
    """The run's deciding fields, and those of its steps.

    Args:
        fields: the `fields` of a document message.
        quiet: leave out the fields of the steps, and keep their ids.
    """
    data = _some(fields, _RUN_FIELDS)
    if "steps" in fields:
        steps = fields["steps"]
        data["steps"] = dict.fromkeys(steps.map_value.fields) if quiet else _steps(steps)
    return data


def _steps(value: Any) -> Any:
    if value.WhichOneof("value_type") != "map_value":
        return plain_value(value)
    return {name: _step(step) for name, step in value.map_value.fields.items()}


def _step(value: Any) -> Any:
    if value.WhichOneof("value_type") != "map_value":
        return plain_value(value)
    fields = value.map_value.fields
    step = _some(fields, _STEP_FIELDS)
    if step.get("status") == "READY" and "inputs" in fields:
        # What the job's message hints at stands there.
        inputs = fields["inputs"]
        a_map = inputs.WhichOneof("value_type") == "map_value"
        step["inputs"] = (
            _some(inputs.map_value.fields, ("llm",)) if a_map else plain_value(inputs)
        )
    return step


def _some(fields: Any, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: plain_value(fields[name]) for name in names if name in fields}


def plain_value(value: Any) -> Any:
    """The Python value of a Value message; times and places stay messages."""
    kind = value.WhichOneof("value_type")
    if kind == "map_value":
        return {name: plain_value(item) for name, item in value.map_value.fields.items()}
    if kind == "array_value":
        return [plain_value(item) for item in value.array_value.values]
    if kind in {None, "null_value"}:
        return None
    return getattr(value, kind)


def stored_size(document: Any, ref: DocumentRef) -> int:
    """At most so many bytes the document has, as Firestore counts them.

    Only a large document is counted value by value, which takes a while.
    """
    message_bytes = document.ByteSize()
    if message_bytes * _MOST_BYTES_PER_MESSAGE_BYTE < _SURELY_SMALL:
        return int(message_bytes * _MOST_BYTES_PER_MESSAGE_BYTE)
    return document_overhead(ref) + _fields_size(document.fields)


def _fields_size(fields: Any) -> int:
    return sum(text_size(name) + _message_size(value) for name, value in fields.items())


def _message_size(value: Any) -> int:
    kind = value.WhichOneof("value_type")
    if kind == "map_value":
        return max(1, _fields_size(value.map_value.fields))
    if kind == "array_value":
        return max(1, sum(map(_message_size, value.array_value.values)))
    if kind in {"string_value", "reference_value"}:
        return text_size(getattr(value, kind))
    if kind == "bytes_value":
        return max(1, len(value.bytes_value))
    return _FIXED_SIZES.get(kind, 1)
