"""The console over a real socket: what it shows, and whom it answers."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from infra.local.embedded.documents import EmbeddedDocuments
from infra.local.embedded.objects import EmbeddedObjects
from infra.local.objects import ObjectFolder
from infra.local.scenario import tiny_png
from infra.local.serve import serve
from infra.ops.connection import Connection
from infra.ops.console.app import create_app
from infra.ops.console.security import Secrets
from infra.ops.run_listing import EmbeddedRunListing
from shared.domain.documents import Create, DocumentRef

RUN_ID = "20260105-090000_BTCUSD_demo"
BUCKET = "local-artifacts"
#: A step id may hold what a URL must quote, and what HTML must escape.
ODD = "a&b?c#d%2e<i>"
HOSTILE = "# Rising\n\n<script>alert(1)</script> [x](https://evil.example)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Console:
    """A running console, and a browser that was opened by the printed link."""

    url: str
    own: Secrets
    browser: httpx2.AsyncClient

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
        serve(create_app(connection, own), name="console") as url,
        httpx2.AsyncClient(base_url=url, trust_env=False) as browser,
    ):
        opened = await browser.get("/", params={"key": own.access_key})
        assert (opened.status_code, opened.headers["location"]) == (303, "/")
        yield Console(url=url, own=own, browser=browser)


def seeded(folder: ObjectFolder) -> list[tuple[DocumentRef, dict[str, Any]]]:
    folder.create_bucket(BUCKET)
    report = {"output": {"summary": {"markdown": HOSTILE}}}
    folder.write(BUCKET, "report.json", json.dumps(report).encode())
    images = ["chart.png", "not-an-image.png"]
    items = [{"png_gcs_uri": f"gs://{BUCKET}/{name}", "label": "<b>x</b>"} for name in images]
    folder.write(BUCKET, "charts.json", json.dumps({"items": items}).encode())
    folder.write(BUCKET, "chart.png", tiny_png())
    folder.write(BUCKET, "not-an-image.png", b"<svg onload='alert(1)'/>")
    charts = {"outputs": {"gcs_uri": f"gs://{BUCKET}/charts.json"}, "status": "SUCCEEDED"}
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
    run = {
        "status": "RUNNING",
        "createdAt": "2026-01-05T09:00:00Z",
        "flowKey": "<i>flow",
        "steps": {"charts": charts, ODD: report_step, "failed": failed},
    }
    return [(DocumentRef("flow_runs", RUN_ID), run)]


async def test_the_first_page_says_what_wants_an_operator_and_leads_to_it(
    console: Console,
) -> None:
    page = await console.page("/")

    assert "1 step wants you" in page
    assert f'href="/runs/{RUN_ID}/steps/failed"' in page
    assert "production-like · real project" in page
    assert "&lt;i&gt;flow" in page


async def test_a_failed_step_leads_to_the_runbook_of_its_code(console: Console) -> None:
    page = await console.page(f"/runs/{RUN_ID}/steps/failed")
    errors = await console.page("/errors")

    assert "&lt;img src=x" in page
    assert "<img src=x" not in page
    assert 'href="/errors#PROMPT_NOT_FOUND"' in page
    assert 'id="PROMPT_NOT_FOUND"' in errors
    assert "Publish it, or correct <code>inputs.llm.promptId</code>." in errors


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
    for path in ("/", f"/runs/{RUN_ID}", f"/runs/{RUN_ID}/steps/failed", "/usage", "/errors"):
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


async def test_whoever_does_not_have_the_printed_link_sees_nothing(console: Console) -> None:
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
