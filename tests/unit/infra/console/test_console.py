"""The console over a real socket: what it shows, and which requests it answers."""

import json
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from html import unescape
from pathlib import Path
from typing import Any

import httpx2
import pytest

from infra.local.embedded.documents import EmbeddedDocuments
from infra.local.embedded.objects import EmbeddedObjects
from infra.local.scenario import tiny_png
from infra.local.serving.asgi import serve
from infra.local.storage.objects import ObjectFolder
from infra.ops.console.app import create_app
from infra.ops.console.dead_letters import DeadLetterPlaces
from infra.ops.console.guides import MENDING, STUCK, guide
from infra.ops.console.security import Secrets
from infra.ops.environment.connection import Connection
from infra.ops.environment.listing import EmbeddedRunListing
from shared.adapters.clock import SystemClock
from shared.domain.documents import Create, DocumentRef
from shared.domain.errors import ErrorCode
from shared.domain.identifiers import ClaimId, RunId, StepId
from shared.domain.job_documents import job_document, job_ref
from shared.domain.jobs import JobRecord, JobState
from shared.domain.pace_documents import pace_place, pace_write
from shared.domain.pacing import first_refused
from shared.domain.waiting import Waiting

PLACES = DeadLetterPlaces(subscription="dead", jobs_topic="jobs")
GUIDE = "/docs/how-to/mend-a-step.md"
RUN_ID = "20260105-090000_BTCUSD_demo"
BUCKET = "local-artifacts"
#: A step id may hold characters that a URL must quote, and characters that HTML must escape.
ODD = "a&b?c#d%2e<i>"
REPORT = json.dumps(
    {
        "metadata": {
            "llm": {"promptId": "llm_prompt_1d_report_v1_0"},
            "inputs": {
                "ohlcv_gcs_uri": "gs://local-artifacts/candles.json",
                "charts_outputsManifestGcsUri": "gs://local-artifacts/charts.json",
                "report_gcs_uris": ["gs://local-artifacts/previous.json"],
            },
        },
        "output": {
            "summary": {"markdown": "HOSTILE"},
            "details": {
                "scenarios": [
                    {"name": "BULLISH", "probability": 0.55, "target": "PRICE"},
                    {"name": "<script>", "probability": 0.1, "target": "PRICE"},
                ]
            },
        },
    }
).replace('"PRICE"', "1.10450")
CANDLES = "[[1, 1.10, 1.12, 1.09, 1.11, 7], [2, 1.11, 1.12, 1.10, 1.105, 7]]"
HOSTILE = "# Rising\n\n<script>alert(1)</script> [x](https://evil.example)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Console:
    """A running console, and a browser that was opened with the printed link."""

    url: str
    own: Secrets
    browser: httpx2.AsyncClient
    documents: EmbeddedDocuments

    async def status(self, step_id: str) -> str:
        """The status of a step in the documents."""
        ref = DocumentRef("flow_runs", RUN_ID)
        [run] = await self.documents.read([ref], timeout_seconds=1)
        assert run is not None
        return str(run.data["steps"][step_id]["status"])

    async def page(self, path: str) -> str:
        """The page at this path."""
        answer = await self.browser.get(path)
        assert answer.status_code == 200, answer.text
        return answer.text


@pytest.fixture
async def console(tmp_path: Path) -> AsyncIterator[Console]:
    documents, folder = EmbeddedDocuments(), ObjectFolder(tmp_path / "objects")
    for ref, data in seeded(folder):
        await documents.commit([Create(ref=ref, data=data)], timeout_seconds=1)
    connection = Connection(
        name="production-like",
        project="p",
        database="(default)",
        flow_runs="flow_runs",
        documents=documents,
        runs=EmbeddedRunListing(documents),
        objects=lambda: EmbeddedObjects(folder),
        local=None,
    )
    own = Secrets()
    async with (
        serve(
            create_app(connection, own, PLACES, author="ann@example.com"), name="console"
        ) as url,
        httpx2.AsyncClient(base_url=url, trust_env=False) as browser,
    ):
        opened = await browser.get("/", params={"key": own.access_key})
        assert (opened.status_code, opened.headers["location"]) == (303, "/")
        yield Console(url=url, own=own, browser=browser, documents=documents)


