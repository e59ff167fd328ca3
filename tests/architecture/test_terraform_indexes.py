"""The indexed fields are those that the code asks for, and the largest run fits them.

The queries are taken from the client as it sends them, and the documents from their published
schemas: a query or a field that is new fails here until `indexes.tf` knows of it.
"""

import asyncio
import functools
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud.firestore_v1.async_client import AsyncClient
from google.cloud.firestore_v1.types import RunQueryRequest, RunQueryResponse, StructuredQuery

from infra.ops.environment.listing import (
    ById,
    FirestoreRunListing,
    NewestFirst,
    Overdue,
    Question,
)
from shared.adapters.firestore import FirestoreUnfinishedWork
from tests.support.index_entries import MAX_BYTES, MAX_ENTRIES, document_bytes, entries
from tests.support.terraform_module import MODULE, ROOT, local_values, resources, unquoted

_CONTRACTS = ROOT / "docs/reference/contracts"
#: Collection -> its schema.
_SCHEMAS = {
    "llm_jobs": "llm_job",
    "llm_prompts": "llm_prompt",
    "llm_schemas": "llm_schema",
    "llm_spend": "llm_spend",
}
#: This is longer than the 1,500 bytes of a string that an index holds.
_LONG_TEXTS = {"llm_prompts": {"systemInstruction", "userPrompt"}}
#: Fields whose values begin with the time.
_GROWING = {"llm_jobs": {"runId"}}
_RUNS, _JOBS = "flow_runs", "llm_jobs"
_WAKE_AT = {
    name: unquoted(resources()["google_firestore_field.wake_at"][name])
    for name in ("collection", "field")
}
_NOW = datetime(2026, 1, 5, 9, tzinfo=UTC)
_EVERY_COLLECTION = pytest.mark.parametrize("collection", sorted(_SCHEMAS))


class _Recorder:
    """Stands in for the service: keeps each query and finds nothing."""

    def __init__(self) -> None:
        self.queries: list[StructuredQuery] = []

    async def run_query(self, request: Any, **_: object) -> AsyncIterator[RunQueryResponse]:
        self.queries.append(RunQueryRequest(request).structured_query)
        return self._nothing()

    async def _nothing(self) -> AsyncIterator[RunQueryResponse]:
        none: Sequence[RunQueryResponse] = ()
        for response in none:
            yield response


def _sent(call: Callable[[AsyncClient], Awaitable[object]]) -> Sequence[StructuredQuery]:
    async def run() -> Sequence[StructuredQuery]:
        client: Any = AsyncClient(project="p", credentials=AnonymousCredentials())  # type: ignore[no-untyped-call]
        client._firestore_api_internal = recorder = _Recorder()
        await call(client)
        return recorder.queries

    return asyncio.run(run())


@functools.cache
def queries() -> Sequence[StructuredQuery]:
    """Every query that the product makes, as the client sends it."""
    equal = [
        {},
        {"status": "FAILED"},
        {"status": "FAILED", "flowKey": "f", "scope.symbol": "S"},
    ]

    async def all_of_them(client: AsyncClient) -> None:
        work, listing = FirestoreUnfinishedWork(client), FirestoreRunListing(client)
        await work.due_jobs(_NOW, after=None, limit=1, timeout_seconds=1)
        await work.running_runs(_RUNS, after=None, limit=1, timeout_seconds=1)
        await listing.ids("llm_prompts", limit=1, timeout_seconds=1)
        questions: Sequence[Question] = (
            *(NewestFirst(collection=_RUNS, equal=fields, limit=1) for fields in equal),
            *(
                NewestFirst(collection=_RUNS, equal=fields, since=_NOW, until=_NOW, limit=1)
                for fields in equal
            ),
            ById(collection=_RUNS, equal={"status": "RUNNING"}, limit=1),
            ById(collection=_JOBS, equal={"state": "FAILED"}, limit=1),
            Overdue(moment=_NOW, limit=1),
        )
        for question in questions:
            await listing.find(question, timeout_seconds=1)

    return _sent(all_of_them)


def needed(query: StructuredQuery) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    """The query's collection, the fields that it compares for equality, those it sorts by."""
    filters = [f.field_filter for f in query.where.composite_filter.filters]
    if query.where.field_filter.field.field_path:
        filters.append(query.where.field_filter)
    operators = StructuredQuery.FieldFilter.Operator
    equal = {operators.EQUAL, operators.IN}
    compared = {f.field.field_path for f in filters if f.op in equal}
    ranged = {f.field.field_path for f in filters if f.op not in equal}
    ordered = [order.field.field_path for order in query.order_by]
    rest = dict.fromkeys([*ordered, *ranged])
    return (
        query.from_[0].collection_id,
        tuple(sorted(compared)),
        tuple(name for name in rest if name != "__name__"),
    )


def unindexed() -> Mapping[str, set[str]]:
    """Collection -> its fields without an index, according to the module."""
    named = local_values()["unindexed"]
    expiring = re.findall(
        r'"(\w+)"', str(resources()["google_firestore_field.expiry"]["for_each"])
    )
    return {
        collection: {unquoted(name) for name in named.get(collection, ())}
        | ({"expireAt"} if collection in expiring else set())
        | ({_WAKE_AT["field"]} if collection == _WAKE_AT["collection"] else set())
        for collection in _SCHEMAS
    }


