"""How many index entries a document has, by Firestore's own rules.

Every single field has an index in both directions, those within maps too; a list has one entry
for each of its different elements; a field without an index has none, nor has what is within
it (https://cloud.google.com/firestore/docs/query-data/index-overview).
"""

import json
from collections.abc import Collection, Mapping
from typing import Any

#: https://cloud.google.com/firestore/quotas: the most index entries of a document.
MAX_ENTRIES = 40_000
#: The same page: the most that a document may hold, 1 MiB.
MAX_BYTES = 1_048_576
_FIXED_BYTES = 32


def entries(document: Mapping[str, Any], unindexed: Collection[str] = ()) -> int:
    """Entries of single fields, without those named."""
    return sum(_entries(value) for name, value in document.items() if name not in unindexed)


def _entries(value: Any) -> int:
    if isinstance(value, Mapping):
        # The map as a whole can be asked for too.
        return 2 + sum(map(_entries, value.values()))
    if isinstance(value, list):
        return len({json.dumps(item, sort_keys=True) for item in value})
    return 2


def stored_bytes(value: Any) -> int:
    """What a value takes of a document (https://cloud.google.com/firestore/docs/storage-size)."""
    match value:
        case Mapping():
            return sum(len(name.encode()) + 1 + stored_bytes(v) for name, v in value.items())
        case list():
            return sum(map(stored_bytes, value))
        case str():
            return len(value.encode()) + 1
        case bool() | None:
            return 1
        case _:
            return 8


def document_bytes(document: Mapping[str, Any]) -> int:
    """The same of a whole document, without its name."""
    return stored_bytes(document) + _FIXED_BYTES
