"""What the command line refuses with one sentence, before it does anything."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from infra.local.embedded.documents import EmbeddedDocuments
from infra.local.embedded.objects import EmbeddedObjects
from infra.local.storage.objects import ObjectFolder
from infra.ops.cli.options import Where, for_environment
from infra.ops.environment.connection import Connection
from infra.ops.environment.listing import EmbeddedRunListing
from infra.ops.main import app
from infra.ops.steps import act_commands, bulk
from shared.domain.documents import Create, DocumentRef
from shared.domain.identifiers import ClaimId, RunId, StepId
from shared.domain.job_documents import create_job, job_ref, parse_job_record
from shared.domain.jobs import JobRecord, JobState

RUN_ID, STEP_ID = RunId("20260105-090000_BTCUSD_abc"), StepId("llm_report_1d")
RERUN = ("steps", "rerun", RUN_ID, STEP_ID)
ALL = ("steps", "rerun-all")
ANN = ("--as", "ann@example.com")
WHY = ("--reason", "quota raised")


@dataclass(frozen=True, slots=True)
class Site:
    """A run with a failed step, and what the commands have changed of it."""

    documents: EmbeddedDocuments

    def read(self) -> tuple[str, JobRecord]:
        """The step's status, and its job record."""
        refs = [DocumentRef("flow_runs", RUN_ID), job_ref(RUN_ID, STEP_ID)]
        run, job = asyncio.run(self.documents.read(refs, timeout_seconds=1))
        assert run is not None
        assert job is not None
        return str(run.data["steps"][STEP_ID]["status"]), parse_job_record(job.data)


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Site:
    """A real project, as far as the commands can tell."""
    documents = EmbeddedDocuments()
    step = {"stepType": "LLM_REPORT", "status": "FAILED", "error": {"code": "RATE_LIMITED"}}
    run = {"status": "RUNNING", "createdAt": "2026-01-05T09:00:00Z", "steps": {STEP_ID: step}}
    job = JobRecord(
        run_id=RUN_ID,
        step_id=STEP_ID,
        claim_id=ClaimId("seen"),
        event_id="e",
        claimed_at=datetime(2026, 1, 5, 9, tzinfo=UTC),
        state=JobState.FAILED,
    )
    writes = [Create(ref=DocumentRef("flow_runs", RUN_ID), data=run), create_job(job)]
    asyncio.run(documents.commit(writes, timeout_seconds=1))
    connection = Connection(
        name="production",
        project="production",
        database="(default)",
        flow_runs="flow_runs",
        documents=documents,
        runs=EmbeddedRunListing(documents),
        objects=lambda: EmbeddedObjects(ObjectFolder(tmp_path)),
        local=None,
        named_by=", named by GCP_PROJECT",
    )

    @asynccontextmanager
    async def connected(*_: Any) -> AsyncIterator[Connection]:
        yield connection

    for module in (act_commands, bulk):
        monkeypatch.setattr(module, "connect", connected)
    return Site(documents)


@pytest.mark.parametrize(
    ("command", "said"),
    [
        # These values come from shell variables that are not set.
        ((*RERUN, "--project", "", *WHY, "--yes"), "--project is empty"),
        ((*RERUN, "--project", " ", *WHY, "--yes"), "--project is empty"),
        ((*RERUN, "--database", "", *WHY, "--yes"), "--database is empty"),
        (("steps", "rerun", RUN_ID, "", *WHY, "--yes"), "STEP_ID is empty"),
        ((*ALL, "--id", "", *ANN, *WHY, "--yes"), "--id is empty"),
        ((*ALL, "--symbol", "", *ANN, *WHY, "--yes"), "--symbol is empty"),
        ((*ALL, "--code", "", *ANN, *WHY, "--yes"), "--code is empty"),
        (("runs", "list", "--flow", ""), "--flow is empty"),
        (("runs", "list", "--status", "FAILD"), "'FAILD' is not one of"),
        (("runs", "list", "--colour", "red"), "No such option"),
        (("runs", "list", "--since", "yesterday"), "give a day"),
        (("runs", "list", "--limit", "0"), "greater than or equal to 1"),
        ((*ALL, "--since", "soon", *ANN, *WHY, "--yes"), "give a day"),
        ((*RERUN, *ANN, "--reason", " ", "--yes"), "--reason is empty"),
        # Nobody is there who could be asked.
        ((*RERUN, *ANN, "--yes"), "say why with --reason"),
        ((*RERUN, *ANN, *WHY), "say --yes to do it without asking"),
        ((*ALL, "--all", *ANN, *WHY), "say --yes to do it without asking"),
        ((*ALL, *ANN, *WHY, "--yes"), "say which: --code"),
        ((*RERUN, "--as", "\x1b[2J", *WHY, "--yes"), "--as must be a name"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_is_not_meant_is_refused_in_a_sentence_and_nothing_is_done(
    site: Site, command: tuple[str, ...], said: str
) -> None:
    before = site.read()
    ended = CliRunner().invoke(app, command)

    words = " ".join(ended.stderr.replace("│", " ").split())
    assert (ended.exit_code, ended.stdout) == (2, "")
    assert said in words
    assert "Traceback" not in words
    assert site.read() == before


def test_a_question_names_the_target_why_it_is_this_one_the_author_and_the_cost(
    site: Site,
) -> None:
    ended = CliRunner().invoke(app, [*RERUN, *ANN, *WHY])

    assert (
        f"Rerun {STEP_ID} of {RUN_ID} in production, a real project, named by GCP_PROJECT, "
        "as ann@example.com? It is FAILED RATE_LIMITED."
    ) in ended.stderr
    assert "Paid model calls that may follow: 1 to 5." in ended.stderr
    assert site.read()[0] == "FAILED"


def test_an_answer_names_them_too_and_the_record_keeps_what_was_seen(site: Site) -> None:
    ended = CliRunner().invoke(app, [*RERUN, *ANN, *WHY, "--yes"])

    assert ended.exit_code == 0, ended.stderr
    assert f"{RUN_ID} {STEP_ID} in production: READY again" in ended.stdout
    assert "(by ann@example.com)" in ended.stdout
    status, job = site.read()
    [act] = job.operator_acts
    assert (status, act.by, act.reason) == ("READY", "ann@example.com", "quota raised")
    assert (act.via, act.claim_id) == ("command line", "seen")


def test_a_second_operator_is_told_who_was_first(site: Site) -> None:
    CliRunner().invoke(app, [*RERUN, *ANN, *WHY, "--yes"])
    late = CliRunner().invoke(app, [*RERUN, "--as", "ben", *WHY, "--yes"])

    assert late.exit_code == 1
    assert "ann@example.com did a rerun at 20" in late.stderr
    assert len(site.read()[1].operator_acts) == 1


def test_an_option_that_is_left_out_may_be_empty_and_no_other() -> None:
    given: list[str] = []
    small = typer.Typer()

    @small.command()
    @for_environment
    def look(where: Where, note: str = "") -> None:
        given.append(f"{where.project}{note}")

    runner = CliRunner()

    assert runner.invoke(small, []).exit_code == 0
    assert runner.invoke(small, ["--note", " "]).exit_code == 2
    assert runner.invoke(small, ["--project", ""]).exit_code == 2
    assert given == ["None"]
