"""The console's pages of evaluations: they show one folder, escaped, and nothing outside it."""

import hashlib
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from infra.local.embedded.documents import EmbeddedDocuments
from infra.local.embedded.objects import EmbeddedObjects
from infra.local.serving.asgi import serve
from infra.local.storage.objects import ObjectFolder
from infra.ops.console.app import create_app
from infra.ops.console.dead_letters import DeadLetterPlaces
from infra.ops.console.security import Secrets
from infra.ops.environment.connection import Connection
from infra.ops.environment.listing import EmbeddedRunListing

HOSTILE = "<script>alert(1)</script>"
RESULTS: Mapping[str, Any] = {
    "baseline": "current",
    "caseCount": 1,
    "verdicts": {
        HOSTILE: [
            {
                "measure": "valid",
                "finding": "worse",
                "baseline": 1.0,
                "candidate": 0.9,
                "difference": -0.1,
                "low": -0.2,
                "high": -0.05,
                "cases": 200,
            },
            {"measure": "of a later version", "finding": "better"},
        ]
    },
    "failIf": [{"candidate": HOSTILE, "condition": "valid < -1%", "met": True}],
    "cases": [
        {
            "caseId": f"run~{HOSTILE}",
            "answers": {
                "current": {"error": None, "problems": {}},
                HOSTILE: {"error": None, "problems": {"levels": [f"{HOSTILE} lies outside"]}},
            },
            "differences": {HOSTILE: [{"path": "a"}, {"path": "b"}]},
        }
    ],
}


def kept(folder: Path, document: object) -> str:
    """The name of an evaluation that stands in the folder as its command writes it."""
    data = json.dumps(document).encode()
    name = f"evaluation-{hashlib.sha256(data).hexdigest()[:12]}"
    (folder / f"{name}.json").write_bytes(data)
    return name


@asynccontextmanager
async def console(tmp_path: Path, evaluations: Path) -> AsyncIterator[httpx2.AsyncClient]:
    documents, own = EmbeddedDocuments(), Secrets()
    connection = Connection(
        name="local",
        project="p",
        database="(default)",
        flow_runs="flow_runs",
        documents=documents,
        runs=EmbeddedRunListing(documents),
        objects=lambda: EmbeddedObjects(ObjectFolder(tmp_path / "objects")),
        local=None,
    )
    places = DeadLetterPlaces(subscription="dead", jobs_topic="jobs")
    app = create_app(connection, own, places, author="ann", evaluations=evaluations)
    async with (
        serve(app, name="console") as url,
        httpx2.AsyncClient(base_url=url, trust_env=False) as browser,
    ):
        await browser.get("/", params={"key": own.access_key})
        yield browser


async def test_the_evaluations_of_the_folder_are_listed_and_shown_escaped(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "evaluation"
    folder.mkdir()
    name = kept(folder, RESULTS)

    async with console(tmp_path, folder) as browser:
        listed = (await browser.get("/evaluations")).text
        shown = (await browser.get(f"/evaluations/{name}")).text

    assert f'href="/evaluations/{name}"' in listed
    assert "First answer satisfies the schema" in listed
    assert "valid &lt; -1%" in listed
    for page in (listed, shown):
        assert "<script>alert" not in page
        assert "changed" not in page
    for text in ("100.0 %", "90.0 %", "-10.0 pp", "-20.0 pp to -5.0 pp", "200", ": 2"):
        assert text in shown
    assert "levels: &lt;script&gt;alert(1)&lt;/script&gt; lies outside" in shown
    assert "of a later version" not in shown


async def test_a_file_that_is_not_what_its_name_says_is_told(tmp_path: Path) -> None:
    name = kept(tmp_path, RESULTS)
    changed = {**RESULTS, "caseCount": 2}
    (tmp_path / f"{name}.json").write_text(json.dumps(changed))

    async with console(tmp_path, tmp_path) as browser:
        assert "(changed)" in (await browser.get("/evaluations")).text
        assert "The file was changed" in (await browser.get(f"/evaluations/{name}")).text


@pytest.mark.parametrize(
    "name",
    [
        "evaluation-000000000000",
        "..%2Fevaluation-111111111111",
        "%2e%2e%2fsecret",
        "evaluation-222222222222",
        "evaluation-333333333333",
        "evaluation-444444444444",
        "evaluation-555555555555",
        "journal",
        "evaluation-" + "a" * 5_000,
    ],
)
async def test_no_other_file_is_shown(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "evaluation"
    folder.mkdir()
    outside = tmp_path / "evaluation-111111111111.json"
    outside.write_text(json.dumps(RESULTS))
    (tmp_path / "secret.json").write_text(json.dumps(RESULTS))
    (folder / "journal.json").write_text(json.dumps(RESULTS))
    (folder / "evaluation-222222222222.json").symlink_to(outside)
    (folder / "evaluation-333333333333.json").mkdir()
    (folder / "evaluation-444444444444.json").write_text("[" * 100_000)
    (folder / "evaluation-555555555555.json").write_text("[1]")

    async with console(tmp_path, folder) as browser:
        answer = await browser.get(f"/evaluations/{name}")
        listed = (await browser.get("/evaluations")).text

    assert answer.status_code == 404
    assert "There is none." in listed


async def test_a_folder_that_is_not_there_says_how_to_get_one(tmp_path: Path) -> None:
    async with console(tmp_path, tmp_path / "none") as browser:
        page = (await browser.get("/evaluations")).text

    assert "console --evaluations FOLDER" in page


@pytest.mark.parametrize(
    "odd", [{}, {"verdicts": 7, "cases": [3]}, {"cases": [{}], "verdicts": {"x": [{}]}}]
)
async def test_results_of_another_form_are_shown_as_far_as_they_go(
    tmp_path: Path, odd: object
) -> None:
    name = kept(tmp_path, odd)

    async with console(tmp_path, tmp_path) as browser:
        assert (await browser.get(f"/evaluations/{name}")).status_code == 200
        assert (await browser.get("/evaluations")).status_code == 200
