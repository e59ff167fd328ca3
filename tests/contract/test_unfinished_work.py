"""One test suite for the sweep's queries, run on embedded documents and on real Firestore."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest

from infra.local.embedded.documents import EmbeddedDocuments
from infra.local.emulators.clients import firestore_client
from shared.adapters.firestore import FirestoreDocuments, FirestoreUnfinishedWork
from shared.domain.documents import Create, DocumentRef, Snapshot
from shared.domain.job_documents import SHARD, SHARDS, shard_of
from shared.domain.times import rfc3339
from shared.ports import DocumentStore, UnfinishedWork
from tests.support.emulators import Emulators

TIMEOUT = 10.0
NOW = datetime(2026, 1, 5, 9, 0, 0, 123_456, tzinfo=UTC)
SECOND = timedelta(seconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Documents:
    store: DocumentStore
    work: UnfinishedWork

    async def put(self, collection: str, document_id: str, data: dict[str, Any]) -> None:
        """Store a new document; a job record in its shard, unless the data say otherwise."""
        ref = DocumentRef(collection, document_id)
        if collection.startswith("llm_jobs"):
            data = {SHARD: shard_of(document_id), **data}
        await self.store.commit([Create(ref=ref, data=data)], timeout_seconds=TIMEOUT)

    async def due(self, *, after: Snapshot | None = None, limit: int = 100) -> list[Snapshot]:
        """One page of the jobs that are due at NOW."""
        found = self.work.due_jobs(NOW, after=after, limit=limit, timeout_seconds=TIMEOUT)
        return list(await found)

    async def waiting(self, *, limit: int = 100) -> list[Snapshot]:
        """The first jobs of the queue `x`."""
        found = self.work.waiting_jobs(
            after="x|", before="x}", limit=limit, timeout_seconds=TIMEOUT
        )
        return list(await found)

    async def runs(self, *, after: str | None = None, limit: int = 100) -> list[Snapshot]:
        """One page of the runs with status RUNNING."""
        found = self.work.running_runs(
            "flow_runs", after=after, limit=limit, timeout_seconds=TIMEOUT
        )
        return list(await found)


@pytest.fixture(params=["embedded", pytest.param("firestore", marks=pytest.mark.emulators)])
async def documents(
    request: pytest.FixtureRequest, project_id: str
) -> AsyncIterator[Documents]:
    if request.param == "embedded":
        embedded = EmbeddedDocuments()
        yield Documents(store=embedded, work=embedded)
        return
    emulators: Emulators = request.getfixturevalue("emulators")
    client: Any = firestore_client(emulators.firestore_host, project_id)
    yield Documents(store=FirestoreDocuments(client), work=FirestoreUnfinishedWork(client))
    client.close()


def ids(snapshots: list[Snapshot]) -> list[str]:
    return [snapshot.ref.document_id for snapshot in snapshots]


async def test_due_jobs_come_longest_due_first_and_then_by_id(documents: Documents) -> None:
    await documents.put("llm_jobs", "b", {"wakeAt": NOW})
    await documents.put("llm_jobs", "a", {"wakeAt": NOW})
    await documents.put("llm_jobs", "c", {"wakeAt": NOW - SECOND, "state": "QUEUED"})

    found = await documents.due()

    assert ids(found) == ["c", "a", "b"]
    assert found[0].data == {SHARD: 15, "wakeAt": NOW - SECOND, "state": "QUEUED"}
    [stored] = await documents.store.read([found[0].ref], timeout_seconds=TIMEOUT)
    assert found[0] == stored


@pytest.mark.parametrize(
    "data",
    [
        pytest.param({"wakeAt": NOW + timedelta(microseconds=1)}, id="not yet"),
        pytest.param({}, id="never"),
        pytest.param({"wakeAt": None}, id="null"),
        pytest.param({"wakeAt": "2020-01-01T00:00:00Z"}, id="no timestamp"),
        pytest.param({"wakeAt": NOW, SHARD: None}, id="no shard"),
        pytest.param({"wakeAt": NOW, SHARD: SHARDS}, id="a shard that is none"),
    ],
)
async def test_a_job_that_is_not_due_is_not_found(
    documents: Documents, data: dict[str, Any]
) -> None:
    await documents.put("llm_jobs", "a", data)

    assert await documents.due() == []


async def test_other_collections_hold_no_due_jobs(documents: Documents) -> None:
    await documents.put("llm_jobs_of_others", "a", {"wakeAt": NOW})

    assert await documents.due() == []


async def test_pages_of_due_jobs_follow_one_another_without_gap_or_repetition(
    documents: Documents,
) -> None:
    odd = ["r~1d:report", "r~a b", "r~Übersicht 日", "r~a.b"]
    for number, name in enumerate(odd + [f"n{n}" for n in range(5)]):
        # Several documents have the same time, so the id decides where a page ends.
        await documents.put("llm_jobs", name, {"wakeAt": NOW - (number % 3) * SECOND})
    everything = ids(await documents.due())

    pages: list[list[Snapshot]] = [await documents.due(limit=2)]
    while len(pages[-1]) == 2:
        pages.append(await documents.due(limit=2, after=pages[-1][-1]))

    assert len(everything) == 9
    assert [name for page in pages for name in ids(page)] == everything


async def test_only_running_runs_are_found_in_order_of_their_ids(documents: Documents) -> None:
    for name in ("c", "a", "b"):
        await documents.put("flow_runs", name, {"status": "RUNNING"})
    await documents.put("flow_runs", "d", {"status": "SUCCEEDED"})
    await documents.put("flow_runs", "e", {})
    await documents.put("other_runs", "f", {"status": "RUNNING"})

    found = await documents.runs()

    assert ids(found) == ["a", "b", "c"]
    [stored] = await documents.store.read([found[0].ref], timeout_seconds=TIMEOUT)
    assert found[0] == stored


async def test_pages_of_runs_follow_a_cursor_also_when_its_run_is_gone(
    documents: Documents,
) -> None:
    for name in ("a", "c", "e", "g"):
        await documents.put("flow_runs", name, {"status": "RUNNING"})

    assert ids(await documents.runs(limit=2)) == ["a", "c"]
    assert ids(await documents.runs(limit=2, after="c")) == ["e", "g"]
    assert ids(await documents.runs(limit=2, after="d")) == ["e", "g"]
    assert await documents.runs(limit=2, after="g") == []


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(
            {"referenceValue": "projects/p-1/databases/other/documents/users/u1"},
            id="a reference into another database",
        ),
        pytest.param(
            {"referenceValue": "projects/p-1/databases/(default)/documents/a/b/c/d"},
            id="a reference into another project, below a document",
        ),
        pytest.param({"geoPointValue": {"latitude": 1.5, "longitude": -2}}, id="a place"),
        pytest.param({"bytesValue": "AP8="}, id="bytes"),
        pytest.param({"timestampValue": "0001-01-01T00:00:00Z"}, id="the first moment"),
        pytest.param(
            {
                "mapValue": {
                    "fields": {
                        "__type__": {"stringValue": "__vector__"},
                        "value": {"arrayValue": {"values": [{"doubleValue": 1.0}]}},
                    }
                }
            },
            id="a vector",
        ),
        pytest.param({"doubleValue": "NaN"}, id="not a number"),
    ],
)
@pytest.mark.emulators
async def test_a_value_that_others_store_keeps_no_document_from_being_found_and_read(
    emulators: Emulators, project_id: str, value: dict[str, Any]
) -> None:
    await _put_by_rest(emulators.firestore_host, project_id, "flow_runs/a", value)
    await _put_by_rest(emulators.firestore_host, project_id, "llm_jobs/a~b", value)
    client: Any = firestore_client(emulators.firestore_host, project_id)
    documents = Documents(
        store=FirestoreDocuments(client), work=FirestoreUnfinishedWork(client)
    )

    [run], [job] = await documents.runs(), await documents.due()
    read = await documents.store.read([run.ref, job.ref], timeout_seconds=TIMEOUT)

    assert [each and each.version for each in read] == [run.version, job.version]
    assert (run.data["status"], job.data["wakeAt"]) == ("RUNNING", NOW.replace(microsecond=0))
    client.close()


async def _put_by_rest(host: str, project: str, path: str, value: dict[str, Any]) -> None:
    moment = rfc3339(NOW.replace(microsecond=0))
    fields = {
        "status": {"stringValue": "RUNNING"},
        "wakeAt": {"timestampValue": moment},
        "odd": value,
        SHARD: {"integerValue": "0"},
    }
    url = f"http://{host}/v1/projects/{project}/databases/(default)/documents/{path}"
    owner = {"authorization": "Bearer owner"}
    async with httpx2.AsyncClient(trust_env=False, timeout=30) as client:
        (await client.patch(url, json={"fields": fields}, headers=owner)).raise_for_status()


async def test_the_heads_of_a_page_are_enough_to_begin_behind_them(
    documents: Documents,
) -> None:
    for number, name in enumerate("abc"):
        data = {"wakeAt": NOW - number * SECOND, "large": "x" * 1_000}
        await documents.put("llm_jobs", name, data)
        await documents.put("flow_runs", name, {"status": "RUNNING", "large": "x" * 1_000})

    found = documents.work.due_jobs(
        NOW, after=None, limit=1, timeout_seconds=TIMEOUT, heads=True
    )
    [head] = await found
    running = documents.work.running_runs(
        "flow_runs", after=None, limit=1, timeout_seconds=TIMEOUT, heads=True
    )
    [run] = await running

    assert ids([head]) == ["c"]
    assert ids(await documents.due(after=head)) == ["b", "a"]
    assert ids(await documents.runs(after=run.ref.document_id)) == ["b", "c"]


async def test_waiting_jobs_come_in_the_order_of_their_queue_and_no_others(
    documents: Documents,
) -> None:
    for name, queue in {"a": "x|2", "b": "x|1", "c": "x|3", "d": "xy|0", "e": "w|9"}.items():
        await documents.put("llm_jobs", name, {"queue": queue})
    await documents.put("llm_jobs", "f", {"wakeAt": NOW})
    await documents.put("flow_runs", "g", {"queue": "x|0"})

    assert ids(await documents.waiting()) == ["b", "a", "c"]
    assert ids(await documents.waiting(limit=2)) == ["b", "a"]
    counted = await documents.work.count_waiting(
        after="x|", before="x}", timeout_seconds=TIMEOUT
    )
    assert counted == 3
