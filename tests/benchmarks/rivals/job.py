"""The job that every rival is given, in the parts that a framework makes reliable.

The rivals' processes alone import this. It speaks plain HTTP to the same storage server and
the same stand-in as the worker does, without any retry of its own: those are the frameworks'.
"""

import base64
import functools
import json
import os
from typing import Any
from urllib.parse import quote

import httpx2
from jsonschema import Draft202012Validator

_STORAGE = os.environ.get("STORAGE_URL", "")
_GEMINI = os.environ.get("GEMINI_URL", "")
_BUCKET = os.environ.get("BUCKET", "")
_SECONDS = 120.0
_EXISTS = 412


@functools.cache
def _http() -> httpx2.Client:
    # Servers close idle connections after a few seconds; reusing one then fails.
    limits = httpx2.Limits(keepalive_expiry=1.0)
    return httpx2.Client(timeout=_SECONDS, trust_env=False, limits=limits)


def read_inputs() -> dict[str, Any]:
    """Prompt, schema, candles and chart, as JSON can hold them."""
    return {
        "prompt": json.loads(_read("prompt.json")),
        "schema": json.loads(_read("schema.json")),
        "candles": _read("candles.json").decode(),
        "chart": base64.b64encode(_read("chart.png")).decode(),
    }


def ask_model(inputs: dict[str, Any]) -> str:
    """Make the call that is paid for; the text of its answer."""
    text = f"{inputs['prompt']['userPrompt']}\n{inputs['candles']}"
    image = {"mimeType": "image/png", "data": inputs["chart"]}
    config = {
        "responseMimeType": "application/json",
        "responseJsonSchema": inputs["schema"],
    }
    instruction = {"parts": [{"text": inputs["prompt"]["systemInstruction"]}]}
    answer = _http().post(
        f"{_GEMINI}/v1beta/models/gemini-3.5-flash:generateContent",
        headers={"x-goog-api-key": "local-stand-in"},
        json={
            "contents": [{"role": "user", "parts": [{"text": text}, {"inlineData": image}]}],
            "systemInstruction": instruction,
            "generationConfig": config,
        },
    )
    content = answer.raise_for_status().json()["candidates"][0]["content"]
    return str(content["parts"][0]["text"])


def checked(text: str, schema: dict[str, Any]) -> dict[str, Any]:
    """The answer's output, held to its schema."""
    output: dict[str, Any] = json.loads(text)
    Draft202012Validator(schema).validate(output)
    return output


def is_stored(step_id: str) -> bool:
    """Whether the step has its report."""
    found = _http().get(_object_url(f"reports/{step_id}.json"))
    return found.is_success


def store_report(step_id: str, output: dict[str, Any]) -> str:
    """Write the report unless it is there; its URI."""
    name = f"reports/{step_id}.json"
    answer = _http().post(
        f"{_STORAGE}/upload/storage/v1/b/{_BUCKET}/o",
        params={"uploadType": "media", "name": name, "ifGenerationMatch": "0"},
        headers={"content-type": "application/json"},
        content=json.dumps({"output": output}),
    )
    if answer.status_code != _EXISTS:
        answer.raise_for_status()
    return report_uri(step_id)


def report_uri(step_id: str) -> str:
    """Where the step's report lies."""
    return f"gs://{_BUCKET}/reports/{step_id}.json"


def _read(name: str) -> bytes:
    answer = _http().get(_object_url(name), params={"alt": "media"})
    return bytes(answer.raise_for_status().content)


def _object_url(name: str) -> str:
    return f"{_STORAGE}/storage/v1/b/{_BUCKET}/o/{quote(name, safe='')}"
