"""No secret, and no text of prompt, context or model, appears where it does not belong.

Canaries are planted in all four, every row of the fault table and the plain success are run,
and everything that is left behind is searched. The stand-in's errors quote key and request.
"""

import base64
import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from infra.local.gemini.faults import FaultKind, FaultRule
from infra.local.scenario.model import Document, SeedObject
from tests.support.model_stage import STEP_ID, Ended, Seeds, drive, seeds
from tests.tables.model_faults import ROWS, Row

KEY = "AIzaCanaryKey0f3a"
PROMPT = "canary of the prompt 5b1c"
INSTRUCTION = "canary of the instruction 77d2"
CONTEXT = "canary of the candles 9e40"
CHART = "canary of a chart 31fd"
MODEL = "canary of the model c8a6"
SECRETS = (KEY, PROMPT, INSTRUCTION, CONTEXT, CHART, MODEL)
SUCCESS = Row(fault="nothing goes wrong", rules=[FaultRule(kind=FaultKind.NONE)])


def planted() -> Seeds:
    plain = seeds()
    return replace(
        plain,
        prompts={name: _prompt(document) for name, document in plain.prompts.items()},
        objects=[_object(seed) for seed in plain.objects],
    )


def _prompt(document: Document) -> Document:
    return {**document, "systemInstruction": INSTRUCTION, "userPrompt": f"{PROMPT}\n"}


def _object(seed: SeedObject) -> SeedObject:
    if not seed.name.endswith(".json"):
        return seed
    document = json.loads(seed.data)
    if "candles" in document:
        document["note"] = CONTEXT
    for item in document.get("items", []):
        item["description"] = CHART
    return replace(seed, data=json.dumps(document).encode())


async def run(row: Row, folder: Path) -> Ended:
    rules = [replace(rule, says=MODEL) for rule in row.rules]
    environ = {**row.environ, "GEMINI_API_KEY": KEY}
    return await drive(folder, rules, seeded=planted(), environ=environ, keep_calls=True)


def left_behind(ended: Ended) -> Iterator[tuple[str, str]]:
    """Everything that outlives the work, by name, except the report's own output."""
    yield "the log", ended.log
    for ref, fields in ended.written:
        yield f"document {ref}", json.dumps(fields, default=str, ensure_ascii=False)
    for push in ended.pushes:
        yield "a message", push.decode() + _data(json.loads(push)["message"])
    for letter in ended.dead_letters:
        yield "a dead letter", f"{letter.data!r} {dict(letter.attributes)}"
    for name, data in ended.objects.items():
        yield "an object's name", name
        yield "a report's metadata", json.dumps(json.loads(data)["metadata"])
    for name, value in ended.object_metadata.items():
        yield f"the metadata of {name}", str(value)


def _data(message: Mapping[str, Any]) -> str:
    return base64.b64decode(message["data"]).decode()