def seeded(folder: ObjectFolder) -> list[tuple[DocumentRef, dict[str, Any]]]:
    folder.create_bucket(BUCKET)
    folder.write(
        BUCKET, "report.json", REPORT.replace("HOSTILE", json.dumps(HOSTILE)[1:-1]).encode()
    )
    earlier = REPORT.replace("1.10450", "1.10000")
    folder.write(BUCKET, "previous.json", earlier.encode())
    folder.write(BUCKET, "candles.json", CANDLES.encode())
    images = ["chart.png", "not-an-image.png"]
    items = [{"png_gcs_uri": f"gs://{BUCKET}/{name}", "label": "<b>x</b>"} for name in images]
    folder.write(BUCKET, "charts.json", json.dumps({"items": items}).encode())
    folder.write(BUCKET, "chart.png", tiny_png())
    folder.write(BUCKET, "not-an-image.png", b"<svg onload='alert(1)'/>")
    charts = {
        "stepType": "CHART_EXPORT",
        "status": "SUCCEEDED",
        "outputs": {"gcs_uri": f"gs://{BUCKET}/charts.json"},
    }
    report_step = {
        "stepType": "LLM_REPORT",
        "status": "SUCCEEDED",
        "dependsOn": ["charts"],
        "inputs": {"chartsManifestStepId": "charts"},
        "outputs": {"gcs_uri": f"gs://{BUCKET}/report.json"},
    }
    failed = {
        "stepType": "LLM_REPORT",
        "status": "FAILED",
        "error": {"code": "PROMPT_NOT_FOUND", "message": "<img src=x onerror=alert(1)>"},
    }
    now = datetime(2026, 1, 5, 9, tzinfo=UTC)
    running = JobRecord(
        run_id=RunId(RUN_ID),
        step_id=StepId("running"),
        claim_id=ClaimId("c"),
        event_id="e",
        claimed_at=now,
        state=JobState.QUEUED,
    )
    run = {
        "status": "RUNNING",
        "createdAt": "2026-01-05T09:00:00Z",
        "flowKey": "<i>flow",
        "steps": {
            "charts": charts,
            ODD: report_step,
            "failed": failed,
            "running": {"stepType": "LLM_REPORT", "status": "RUNNING"},
        },
    }
    job = job_ref(RunId(RUN_ID), StepId("running")), job_document(running)
    return [(DocumentRef("flow_runs", RUN_ID), run), job]


async def test_the_first_page_says_what_wants_an_operator_and_leads_to_it(
    console: Console,
) -> None:
    page = await console.page("/")

    assert "2 steps need attention" in page
    assert f'href="/runs/{RUN_ID}/steps/failed"' in page
    assert "production-like · real project" in page
    assert "&lt;i&gt;flow" in page


async def test_the_quota_page_says_who_waits_for_what_and_escapes_names(
    console: Console,
) -> None:
    assert "No call was ever held back" in await console.page("/quota")
    now = SystemClock().now()
    pace = first_refused(pace_place("<i>model", "ai_studio-flex"), now, delay=None)
    await console.documents.commit([pace_write(pace, None)], timeout_seconds=1)
    waiting = Waiting(
        place=pace.place,
        since=now,
        until=now + timedelta(hours=3),
        due_at=now + timedelta(hours=3),
        turn=now,
    )
    job = JobRecord(
        run_id=RunId(RUN_ID),
        step_id=StepId("waits"),
        claim_id=ClaimId("c"),
        event_id="e",
        claimed_at=now - timedelta(hours=1),
        state=JobState.QUEUED,
        waiting=waiting,
    )
    write = Create(ref=job_ref(job.run_id, job.step_id), data=job_document(job))
    await console.documents.commit([write], timeout_seconds=1)

    page = await console.page("/quota")

    assert '<a href="/quota" aria-current="page">Quota</a>' in page
    assert "1 job waits for the provider&#39;s quota." in page
    assert "&lt;i&gt;model" in page
    assert "<i>model" not in page
    for name, value in {"Tier": "flex", "Endpoint": "ai_studio", "Waiting": "1"}.items():
        assert f"<div><dt>{name}</dt><dd>{value}</dd></div>" in page
    assert "<div><dt>Of it used</dt><dd>25 %</dd></div>" in page


