"""Runs from files and to files: faults with their lines, and nothing overwritten."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from infra.local.embedded.documents import EmbeddedDocuments
from infra.local.embedded.objects import EmbeddedObjects
from infra.local.scenario import prompt_documents, schema_documents, single_report_run
from infra.local.storage.objects import ObjectFolder
from infra.ops.environment.connection import Connection
from infra.ops.environment.listing import EmbeddedRunListing
from infra.ops.transfer.commands import CONTRACTS, exported_files
from infra.ops.transfer.submission import faults_in, line_of, ready_reports, run_validator
from shared.domain.documents import Create, DocumentRef

RUN_ID = "20260106-090000_ETHUSD_file"
CONTRACT = run_validator(CONTRACTS)
BUCKET = "local-artifacts"


def written(**changes: Any) -> bytes:
    document, _ = single_report_run(bucket=BUCKET, run_id=RUN_ID)
    return json.dumps(document | changes, indent=1).encode()


def test_a_sound_run_has_no_fault_and_says_how_many_reports_begin() -> None:
    data = written()

    assert faults_in(data, CONTRACT) == []
    assert ready_reports(json.loads(data)) == 1


@pytest.mark.parametrize(
    ("change", "path", "said"),
    [
        (("llm_report_1d", "promptId", "nonsense"), "steps.llm_report_1d.inputs", "promptId"),
        (("llm_report_1d", "status", "REDY"), "steps.llm_report_1d.status", "is not one of"),
        (("llm_report_1d", "temperature", "hot"), "steps.llm_report_1d.inputs", "temperature"),
        (("llm_report_1d", "ohlcvStepId", "nothing"), "steps.llm_report_1d.inputs", "nothing"),
    ],
)
def test_a_fault_is_named_with_the_line_where_it_stands(
    change: tuple[str, str, Any], path: str, said: str
) -> None:
    step_id, name, value = change
    document = json.loads(written())
    _replace(document["steps"][step_id], name, value)
    lines = json.dumps(document, indent=1).encode()

    found = faults_in(lines, CONTRACT)

    meant = [one for one in found if one.path.startswith(path) and said in one.message]
    assert meant, found
    text = lines.decode().splitlines()
    assert all(text[one.line - 1].strip().startswith('"') for one in meant)


@pytest.mark.parametrize(
    ("name", "value"),
    [("runId", RUN_ID), ("flowKey", "sample_v1"), ("timeframe", "1d"), ("promptId", None)],
)
def test_a_line_break_at_the_end_of_a_value_is_a_fault(name: str, value: str | None) -> None:
    document = json.loads(written())
    value = value or "llm_prompt_1d_report_v1_0"
    _replace(document, name, value)
    assert faults_in(json.dumps(document).encode(), CONTRACT) == []

    _replace(document, name, value + "\n")

    found = faults_in(json.dumps(document).encode(), CONTRACT)
    assert [one for one in found if "does not match" in one.message], found


def test_every_pattern_of_the_contract_is_anchored_at_both_ends() -> None:
    texts = [path.read_text() for path in CONTRACTS.glob("*.schema.json")]
    patterns = [each for text in texts for each in patterns_in(json.loads(text))]

    assert len(patterns) > 20
    assert [each for each in patterns if (each[0], each[-1]) != ("^", "$")] == []


def patterns_in(value: Any) -> Iterator[str]:
    if isinstance(value, list):
        for item in value:
            yield from patterns_in(item)
    elif isinstance(value, dict):
        for name, item in value.items():
            if name == "pattern" and isinstance(item, str):
                yield item
            else:
                yield from patterns_in(item)


def _replace(value: Any, name: str, new: Any) -> None:
    if isinstance(value, dict):
        for key in value:
            if key == name:
                value[key] = new
            else:
                _replace(value[key], name, new)


@pytest.mark.parametrize(
    ("data", "line", "said"),
    [
        (b'{"runId": "x",\n\n oops}', 3, "not JSON"),
        (b"[]", 1, "is not of type 'object'"),
        (b"{}", 1, "runId"),
        (b"\xff", 1, "not UTF-8"),
    ],
)
def test_what_is_no_run_at_all_is_told_with_its_line(data: bytes, line: int, said: str) -> None:
    found = faults_in(data, CONTRACT)

    assert any(one.line == line and said in f"{one.path} {one.message}" for one in found), found


def test_a_line_is_that_of_the_last_part_of_the_path_that_is_there() -> None:
    text = '{\n "a": {\n  "b": 1\n },\n "b": 2\n}'

    assert [line_of(text, path) for path in (["a", "b"], ["a", "x"], ["b"], [])] == [3, 2, 3, 1]


async def test_an_exported_run_is_what_the_trial_reads_and_names_what_is_gone(
    tmp_path: Path,
) -> None:
    documents, folder = EmbeddedDocuments(), ObjectFolder(tmp_path / "objects")
    folder.create_bucket(BUCKET)
    run, objects = single_report_run(bucket=BUCKET, run_id=RUN_ID)
    gone = objects[-1]
    for item in objects[:-1]:
        folder.write(item.bucket, item.name, item.data)
    stored = {("flow_runs", RUN_ID): run}
    stored |= {("llm_prompts", name): data for name, data in prompt_documents().items()}
    stored |= {("llm_schemas", name): data for name, data in schema_documents().items()}
    for (collection, name), data in stored.items():
        ref = DocumentRef(collection, name)
        await documents.commit([Create(ref=ref, data=data)], timeout_seconds=1)
    connection = Connection(
        name="test",
        project="p",
        database="(default)",
        flow_runs="flow_runs",
        documents=documents,
        runs=EmbeddedRunListing(documents),
        objects=lambda: EmbeddedObjects(folder),
        local=None,
    )

    files, missing = await exported_files(connection, [RUN_ID])

    assert f"{RUN_ID}.json" in files
    assert "llm_prompts/llm_prompt_1d_report_v1_0.json" in files
    assert "llm_schemas/llm_schema_1M_report_v1_0.json" in files
    # The manifest is there, and so is everything that it names.
    assert {f"objects/{BUCKET}/{item.name}" for item in objects[:-1]} <= set(files)
    assert missing == [f"gs://{BUCKET}/{gone.name}"]