@pytest.mark.parametrize("row", [SUCCESS, *ROWS.values()], ids=["success", *ROWS])
async def test_a_canary_shows_nowhere_but_in_a_report_s_output(
    row: Row,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    with caplog.at_level(logging.DEBUG):
        ended = await run(row, tmp_path)

    assert found_in(ended, caplog, capfd) == []


#: One row for each way to fail; the same faults for other reasons leave nothing different.
IN_BACKGROUND = {
    tuple(rule.kind for rule in row.rules): row
    for row in [SUCCESS, *ROWS.values()]
    if not row.cut_off and not row.environ
}


@pytest.mark.parametrize("row", IN_BACKGROUND.values(), ids=lambda row: row.fault)
async def test_a_canary_shows_nowhere_with_calls_in_the_background(
    row: Row,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    background = replace(row, environ={"GEMINI_API": "interactions"})

    with caplog.at_level(logging.DEBUG):
        ended = await run(background, tmp_path)

    assert found_in(ended, caplog, capfd) == []


def found_in(
    ended: Ended, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> list[tuple[str, str]]:
    """Where a canary appears, and which one."""
    printed = capfd.readouterr()
    return [
        (place, secret)
        for place, text in [
            *left_behind(ended),
            ("a library's log", caplog.text),
            ("standard output", printed.out),
            ("standard error", printed.err),
        ]
        for secret in SECRETS
        if secret in text
    ]


async def test_a_key_that_the_model_chose_shows_nowhere(tmp_path: Path) -> None:
    """A schema that allows any key, with values of one type, puts keys into error paths."""
    plain = seeds()
    profile = plain.run["steps"][STEP_ID]["inputs"]["llm"]["llmProfile"]
    schema = plain.schemas[profile.pop("structuredOutput")["schemaId"]]["jsonSchema"]
    schema["properties"]["details"]["additionalProperties"] = {"type": "number"}
    profile["jsonSchema"] = schema
    wrong = FaultRule(kind=FaultKind.WRONG_SCHEMA, times=9, says=MODEL)

    ended = await drive(tmp_path, [wrong], seeded=plain)

    assert {"path": "details/*", "error": "type"} in ended.step["error"]["details"]["errors"]
    assert [place for place, text in left_behind(ended) if MODEL in text] == []


def _with_candles(data: bytes) -> Seeds:
    plain = planted()
    objects = [
        replace(seed, data=data) if "ohlcv" in seed.name else seed for seed in plain.objects
    ]
    return replace(plain, objects=objects)


def _with_prompt(document: Document) -> Seeds:
    plain = planted()
    return replace(plain, prompts=dict.fromkeys(plain.prompts, document))


def _with_profile(**fields: Any) -> Seeds:
    return replace(planted(), run=seeds(**fields).run)


@pytest.mark.parametrize(
    ("seeded", "code"),
    [
        (_with_candles(f"{{ {CONTEXT}".encode()), "INVALID_STEP_INPUTS"),
        (_with_candles(f'{{"{CONTEXT}": 1, "{CONTEXT}": 2}}'.encode()), "INVALID_STEP_INPUTS"),
        (_with_candles(CONTEXT.encode() * 5_000), "INVALID_STEP_INPUTS"),
        (_with_prompt({"schemaVersion": 1, "userPrompt": [PROMPT]}), "INVALID_STEP_INPUTS"),
        (_with_profile(stopSequences=[PROMPT, PROMPT], temperature=99), "LLM_PROFILE_INVALID"),
        (_with_profile(unknownField=PROMPT), "LLM_PROFILE_INVALID"),
    ],
    ids=["not JSON", "a key twice", "too large", "bad prompt", "bad profile", "unknown field"],
)
async def test_a_canary_in_bad_inputs_shows_nowhere(
    seeded: Seeds, code: str, tmp_path: Path
) -> None:
    ended = await drive(tmp_path, [], seeded=seeded, environ={"GEMINI_API_KEY": KEY})

    assert ended.step["error"]["code"] == code
    own = [text.replace(json.dumps(PROMPT), "") for _, text in left_behind(ended)]
    assert [secret for secret in SECRETS for text in own if secret in text] == []


async def test_the_canaries_were_really_sent_and_said(tmp_path: Path) -> None:
    ended = await run(SUCCESS, tmp_path)

    [call] = ended.calls.kept
    body = call.body.decode()
    assert call.headers["x-goog-api-key"] == KEY
    assert all(secret in body for secret in (PROMPT, INSTRUCTION, CONTEXT, CHART))
    [report] = ended.objects.values()
    assert MODEL in json.loads(report)["output"]["summary"]["markdown"]


async def test_a_canary_is_found_where_one_is_left(tmp_path: Path) -> None:
    ended = await run(SUCCESS, tmp_path)
    leaky = replace(ended, log=f'{ended.log}{{"message": "{CHART}"}}\n')

    assert any(CHART in text for _, text in left_behind(leaky))
