"""Documents as the decisions see them: references, snapshots, and the writes of one commit."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, NewType, TypeAlias

#: When a document was last changed, in nanoseconds since the epoch; a precondition for
#: the next change.
Version = NewType("Version", int)

#: A field's place in a document, one segment a level. Never a dotted string: a step id may
#: hold what a dotted string would have to quote.
FieldPath: TypeAlias = tuple[str, ...]


class Sentinel(Enum):
    """Values that stand for an act."""

    DELETE = "delete"


DELETE = Sentinel.DELETE


@dataclass(frozen=True, slots=True)
class DocumentRef:
    """A document's place."""

    collection: str
    document_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A document as it was read."""

    ref: DocumentRef
    version: Version
    data: Mapping[str, Any]
    #: At most so many bytes, as Firestore counts them; None where they were not counted, and
    #: `data` holds all fields.
    size_bytes: int | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Create:
    """A new document; the commit fails if there is one already."""

    ref: DocumentRef
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """Changes to single fields of a document that still has this version."""

    ref: DocumentRef
    changes: Mapping[FieldPath, Any] = field(default_factory=dict)
    guard: Version


Write: TypeAlias = Create | Update


def value_at(document: Any, path: FieldPath) -> Any:
    """What stands at this place; None where the path leads nowhere."""
    for name in path:
        document = document.get(name) if isinstance(document, Mapping) else None
    return document
