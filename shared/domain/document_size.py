"""How large a document is, as Firestore counts it, and how much room an ending needs.

https://firebase.google.com/docs/firestore/storage-size; the contract suite compares it with
the emulator's count.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from shared.domain.documents import DocumentRef, Snapshot

#: https://firebase.google.com/docs/firestore/quotas#limits
MAX_DOCUMENT_BYTES = 1_048_576
#: Room for what a claim and the largest usual ending of a step add to its run: an error's
#: message of 500 characters and details, or the provider's usage, timing and accounting.
#: An ending that is larger still is written in its smallest form.
ENDING_BYTES = 4_096
_DOCUMENT_OVERHEAD_BYTES = 32
_NAME_OVERHEAD_BYTES = 16
_NUMBER_BYTES = 8
_PLACE_BYTES = 16


def room_left(run: Snapshot) -> int:
    """So many bytes can still be added to the run."""
    size = run.size_bytes
    if size is None:
        size = document_size(run.ref, run.data)
    return MAX_DOCUMENT_BYTES - size


def document_size(ref: DocumentRef, data: Mapping[str, Any]) -> int:
    """The size in bytes of a document with these fields, which are all that it has."""
    return document_overhead(ref) + fields_size(data)


def document_overhead(ref: DocumentRef) -> int:
    """What a document takes beside its fields, in bytes."""
    name = _NAME_OVERHEAD_BYTES + text_size(ref.collection) + text_size(ref.document_id)
    return name + _DOCUMENT_OVERHEAD_BYTES


def text_size(text: str) -> int:
    """The size in bytes of a string, of a field's name or of a part of a document's name."""
    return (len(text) if text.isascii() else len(text.encode("utf-8", "replace"))) + 1


def fields_size(fields: Mapping[str, Any]) -> int:
    """What the fields of a document or of a map take, in bytes."""
    return sum(text_size(name) + _value_size(value) for name, value in fields.items())


def _value_size(value: Any) -> int:
    # The usual types come first, since this looks at every value of every document.
    match value:
        case str():
            size = text_size(value)
        case dict() | Mapping():
            size = fields_size(value)
        case None | bool():
            size = 0
        case int() | float() | datetime():
            size = _NUMBER_BYTES
        case bytes():
            size = len(value)
        case list() | Sequence():
            size = sum(map(_value_size, value))
        case _:
            size = _PLACE_BYTES
    return max(1, size)
