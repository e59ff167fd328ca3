"""The baseline: one function that does everything in the Firestore event itself.

Written as the common practice does it, and fairly: every write is preceded by a read, the
object's existence is checked before the upload, inputs are read one after the other, and the
model is called through the SDK's synchronous client. It has no lease, no fence and no budget.
"""

import functools
import json
import os
import threading
from datetime import UTC, datetime
from typing import Any

import functions_framework
from cloudevents.http import CloudEvent
from google import genai
from google.auth.credentials import AnonymousCredentials
from google.cloud import firestore, storage
from google.events.cloud.firestore_v1 import DocumentEventData
from google.genai import types
from jsonschema import Draft202012Validator

BUCKET = os.environ.get("ARTIFACTS_BUCKET", "")
_ONE_AT_A_TIME = threading.Lock()


@functools.cache
def _firestore() -> firestore.Client:
    return firestore.Client(project=os.environ["GCP_PROJECT"])


@functools.cache
def _storage() -> storage.Client:
    anonymous = AnonymousCredentials()  # type: ignore[no-untyped-call]
    return storage.Client(project=os.environ["GCP_PROJECT"], credentials=anonymous)


def _gemini() -> genai.Client:
    # Of two that first requests made side by side, one would be closed as garbage in use.
    with _ONE_AT_A_TIME:
        return _gemini_client()


@functools.cache
def _gemini_client() -> genai.Client:
    options = types.HttpOptions(base_url=os.environ["GEMINI_BASE_URL"])
    return genai.Client(api_key=os.environ["GEMINI_API_KEY"], http_options=options)


@functions_framework.cloud_event
def work(event: CloudEvent) -> None:
    """Handle one event, from claim to finalize."""
    change = DocumentEventData()
    change._pb.ParseFromString(event.data)
    run_id = change.value.name.split("/")[-1]
    reference = _firestore().collection("flow_runs").document(run_id)
    run = _fields(reference)
    for step_id, step in sorted(run.get("steps", {}).items()):
        if step["stepType"] == "LLM_REPORT" and step["status"] == "READY":
            _execute(reference, run_id, step_id)


def _execute(reference: firestore.DocumentReference, run_id: str, step_id: str) -> None:
    run = _fields(reference)
    step = run["steps"][step_id]
    if step["status"] != "READY":
        return
    started = datetime.now(UTC)  # noqa: TID251 -- a program of its own
    reference.update({f"steps.`{step_id}`.status": "RUNNING"})
    llm = step["inputs"]["llm"]
    prompt = _fields(_firestore().collection("llm_prompts").document(llm["promptId"]))
    schema_id = llm["llmProfile"]["structuredOutput"]["schemaId"]
    schema = _fields(_firestore().collection("llm_schemas").document(schema_id))
    parts = _parts(run, step, prompt["userPrompt"])
    answer = _gemini().models.generate_content(
        model=llm["llmProfile"]["modelName"],
        contents=parts,
        config=types.GenerateContentConfig(
            system_instruction=prompt["systemInstruction"],
            response_mime_type="application/json",
            response_json_schema=schema["jsonSchema"],
        ),
    )
    output = json.loads(answer.text or "")
    Draft202012Validator(schema["jsonSchema"]).validate(output)
    name = f"{run_id}/{step['timeframe']}/{step_id}.json"
    blob = _storage().bucket(BUCKET).blob(name)
    if not blob.exists():
        blob.upload_from_string(json.dumps({"output": output}), "application/json")
    finished = datetime.now(UTC)  # noqa: TID251 -- a program of its own
    current = _fields(reference)["steps"][step_id]
    if current["status"] == "RUNNING":
        reference.update(
            {
                f"steps.`{step_id}`.status": "SUCCEEDED",
                f"steps.`{step_id}`.finishedAt": finished.isoformat(),
                f"steps.`{step_id}`.outputs.gcs_uri": f"gs://{BUCKET}/{name}",
                f"steps.`{step_id}`.outputs.execution.timing": {
                    "startedAt": started.isoformat(),
                    "finishedAt": finished.isoformat(),
                },
            }
        )


def _fields(reference: firestore.DocumentReference) -> dict[str, Any]:
    return reference.get().to_dict() or {}


def _parts(run: dict[str, Any], step: dict[str, Any], text: str) -> list[Any]:
    inputs = step["inputs"]
    ohlcv = _read(run["steps"][inputs["ohlcvStepId"]]["outputs"]["gcs_uri"])
    charts = run["steps"][inputs["chartsManifestStepId"]]["outputs"]
    manifest = json.loads(_read(charts.get("gcs_uri") or charts["outputsManifestGcsUri"]))
    images = [
        types.Part.from_bytes(data=_read(item["png_gcs_uri"]), mime_type="image/png")
        for item in manifest["items"]
    ]
    return [types.Part.from_text(text=f"{text}\n{ohlcv.decode()}"), *images]


def _read(uri: str) -> bytes:
    bucket, _, name = uri.removeprefix("gs://").partition("/")
    data: bytes = _storage().bucket(bucket).blob(name).download_as_bytes()
    return data
