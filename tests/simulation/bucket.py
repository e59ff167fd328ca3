"""Cloud Storage as the simulation has it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from executor.contract.artifacts import GcsUri
from executor.ports import ObjectExists, ObjectMissing, ObjectTooLarge


@dataclass(frozen=True, slots=True, kw_only=True)
class Blob:
    """A stored object."""

    data: bytes
    metadata: Mapping[str, str]
    generation: int


@dataclass(slots=True)
class Bucket:
    """Cloud Storage's behavior in memory, as far as the worker uses it; acts take no time."""

    blobs: dict[GcsUri, Blob] = field(default_factory=dict)

    def read(self, uri: GcsUri, max_bytes: int) -> Blob:
        """The object.

        Raises:
            ObjectMissing: nothing stands there.
            ObjectTooLarge: with the size.
        """
        blob = self.blobs.get(uri)
        if blob is None:
            raise ObjectMissing(str(uri))
        if len(blob.data) > max_bytes:
            raise ObjectTooLarge(len(blob.data))
        return blob

    def create(self, uri: GcsUri, data: bytes, metadata: Mapping[str, str]) -> None:
        """Store a new object.

        Raises:
            ObjectExists: something stands there already.
        """
        if uri in self.blobs:
            raise ObjectExists(str(uri))
        generation = len(self.blobs) + 1
        self.blobs[uri] = Blob(data=data, metadata=dict(metadata), generation=generation)
