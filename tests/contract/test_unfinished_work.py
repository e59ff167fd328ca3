"""One suite for what the sweep asks, run on the embedded documents and on real Firestore's."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from infra.local.embedded.documents import EmbeddedDocuments
from infra.local.emulator_clients import firestore_client
from shared.adapters.firestore import FirestoreDocuments, FirestoreUnfinishedWork
from shared.domain.documents import Create, DocumentRef, Snapshot
from shared.ports import DocumentStore, UnfinishedWork
from tests.conftest import Emulators

TIMEOUT = 10.0
NOW = datetime(2026, 1, 5, 9, 0, 0, 123_456, tzinfo=UTC)
SECOND = timedelta(seconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Documents:
    store: DocumentStore
    work: UnfinishedWork

    async def put(self, collection: str, document_id: str, data: dict[str, Any]) -> None:
        """Store a new document."""
        ref = DocumentRef(collection, document_id)
        await self.store.commit([Create(ref=ref, data=data)], timeout_seconds=TIMEOUT)

    async def due(self, *, after: Snapshot | None = None, limit: int = 100) -> list[Snapshot]:
        """One page of the jobs that are due at NOW."""
        found = self.work.due_jobs(NOW, after=after, limit=limit, timeout_seconds=TIMEOUT)
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
    assert found[0].data == {"wakeAt": NOW - SECOND, "state": "QUEUED"}
    [stored] = await documents.store.read([found[0].ref], timeout_seconds=TIMEOUT)
    assert found[0] == stored


@pytest.mark.parametrize(
    "data",
    [
        pytest.param({"wakeAt": NOW + timedelta(microseconds=1)}, id="not yet"),
        pytest.param({}, id="never"),
        pytest.param({"wakeAt": None}, id="null"),
        pytest.param({"wakeAt": "2020-01-01T00:00:00Z"}, id="no timestamp"),
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
        # Several share their time: the id decides where a page ends.
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