async def test_a_failed_step_leads_to_the_runbook_of_its_code(console: Console) -> None:
    page = await console.page(f"/runs/{RUN_ID}/steps/failed")
    errors = await console.page("/errors")

    assert "&lt;img src=x" in page
    assert "<img src=x" not in page
    assert 'href="/docs/how-to/mend-a-step.md#prompt_not_found"' in page
    guide = await console.page("/docs/how-to/mend-a-step.md")
    assert '<h2 id="prompt_not_found">' in guide
    assert 'href="runbooks/sweep-silent.md"' in guide
    assert 'id="PROMPT_NOT_FOUND"' in errors
    assert "Publish it, or correct <code>inputs.llm.promptId</code>." in errors


@pytest.mark.parametrize(
    "path",
    [
        "how-to/nothing.md",
        "../pyproject.toml",
        "%2e%2e/README.md",
        "images/console_runs.png",
        "/etc/passwd",
        "..%2f..%2f..%2f..%2fetc/passwd",
    ],
)
async def test_no_file_is_shown_but_pages_of_the_docs(console: Console, path: str) -> None:
    answer = await console.browser.get(f"/docs/{path}")

    assert answer.status_code == 404


@pytest.mark.parametrize("code", [*ErrorCode, STUCK])
def test_every_error_code_has_a_section_that_says_what_to_do(code: str) -> None:
    page = guide(MENDING)

    assert page is not None
    assert f'<h2 id="{code.lower()}">' in page


async def test_a_report_stands_beside_its_charts_whatever_the_step_is_called(
    console: Console,
) -> None:
    run = await console.page(f"/runs/{RUN_ID}")
    path = f"/runs/{RUN_ID}/steps/a%26b%3Fc%23d%252e%3Ci%3E"
    step = await console.page(path)
    chart = await console.browser.get(f"{path}/charts/0")

    assert f'href="{path}"' in run
    assert "a&amp;b?c#d%2e&lt;i&gt;" in step
    assert "<h3>Rising</h3>" in step
    assert "<script>alert" not in step
    assert 'alt="Chart: &lt;b&gt;x&lt;/b&gt;"' in step
    assert (chart.status_code, chart.headers["content-type"]) == (200, "image/png")


@pytest.mark.parametrize(
    "path",
    [
        "/runs/20260105-090000_BTCUSD_nope",
        "/runs/..%2F..%2Fetc",
        f"/runs/{RUN_ID}/steps/no-such",
        f"/runs/{RUN_ID}/steps/failed/acts/delete",
        f"/runs/{RUN_ID}/steps/a%26b%3Fc%23d%252e%3Ci%3E/charts/1",
        f"/runs/{RUN_ID}/steps/a%26b%3Fc%23d%252e%3Ci%3E/charts/2",
        "/static/../pages.py",
        "/no-such-page",
    ],
)
async def test_what_is_not_there_is_a_page_that_says_so(console: Console, path: str) -> None:
    answer = await console.browser.get(path)

    assert answer.status_code == 404
    assert "<h1>" in answer.text


async def test_every_answer_forbids_scripts_frames_and_sniffing(console: Console) -> None:
    for path in ("/", "/static/console.js", "/no-such-page", f"/runs/{RUN_ID}/steps/failed"):
        headers = (await console.browser.get(path)).headers
        policy = headers["content-security-policy"]

        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'")
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"
        assert "access-control-allow-origin" not in headers


async def test_no_page_holds_an_inline_script_or_style_or_a_foreign_address(
    console: Console,
) -> None:
    for path in (
        "/",
        f"/runs/{RUN_ID}",
        f"/runs/{RUN_ID}/steps/failed",
        "/quota",
        "/usage",
        "/errors",
        GUIDE,
    ):
        page = await console.page(path)

        assert page.count("<script") == 1
        assert '<script src="/static/console.js" defer></script>' in page
        assert "<style" not in page
        assert " style=" not in page
        assert 'src="http' not in page
        assert 'href="http' not in page


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1", "[::1]:80"])
async def test_a_name_that_was_rebound_to_this_machine_is_refused(
    console: Console, host: str
) -> None:
    answer = await console.browser.get("/", headers={"host": host})

    assert answer.status_code == 421
    assert RUN_ID not in answer.text


