"""One test suite for the document store, run on the embedded one and on real Firestore."""

import asyncio
import os
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import pytest_asyncio
from google.cloud.firestore_v1.async_client import AsyncClient

from infra.local.embedded.documents import EmbeddedDocuments
from infra.local.emulators.finding import Missing, find_emulators
from infra.local.emulators.servers import running_emulators
from shared.adapters.firestore import FirestoreDocuments
from shared.domain.document_size import MAX_DOCUMENT_BYTES, document_size
from shared.domain.documents import DELETE, Create, DocumentRef, Snapshot, Update, Version
from shared.ports import Conflict, DocumentStore, StoreRefused

pytestmark = pytest.mark.asyncio(loop_scope="module")

#: The emulator's first answers may take long on a machine that is busy.
TIMEOUT = 60.0
RACERS = 16
ODD_NAMES = ("1d:report", "a-b", "Übersicht 日", "back`tick", "back\\slash", "0", "a b", "a.b")


@pytest_asyncio.fixture(
    scope="module",
    loop_scope="module",
    params=["embedded", pytest.param("firestore", marks=pytest.mark.emulators)],
)
async def store(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[DocumentStore]:
    if request.param == "embedded":
        yield EmbeddedDocuments()
        return
    found = find_emulators(os.environ, Path.home())
    if isinstance(found, Missing):
        reason = "; ".join(found.reasons)
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    log_folder = tmp_path_factory.mktemp("logs")
    async with running_emulators(found, log_folder=log_folder, environ=os.environ) as hosts:
        client = emulator_client(hosts.firestore_host)
        yield FirestoreDocuments(client)
        client.close()


def emulator_client(host: str) -> Any:
    # The client takes the emulator's address from the environment alone.
    with mock.patch.dict(os.environ, FIRESTORE_EMULATOR_HOST=host):
        return AsyncClient(project="contract")


def fresh() -> DocumentRef:
    """A document that does not exist: the tests share one database."""
    return DocumentRef("flow_runs", uuid.uuid4().hex)


async def created(store: DocumentStore, data: dict[str, Any]) -> Snapshot:
    ref = fresh()
    await store.commit([Create(ref=ref, data=data)], timeout_seconds=TIMEOUT)
    return await present(store, ref)


async def present(store: DocumentStore, ref: DocumentRef) -> Snapshot:
    [snapshot] = await store.read([ref], timeout_seconds=TIMEOUT)
    assert snapshot is not None
    return snapshot


def changing(before: Snapshot, changes: dict[tuple[str, ...], Any]) -> Update:
    return Update(ref=before.ref, changes=changes, guard=before.version)


async def test_a_created_document_is_read_back_as_it_was_written(store: DocumentStore) -> None:
    data = {"a": [1, 2.5, None, True, {"b": "ü"}], "empty": {}, "none": [], "raw": b"\x00\xff"}
    ref = fresh()

    version = await store.commit([Create(ref=ref, data=data)], timeout_seconds=TIMEOUT)

    found = await present(store, ref)
    assert (found.ref, found.data, found.version) == (ref, data, version)


async def test_creating_what_exists_is_a_conflict_and_changes_nothing(
    store: DocumentStore,
) -> None:
    before = await created(store, {"a": 1})

    with pytest.raises(Conflict):
        await store.commit([Create(ref=before.ref, data={"a": 2})], timeout_seconds=TIMEOUT)

    assert await present(store, before.ref) == before


async def test_an_update_changes_the_named_fields_alone(store: DocumentStore) -> None:
    before = await created(store, {"a": {"b": 1, "c": 2}, "d": 3})

    await store.commit(
        [changing(before, {("a", "b"): 9, ("new", "deep"): [1]})], timeout_seconds=TIMEOUT
    )

    after = await present(store, before.ref)
    assert after.data == {"a": {"b": 9, "c": 2}, "d": 3, "new": {"deep": [1]}}


async def test_versions_grow_with_every_change(store: DocumentStore) -> None:
    snapshot = await created(store, {"n": 0})
    versions = [snapshot.version]

    for n in range(1, 6):
        guard = versions[-1]
        write = Update(ref=snapshot.ref, changes={("n",): n}, guard=guard)
        versions.append(await store.commit([write], timeout_seconds=TIMEOUT))

    assert versions == sorted(set(versions))
    assert (await present(store, snapshot.ref)).version == versions[-1]


async def test_an_update_that_changes_nothing_leaves_the_version(store: DocumentStore) -> None:
    before = await created(store, {"n": 1})

    for _ in range(2):
        await store.commit([changing(before, {("n",): 1})], timeout_seconds=TIMEOUT)

    assert await present(store, before.ref) == before


async def test_a_stale_guard_is_a_conflict_and_changes_nothing(store: DocumentStore) -> None:
    stale = await created(store, {"n": 0})
    await store.commit([changing(stale, {("n",): 1})], timeout_seconds=TIMEOUT)

    with pytest.raises(Conflict):
        await store.commit([changing(stale, {("n",): 2})], timeout_seconds=TIMEOUT)

    assert (await present(store, stale.ref)).data == {"n": 1}


async def test_updating_what_does_not_exist_is_a_conflict(store: DocumentStore) -> None:
    write = Update(ref=fresh(), changes={("n",): 1}, guard=Version(1_000_000_000))

    with pytest.raises(Conflict):
        await store.commit([write], timeout_seconds=TIMEOUT)

    assert await store.read([write.ref], timeout_seconds=TIMEOUT) == [None]


async def test_a_commit_is_applied_whole_or_not_at_all(store: DocumentStore) -> None:
    run, taken, job = await created(store, {"n": 0}), await created(store, {}), fresh()
    update = changing(run, {("n",): 1})

    with pytest.raises(Conflict):
        await store.commit(
            [update, Create(ref=job, data={}), Create(ref=taken.ref, data={})],
            timeout_seconds=TIMEOUT,
        )

    assert await store.read([run.ref, job], timeout_seconds=TIMEOUT) == [run, None]
    await store.commit([update, Create(ref=job, data={})], timeout_seconds=TIMEOUT)
    assert (await present(store, run.ref)).version == (await present(store, job)).version


async def test_delete_removes_a_field_and_no_other(store: DocumentStore) -> None:
    before = await created(store, {"a": {"b": 1, "c": 2}, "d": 3, "e": {"only": 1}})
    changes = {
        ("a", "b"): DELETE,
        ("d",): DELETE,
        ("e", "only"): DELETE,
        ("missing",): DELETE,
        ("absent", "deep"): DELETE,
        ("n",): 1,
    }

    await store.commit([changing(before, changes)], timeout_seconds=TIMEOUT)

    assert (await present(store, before.ref)).data == {"a": {"c": 2}, "e": {}, "n": 1}


@pytest.mark.parametrize("name", ODD_NAMES)
async def test_odd_field_names_are_one_segment_each(store: DocumentStore, name: str) -> None:
    before = await created(store, {"steps": {name: {"status": "READY", "keep": 1}}})

    await store.commit(
        [changing(before, {("steps", name, "status"): "RUNNING"})], timeout_seconds=TIMEOUT
    )

    after = await present(store, before.ref)
    assert after.data == {"steps": {name: {"status": "RUNNING", "keep": 1}}}


async def test_a_name_that_ends_in_a_backslash_is_one_segment(store: DocumentStore) -> None:
    before = await created(store, {"end\\": {"1d": 1, "2d": 2}})

    await store.commit([changing(before, {("end\\", "1d"): 3})], timeout_seconds=TIMEOUT)

    assert (await present(store, before.ref)).data == {"end\\": {"1d": 3, "2d": 2}}


async def test_reads_come_in_the_order_asked_for_with_none_for_the_missing(
    store: DocumentStore,
) -> None:
    first, second, missing = await created(store, {}), await created(store, {"n": 2}), fresh()

    found = await store.read(
        [second.ref, missing, first.ref, second.ref], timeout_seconds=TIMEOUT
    )

    assert found == [second, None, first, second]


async def test_what_was_read_or_written_is_no_window_into_the_store(
    store: DocumentStore,
) -> None:
    data: dict[str, Any] = {"list": [1]}
    before = await created(store, data)

    data["list"].append(2)
    before.data["list"].append(3)

    assert (await present(store, before.ref)).data == {"list": [1]}


async def test_exactly_one_of_many_racing_commits_wins(store: DocumentStore) -> None:
    before = await created(store, {"winner": None})

    async def race(number: int) -> int | None:
        write = changing(before, {("winner",): number})
        try:
            await store.commit([write], timeout_seconds=TIMEOUT)
        except Conflict:
            return None
        return number

    winners = [n for n in await asyncio.gather(*map(race, range(RACERS))) if n is not None]

    assert [(await present(store, before.ref)).data["winner"]] == winners


@pytest.mark.parametrize(
    "beside",
    [
        pytest.param({"flags": [True] * 1_000, "none": None}, id="small values"),
        pytest.param({"steps": {f"s{n}": {} for n in range(500)}}, id="empty maps"),
        pytest.param({"runs": [{"ü": 1, "x": 1.5}] * 500, "raw": b"abc"}, id="maps in a list"),
        pytest.param({"at": [datetime(2026, 1, 5, tzinfo=UTC)] * 500}, id="times"),
    ],
)
async def test_a_document_is_as_large_as_we_count_it_and_one_byte_more_is_refused_for_good(
    store: DocumentStore, beside: dict[str, Any]
) -> None:
    ref = fresh()
    data = {**beside, "half": "x" * 500_000, "pad": ""}
    left = MAX_DOCUMENT_BYTES - document_size(ref, data)

    with pytest.raises(StoreRefused, match=r"^INVALID_ARGUMENT") as refused:
        await store.commit(
            [Create(ref=ref, data={**data, "pad": "x" * (left + 1)})], timeout_seconds=TIMEOUT
        )
    whole = {**data, "pad": "x" * left}
    await store.commit([Create(ref=ref, data=whole)], timeout_seconds=TIMEOUT)

    assert refused.value.unfit
    assert document_size(ref, whole) == MAX_DOCUMENT_BYTES


async def test_a_value_that_no_document_can_hold_is_refused_for_good(
    store: DocumentStore,
) -> None:
    with pytest.raises((StoreRefused, TypeError)):
        await store.commit(
            [Create(ref=fresh(), data={"a": complex(1, 2)})], timeout_seconds=TIMEOUT
        )
