"""Each kind of bad input has its documented outcome, and a message that says what to mend."""

import json
from pathlib import Path
from typing import Any

import pytest

from infra.local.cloud.cloud_events import Document, document_event
from infra.local.embedded.documents import EmbeddedDocuments
from infra.local.scenario.prompts import prompt_documents
from infra.local.scenario.schemas import schema_documents
from infra.local.scenario.single import single_report_run
from infra.ops.runs.advice import advice_for
from shared.adapters.clock import SystemClock
from shared.domain.documents import DocumentRef, Update
from shared.domain.identifiers import RunId, StepId
from shared.domain.job_documents import job_ref
from shared.domain.messages import OutgoingMessage
from tests.support.worker import BUCKET, Worker, create, publish_registry, push, pushed, read

RUN_ID = RunId("20260105-090000_BTCUSDT_abc")
RUN = DocumentRef("flow_runs", RUN_ID)
STEP_ID = StepId("llm_report_1d")
OHLCV, CHARTS = "ohlcv_export_1d", "chart_export_1d"
MISSING: Any = object()
CANARY = "canary-77aa"


class Bench:
    """One worker on embedded documents."""

    def __init__(self, folder: Path) -> None:
        self.documents = EmbeddedDocuments()
        self.worker = Worker(folder=folder)
        self.bodies: list[bytes] = []

    async def seed(self, run: dict[str, Any]) -> None:
        self.documents.listen(self._keep)
        await create(self.documents, RUN, run)

    def _keep(self, ref: DocumentRef, old: Document | None, new: Document | None) -> None:
        if ref == RUN:
            event = document_event(
                project="test",
                document_path=f"flow_runs/{RUN_ID}",
                old=old,
                new=new,
                event_id="e",
                time=SystemClock().now(),
            )
            self.bodies.append(event.body)

    async def claim(self) -> OutgoingMessage:
        """Have the dispatcher claim the step; its job."""
        attributes = {"id": "e", "subject": f"documents/flow_runs/{RUN_ID}"}
        await self.worker.dispatcher(self.documents).handle(attributes, self.bodies[0])
        [message] = self.worker.queue.messages
        return message

    async def execute(self, body: bytes) -> int:
        return await pushed(self.worker.executor(self.documents), body)

    async def ended(self, run: dict[str, Any]) -> dict[str, Any]:
        """The report's step after claim and execution."""
        await self.seed(run)
        assert await self.execute(push(await self.claim())) == 204
        steps: dict[str, Any] = (await read(self.documents, RUN))["steps"]
        job = await read(self.documents, job_ref(RUN_ID, STEP_ID))
        assert job["state"] == steps[STEP_ID]["status"]
        return dict(steps[STEP_ID])


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def a_run(bench: Bench) -> dict[str, Any]:
    run, objects = single_report_run(bucket=BUCKET, run_id=RUN_ID)
    bench.worker.put([*objects])
    return json.loads(json.dumps(run))  # type: ignore[no-any-return]


