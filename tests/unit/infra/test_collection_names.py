"""The names of collections stand in one place, and all code that looks at documents uses it."""

from datetime import UTC, datetime
from typing import Any

import pytest

from infra.local.embedded.documents import EmbeddedDocuments
from infra.ops.doctor.registry import read_waiting
from infra.ops.environment.connection import Connection
from infra.ops.environment.listing import EmbeddedRunListing
from infra.ops.registry.documents import PROMPTS, SCHEMAS, collection_of
from infra.ops.smoke.plan import plan_smoke
from shared.domain.documents import Create, DocumentRef
from shared.settings import Collections, EnvironmentReader, read_collections

MINE = Collections(flow_runs="my_runs", prompts="my_prompts", schemas="my_schemas")
PROMPT = "llm_prompt_1d_report_v1_0"


def connection(documents: EmbeddedDocuments) -> Connection:
    def no_objects() -> Any:
        raise AssertionError

    return Connection(
        name="test",
        project="p",
        database="(default)",
        flow_runs=MINE.flow_runs,
        collections=MINE,
        documents=documents,
        runs=EmbeddedRunListing(documents),
        objects=no_objects,
        local=None,
    )


@pytest.mark.parametrize(
    ("variable", "field"),
    [
        ("FLOW_RUNS_COLLECTION", "flow_runs"),
        ("LLM_PROMPTS_COLLECTION", "prompts"),
        ("LLM_SCHEMAS_COLLECTION", "schemas"),
    ],
)
def test_every_name_is_read_from_its_variable(variable: str, field: str) -> None:
    found = read_collections(EnvironmentReader({variable: "mine"}))

    assert getattr(found, field) == "mine"
    assert read_collections(EnvironmentReader({})) == Collections()


async def test_the_doctor_looks_where_the_executor_does() -> None:
    documents = EmbeddedDocuments()
    llm = {"promptId": PROMPT, "llmProfile": {}}
    step = {"stepType": "LLM_REPORT", "status": "READY", "inputs": {"llm": llm}}
    run = {"status": "RUNNING", "createdAt": "2026-01-05T09:00:00Z", "steps": {"a": step}}
    for ref, data in (
        (DocumentRef("my_runs", "20260105-090000_BTCUSDT_abc"), run),
        (DocumentRef("my_prompts", PROMPT), {"userPrompt": "mine"}),
    ):
        await documents.commit([Create(ref=ref, data=data)], timeout_seconds=1)

    [waiting], registry = await read_waiting(connection(documents), MINE)

    assert waiting.prompt_ref == DocumentRef("my_prompts", PROMPT)
    assert registry[waiting.prompt_ref] == {"userPrompt": "mine"}


async def test_the_doctor_says_what_is_broken_of_a_run_that_breaks_the_contract() -> None:
    documents = EmbeddedDocuments()
    step = {"stepType": "LLM_REPORT", "status": "READY", "inputs": {}}
    run = {"status": "RUNNING", "createdAt": "2026-01-05T09:00:00Z", "steps": {"a": step}}
    ref = DocumentRef("my_runs", "my_first_run")
    await documents.commit([Create(ref=ref, data=run)], timeout_seconds=1)

    [waiting], _ = await read_waiting(connection(documents), MINE)

    assert "the run's id breaks the contract" in str(waiting.run_problem)


def test_prompts_and_schemas_are_published_where_the_environment_says() -> None:
    to = connection(EmbeddedDocuments())

    assert (collection_of(to, PROMPTS), collection_of(to, SCHEMAS)) == (
        "my_prompts",
        "my_schemas",
    )


def test_the_smoke_test_writes_and_removes_where_the_functions_look() -> None:
    now = datetime(2026, 1, 5, tzinfo=UTC)

    plan = plan_smoke(bucket="b-1", model="m", now=now, suffix="ab12", collections=MINE)

    assert {ref.collection for ref in plan.documents} == {
        "my_runs",
        "my_prompts",
        "my_schemas",
    }
    assert {ref.collection for ref in plan.run_refs} == {"my_runs"}
    assert set(plan.documents) < set(plan.leftovers)