async def test_a_visitor_without_the_printed_link_sees_nothing(console: Console) -> None:
    async with httpx2.AsyncClient(base_url=console.url, trust_env=False) as stranger:
        for answer in (
            await stranger.get("/"),
            await stranger.get("/", params={"key": "wrong"}),
            await stranger.get("/", headers={"cookie": "worker_llm=; =;;x"}),
            await stranger.get("/static/console.css"),
        ):
            assert answer.status_code == 403
            assert "worker-llm console" in answer.text


async def test_the_cookie_is_never_sent_across_sites_nor_seen_by_scripts(
    console: Console,
) -> None:
    async with httpx2.AsyncClient(base_url=console.url, trust_env=False) as browser:
        opened = await browser.get("/usage", params={"key": console.own.access_key})

    cookie = opened.headers["set-cookie"].lower()
    assert opened.headers["location"] == "/usage"
    assert "httponly" in cookie
    assert "samesite=strict" in cookie


async def test_a_request_from_another_site_is_refused(console: Console) -> None:
    answer = await console.browser.get("/", headers={"origin": "https://evil.example"})

    assert answer.status_code == 403


CANCEL = f"/runs/{RUN_ID}/steps/running/acts/cancel"


async def test_a_step_is_cancelled_only_after_the_question_was_answered(
    console: Console,
) -> None:
    step = await console.page(f"/runs/{RUN_ID}/steps/running")
    question = await console.page(CANCEL)

    assert f'href="{CANCEL}"' in step
    assert "Cancel this step?" in question
    assert await console.status("running") == "RUNNING"

    form = {**hidden_fields(question), "reason": "<i>wrong chart"}
    done = await console.browser.post(CANCEL, data=form)

    assert (done.status_code, done.headers["location"]) == (
        303,
        f"/runs/{RUN_ID}/steps/running",
    )
    assert await console.status("running") == "CANCELLED"
    after = await console.page(f"/runs/{RUN_ID}/steps/running")
    assert "ann@example.com <strong>cancel</strong>: &lt;i&gt;wrong chart" in after
    assert "acts/rerun" in after


@pytest.mark.parametrize("token", ["", "wrong", "ümlaut"])
async def test_a_form_without_this_processes_token_changes_nothing(
    console: Console, token: str
) -> None:
    answer = await console.browser.post(CANCEL, data={"token": token})

    assert answer.status_code == 403
    assert await console.status("running") == "RUNNING"


async def test_a_form_that_another_site_sends_changes_nothing(console: Console) -> None:
    answer = await console.browser.post(
        CANCEL,
        data={"token": console.own.form_token},
        headers={"origin": "https://evil.example"},
    )

    assert answer.status_code == 403
    assert await console.status("running") == "RUNNING"


async def test_a_form_that_is_too_long_is_not_read_to_its_end(console: Console) -> None:
    answer = await console.browser.post(CANCEL, data={"reason": "x" * 20_000})

    assert answer.status_code == 413


async def test_an_act_that_the_state_forbids_says_so_and_changes_nothing(
    console: Console,
) -> None:
    rerun = CANCEL.replace("cancel", "rerun")
    form = {"token": console.own.form_token, "reason": "why not", "claim": "c"}
    answer = await console.browser.post(rerun, data=form)

    assert answer.status_code == 409
    assert "Nothing was changed" in answer.text
    assert await console.status("running") == "RUNNING"


async def test_an_act_without_a_reason_changes_nothing(console: Console) -> None:
    form = {"token": console.own.form_token, "reason": "  "}
    answer = await console.browser.post(CANCEL, data=form)

    assert answer.status_code == 400
    assert "say why" in answer.text
    assert await console.status("running") == "RUNNING"