def composite() -> set[tuple[str, str, str]]:
    """The collections, and the fields that have an index together with another field."""
    runs, due = (resources()[f"google_firestore_index.{name}"] for name in ("runs", "due_jobs"))
    each, created = (unquoted(field["field_path"]) for field in runs["fields"])
    shard, wake_at = (unquoted(field["field_path"]) for field in due["fields"])
    assert each == "${each.key}"
    return {
        (unquoted(due["collection"]), shard, wake_at),
        *(
            (unquoted(runs["collection"]), name, created)
            for name in re.findall(r'"([\w.]+)"', str(runs["for_each"]))
        ),
    }


def alone(collection: str) -> set[str]:
    """The fields of the collection for which a query needs an index of one field."""
    return {
        name
        for query in queries()
        if (asked := needed(query))[0] == collection and not (asked[1] and asked[2])
        for name in (*asked[1], *asked[2])
    }


def test_the_queries_are_all_that_the_code_has() -> None:
    """A module that makes queries and is not listed here would be missed."""
    asking = re.compile(
        r"\.order_by\(|\.where\(|collection_group\(|\.select\(|StructuredQuery\.pb\(|\.run_query\("
    )
    files = [
        str(path.relative_to(ROOT))
        for folder in ("dispatcher", "executor", "infra/ops", "shared")
        for path in (ROOT / folder).rglob("*.py")
        if asking.search(path.read_text())
    ]
    questions = re.compile(r"\b(?:ById|Overdue)\((?:[^()]|\([^()]*\))*\)", re.DOTALL)
    text = "".join(path.read_text() for path in (ROOT / "infra/ops").rglob("*.py"))
    names = {
        name
        for question in questions.findall(text)
        for name in re.findall(r'equal=\{"([\w.]+)"|name="(\w+)"', question)
    }

    assert sorted(files) == ["infra/ops/environment/listing.py", "shared/adapters/firestore.py"]
    assert {first or second for first, second in names} <= {"status", "state"}


def test_what_a_query_asks_for_has_an_index() -> None:
    for query in queries():
        collection, compared, ordered = needed(query)
        without = unindexed().get(collection, {"steps"})
        if compared and ordered:
            [last] = ordered
            assert {(collection, name, last) for name in compared} <= composite()
        else:
            assert len([*compared, *ordered]) <= 1
            assert without.isdisjoint({name.split(".")[0] for name in [*compared, *ordered]})


def test_no_composite_index_is_there_without_a_query() -> None:
    asked = {
        (n[0], name, last)
        for q in queries()
        if (n := needed(q))[1]
        for last in n[2]
        for name in n[1]
    }

    assert composite() == asked


@_EVERY_COLLECTION
def test_what_is_wide_or_grows_and_no_query_asks_for_alone_has_no_index(
    collection: str,
) -> None:
    schema = json.loads((_CONTRACTS / f"{_SCHEMAS[collection]}.schema.json").read_text())
    wide = {
        name
        for name, value in schema["properties"].items()
        if value.get("type") in {"object", "array"}
        or value.get("format") == "date-time"
        or name in _LONG_TEXTS.get(collection, ())
        or name in _GROWING.get(collection, ())
    }

    assert unindexed()[collection] == wide - alone(collection)


def test_a_field_of_flow_runs_that_is_asked_for_cannot_lose_its_index() -> None:
    refused = (MODULE / "variables.tf").read_text()
    (listed,) = re.findall(r"flow_runs_unindexed, \[\]\), \[([^\]]*)\]", refused)
    asked = {name for q in queries() if (n := needed(q))[0] == _RUNS for name in (*n[1], *n[2])}

    within = {name.split(".")[0] for name in asked}
    assert set(re.findall(r'"([\w.]+)"', listed)) == asked | within


def largest_run() -> dict[str, Any]:
    """A run with as many ended steps as fit into a document, each as short as possible."""
    run: dict[str, Any] = json.loads((_CONTRACTS / "examples/flow_run.json").read_text())
    step = run["steps"]["llm_report_1d"]
    each = document_bytes({"steps": {"s0000": step}})
    run["steps"] = {f"s{n:04}": step for n in range((MAX_BYTES - document_bytes(run)) // each)}
    return run


def test_the_largest_run_stays_below_the_limit_of_index_entries() -> None:
    run = largest_run()
    assert 0.95 * MAX_BYTES < document_bytes(run) <= MAX_BYTES

    assert entries(run, unindexed={"steps"}) < MAX_ENTRIES / 100
    assert entries(run) > MAX_ENTRIES, "without the exemption such a run cannot be written"


def test_the_largest_job_record_stays_below_the_limit_of_index_entries() -> None:
    job = json.loads((_CONTRACTS / "examples/llm_job.json").read_text())
    each = document_bytes({"history": job["history"]})
    job["history"] *= (MAX_BYTES - document_bytes(job)) // each

    assert entries(job, unindexed=unindexed()["llm_jobs"]) < 100


def test_entries_are_counted_as_firestore_does() -> None:
    document = {"a": 1, "m": {"x": "y", "z": {"deep": True}}, "l": [1, 2, 2], "out": {"q": 1}}

    assert entries(document, unindexed={"out"}) == 2 + (2 + 2 + (2 + 2)) + 2
