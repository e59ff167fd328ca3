"""What is known of an object beside its bytes, and how an operation on it can fail."""

import base64
import hashlib
import mimetypes
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import MappingProxyType

import google_crc32c

NO_METADATA: Mapping[str, str] = MappingProxyType({})


class ObjectFolderError(Exception):
    """The folder refused an operation on an object or a bucket."""


class BucketNotFound(ObjectFolderError):
    """There is no such bucket."""


class ObjectNotFound(ObjectFolderError):
    """There is no such object, or not in the generation asked for."""


class InvalidName(ObjectFolderError):
    """Cloud Storage allows no bucket or object of this name."""


class PreconditionFailed(ObjectFolderError):
    """The object's generation (0: no object) is not the one that the caller required."""

    def __init__(self, *, required: int, actual: int) -> None:
        super().__init__(f"required generation {required}, found {actual}")
        self.required = required
        self.actual = actual


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectRecord:
    """What is known of an object beside its bytes.

    `generation` is the time of its writing in microseconds since 1970, and grows with every
    write of the object. `md5` and `crc32c` are base64, as in Cloud Storage's JSON API.
    """

    bucket: str
    name: str
    generation: int
    size: int
    content_type: str
    md5: str
    crc32c: str
    metadata: Mapping[str, str] = field(default_factory=lambda: NO_METADATA)

    @property
    def created_at(self) -> datetime:
        """When this generation was written."""
        return datetime.fromtimestamp(self.generation / 1_000_000, tz=UTC)


def described(
    bucket: str,
    name: str,
    data: bytes,
    *,
    generation: int,
    content_type: str | None = None,
    metadata: Mapping[str, str] = NO_METADATA,
) -> ObjectRecord:
    """The record of these bytes; without a content type, the one that the name suggests."""
    md5 = hashlib.md5(data, usedforsecurity=False).digest()
    guessed_type = mimetypes.guess_type(name)[0] or "application/octet-stream"
    return ObjectRecord(
        bucket=bucket,
        name=name,
        generation=generation,
        size=len(data),
        content_type=content_type or guessed_type,
        md5=_base64(md5),
        crc32c=crc32c_of(data),
        metadata=dict(metadata),
    )


def crc32c_of(data: bytes) -> str:
    """The checksum as Cloud Storage writes it: base64 of the big-endian CRC32C."""
    return _base64(google_crc32c.value(data).to_bytes(4, "big"))


def _base64(digest: bytes) -> str:
    return base64.b64encode(digest).decode("ascii")