async def test_the_second_of_two_tabs_is_refused_with_who_was_first_and_when(
    console: Console,
) -> None:
    tabs = [hidden_fields(await console.page(CANCEL)) for _ in range(2)]
    assert tabs[0]["claim"] == "c"
    first, second = [
        await console.browser.post(CANCEL, data={**tab, "reason": "wrong chart"})
        for tab in tabs
    ]

    assert (first.status_code, second.status_code) == (303, 409)
    assert "ann@example.com did a cancel at 20" in second.text


async def test_a_form_that_saw_another_claim_changes_nothing(console: Console) -> None:
    form = {"token": console.own.form_token, "reason": "why", "claim": "a former one"}
    answer = await console.browser.post(CANCEL, data=form)

    assert answer.status_code == 409
    assert "claimed again" in answer.text
    assert await console.status("running") == "RUNNING"


@pytest.mark.parametrize("seen", [{}, {"claim": ""}, {"claim": " "}])
async def test_a_form_that_does_not_say_what_was_looked_at_changes_nothing(
    console: Console, seen: dict[str, str]
) -> None:
    form = {"token": console.own.form_token, "reason": "why", **seen}
    answer = await console.browser.post(CANCEL, data=form)

    assert answer.status_code == 400
    assert "Look at the step first" in answer.text
    assert f'href="/runs/{RUN_ID}/steps/running"' in answer.text
    assert await console.status("running") == "RUNNING"


def hidden_fields(page: str) -> dict[str, str]:
    found = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', page)
    return dict(found)


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("?status=failed", 200),
        ("?status=nonsense", 400),
        ("?since=yesterday", 400),
        ("?after=nonsense", 400),
        ("?since=2026-01-05&symbol=%3Ci%3E&after=", 200),
    ],
)
async def test_the_filter_is_in_the_address_and_nonsense_is_told(
    console: Console, query: str, status: int
) -> None:
    answer = await console.browser.get("/" + query)

    assert answer.status_code == status
    assert "<i>" not in answer.text


async def test_older_runs_are_a_link_away_and_each_is_shown_once(console: Console) -> None:
    for number in range(45):
        run = {
            "status": "SUCCEEDED",
            "createdAt": f"2026-01-04T09:00:{number:02}Z",
            "steps": {},
        }
        ref = DocumentRef("flow_runs", f"20260104-0900{number:02}_ETHUSD_abc")
        await console.documents.commit([Create(ref=ref, data=run)], timeout_seconds=1)
    seen: list[str] = []
    page, address = "", "/"
    while address:
        page = await console.page(address)
        seen += re.findall(r'data-key="([^"]+)"', page)
        found = re.search(r'<a rel="next" href="([^"]+)"', page)
        address = unescape(found[1]) if found else ""

    assert len(seen) == len(set(seen)) == 46
    assert "There are no older ones." in page


async def test_a_page_that_stays_open_reads_only_what_may_have_changed(
    console: Console,
) -> None:
    for number in range(30):
        run = {
            "status": "SUCCEEDED",
            "createdAt": f"2026-01-04T09:00:{number:02}Z",
            "steps": {},
        }
        ref = DocumentRef("flow_runs", f"20260104-0900{number:02}_ETHUSD_abc")
        await console.documents.commit([Create(ref=ref, data=run)], timeout_seconds=1)
    first = await console.browser.get("/")
    again = await console.browser.get("/")
    ref = DocumentRef("flow_runs", "20260106-090000_NEWUSD_abc")
    new = {"status": "RUNNING", "createdAt": "2026-01-06T09:00:00Z", "steps": {}}
    await console.documents.commit([Create(ref=ref, data=new)], timeout_seconds=1)

    reads = [int(answer.headers["x-document-reads"]) for answer in (first, again)]
    assert reads[1] <= reads[0] - 19
    assert "20260106-090000_NEWUSD_abc" in await console.page("/")


STEP_PATH = f"/runs/{RUN_ID}/steps/a%26b%3Fc%23d%252e%3Ci%3E"


