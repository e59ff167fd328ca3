"""The contract's strict JSON Schemas say what the code writes and what it requires."""

import copy
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, get_args

import pytest
from jsonschema import Draft202012Validator
from pydantic import BaseModel
from referencing import Registry, Resource

from executor.billing.accounts import Account, parse_account
from executor.billing.escrow import DayAccount, Slice
from executor.billing.prices import MicroUsd
from executor.contract.profile import (
    LlmProfile,
    StructuredOutput,
    ThinkingConfig,
    parse_profile,
)
from executor.contract.registry import (
    Prompt,
    SchemaDocument,
    parse_prompt,
    parse_schema_document,
)
from executor.contract.report_inputs import (
    MAX_PREVIOUS_REPORTS,
    LlmInputs,
    PreviousReport,
    ReportStepInputs,
    parse_report_inputs,
)
from executor.inputs.charts import charts_of
from infra.local.cloud.cloud_events import Document, document_event
from infra.local.embedded.documents import EmbeddedDocuments
from infra.local.scenario import build_scenario
from infra.local.scenario.single import single_report_run
from shared.adapters.clock import SystemClock
from shared.domain import identifiers
from shared.domain.attempts import (
    MAX_ACTS_KEPT,
    MAX_ATTEMPTS_KEPT,
    CallPurpose,
    FormerClaim,
    ModelCall,
    OperatorAct,
)
from shared.domain.documents import Create, DocumentRef
from shared.domain.errors import MAX_MESSAGE_CHARS, FlowRunInvalid, WorkerError
from shared.domain.flow_run import RunStatus, parse_flow_run
from shared.domain.identifiers import ClaimId, PromptId, RunId, SchemaId, StepId
from shared.domain.job_documents import (
    JobRecordInvalid,
    _fields,
    job_document,
    job_ref,
    parse_job_record,
)
from shared.domain.jobs import BackgroundCall, JobMove, JobRecord, JobState, LastError, Lease
from shared.domain.messages import JobMessage, MessageUnreadable, decode_job_message
from shared.domain.pace_documents import pace_write
from shared.domain.pacing import limited
from shared.domain.steps import StepStatus
from shared.domain.times import rfc3339
from shared.domain.waiting import Waiting
from tests.support.worker import BUCKET, Worker, create, publish_registry, push, pushed, read

FOLDER = Path(__file__).parents[2] / "docs/reference/contracts"
SCHEMAS: dict[str, dict[str, Any]] = {
    path.name.removesuffix(".schema.json"): json.loads(path.read_text())
    for path in sorted(FOLDER.glob("*.schema.json"))
}
EXAMPLES = sorted((FOLDER / "examples").glob("*.json"))
REGISTRY: Registry[Any] = Registry().with_resources(
    (schema["$id"], Resource.from_contents(schema)) for schema in SCHEMAS.values()
)
NOW = datetime(2026, 1, 5, 9, tzinfo=UTC)
RUN_ID, STEP_ID = RunId("20260105-090000_BTCUSDT_abc"), StepId("llm_report_1d")
RUN = DocumentRef("flow_runs", RUN_ID)


def problems(name: str, document: Any, *, pointer: str = "") -> list[str]:
    """What the schema, or one of its definitions, finds wrong with the document."""
    schema = {"$ref": f"{SCHEMAS[name]['$id']}{pointer}"}
    validator = Draft202012Validator(
        schema, registry=REGISTRY, format_checker=Draft202012Validator.FORMAT_CHECKER
    )
    return [
        f"{error.json_path}: {error.message[:200]}" for error in validator.iter_errors(document)
    ]