def set_in(data: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    for name in path[:-1]:
        data = data[name]
    if value is MISSING:
        data.pop(path[-1], None)
    else:
        data[path[-1]] = value


STEP = ("steps", STEP_ID)
LLM = (*STEP, "inputs", "llm")
PROFILE = (*LLM, "llmProfile")
INPUTS = "INVALID_STEP_INPUTS"
BAD_PROFILE = "LLM_PROFILE_INVALID"

ROWS: list[tuple[tuple[str, ...], Any, str, str]] = [
    ((*STEP, "inputs"), MISSING, INPUTS, "inputs"),
    ((*STEP, "inputs"), "text", INPUTS, "inputs"),
    ((*STEP, "timeframe"), MISSING, INPUTS, "timeframe must be"),
    ((*STEP, "timeframe"), 7, INPUTS, "timeframe must be"),
    ((*STEP, "timeframe"), "../1d", INPUTS, "timeframe must be"),
    ((*STEP, "dependsOn"), "text", INPUTS, "dependsOn must be a list"),
    ((*STEP, "dependsOn"), [7], INPUTS, "dependsOn must be a list"),
    ((*STEP, "dependsOn"), ["gone"], INPUTS, "dependsOn names an unknown step: gone"),
    ((*STEP, "dependsOn"), [STEP_ID], INPUTS, "dependsOn names the step itself"),
    (LLM, MISSING, INPUTS, "inputs.llm"),
    (LLM, [], INPUTS, "inputs.llm"),
    ((*LLM, "promptId"), MISSING, INPUTS, "inputs.llm.promptId"),
    ((*LLM, "promptId"), 7, INPUTS, "inputs.llm.promptId"),
    ((*LLM, "promptId"), CANARY, INPUTS, "inputs.llm.promptId"),
    (PROFILE, MISSING, INPUTS, "inputs.llm.llmProfile"),
    (PROFILE, "text", INPUTS, "inputs.llm.llmProfile"),
    (PROFILE, {}, BAD_PROFILE, "inputs.llm.llmProfile.modelName"),
    ((*PROFILE, "modelName"), MISSING, BAD_PROFILE, "modelName"),
    ((*PROFILE, "modelName"), 7, BAD_PROFILE, "modelName"),
    ((*PROFILE, "modelName"), CANARY + "/x", BAD_PROFILE, "modelName"),
    ((*PROFILE, "model"), "another", BAD_PROFILE, "model and modelName differ"),
    ((*PROFILE, "temperature"), "hot", BAD_PROFILE, "temperature"),
    ((*PROFILE, "temperature"), 2.1, BAD_PROFILE, "temperature"),
    ((*PROFILE, "topP"), -0.1, BAD_PROFILE, "topP"),
    ((*PROFILE, "topK"), 0, BAD_PROFILE, "topK"),
    ((*PROFILE, "maxOutputTokens"), 1.5, BAD_PROFILE, "maxOutputTokens"),
    ((*PROFILE, "stopSequences"), "x", BAD_PROFILE, "stopSequences"),
    ((*PROFILE, "candidateCount"), 2, BAD_PROFILE, "candidateCount"),
    ((*PROFILE, "responseMimeType"), "text/plain", BAD_PROFILE, "responseMimeType"),
    ((*PROFILE, "thinkingConfig"), {"thinkingLevel": "MAX"}, BAD_PROFILE, "thinkingLevel"),
    ((*PROFILE, "thinkingConfig"), {"budget": 1}, BAD_PROFILE, "thinkingConfig.budget"),
    ((*PROFILE, "surprise"), CANARY, BAD_PROFILE, "surprise"),
    ((*PROFILE, "structuredOutput"), MISSING, BAD_PROFILE, "structuredOutput"),
    ((*PROFILE, "structuredOutput"), [], BAD_PROFILE, "structuredOutput"),
    ((*PROFILE, "structuredOutput", "schemaId"), CANARY, BAD_PROFILE, "schemaId"),
    ((*PROFILE, "structuredOutput", "kind"), "OTHER", BAD_PROFILE, "kind"),
    (
        (*PROFILE, "structuredOutput", "schemaId"),
        "llm_schema_1d_report_gone_v1_0",
        BAD_PROFILE,
        "no such schema document",
    ),
    ((*LLM, "promptId"), "llm_prompt_1d_report_gone_v1_0", "PROMPT_NOT_FOUND", "no prompt"),
    ((*STEP, "inputs", "ohlcvStepId"), MISSING, INPUTS, "inputs.ohlcvStepId"),
    ((*STEP, "inputs", "ohlcvStepId"), 7, INPUTS, "inputs.ohlcvStepId"),
    ((*STEP, "inputs", "ohlcvStepId"), "gone", INPUTS, "the run has no step gone"),
    ((*STEP, "inputs", "chartsManifestStepId"), MISSING, INPUTS, "chartsManifestStepId"),
    ((*STEP, "inputs", "chartsManifestStepId"), "gone", INPUTS, "the run has no step gone"),
    ((*STEP, "inputs", "previousReportStepIds"), ["gone"], INPUTS, "no step gone"),
    ((*STEP, "inputs", "previousReportStepIds"), [OHLCV], INPUTS, "is no LLM_REPORT"),
    ((*STEP, "inputs", "previousReportStepIds"), "x", INPUTS, "previousReportStepIds"),
    ((*STEP, "inputs", "previousReports"), [{}], INPUTS, "give stepId or gcs_uri"),
    ((*STEP, "inputs", "previousReports"), [{"gcs_uri": "x"}], INPUTS, "must be a gs:// URI"),
    (("steps", OHLCV, "outputs"), MISSING, INPUTS, "has no outputs.gcs_uri"),
    (("steps", OHLCV, "outputs"), {"gcs_uri": 7}, INPUTS, "must be a gs:// URI"),
    (
        ("steps", OHLCV, "outputs"),
        {"gcs_uri": "gs://other-bucket/x"},
        INPUTS,
        "CONTEXT_BUCKETS",
    ),
    (
        ("steps", OHLCV, "outputs"),
        {"gcs_uri": f"gs://{BUCKET}/gone.json"},
        INPUTS,
        "there is no such object",
    ),
    (("steps", CHARTS, "outputs"), {}, INPUTS, "has no outputs.gcs_uri"),
]


@pytest.mark.parametrize(
    ("path", "value", "code", "message"),
    ROWS,
    ids=[f"{'.'.join(row[0][2:])}={'absent' if row[1] is MISSING else row[1]}" for row in ROWS],
)
async def test_a_step_with_bad_inputs_fails_with_its_code_and_names_the_place(
    bench: Bench, path: tuple[str, ...], value: Any, code: str, message: str
) -> None:
    run = a_run(bench)
    await publish_registry(bench.documents)
    set_in(run, path, value)

    step = await bench.ended(run)

    assert (step["status"], step["error"]["code"]) == ("FAILED", code)
    assert message in step["error"]["message"]
    assert CANARY not in json.dumps(step["error"])
    assert CANARY not in bench.worker.log.stream.getvalue()
    assert bench.worker.model.requests == []


PROMPT = next(name for name in prompt_documents() if "_1d_" in name)
SCHEMA = "llm_schema_1M_report_v1_0"


@pytest.mark.parametrize(
    ("ref", "changes", "code"),
    [
        (DocumentRef("llm_prompts", PROMPT), {"schemaVersion": 2}, INPUTS),
        (DocumentRef("llm_prompts", PROMPT), {"schemaVersion": MISSING}, INPUTS),
        (DocumentRef("llm_prompts", PROMPT), {"userPrompt": MISSING}, INPUTS),
        (DocumentRef("llm_prompts", PROMPT), {"userPrompt": [CANARY]}, INPUTS),
        (DocumentRef("llm_prompts", PROMPT), {"systemInstruction": 7}, INPUTS),
        (DocumentRef("llm_schemas", SCHEMA), {"schemaId": "other"}, BAD_PROFILE),
        (DocumentRef("llm_schemas", SCHEMA), {"kind": "OTHER"}, BAD_PROFILE),
        (DocumentRef("llm_schemas", SCHEMA), {"sha256": "short"}, BAD_PROFILE),
        (DocumentRef("llm_schemas", SCHEMA), {"sha256": MISSING}, BAD_PROFILE),
        (DocumentRef("llm_schemas", SCHEMA), {"jsonSchema": "{}"}, BAD_PROFILE),
        (DocumentRef("llm_schemas", SCHEMA), {"jsonSchema": {}}, BAD_PROFILE),
        (DocumentRef("llm_schemas", SCHEMA), {"jsonSchema": {"type": 7}}, BAD_PROFILE),
    ],
    ids=lambda value: (
        next(iter(value.items()), "") if isinstance(value, dict) else str(value)[:40]
    ),
)
async def test_a_broken_registry_document_fails_the_step_and_is_named(
    bench: Bench, ref: DocumentRef, changes: dict[str, Any], code: str
) -> None:
    run = a_run(bench)
    for collection, entries in (
        ("llm_prompts", prompt_documents()),
        ("llm_schemas", schema_documents()),
    ):
        for name, entry in entries.items():
            data = dict(entry)
            if DocumentRef(collection, name) == ref:
                for field, value in changes.items():
                    set_in(data, (field,), value)
            await create(bench.documents, DocumentRef(collection, name), data)

    step = await bench.ended(run)

    assert step["error"]["code"] == code
    assert ref.document_id in step["error"]["message"]
    if "sha256" in changes:
        assert f"llm_schemas/{SCHEMA}" in step["error"]["message"]
    if ref.collection == "llm_schemas":
        # The message says what an author can do about it, whatever wrote the document.
        advice = advice_for(code)
        assert advice is not None
        assert "`worker-llm schemas publish`" in advice.remedy
    assert CANARY not in json.dumps(step["error"])
    assert bench.worker.model.requests == []


@pytest.mark.parametrize(
    "step_id", ["1d:report", "a-b", "Übersicht 日", "back`tick", "0", "__a", "a~b", "é" * 200]
)
async def test_odd_step_ids_go_the_whole_way(bench: Bench, step_id: str) -> None:
    run, objects = single_report_run(bucket=BUCKET, run_id=RUN_ID, step_id=step_id)
    bench.worker.put([*objects])
    await publish_registry(bench.documents)
    await bench.seed(dict(run))

    assert await bench.execute(push(await bench.claim())) == 204

    step = (await read(bench.documents, RUN))["steps"][step_id]
    assert step["status"] == "SUCCEEDED"
    assert step["outputs"]["gcs_uri"] == f"gs://{BUCKET}/{RUN_ID}/1d/{step_id}.json"


@pytest.mark.parametrize("body", [b"", b"hello", b"[]", b'{"message": 7}', b"\xff"])
async def test_a_request_that_is_no_push_is_answered_400(bench: Bench, body: bytes) -> None:
    assert await bench.execute(body) == 400

    [entry] = bench.worker.log.entries("job_rejected")
    assert (entry["severity"], entry["reason"]) == ("ERROR", "not_a_push")


@pytest.mark.parametrize("data", [b"", b"canary-77aa", b"{}", b'{"schemaVersion": 2}'])
async def test_a_message_that_cannot_be_read_is_kept_as_a_dead_letter(
    bench: Bench, data: bytes
) -> None:
    assert await bench.execute(push(OutgoingMessage(data=data))) == 204

    [letter] = bench.worker.dead_letters.messages
    assert letter.data == data
    assert letter.attributes["workerReason"]
    assert CANARY not in bench.worker.log.stream.getvalue()


async def test_a_job_that_was_never_claimed_is_acknowledged_and_forgotten(
    bench: Bench,
) -> None:
    run = a_run(bench)
    await bench.seed(run)
    message = await bench.claim()
    bench.documents.delete(job_ref(RUN_ID, STEP_ID))

    assert await bench.execute(push(message)) == 204

    [entry] = bench.worker.log.entries("job_noop")
    assert entry["reason"] == "job_missing"


async def test_a_job_whose_record_cannot_be_read_is_not_acknowledged(bench: Bench) -> None:
    await bench.seed(a_run(bench))
    message = await bench.claim()
    [job] = await bench.documents.read([job_ref(RUN_ID, STEP_ID)], timeout_seconds=60)
    assert job is not None
    newer = Update(ref=job.ref, changes={("state",): CANARY}, guard=job.version)
    await bench.documents.commit([newer], timeout_seconds=60)

    assert await bench.execute(push(message)) == 503

    [entry] = bench.worker.log.entries("job_deferred")
    assert (entry["severity"], entry["code"]) == ("ERROR", "INTERNAL_ERROR")
    assert entry["message"] == "the job record is none that this version reads"
    assert CANARY not in bench.worker.log.stream.getvalue()
    assert bench.worker.model.requests == []


@pytest.mark.parametrize(("gone", "reason"), [("run", "run_missing"), ("step", "step_missing")])
async def test_a_job_whose_step_no_longer_exists_is_abandoned(
    bench: Bench, gone: str, reason: str
) -> None:
    run = a_run(bench)
    await bench.seed(run)
    message = await bench.claim()
    bench.documents.delete(RUN)
    if gone == "step":
        del run["steps"][STEP_ID]
        await create(bench.documents, RUN, run)

    assert await bench.execute(push(message)) == 204

    [entry] = bench.worker.log.entries("job_noop")
    assert entry["reason"] == reason
    job = await read(bench.documents, job_ref(RUN_ID, STEP_ID))
    assert job["state"] == "ABANDONED"
    assert bench.worker.model.requests == []


LIMITS = [("JSON", OHLCV, 65_536), ("image", CHARTS, 262_144)]


@pytest.mark.parametrize(("kind", "source", "limit"), LIMITS, ids=["json", "image"])
@pytest.mark.parametrize("over", [0, 1])
async def test_an_artifact_may_have_the_limits_size_and_not_one_byte_more(
    bench: Bench, kind: str, source: str, limit: int, over: int
) -> None:
    run, objects = single_report_run(bucket=BUCKET, run_id=RUN_ID)
    bench.worker.put([*objects])
    await publish_registry(bench.documents)
    wanted = "json" if kind == "JSON" else "png"
    [item] = [o for o in objects if source in o.name and o.name.endswith(wanted)][:1]
    # Neither spaces after JSON nor bytes after a PNG's end change what it says.
    data = item.data.ljust(limit + over, b" ")
    bench.worker.objects.write(item.bucket, item.name, data, content_type=item.content_type)

    step = await bench.ended(dict(run))

    if over:
        assert step["error"]["code"] == "INVALID_STEP_INPUTS"
        for part in (item.name, str(limit + 1), str(limit)):
            assert part in step["error"]["message"]
    else:
        assert step["status"] == "SUCCEEDED"
