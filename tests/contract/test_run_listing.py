"""One test suite for operators' queries, run on the embedded documents and on Firestore."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from infra.local.embedded.documents import EmbeddedDocuments
from infra.local.emulators.clients import firestore_client
from infra.ops.environment.listing import (
    ById,
    EmbeddedRunListing,
    FirestoreRunListing,
    InQueue,
    NewestFirst,
    Overdue,
    Question,
    RunListing,
    position_of,
)
from shared.adapters.firestore import FirestoreDocuments
from shared.domain.documents import Create, DocumentRef
from shared.ports import DocumentStore
from tests.support.emulators import Emulators

TIMEOUT = 10.0
RUNS, JOBS = "flow_runs", "llm_jobs"
NOW = datetime(2026, 1, 5, 9, tzinfo=UTC)
DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Database:
    store: DocumentStore
    listing: RunListing

    async def put(self, collection: str, document_id: str, **data: Any) -> None:
        """Store a new document."""
        ref = DocumentRef(collection, document_id)
        await self.store.commit([Create(ref=ref, data=data)], timeout_seconds=TIMEOUT)

    async def ids(self, question: Question) -> list[str]:
        """The ids of the runs that are found."""
        found = await self.listing.find(question, timeout_seconds=TIMEOUT)
        return [one.ref.document_id for one in found]


@pytest.fixture(params=["embedded", pytest.param("firestore", marks=pytest.mark.emulators)])
async def database(request: pytest.FixtureRequest, project_id: str) -> AsyncIterator[Database]:
    if request.param == "embedded":
        documents = EmbeddedDocuments()
        yield Database(store=documents, listing=EmbeddedRunListing(documents))
        return
    emulators: Emulators = request.getfixturevalue("emulators")
    client: Any = firestore_client(emulators.firestore_host, project_id)
    yield Database(store=FirestoreDocuments(client), listing=FirestoreRunListing(client))
    client.close()


async def test_runs_come_the_newest_first_and_texts_before_timestamps(
    database: Database,
) -> None:
    await database.put(RUNS, "old", createdAt="2026-01-03T00:00:00Z")
    await database.put(RUNS, "new-b", createdAt="2026-01-04T00:00:00Z")
    await database.put(RUNS, "new-a", createdAt="2026-01-04T00:00:00Z")
    await database.put(RUNS, "stamped", createdAt=NOW)
    await database.put(RUNS, "without", status="RUNNING")

    found = await database.ids(NewestFirst(collection=RUNS, limit=10))

    assert found == ["new-b", "new-a", "old", "stamped"]


async def test_pages_meet_without_a_gap_and_without_a_run_seen_twice(
    database: Database,
) -> None:
    for number in range(7):
        created: Any = NOW - number * DAY
        # Some writers store texts and some store timestamps; several runs have the same second.
        text = "2026-01-04T00:00:00Z" if number % 2 else "2026-01-02T00:00:00.000Z"
        await database.put(RUNS, f"r{number}", createdAt=text if number < 4 else created)
    whole = await database.ids(NewestFirst(collection=RUNS, limit=10))

    seen: list[str] = []
    after = None
    while True:
        question = NewestFirst(collection=RUNS, after=after, limit=2)
        page = await database.listing.find(question, timeout_seconds=TIMEOUT)
        seen += [run.ref.document_id for run in page]
        if len(page) < 2:
            break
        after = position_of(page[-1])

    assert len(whole) == 7
    assert seen == whole


@pytest.mark.parametrize(
    ("since", "until", "found"),
    [
        (NOW, None, ["text", "text-ms", "stamp-later", "stamp"]),
        (None, NOW, ["text-before", "stamp-before"]),
        (NOW, NOW + timedelta(seconds=1), ["text", "text-ms", "stamp"]),
        (NOW + 9 * DAY, None, []),
    ],
)
async def test_a_bound_in_time_holds_for_texts_and_for_timestamps(
    database: Database, since: datetime | None, until: datetime | None, found: list[str]
) -> None:
    await database.put(RUNS, "text", createdAt="2026-01-05T09:00:00Z")
    await database.put(RUNS, "text-ms", createdAt="2026-01-05T09:00:00.000Z")
    await database.put(RUNS, "text-before", createdAt="2026-01-05T08:59:59.999Z")
    await database.put(RUNS, "stamp", createdAt=NOW)
    await database.put(RUNS, "stamp-later", createdAt=NOW + DAY)
    await database.put(RUNS, "stamp-before", createdAt=NOW - DAY)

    question = NewestFirst(collection=RUNS, since=since, until=until, limit=10)

    assert await database.ids(question) == found
    assert (
        await database.ids(NewestFirst(collection=RUNS, since=since, until=until, limit=1))
        == (found[:1])
    )


async def test_values_also_nested_ones_choose_runs(database: Database) -> None:
    created = "2026-01-05T09:00:00Z"
    for number, (status, symbol) in enumerate(
        [("FAILED", "BTCUSD"), ("FAILED", "ETHUSD"), ("RUNNING", "BTCUSD")]
    ):
        scope = {"symbol": symbol}
        await database.put(
            RUNS, f"r{number}", createdAt=created, status=status, scope=scope, flowKey="f_v1"
        )
    equal = {"status": "FAILED", "scope.symbol": "BTCUSD", "flowKey": "f_v1"}

    assert await database.ids(NewestFirst(collection=RUNS, equal=equal, limit=9)) == ["r0"]
    by_id = ById(collection=RUNS, equal={"status": "FAILED"}, limit=9)
    assert await database.ids(by_id) == ["r0", "r1"]
    behind = ById(collection=RUNS, equal={"status": "FAILED"}, after="r0", limit=9)
    assert await database.ids(behind) == ["r1"]
    count = database.listing.count(RUNS, {"status": "FAILED"}, timeout_seconds=TIMEOUT)
    assert await count == 2


async def test_what_is_due_comes_the_earliest_first(database: Database) -> None:
    await database.put(JOBS, "late", wakeAt=NOW, shard=15)
    await database.put(JOBS, "later", wakeAt=NOW - DAY, shard=0)
    await database.put(JOBS, "not-yet", wakeAt=NOW + DAY, shard=0)
    await database.put(JOBS, "closed", state="FAILED", shard=0)
    due = Overdue(moment=NOW, limit=9)

    assert await database.ids(due) == ["later", "late"]


async def test_jobs_that_wait_come_in_the_order_of_the_queue(database: Database) -> None:
    for key in ("b|2", "a|2", "b|1", "c|1", "a|1", "b|3"):
        await database.put(JOBS, f"job-{key[0]}{key[-1]}", queue=key)
    await database.put(JOBS, "at-work", state="RUNNING")

    def within(after: str, before: str, limit: int = 9) -> InQueue:
        return InQueue(after=after, before=before, limit=limit)

    assert await database.ids(within("b|", "b}")) == ["job-b1", "job-b2", "job-b3"]
    assert await database.ids(within("b|", "b}", limit=2)) == ["job-b1", "job-b2"]
    assert await database.ids(within("a|1", "b|2")) == ["job-a2", "job-b1"]
    assert await database.ids(within("d", "e")) == []
    for (after, before), jobs in {("b|", "b}"): 3, ("", "z"): 6, ("d", "e"): 0}.items():
        count = database.listing.count_waiting(
            after=after, before=before, timeout_seconds=TIMEOUT
        )
        assert await count == jobs
