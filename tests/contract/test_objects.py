"""The ObjectStore port: the folder of files and the official client behave alike."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud.storage import Blob, Client

from executor.adapters.gcs import GcsObjects
from executor.contract.artifacts import GcsUri
from executor.ports import (
    ObjectExists,
    ObjectInfo,
    ObjectMissing,
    ObjectStore,
    ObjectsUnavailable,
    ObjectTooLarge,
)
from infra.local.embedded.objects import EmbeddedObjects
from infra.local.serving.asgi import serve
from infra.local.storage.faults import StorageFault, StorageFaultKind, StorageFaults
from infra.local.storage.objects import ObjectFolder
from infra.local.storage.server import create_app

BUCKET = "reports"
TIMEOUT = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Objects:
    """A store, and the folder behind it."""

    store: ObjectStore
    folder: ObjectFolder


@dataclass(frozen=True, slots=True, kw_only=True)
class Served(Objects):
    """A store behind a server that can be made to fail."""

    faults: StorageFaults


@asynccontextmanager
async def _served(root: Path) -> AsyncIterator[Served]:
    folder = ObjectFolder(root)
    folder.create_bucket(BUCKET)
    app = create_app(folder)
    async with serve(app, name="storage") as url:
        client = Client(
            project="local",
            credentials=AnonymousCredentials(),  # type: ignore[no-untyped-call]
            client_options={"api_endpoint": url},
        )
        try:
            yield Served(store=GcsObjects(client), folder=folder, faults=app.state.faults)
        finally:
            client.close()


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    async with _served(tmp_path) as objects:
        yield objects


@pytest.fixture(params=["folder", "server"])
async def objects(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Objects]:
    if request.param == "folder":
        folder = ObjectFolder(tmp_path)
        folder.create_bucket(BUCKET)
        yield Objects(store=EmbeddedObjects(folder), folder=folder)
    else:
        async with _served(tmp_path) as with_server:
            yield with_server


async def create(objects: Objects, uri: GcsUri, data: bytes = b"{}") -> None:
    await objects.store.create(
        uri, data, content_type="application/json", metadata={"k": "v"}, timeout_seconds=TIMEOUT
    )


async def test_an_object_is_created_once_and_read_back(objects: Objects) -> None:
    uri = GcsUri(BUCKET, "run/1d/a:b-ü.json")
    await create(objects, uri, b"first")

    with pytest.raises(ObjectExists):
        await create(objects, uri, b"second")

    found = await objects.store.read(uri, max_bytes=5, timeout_seconds=TIMEOUT)
    info = await objects.store.stat(uri, timeout_seconds=TIMEOUT)
    assert info is not None
    assert (found.data, info.size_bytes, info.metadata) == (b"first", 5, {"k": "v"})
    assert found.generation == info.generation


async def test_an_empty_object_is_read(objects: Objects) -> None:
    uri = GcsUri(BUCKET, "empty")
    await create(objects, uri, b"")

    assert (await objects.store.read(uri, max_bytes=1, timeout_seconds=TIMEOUT)).data == b""


async def test_of_racing_creations_exactly_one_succeeds(objects: Objects) -> None:
    uri = GcsUri(BUCKET, "raced")

    results = await asyncio.gather(
        *(create(objects, uri, str(n).encode()) for n in range(32)), return_exceptions=True
    )

    assert sum(result is None for result in results) == 1
    assert sum(isinstance(result, ObjectExists) for result in results) == 31


async def test_an_object_at_the_limit_is_read_and_one_byte_more_is_refused_with_its_size(
    objects: Objects,
) -> None:
    uri = GcsUri(BUCKET, "large")
    await create(objects, uri, b"12345")

    assert (
        await objects.store.read(uri, max_bytes=5, timeout_seconds=TIMEOUT)
    ).data == b"12345"
    with pytest.raises(ObjectTooLarge) as refused:
        await objects.store.read(uri, max_bytes=4, timeout_seconds=TIMEOUT)
    assert refused.value.size_bytes == 5


@pytest.mark.parametrize("bucket", [BUCKET, "no-such-bucket"])
async def test_what_is_missing_is_told_apart(objects: Objects, bucket: str) -> None:
    uri = GcsUri(bucket, "missing")

    assert await objects.store.stat(uri, timeout_seconds=TIMEOUT) is None
    with pytest.raises(ObjectMissing):
        await objects.store.read(uri, max_bytes=1, timeout_seconds=TIMEOUT)


async def test_nothing_can_be_created_in_a_bucket_that_is_missing(objects: Objects) -> None:
    with pytest.raises(ObjectsUnavailable):
        await create(objects, GcsUri("no-such-bucket", "report"))


async def test_a_lost_answer_of_a_creation_reads_as_exists(served: Served) -> None:
    uri = GcsUri(BUCKET, "lost")
    served.faults.add(
        [StorageFault(kind=StorageFaultKind.DROP_RESPONSE_AFTER_COMMIT, method="POST")]
    )

    with pytest.raises(ObjectExists):
        await create(served, uri, b"ours")

    assert (await served.store.read(uri, max_bytes=9, timeout_seconds=TIMEOUT)).data == b"ours"


async def test_a_slow_drip_ends_at_the_deadline(served: Served) -> None:
    uri = GcsUri(BUCKET, "slow")
    await create(served, uri, b"x" * 4_000)
    rule = StorageFault(
        kind=StorageFaultKind.SLOW_DRIP, method="GET", name_contains="slow", seconds=20
    )
    served.faults.add([rule])

    with pytest.raises(ObjectsUnavailable):
        await served.store.read(uri, max_bytes=4_000, timeout_seconds=0.5)


async def test_one_request_brings_an_objects_bytes_and_their_generation(
    served: Served,
) -> None:
    uri = GcsUri(BUCKET, "whole")
    await create(served, uri, b"ours")
    served.faults.operations.clear()

    read = await served.store.read(uri, max_bytes=9, timeout_seconds=TIMEOUT)

    assert served.faults.operations.total() == 1
    found = served.folder.stat(BUCKET, "whole")
    assert found is not None
    assert (read.data, read.generation) == (b"ours", found.generation)


async def test_a_server_that_does_not_name_generations_never_passes_off_another(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = GcsUri(BUCKET, "replaced")
    await create(served, uri, b"old")
    monkeypatch.setattr(Blob, "_extract_headers_from_download", lambda *_: None)
    stat = GcsObjects._stat

    read = await served.store.read(uri, max_bytes=9, timeout_seconds=TIMEOUT)
    assert read.data == b"old"

    def replaced_after_stat(self: GcsObjects, at: GcsUri, seconds: float) -> object:
        info = stat(self, at, seconds)
        served.folder.write(at.bucket, at.name, b"new")
        return info

    monkeypatch.setattr(GcsObjects, "_stat", replaced_after_stat)

    with pytest.raises(ObjectsUnavailable, match="replaced while it was read"):
        await served.store.read(uri, max_bytes=9, timeout_seconds=TIMEOUT)


async def test_what_arrives_larger_than_its_stored_size_is_broken_off(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cloud Storage does so with an object whose Content-Encoding is gzip: it is inflated."""
    uri = GcsUri(BUCKET, "inflated")
    await create(served, uri, b"x" * 100_000)
    stat = GcsObjects._stat

    def compressed(self: GcsObjects, at: GcsUri, seconds: float) -> ObjectInfo | None:
        info = stat(self, at, seconds)
        return info and replace(info, size_bytes=9)

    monkeypatch.setattr(GcsObjects, "_stat", compressed)

    with pytest.raises(ObjectTooLarge):
        await served.store.read(uri, max_bytes=9, timeout_seconds=TIMEOUT)