async def test_the_report_page_shows_details_and_what_it_was_made_from(
    console: Console,
) -> None:
    page = await console.page(STEP_PATH)

    assert '<td class="right figure">1.10450</td>' in page
    assert "55 %" in page
    assert "&lt;script&gt;" in page
    assert "llm_prompt_1d_report_v1_0" in page
    assert '<svg class="candles"' in page
    assert "1.10450 target bullish" in page
    assert "What changed since" in page
    for link in ("print", "report.html", "report.md", "report.json", "verify", "log"):
        assert f'href="{STEP_PATH}/{link}"' in page


@pytest.mark.parametrize(
    ("kind", "media_type"),
    [
        ("json", "application/json"),
        ("md", "text/markdown; charset=utf-8"),
        ("html", "text/html; charset=utf-8"),
    ],
)
async def test_the_report_is_downloaded_whole_and_harmless(
    console: Console, kind: str, media_type: str
) -> None:
    answer = await console.browser.get(f"{STEP_PATH}/report.{kind}")

    assert (answer.status_code, answer.headers["content-type"]) == (200, media_type)
    disposition = answer.headers["content-disposition"]
    assert disposition == f'attachment; filename="{RUN_ID}_a_b_c_d_2e_i_.{kind}"'
    assert "1.10450" in answer.text
    if kind == "html":
        assert "<script" not in answer.text
        assert 'src="data:image/png;base64,' in answer.text
        assert not re.search(r'(?:src|href)="(?!data:)', answer.text)
        assert "default-src 'none'" in answer.text


async def test_a_report_s_page_for_print_is_there(console: Console) -> None:
    assert "<script>" not in await console.page(f"{STEP_PATH}/print")


async def test_a_log_that_cannot_be_read_is_told_with_the_remedy(
    console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")

    assert "needs the gcloud command line" in await console.page(f"{STEP_PATH}/log")


@pytest.mark.parametrize("path", ["report.exe", "verify"])
async def test_what_a_report_does_not_have_is_told(console: Console, path: str) -> None:
    assert (await console.browser.get(f"{STEP_PATH}/{path}")).status_code == 404


async def test_a_report_is_compared_with_another_by_run_and_step_or_by_its_place(
    console: Console,
) -> None:
    one = f"{RUN_ID}/{ODD}"
    names = {"a": one, "b": f"gs://{BUCKET}/previous.json"}
    answer = await console.browser.get("/compare", params=names)

    assert answer.status_code == 200
    assert "Scenarios &lt;script&gt; · Target" in answer.text
    assert "-0.00450" in answer.text
    missing = await console.browser.get("/compare", params={"a": one, "b": "nothing"})
    assert missing.status_code == 404


PROMPT = "llm_prompt_1d_report_v1_0"


async def test_a_prompt_is_shown_with_its_text_versions_and_uses(console: Console) -> None:
    for name, text in ((PROMPT, "<b>be brief</b>"), ("llm_prompt_1d_report_v1_1", "more")):
        data = {"schemaVersion": 1, "systemInstruction": "s", "userPrompt": text}
        ref = DocumentRef("llm_prompts", name)
        await console.documents.commit([Create(ref=ref, data=data)], timeout_seconds=1)
    llm = {"llm": {"promptId": PROMPT}}
    step = {"stepType": "LLM_REPORT", "status": "READY", "inputs": llm}
    run = {"status": "RUNNING", "createdAt": "2026-01-06T09:00:00Z", "steps": {"a": step}}
    ref = DocumentRef("flow_runs", "20260106-090000_USEUSD_abc")
    await console.documents.commit([Create(ref=ref, data=run)], timeout_seconds=1)

    listed = await console.page("/prompts")
    page = await console.page(f"/prompts/{PROMPT}")

    assert f'href="/prompts/{PROMPT}"' in listed
    assert "&lt;b&gt;be brief&lt;/b&gt;" in page
    assert 'href="/prompts/llm_prompt_1d_report_v1_1"' in page
    assert "20260106-090000_USEUSD_abc a" in page
    assert "No schema is published" in await console.page("/schemas")
    for path in ("/prompts/nothing", "/secrets", "/secrets/x"):
        assert (await console.browser.get(path)).status_code == 404
