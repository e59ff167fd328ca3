"""Ten processes read a schema from the real Firestore and send the model the same bytes.

A map in Firestore has no order, and each process' client gives its maps in another one.
"""

import asyncio
import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from executor.validation.property_order import with_ordering
from executor.validation.report_schema import check_schema
from infra.local.emulators.finding import Missing, find_emulators
from infra.local.emulators.servers import running_emulators
from infra.local.gemini import create_app
from infra.local.serving.asgi import serve
from shared.adapters.firestore import FirestoreDocuments
from shared.domain.documents import Create, DocumentRef
from tests.contract.test_documents import emulator_client

PROCESSES = 10
SCHEMA_ID = "llm_schema_1d_report_v1_0"
REASONED = ["evidence", "counter_evidence", "risk", "verdict", "confidence"]
#: What the executor does between its batch read and its call, with the executor's adapters.
SENDS = """
import asyncio, sys
from google.cloud.firestore_v1.async_client import AsyncClient
from executor.adapters.gemini import GeminiModel
from executor.adapters.provider_client import make_client
from executor.contract.profile import parse_profile
from executor.contract.registry import parse_schema_document
from executor.ports import ModelRequest
from executor.settings import Backend, GeminiSettings
from executor.validation.report_schema import output_schema
from pydantic import SecretStr
from shared.adapters.clock import SystemClock
from shared.adapters.firestore import FirestoreDocuments
from shared.domain.documents import DocumentRef

url, schema_id = sys.argv[1:]
structured = {"schemaId": schema_id, "kind": "LLM_REPORT_OUTPUT"}
profile = parse_profile({"modelName": "gemini-x", "structuredOutput": structured})
settings = GeminiSettings(
    backend=Backend.AI_STUDIO, api_key=SecretStr("k"), location="", base_url=url,
    timeout_seconds=30)

async def send():
    documents = FirestoreDocuments(AsyncClient(project="contract"))
    [found] = await documents.read([DocumentRef("llm_schemas", schema_id)], timeout_seconds=10)
    schema = output_schema(profile, parse_schema_document(schema_id, found.data))
    model = GeminiModel(make_client(settings, "p"), SystemClock())
    request = ModelRequest(profile=profile, system_instruction="", user_text="x", images=[],
        json_schema=schema.json_schema)
    await model.generate(request, timeout_seconds=30)

asyncio.run(send())
"""


def report() -> dict[str, Any]:
    def described(names: list[str], **keywords: Any) -> dict[str, Any]:
        properties = {name: {"type": "string", "description": name} for name in names}
        return {"type": "object", "properties": properties, **keywords}

    return {
        "type": "object",
        "required": ["summary", "details"],
        "properties": {
            "summary": described(["markdown"], required=["markdown"]),
            "details": described(REASONED, required=["verdict"], additionalProperties=False),
        },
    }


@pytest.mark.emulators
async def test_ten_processes_send_the_same_bytes_in_the_author_s_order(tmp_path: Path) -> None:
    found = find_emulators(os.environ, Path.home())
    if isinstance(found, Missing):
        pytest.skip("; ".join(found.reasons))
    schema = with_ordering(report())
    sha256, _ = check_schema(schema)
    document = {
        "schemaId": SCHEMA_ID,
        "kind": "LLM_REPORT_OUTPUT",
        "jsonSchema": schema,
        "sha256": sha256,
    }
    app = create_app(latency_seconds=0)
    app.state.calls.keep = True
    async with (
        serve(app, name="Gemini stand-in") as url,
        running_emulators(found, log_folder=tmp_path, environ=os.environ) as hosts,
    ):
        client = emulator_client(hosts.firestore_host)
        ref = DocumentRef("llm_schemas", SCHEMA_ID)
        await FirestoreDocuments(client).commit(
            [Create(ref=ref, data=document)], timeout_seconds=10
        )
        client.close()
        environ = {**os.environ, "FIRESTORE_EMULATOR_HOST": hosts.firestore_host}
        argv = (sys.executable, "-c", SENDS, url, SCHEMA_ID)
        processes = [
            await asyncio.create_subprocess_exec(*argv, env=environ) for _ in range(PROCESSES)
        ]
        codes = [await process.wait() for process in processes]

    assert codes == [0] * PROCESSES
    bodies = [call.body for call in app.state.calls.kept]
    assert len({hashlib.sha256(body).hexdigest() for body in bodies}) == 1
    assert len(bodies) == PROCESSES
    sent = json.loads(bodies[0])["generationConfig"]["responseJsonSchema"]
    assert list(sent["properties"]["details"]["properties"]) == REASONED
