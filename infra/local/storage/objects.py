"""Objects as files in a folder, with the guarantees that Cloud Storage gives.

A user can read what was written with any tool, and drop a file in to have it served:
`<root>/<bucket>/<object name>` (odd names: see `names`). What a file cannot hold
(content type, custom metadata, generation, checksums) is kept out of sight in
`<root>/.metadata`.

Every change is made under one lock of the bucket, held across threads and processes, and
becomes visible by one rename: a process killed at any point leaves the object as it was or as
it should be.
"""

import fcntl
import json
import os
import re
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from infra.local.storage.names import digest_of, file_names, is_valid_name, name_digest, name_of
from infra.local.storage.records import (
    NO_METADATA,
    BucketNotFound,
    InvalidName,
    ObjectFolderError,
    ObjectNotFound,
    ObjectRecord,
    PreconditionFailed,
    described,
)

_METADATA = ".metadata"
_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")

__all__ = [
    "BucketNotFound",
    "InvalidName",
    "ObjectFolder",
    "ObjectFolderError",
    "ObjectNotFound",
    "ObjectRecord",
    "PreconditionFailed",
]


class ObjectFolder:
    """A folder of buckets of objects; safe to use from many threads and processes at once."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def create_bucket(self, bucket: str) -> None:
        """Make the bucket unless it exists.

        Raises:
            InvalidName: no bucket may be called so.
        """
        if not _BUCKET.fullmatch(bucket):
            raise InvalidName(f"invalid bucket name: {bucket!r}")
        (self.root / bucket).mkdir(parents=True, exist_ok=True)

    def has_bucket(self, bucket: str) -> bool:
        """Whether the bucket exists."""
        place = self.root / bucket
        return bool(_BUCKET.fullmatch(bucket)) and place.is_dir() and not place.is_symlink()

    def buckets(self) -> Sequence[str]:
        """The names of all buckets, sorted."""
        found = self.root.iterdir() if self.root.is_dir() else ()
        return sorted(entry.name for entry in found if self.has_bucket(entry.name))

    def stat(self, bucket: str, name: str) -> ObjectRecord | None:
        """The object's record; None when there is no such object or bucket."""
        with self._locked(bucket, fcntl.LOCK_SH):
            path = self._found(bucket, name)
            return None if path is None else self._record(bucket, name, path)

    def read(
        self, bucket: str, name: str, generation: int | None = None
    ) -> tuple[ObjectRecord, bytes]:
        """The object's record and bytes, which belong together.

        Raises:
            ObjectNotFound: no such object, or it has another generation by now.
        """
        with self._locked(bucket, fcntl.LOCK_SH):
            path = self._existing(bucket, name)
            record = self._record(bucket, name, path)
            if generation not in {None, record.generation}:
                raise ObjectNotFound(f"{bucket}/{name}#{generation}")
            return record, path.read_bytes()

    def write(
        self,
        bucket: str,
        name: str,
        data: bytes,
        *,
        content_type: str | None = None,
        metadata: Mapping[str, str] = NO_METADATA,
        if_generation_match: int | None = None,
    ) -> ObjectRecord:
        """Store the object; with `if_generation_match=0` only if there is none yet.

        Raises:
            BucketNotFound: buckets are made by `create_bucket` alone.
            InvalidName: no object may be called so.
            PreconditionFailed: the present generation is another one; nothing was changed.
        """
        if not is_valid_name(name):
            raise InvalidName(f"invalid object name: {name!r}")
        self._check_bucket(bucket)
        with self._locked(bucket, fcntl.LOCK_EX):
            present = self._generation(bucket, name)
            _check_generation(if_generation_match, present)
            record = described(
                bucket,
                name,
                data,
                generation=max(time.time_ns() // 1000, present + 1),
                content_type=content_type,
                metadata=metadata,
            )
            self._store(record, data)
        return record

    def delete(self, bucket: str, name: str, if_generation_match: int | None = None) -> None:
        """Remove the object.

        Raises:
            ObjectNotFound: there is none.
            PreconditionFailed: the present generation is another one; nothing was changed.
        """
        with self._locked(bucket, fcntl.LOCK_EX):
            path = self._existing(bucket, name)
            present = self._record(bucket, name, path).generation
            _check_generation(if_generation_match, present)
            path.unlink()
            self._sidecar(bucket, name_digest(name)).unlink(missing_ok=True)
            self._prune(path.parent, self.root / bucket)

    def list(
        self, bucket: str, prefix: str = "", *, after: str = "", limit: int | None = None
    ) -> Sequence[ObjectRecord]:
        """The records of at most `limit` objects in the order of their names' UTF-8 bytes.

        Only names that begin with `prefix` and stand behind `after` are given.

        Raises:
            BucketNotFound: there is no such bucket.
        """
        self._check_bucket(bucket)
        with self._locked(bucket, fcntl.LOCK_SH):
            named = (
                (name, path)
                for name, path in self._named(bucket)
                if name.startswith(prefix) and name.encode() > after.encode()
            )
            chosen = sorted(named, key=lambda pair: pair[0].encode())[:limit]
            return [self._record(bucket, name, path) for name, path in chosen]

    @contextmanager
    def _locked(self, bucket: str, mode: int) -> Iterator[None]:
        if not self.has_bucket(bucket):
            # Nothing to protect, and no traces of buckets that do not exist.
            yield
            return
        if self._linked(self._hidden(bucket) / "lock"):
            raise InvalidName("a symbolic link stands in the way of the folder's own records")
        self._hidden(bucket).mkdir(parents=True, exist_ok=True)
        # Every open file has a lock of its own, so this excludes threads and processes alike.
        with (self._hidden(bucket) / "lock").open("a") as lock:
            fcntl.flock(lock, mode)
            yield

    def _check_bucket(self, bucket: str) -> None:
        if not self.has_bucket(bucket):
            raise BucketNotFound(bucket)

    def _hidden(self, bucket: str) -> Path:
        return self.root / _METADATA / bucket

    def _sidecar(self, bucket: str, digest: str) -> Path:
        return self._hidden(bucket) / "objects" / f"{digest}.json"

    def _found(self, bucket: str, name: str) -> Path | None:
        if not self.has_bucket(bucket) or not is_valid_name(name):
            return None
        candidates = (self.root / bucket / file for file in file_names(name))
        return next(
            (path for path in candidates if path.is_file() and not self._linked(path)), None
        )

    def _linked(self, path: Path) -> bool:
        """Whether a link stands in the way, which may lead out of the folder."""
        between = path.relative_to(self.root).parents
        return path.is_symlink() or any((self.root / part).is_symlink() for part in between)

    def _existing(self, bucket: str, name: str) -> Path:
        self._check_bucket(bucket)
        path = self._found(bucket, name)
        if path is None:
            raise ObjectNotFound(f"{bucket}/{name}")
        return path

    def _generation(self, bucket: str, name: str) -> int:
        path = self._found(bucket, name)
        return 0 if path is None else self._record(bucket, name, path).generation

    def _record(self, bucket: str, name: str, path: Path) -> ObjectRecord:
        status = path.stat()
        kept = _loaded(self._sidecar(bucket, name_digest(name)))
        if kept is not None and kept["version"] == [status.st_mtime_ns, status.st_size]:
            return ObjectRecord(**kept["record"])
        # Dropped in, or changed since, by someone who knows nothing of records.
        generation = status.st_mtime_ns // 1000
        return described(bucket, name, path.read_bytes(), generation=generation)

    def _store(self, record: ObjectRecord, data: bytes) -> None:
        hidden = self._hidden(record.bucket)
        path = self._place(record.bucket, record.name)
        staged = _staged(hidden, data)
        status = staged.stat()
        kept = {"version": [status.st_mtime_ns, status.st_size], "record": asdict(record)}
        sidecar = self._sidecar(record.bucket, name_digest(record.name))
        sidecar.parent.mkdir(exist_ok=True)
        # The record first: without the bytes it names it counts for nothing.
        _staged(hidden, json.dumps(kept).encode()).replace(sidecar)
        path.parent.mkdir(parents=True, exist_ok=True)
        staged.replace(path)

    def _place(self, bucket: str, name: str) -> Path:
        found = self._found(bucket, name)
        if found is not None:
            return found
        folder = self.root / bucket
        places = [folder / file for file in file_names(name)]
        if any(map(self._linked, places)):
            raise InvalidName(f"a symbolic link stands in the way of {name!r}")
        return next(place for place in places if _is_free(place, folder))

    def _named(self, bucket: str) -> Iterator[tuple[str, Path]]:
        folder = self.root / bucket
        for parent, _, files in os.walk(folder):
            for file in files:
                path = Path(parent, file)
                if path.is_symlink():
                    continue
                name = self._name(bucket, path.relative_to(folder).as_posix())
                if name is not None:
                    yield name, path

    def _name(self, bucket: str, file: str) -> str | None:
        digest = digest_of(file)
        if digest is None:
            return name_of(file)
        kept = _loaded(self._sidecar(bucket, digest))
        return None if kept is None else str(kept["record"]["name"])

    @staticmethod
    def _prune(folder: Path, stop: Path) -> None:
        while folder != stop and not any(folder.iterdir()):
            folder.rmdir()
            folder = folder.parent


def _check_generation(required: int | None, actual: int) -> None:
    if required is not None and required != actual:
        raise PreconditionFailed(required=required, actual=actual)


def _is_free(place: Path, folder: Path) -> bool:
    between = place.relative_to(folder).parents
    return not place.exists() and not any((folder / part).is_file() for part in between)


def _staged(folder: Path, data: bytes) -> Path:
    with tempfile.NamedTemporaryFile(dir=folder, prefix="staged-", delete=False) as file:
        file.write(data)
    return Path(file.name)


def _loaded(sidecar: Path) -> Any:
    try:
        return json.loads(sidecar.read_bytes())
    except FileNotFoundError:
        return None
