"""A report's receipt, recomputed from its sources after one of them was changed."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from infra.local.embedded.objects import EmbeddedObjects
from infra.local.scenario.model import SeedObject
from infra.ops.environment.connection import Connection
from infra.ops.environment.listing import EmbeddedRunListing
from infra.ops.main import app
from infra.ops.reports.verification import InputState, Verification, verify_report
from infra.ops.runs.reading import NotFound
from shared.domain.documents import DocumentRef, Update
from tests.support.one_report import RUN_ID, STEP_ID, OneReport, one_report

PROMPT = DocumentRef("llm_prompts", "llm_prompt_1d_report_v1_0")
SCHEMA = DocumentRef("llm_schemas", "llm_schema_1M_report_v1_0")
RUN = DocumentRef("flow_runs", RUN_ID)
EARLIER = SeedObject(
    bucket="local-artifacts", name="earlier.json", data=b"{}", content_type="application/json"
)


def connection_of(report: OneReport) -> Connection:
    environment = report.environment
    return Connection(
        name="embedded",
        project="local",
        database="(default)",
        flow_runs="flow_runs",
        documents=environment.documents,
        runs=EmbeddedRunListing(environment.documents),
        objects=lambda: EmbeddedObjects(environment.folder),
        local=None,
    )


async def made(report: OneReport) -> str:
    """Have the report made, with two charts and an earlier report; its URI."""
    report.objects.append(EARLIER)
    report.step["inputs"]["previousReports"] = [{"gcs_uri": EARLIER.uri}]
    step = await report.execute()
    uri: str = step["outputs"]["gcs_uri"]
    return uri


async def verified(report: OneReport, uri: str) -> Verification:
    return await verify_report(connection_of(report), uri)


async def update(
    report: OneReport, ref: DocumentRef, path: tuple[str, ...], value: Any
) -> None:
    documents = report.environment.documents
    [found] = await documents.read([ref], timeout_seconds=1)
    assert found is not None
    change = Update(ref=ref, changes={path: value}, guard=found.version)
    await documents.commit([change], timeout_seconds=1)


def rewrite(report: OneReport, part: str, change: Callable[[bytes], bytes] = bytes) -> None:
    [found] = [each for each in report.objects if part in each.name]
    report.environment.folder.write(found.bucket, found.name, change(found.data))


def changes(found: Verification) -> Mapping[str, InputState]:
    return {each.name: each.standing for each in found.changes}


async def test_untouched_inputs_verify(tmp_path: Path) -> None:
    async with one_report(tmp_path, images=2) as report:
        found = await verified(report, await made(report))

    assert found.verified
    assert found.recomputed == found.digest
    assert [each.name for each in found.inputs] == [
        "report",
        "prompt",
        "schema",
        "profile",
        "OHLCV",
        "charts manifest",
        "chart image",
        "chart image",
        "previous report",
    ]


@pytest.mark.parametrize(
    ("part", "name"),
    [
        ("ohlcv", "OHLCV"),
        ("chart_export_1d.json", "charts manifest"),
        ("v2.png", "chart image"),
        ("earlier", "previous report"),
    ],
)
async def test_an_object_that_changed_is_named(part: str, name: str, tmp_path: Path) -> None:
    async with one_report(tmp_path, images=2) as report:
        uri = await made(report)
        rewrite(report, part, lambda data: data + b" ")
        found = await verified(report, uri)

    assert not found.verified
    assert changes(found) == {name: InputState.CHANGED}
    [changed] = found.changes
    assert part in changed.place


async def test_the_same_bytes_in_another_generation_are_told_apart(tmp_path: Path) -> None:
    async with one_report(tmp_path) as report:
        uri = await made(report)
        rewrite(report, "ohlcv")
        found = await verified(report, uri)

    assert not found.verified
    assert changes(found) == {"OHLCV": InputState.REWRITTEN}


async def test_what_is_gone_is_named(tmp_path: Path) -> None:
    async with one_report(tmp_path) as report:
        uri = await made(report)
        report.environment.folder.delete(EARLIER.bucket, EARLIER.name)
        report.environment.documents.delete(PROMPT)
        found = await verified(report, uri)

    assert found.recomputed is None
    assert changes(found) == {
        "prompt": InputState.GONE,
        "previous report": InputState.GONE,
    }


@pytest.mark.parametrize(
    ("ref", "path", "value", "name"),
    [
        (PROMPT, ("userPrompt",), "Write something else.", "prompt"),
        (SCHEMA, ("jsonSchema", "title"), "Another", "schema"),
        (
            RUN,
            ("steps", STEP_ID, "inputs", "llm", "llmProfile", "temperature"),
            1.5,
            "profile",
        ),
    ],
    ids=["prompt", "schema", "profile"],
)
async def test_a_document_that_changed_is_named(
    ref: DocumentRef, path: tuple[str, ...], value: Any, name: str, tmp_path: Path
) -> None:
    async with one_report(tmp_path) as report:
        uri = await made(report)
        await update(report, ref, path, value)
        found = await verified(report, uri)

    assert not found.verified
    assert changes(found) == {name: InputState.CHANGED}


async def test_another_number_of_charts_leaves_the_images_unknown(tmp_path: Path) -> None:
    async with one_report(tmp_path, images=2) as report:
        uri = await made(report)
        rewrite(report, "chart_export_1d.json", lambda _: b'{"items": []}')
        found = await verified(report, uri)

    assert changes(found) == {
        "charts manifest": InputState.CHANGED,
        "previous report": InputState.UNKNOWN,
    }


async def test_without_the_run_the_report_speaks_for_itself(tmp_path: Path) -> None:
    async with one_report(tmp_path, images=2) as report:
        uri = await made(report)
        report.environment.documents.delete(RUN)
        found = await verified(report, uri)

    assert found.verified


@pytest.mark.parametrize(
    "uri",
    ["gs://local-artifacts/missing.json", "gs://local-artifacts/earlier.json", "http://x"],
)
async def test_what_is_no_report_with_a_receipt_cannot_be_verified(
    uri: str, tmp_path: Path
) -> None:
    async with one_report(tmp_path) as report:
        await made(report)

        with pytest.raises(NotFound):
            await verified(report, uri)


def test_the_command_ends_with_1_where_there_is_no_environment(tmp_path: Path) -> None:
    argv = ["report", "verify", "gs://b/x.json", "--local", "--data-dir", str(tmp_path)]

    result = CliRunner().invoke(app, argv)

    assert result.exit_code == 1
    assert "start one with `worker-llm up`" in result.stderr
