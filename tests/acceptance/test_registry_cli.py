"""Publishing prompts and schemas, and verifying a report, against the emulator."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from infra.local.emulators.clients import firestore_client
from infra.local.scenario.schemas import schema_documents
from infra.ops.cli.options import Where
from infra.ops.environment.connection import connect
from infra.ops.main import app
from infra.ops.registry.documents import PROMPTS, Registry, Standing
from infra.ops.registry.files import read_entries
from shared.adapters.clock import SystemClock
from shared.adapters.firestore import FirestoreDocuments
from shared.domain.documents import DocumentRef
from tests.support.emulators import Emulators

PROMPT_ID = "llm_prompt_1d_report_v1_0"
SCHEMA_ID = "llm_schema_1M_report_v1_0"
PROMPT = {"schemaVersion": 1, "systemInstruction": "You are.", "userPrompt": "Write\nit."}
pytestmark = pytest.mark.emulators


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """A project in the emulator that only this test uses, and a folder for files."""

    name: str
    host: str
    folder: Path

    def run(self, *arguments: object) -> Result:
        argv = [*(str(argument) for argument in arguments), "--project", self.name]
        return CliRunner().invoke(app, argv, catch_exceptions=False)

    def json(self, *arguments: object) -> Any:
        return json.loads(self.run(*arguments, "--json").stdout)

    def prompt(self, name: str = PROMPT_ID, **changes: object) -> Path:
        return self.file(name, {**PROMPT, **changes})

    def file(self, name: str, content: object) -> Path:
        path = self.folder / f"{name}.json"
        text = content if isinstance(content, str) else json.dumps(content)
        path.write_text(text, encoding="utf-8")
        return path

    def stored(self, collection: str, name: str) -> Mapping[str, Any] | None:
        return asyncio.run(self._stored(DocumentRef(collection, name)))

    async def _stored(self, ref: DocumentRef) -> Mapping[str, Any] | None:
        async with self._documents() as documents:
            [found] = await documents.read([ref], timeout_seconds=10)
        return found.data if found else None

    @asynccontextmanager
    async def _documents(self) -> AsyncIterator[FirestoreDocuments]:
        client = firestore_client(self.host, self.name)
        try:
            yield FirestoreDocuments(client)
        finally:
            client.close()  # type: ignore[no-untyped-call]


@pytest.fixture
def project(
    tmp_path: Path, emulators: Emulators, project_id: str, monkeypatch: pytest.MonkeyPatch
) -> Project:
    monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", emulators.firestore_host)
    return Project(name=project_id, host=emulators.firestore_host, folder=tmp_path)


def test_a_prompt_is_published_once_and_again_is_nothing(project: Project) -> None:
    path = project.prompt()

    first = project.json("prompts", "publish", path)
    again = project.json("prompts", "publish", path)

    assert first == {"published": [PROMPT_ID], "unchanged": [], "different": {}}
    assert again == {"published": [], "unchanged": [PROMPT_ID], "different": {}}
    assert project.stored("llm_prompts", PROMPT_ID) == PROMPT


def test_other_content_is_refused_with_the_next_free_id_and_nothing_is_published(
    project: Project,
) -> None:
    project.run("prompts", "publish", project.prompt())
    project.run("prompts", "publish", project.prompt("llm_prompt_1d_report_v1_3"))
    changed = project.prompt(userPrompt="Write something else.")
    new = project.prompt("llm_prompt_4h_report_v1_0")

    result = project.run("prompts", "publish", changed, new)

    assert result.exit_code == 1
    assert "name the file llm_prompt_1d_report_v1_4.json instead" in result.stderr
    assert project.stored("llm_prompts", PROMPT_ID) == PROMPT
    assert project.stored("llm_prompts", "llm_prompt_4h_report_v1_0") is None


def test_a_new_version_is_compared_with_the_one_before_it(project: Project) -> None:
    project.run("prompts", "publish", project.prompt())
    project.folder.joinpath(f"{PROMPT_ID}.json").unlink()
    project.prompt("llm_prompt_1d_report_v1_1", userPrompt="Write\nit well.")

    result = project.run("prompts", "diff", project.folder)

    assert result.exit_code == 1
    assert f"llm_prompt_1d_report_v1_1\tnew, against {PROMPT_ID}" in result.stdout
    assert "-  it.\n+  it well." in result.stdout


def test_what_is_published_differs_in_nothing(project: Project) -> None:
    path = project.prompt()
    project.run("prompts", "publish", path)

    result = project.run("prompts", "diff", path)

    assert (result.exit_code, result.stdout) == (0, f"{PROMPT_ID}\tunchanged\n")


def test_a_schema_is_published_with_its_hash_and_its_time(project: Project) -> None:
    document = schema_documents()[SCHEMA_ID]
    bare = project.file(SCHEMA_ID, document["jsonSchema"])

    published = project.json("schemas", "publish", bare)

    assert published["published"] == [SCHEMA_ID]
    stored = project.stored("llm_schemas", SCHEMA_ID)
    assert stored is not None
    assert stored["sha256"] == document["sha256"]
    assert stored["kind"] == "LLM_REPORT_OUTPUT"
    assert stored["createdAt"].endswith("Z")
    whole = project.file(SCHEMA_ID, {**document, "createdAt": "2020-01-01T00:00:00Z"})
    refused = project.run("schemas", "publish", whole)
    assert refused.exit_code == 1, "its description is not what was published"


def test_the_list_recomputes_what_it_shows(project: Project) -> None:
    document = schema_documents()[SCHEMA_ID]
    project.run("schemas", "publish", project.file(SCHEMA_ID, document))

    [row] = project.json("schemas", "list")["schemas"]

    assert row["id"] == SCHEMA_ID
    assert row["sha256"] == document["sha256"]
    assert project.json("prompts", "list") == {"prompts": []}


@pytest.mark.parametrize(
    ("group", "name", "content", "message"),
    [
        ("prompts", "prompt", PROMPT, "the name must be a prompt id"),
        ("prompts", PROMPT_ID, "[]", "must be a JSON object"),
        ("prompts", PROMPT_ID, "{", "not JSON at character 1"),
        ("prompts", PROMPT_ID, {**PROMPT, "extra": 1}, "extra is no field"),
        ("prompts", PROMPT_ID, {**PROMPT, "schemaVersion": 2}, "schemaVersion"),
        ("prompts", PROMPT_ID, '{"schemaVersion": 1, "schemaVersion": 1}', "given twice"),
        ("schemas", PROMPT_ID, {}, "the name must be a schema id"),
        ("schemas", SCHEMA_ID, {"type": "object"}, "must require summary"),
        ("schemas", SCHEMA_ID, {"jsonSchema": []}, "jsonSchema must be an object"),
        (
            "schemas",
            SCHEMA_ID,
            {**schema_documents()[SCHEMA_ID], "sha256": "0" * 64},
            "sha256 must be 1267bf29",
        ),
        (
            "schemas",
            SCHEMA_ID,
            {**schema_documents()[SCHEMA_ID], "schemaId": "llm_schema_1M_report_v1_1"},
            f"schemaId must be {SCHEMA_ID}",
        ),
    ],
)
def test_a_bad_file_is_refused_before_anything_is_published(
    project: Project, group: str, name: str, content: object, message: str
) -> None:
    good = project.prompt("llm_prompt_4h_report_v1_0") if group == "prompts" else None
    bad = project.file(name, content)
    paths: Sequence[Path] = [bad, *([good] if good else [])]

    result = project.run(group, "publish", *paths)

    assert result.exit_code == 1
    assert str(bad) in result.stderr
    assert message in result.stderr
    assert project.stored("llm_prompts", "llm_prompt_4h_report_v1_0") is None


def test_of_racing_publishers_one_creates_and_the_others_find_it(project: Project) -> None:
    path = project.prompt()

    entries = read_entries([path], PROMPTS.read)

    async def race() -> Sequence[Mapping[str, Standing]]:
        async with connect(Where(project=project.name)) as connection:
            registry = Registry(connection=connection, kind=PROMPTS, clock=SystemClock())
            return await asyncio.gather(*(registry.publish(entries) for _ in range(8)))

    standings = [each[PROMPT_ID] for each in asyncio.run(race())]
    assert standings.count(Standing.NEW) == 1
    assert standings.count(Standing.UNCHANGED) == 7
    assert project.stored("llm_prompts", PROMPT_ID) == PROMPT


@pytest.mark.parametrize("name", [SCHEMA_ID, "report"])
def test_the_hash_of_a_file_needs_neither_an_environment_nor_an_id(
    tmp_path: Path, name: str
) -> None:
    path = tmp_path / f"{name}.json"
    path.write_text(json.dumps(schema_documents()[SCHEMA_ID]["jsonSchema"]), encoding="utf-8")

    result = CliRunner().invoke(app, ["schemas", "hash", str(path)])

    assert result.stdout == (
        f"1267bf2982c5b2ab8991ffe70894134f0357f0bc7deb8a61d9959fa886a24797\t{name}\n"
    )


def test_a_schema_that_states_its_id_is_called_by_it_whatever_the_file_is_called(
    tmp_path: Path,
) -> None:
    path = tmp_path / "report.json"
    path.write_text(json.dumps({**schema_documents()[SCHEMA_ID], "createdAt": "2026-01-05"}))

    result = CliRunner().invoke(app, ["schemas", "hash", str(path)])

    assert result.stdout.endswith(f"\t{SCHEMA_ID}\n")


def test_what_is_published_needs_an_id_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_text(json.dumps(schema_documents()[SCHEMA_ID]["jsonSchema"]), encoding="utf-8")

    result = CliRunner().invoke(app, ["schemas", "publish", str(path), "--project", "p"])

    assert result.exit_code == 1
    assert "the name must be a schema id, such as llm_schema_" in result.stderr