def as_json(value: Any) -> Any:
    """A document as an export shows it: timestamps are RFC 3339 strings."""
    if isinstance(value, datetime):
        return rfc3339(value)
    if isinstance(value, Mapping):
        return {name: as_json(item) for name, item in value.items()}
    return [as_json(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize("name", SCHEMAS)
def test_each_schema_is_draft_2020_12_and_its_references_resolve(name: str) -> None:
    schema = SCHEMAS[name]

    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    Draft202012Validator.check_schema(schema)
    for reference in references(schema):
        REGISTRY.resolver(schema["$id"]).lookup(reference)


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if "$ref" in value:
            yield value["$ref"]
        for item in value.values():
            yield from references(item)
    elif isinstance(value, list):
        for item in value:
            yield from references(item)


def schema_of(path: Path) -> str:
    return path.name.split(".")[0]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_each_example_validates(path: Path) -> None:
    assert problems(schema_of(path), json.loads(path.read_text())) == []


def test_every_document_has_an_example() -> None:
    # The step's schema is a part of the flow run's schema.
    assert {schema_of(path) for path in EXAMPLES} == set(SCHEMAS) - {"llm_report_step"}


CLOSED: dict[str, list[tuple[str | int, ...]]] = {
    "flow_run": [(), ("steps", STEP_ID)],
    "report": [
        (),
        ("metadata",),
        ("metadata", "llm"),
        ("metadata", "inputs"),
        ("metadata", "llm", "llmProfile"),
        ("output",),
        ("output", "summary"),
    ],
    "llm_prompt": [()],
    "llm_schema": [()],
    "llm_job": [(), ("history", 0)],
    "job_message": [()],
}


@pytest.mark.parametrize(
    ("name", "path"), [(name, path) for name, paths in CLOSED.items() for path in paths]
)
def test_a_field_that_the_contract_does_not_have_is_refused(
    name: str, path: tuple[str | int, ...]
) -> None:
    document = json.loads((FOLDER / "examples" / f"{name}.json").read_text())
    place = document
    for part in path:
        place = place[part]
    place["surprise"] = 1

    assert any("surprise" in problem for problem in problems(name, document))


async def test_what_both_stages_write_of_a_run_validates_strictly(tmp_path: Path) -> None:
    """Seed, claim, finalize one success and one failure; every document along the way."""
    worker, documents, events = Worker(folder=tmp_path), EmbeddedDocuments(), list[bytes]()
    run, objects = single_report_run(bucket=BUCKET, run_id=RUN_ID)
    run["steps"]["broken"] = {**run["steps"][STEP_ID], "dependsOn": ["gone"]}
    worker.put([*objects])
    await publish_registry(documents)
    documents.listen(lambda ref, old, new: events.append(event(ref, old, new)))
    await create(documents, RUN, run)

    async def check() -> None:
        assert problems("flow_run", as_json(await read(documents, RUN))) == []
        for step_id in (STEP_ID, StepId("broken")):
            [job] = await documents.read([job_ref(RUN_ID, step_id)], timeout_seconds=1)
            assert not job or problems("llm_job", as_json(job.data)) == []

    await check()
    attributes = {"id": "e", "subject": f"documents/flow_runs/{RUN_ID}"}
    await worker.dispatcher(documents).handle(attributes, events[0])
    await check()
    for message in worker.queue.messages:
        assert problems("job_message", json.loads(message.data)) == []
        assert await pushed(worker.executor(documents), push(message)) == 204
    await check()

    steps = (await read(documents, RUN))["steps"]
    assert (steps[STEP_ID]["status"], steps["broken"]["status"]) == ("SUCCEEDED", "FAILED")
    name = steps[STEP_ID]["outputs"]["gcs_uri"].removeprefix("gs://")
    report = json.loads((worker.objects.root / name).read_text())
    assert problems("report", report) == []


def event(ref: DocumentRef, old: Document | None, new: Document | None) -> bytes:
    return document_event(
        project="p",
        document_path=f"{ref.collection}/{ref.document_id}",
        old=old,
        new=new,
        event_id="e",
        time=SystemClock().now(),
    ).body


def test_everything_that_the_demo_seeds_validates_strictly() -> None:
    scenario = build_scenario(bucket="local-artifacts")

    for name, documents in (
        ("flow_run", scenario.runs),
        ("llm_prompt", scenario.prompts),
        ("llm_schema", scenario.schemas),
    ):
        for document_id, document in documents.items():
            broken = [step for step in document.get("steps", {}) if "unknown_profile" in step]
            for step_id in broken:
                # This sample shows what an unknown profile field leads to.
                del document["steps"][step_id]
            assert problems(name, document) == [], document_id
    manifests = [item for item in scenario.objects if b'"png_gcs_uri"' in item.data[:2_000]]
    assert manifests
    for item in manifests:
        assert problems("charts_manifest", json.loads(item.data)) == []


def properties(name: str, *path: str) -> dict[str, Any]:
    schema: Any = SCHEMAS[name]
    for part in path:
        schema = schema[part]
    found: dict[str, Any] = schema["properties"]
    return found


QUEUED = JobRecord(
    run_id=RUN_ID,
    step_id=STEP_ID,
    claim_id=ClaimId("c"),
    event_id="e",
    claimed_at=NOW,
    state=JobState.QUEUED,
    wake_at=NOW,
)
CALL = ModelCall(
    number=1,
    purpose=CallPurpose.REPAIR,
    started_at=NOW,
    cut_off_at=NOW,
    ended_at=NOW,
    code="RATE_LIMITED",
    finish_reason="STOP",
    model_name="m",
    model_version="m",
    asked_tier="flex",
    service_tier="standard",
    usage={"totalTokenCount": 1},
    cost_usd=0.000001,
    maybe_billed=True,
)
LEASED = (
    QUEUED.take_lease(owner="o", now=NOW, lease_for=timedelta(seconds=60))
    .book_llm_call(CallPurpose.REPAIR)
    .note_inputs("d")
    .note_call(CALL)
    .note_stored(NOW)
)
WAITING = Waiting(
    place="m@e",
    since=NOW,
    until=NOW,
    due_at=NOW,
    turn=NOW,
    dearer_at=NOW,
    before=7,
    refused_at=NOW,
    retry_at=NOW,
)
FULL = JobRecord(
    run_id=RUN_ID,
    step_id=STEP_ID,
    claim_id=ClaimId("c"),
    event_id="e",
    claimed_at=NOW,
    state=JobState.RUNNING,
    attempt=1,
    llm_calls=1,
    call_open=True,
    repair_used=True,
    interaction=BackgroundCall(id="i", begun_at=NOW, input_digest="d", stop_at=NOW).missing(
        NOW
    ),
    refusals=3,
    waiting=WAITING,
    wakes=1,
    input_digest="d",
    lease=Lease(owner="o", expires_at=NOW),
    not_before=NOW,
    wake_at=NOW,
    last_error=LastError(code="RATE_LIMITED", message="429"),
    expire_at=NOW,
    history=LEASED.release(
        now=NOW, not_before=NOW, error=LastError(code="X", message="")
    ).history,
    operator_acts=(
        OperatorAct(
            act="retry",
            at=NOW,
            reason="why",
            by="a@example.com",
            via="console",
            claim_id=ClaimId("c"),
        ),
    ),
    former_claims=(
        FormerClaim(
            number=1,
            claim_id=ClaimId("b"),
            claimed_at=NOW,
            state="FAILED",
            llm_calls=1,
            code="RATE_LIMITED",
            cost_usd=0.01,
            attempts=LEASED.history,
        ),
    ),
    acknowledged=True,
)


@pytest.mark.parametrize(
    "record",
    [
        QUEUED,
        LEASED,
        LEASED.release(now=NOW, not_before=NOW, error=LastError(code="X", message="m")),
        LEASED.close(JobMove.SUCCEED, now=NOW, keep_for=timedelta(days=1)),
        FULL,
    ],
    ids=["queued", "leased", "released", "closed", "everything"],
)
def test_every_job_record_validates(record: JobRecord) -> None:
    assert problems("llm_job", as_json(job_document(record))) == []


def test_the_job_records_fields_are_the_schemas() -> None:
    document = as_json(job_document(FULL))
    attempt = document["history"][0]

    assert set(properties("llm_job")) == set(_fields(FULL)) == set(document)
    assert set(properties("llm_job", "$defs", "attempt")) == set(attempt)
    assert set(properties("llm_job", "$defs", "call")) == set(attempt["calls"][0])
    let_through = replace(FULL, waiting=replace(WAITING, slot_until=NOW))
    waiting = set(job_document(let_through)["waiting"])
    assert set(properties("llm_job")["waiting"]["properties"]) == waiting
    for name in ("lease", "lastError", "interaction"):
        assert set(properties("llm_job")[name]["properties"]) == set(document[name])
    [act] = document["operatorActs"]
    assert set(properties("llm_job")["operatorActs"]["items"]["properties"]) == set(act)
    [former] = document["formerClaims"]
    assert set(properties("llm_job", "$defs", "formerClaim")) == set(former)


@pytest.mark.parametrize("field", sorted(_fields(FULL)))
def test_the_code_reads_a_job_record_without_what_the_schema_does_not_require(
    field: str,
) -> None:
    document = job_document(FULL)
    del document[field]
    required = field in SCHEMAS["llm_job"]["required"]

    try:
        parse_job_record(document)
        refused = False
    except JobRecordInvalid:
        refused = True

    # Records that are older than the field have no claim number.
    assert refused is (required and field != "claimNumber")


def test_the_spending_that_the_code_writes_is_the_schemas() -> None:
    account = Account(scope="run", ceiling=MicroUsd(9)).reserve("call", MicroUsd(7))
    written = {**account.as_document(), "expireAt": rfc3339(NOW)}

    assert problems("llm_spend", written) == []
    required = set(SCHEMAS["llm_spend"]["required"])
    assert set(written) == required | {"reservedMicroUsd"}
    slices = {"a": Slice(amount=MicroUsd(5), expires_at=NOW, revision=1)}
    day = DayAccount(ceiling=MicroUsd(9), slices=slices)
    daily = as_json({**day.as_document(), "expireAt": NOW})
    assert problems("llm_spend", daily) == []
    assert set(daily) == required | {"slices"}
    assert set(properties("llm_spend")) == set(written) | set(daily)
    example = json.loads((FOLDER / "examples/llm_spend.json").read_text())
    assert parse_account(example, scope="run", ceiling=None).total == 18234 + 96411


def test_the_pace_that_the_code_writes_is_the_schemas() -> None:
    pace = limited("m@e", NOW, 30).refused(NOW).granted(NOW + timedelta(hours=1), 9)[0]
    write = pace_write(pace, None)
    assert isinstance(write, Create)

    assert problems("llm_pacing", as_json(dict(write.data))) == []
    schema = SCHEMAS["llm_pacing"]
    assert set(write.data) == set(properties("llm_pacing")) == set(schema["required"])


def test_the_messages_fields_are_the_schemas() -> None:
    message = JobMessage(
        run_id=RUN_ID,
        step_id=STEP_ID,
        claim_id=ClaimId("c"),
        prompt_id=PromptId("llm_prompt_1d_report_v1_0"),
        schema_id=SchemaId("llm_schema_1d_report_v1_0"),
        model_name="gemini-3.5-flash",
    )
    body = json.loads(message.encode().data)

    assert set(body) == set(properties("job_message"))
    assert problems("job_message", body) == []
    for name in body:
        without = {key: value for key, value in body.items() if key != name}
        if name in SCHEMAS["job_message"]["required"]:
            with pytest.raises(MessageUnreadable):
                decode_job_message(json.dumps(without).encode())
        else:
            decode_job_message(json.dumps(without).encode())


def aliases(model: type[BaseModel]) -> set[str]:
    return {field.alias or name for name, field in model.model_fields.items()}


def required(model: type[BaseModel]) -> set[str]:
    fields = model.model_fields.items()
    return {field.alias or name for name, field in fields if field.is_required()}


STEP = ("$defs", "inputs")
PROFILE = ("$defs", "llmProfile")
#: The code's model, the schema that describes the same, the place in the schema, and the fields
#: that only the schema has.
MODELS: list[tuple[type[BaseModel], str, tuple[str, ...], set[str]]] = [
    (ReportStepInputs, "llm_report_step", STEP, set()),
    (LlmInputs, "llm_report_step", (*STEP, "properties", "llm"), set()),
    (
        PreviousReport,
        "llm_report_step",
        (*STEP, "properties", "previousReports", "items"),
        set(),
    ),
    (LlmProfile, "llm_report_step", PROFILE, {"model", "responseSchema"}),
    (
        StructuredOutput,
        "llm_report_step",
        (*PROFILE, "properties", "structuredOutput"),
        set(),
    ),
    (ThinkingConfig, "llm_report_step", (*PROFILE, "properties", "thinkingConfig"), set()),
    (Prompt, "llm_prompt", (), {"evaluationSha256"}),
    (
        SchemaDocument,
        "llm_schema",
        (),
        {"createdAt", "description", "evaluationSha256", "isActive"},
    ),
]


@pytest.mark.parametrize(
    ("model", "name", "path", "beside"), MODELS, ids=[row[0].__name__ for row in MODELS]
)
def test_the_fields_that_the_code_reads_are_the_schemas(
    model: type[BaseModel], name: str, path: tuple[str, ...], beside: set[str]
) -> None:
    schema: Any = SCHEMAS[name]
    for part in path:
        schema = schema[part]

    assert set(schema["properties"]) == aliases(model) | beside
    # The model's name may also stand under its deprecated alias: an anyOf says so.
    assert required(model) - {"modelName"} == set(schema["required"]) - beside


def profiles() -> dict[str, Any]:
    """Profiles, each with one thing on which schema and code might disagree."""
    good: dict[str, Any] = {
        "modelName": "gemini-3.5-flash",
        "structuredOutput": {
            "schemaId": "llm_schema_1d_report_v1_0",
            "kind": "LLM_REPORT_OUTPUT",
        },
    }
    changes: dict[str, dict[str, Any]] = {
        "good": {},
        "alias": {"modelName": ..., "model": "m"},
        "no model": {"modelName": ...},
        "bad model": {"modelName": "a/b"},
        "inline": {"structuredOutput": ..., "jsonSchema": {}},
        "inline alias": {"structuredOutput": ..., "responseSchema": {}},
        "no schema": {"structuredOutput": ...},
        "two schemas": {"jsonSchema": {}},
        "unknown": {"x": 1},
        "two candidates": {"candidateCount": 2},
        "one candidate": {"candidateCount": 1},
        "temperature": {"temperature": 2},
        "hot": {"temperature": 2.01},
        "topP": {"topP": 1.01},
        "topK": {"topK": 0},
        "no tokens": {"maxOutputTokens": 0},
        "tokens": {"maxOutputTokens": 2**31 - 1},
        "too many tokens": {"maxOutputTokens": 2**31},
        "five stops": {"stopSequences": ["a"] * 5},
        "six stops": {"stopSequences": ["a"] * 6},
        "empty stop": {"stopSequences": [""]},
        "text": {"responseMimeType": "text/plain"},
        "thinking": {"thinkingConfig": {"thinkingLevel": "low", "includeThoughts": True}},
        "thinking hard": {"thinkingConfig": {"thinkingLevel": "MAX"}},
        "budget": {"thinkingConfig": {"thinkingBudget": 1}},
    }
    made = {name: {**good, **change} for name, change in changes.items()}
    return {
        name: {key: value for key, value in profile.items() if value is not ...}
        for name, profile in made.items()
    }


@pytest.mark.parametrize("name", profiles())
def test_schema_and_code_agree_on_each_profile(name: str) -> None:
    profile = profiles()[name]
    try:
        parse_profile(profile)
        accepted = True
    except WorkerError:
        accepted = False

    assert (
        problems("llm_report_step", profile, pointer="#/$defs/llmProfile") == []
    ) is accepted


def test_what_the_code_requires_of_a_run_the_schema_requires() -> None:
    run, _ = single_report_run(bucket=BUCKET, run_id=RUN_ID)
    assert problems("flow_run", run) == []

    for path in [
        ("status",),
        ("steps",),
        ("steps", STEP_ID, "stepType"),
        ("steps", STEP_ID, "status"),
    ]:
        broken = without(run, path)
        with pytest.raises(FlowRunInvalid):
            parse_flow_run(RUN_ID, broken)
        assert problems("flow_run", broken) != []
    for field in ("llm", "ohlcvStepId", "chartsManifestStepId"):
        broken = without(run, ("steps", STEP_ID, "inputs", field))
        with pytest.raises(WorkerError):
            parse_report_inputs(broken["steps"][STEP_ID])
        assert problems("flow_run", broken) != []


def without(document: Mapping[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
    changed: dict[str, Any] = copy.deepcopy(dict(document))
    place = changed
    for part in path[:-1]:
        place = place[part]
    del place[path[-1]]
    return changed


def test_patterns_enumerations_and_limits_are_the_codes() -> None:
    run, step, job = (
        SCHEMAS["flow_run"],
        SCHEMAS["llm_report_step"]["$defs"],
        SCHEMAS["llm_job"],
    )
    of_run, of_step = run["properties"], run["$defs"]["step"]
    profile = step["llmProfile"]["properties"]

    assert of_run["runId"]["pattern"] == identifiers.RUN_ID_PATTERN
    assert of_run["flowKey"]["pattern"] == identifiers.FLOW_KEY_PATTERN
    assert of_run["steps"]["propertyNames"]["pattern"] == identifiers.STEP_ID_PATTERN
    assert of_run["status"]["enum"] == list(RunStatus)
    assert of_step["properties"]["status"]["enum"] == list(StepStatus)
    assert (
        of_step["then"]["properties"]["timeframe"]["pattern"] == identifiers.TIMEFRAME_PATTERN
    )
    prompt = step["inputs"]["properties"]["llm"]["properties"]["promptId"]
    assert prompt["pattern"] == identifiers.PROMPT_ID_PATTERN
    schema = profile["structuredOutput"]["properties"]["schemaId"]
    assert schema["pattern"] == identifiers.SCHEMA_ID_PATTERN
    assert schema["maxLength"] == prompt["maxLength"] == identifiers.MAX_REGISTRY_ID_CHARS
    hinted = SCHEMAS["job_message"]["properties"]["modelName"]
    assert hinted["pattern"] == identifiers.MODEL_NAME_PATTERN
    assert profile["modelName"]["pattern"] == identifiers.MODEL_NAME_PATTERN
    assert job["properties"]["state"]["enum"] == list(JobState)
    assert job["properties"]["history"]["maxItems"] == MAX_ATTEMPTS_KEPT
    assert job["properties"]["operatorActs"]["maxItems"] == MAX_ACTS_KEPT
    assert job["$defs"]["call"]["properties"]["purpose"]["enum"] == list(CallPurpose)
    for name in ("previousReports", "previousReportStepIds"):
        assert step["inputs"]["properties"][name]["maxItems"] == MAX_PREVIOUS_REPORTS
    assert run["$defs"]["error"]["properties"]["message"]["maxLength"] == MAX_MESSAGE_CHARS
    kind = get_args(StructuredOutput.model_fields["kind"].annotation)
    assert kind == (profile["structuredOutput"]["properties"]["kind"]["const"],)


def test_the_examples_are_ones_that_the_code_reads() -> None:
    def example(name: str) -> Any:
        return json.loads((FOLDER / "examples" / f"{name}.json").read_text())

    run = parse_flow_run(RUN_ID, example("flow_run"))
    assert run.steps[STEP_ID].status is StepStatus.SUCCEEDED
    parse_report_inputs(example("flow_run")["steps"][STEP_ID])
    parse_prompt(PromptId("llm_prompt_1d_report_v1_0"), example("llm_prompt"))
    schema = example("llm_schema")
    parse_schema_document(SchemaId(schema["schemaId"]), schema)
    decode_job_message(json.dumps(example("job_message")).encode())
    assert charts_of(example("charts_manifest"), uri="gs://b/m", max_images=16)
