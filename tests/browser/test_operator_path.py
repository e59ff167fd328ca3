"""What an operator does in the browser, from the first look to a repaired step.

One environment and one browser serve all of it: starting them is what takes the time.
"""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import httpx2
import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, Locator, Page, expect

from infra.local.demo import seed
from infra.local.emulators.clients import publisher_client
from infra.local.environment import local_environment
from infra.local.overrides import EnvironmentOverrides
from infra.local.plan import LocalEnvironment
from infra.local.processes.functions import DEAD_LETTER_TOPIC
from infra.local.scenario import build_scenario, single_report_run
from infra.local.scenario.model import Scenario
from infra.local.scenario.runs import MODEL_NAME
from infra.local.state_file import read_state
from infra.ops.cli.terminal import count, dollars
from infra.ops.console.serving import CONSOLE, console_of
from infra.ops.environment.connection import connection_to
from infra.ops.runs.reading import newest_runs
from infra.ops.runs.view import RunView
from shared.adapters.pubsub import PubSubQueue
from shared.domain.documents import DocumentRef, Update
from shared.domain.identifiers import ClaimId, RunId, StepId
from shared.domain.job_documents import create_job
from shared.domain.jobs import JobRecord, JobState
from shared.domain.messages import JobMessage

LIVE = "20260106-090000_ETHUSD_live"
HANGING = "20260106-100000_SOLUSD_hang"
DEAD = "20260106-120000_ADAUSD_dead"
HOSTILE = "20260106-110000_XRPUSD_evil"
STEP = "llm_report_1d"
SAYS = (
    "<script>window.pwned=1</script><img src=x onerror='window.pwned=1'>"
    "[sign in](https://evil.example/) ![](https://evil.example/pixel.png) "
    "[run](javascript:window.pwned=1) [open](data:text/html,<script>window.pwned=1</script>) "
    "<style>body{display:none}</style><svg onload='window.pwned=1'></svg>"
    "<meta http-equiv=refresh content='0;url=https://evil.example/'> " + "long" * 2_000
)
#: A loaded machine is slow; nothing here is measured.
PATIENCE = 120_000
_MOST_TABS = 60
#: A number in a table whose text is laid out in more than one line.
FIGURES_OF_MORE_THAN_A_LINE = """
[...document.querySelectorAll("td.figure, td.number")].filter(cell => {
  const range = document.createRange();
  range.selectNodeContents(cell);
  return new Set([...range.getClientRects()].map(line => Math.round(line.bottom))).size > 1;
}).map(cell => cell.textContent)
"""
PRICES = {MODEL_NAME: [{"from": "2020-01-01", "input": 1, "output": 10}]}
PRICED = {"MODEL_PRICES": json.dumps(PRICES)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Operated:
    """A running environment, and the browser window that looks at it."""

    environment: LocalEnvironment
    page: Page
    url: str
    pictures: Path
    data_dir: Path
    #: All addresses that the window asked for.
    requests: list[str]

    async def open(self, path: str) -> None:
        """Go to a page of the console."""
        await self.page.goto(self.url + path)

    async def show(self, name: str, *, whole: bool = True) -> None:
        """Keep a picture of the window, and check that it is accessible."""
        await self.accessible()
        await self.page.screenshot(path=self.pictures / f"console_{name}.png", full_page=whole)

    async def accessible(self) -> None:
        """Check that nothing on the page is an accessibility barrier, in light and dark colors.

        https://github.com/dequelabs/axe-core
        """
        schemes: Sequence[Literal["dark", "light"]] = ("dark", "light")
        for scheme in schemes:
            await self.page.emulate_media(color_scheme=scheme)
            result = await Axe().run(self.page)
            found = [(rule["id"], rule["nodes"][0]["html"]) for rule in _violations(result)]
            assert found == []

    async def show_nothing_wrong(self, *paths: str) -> None:
        """Check pages without keeping a picture of them."""
        for path in paths:
            await self.open(path)
            await self.accessible()

    async def begin(
        self,
        run_id: str,
        *,
        status: str = "READY",
        fault: Mapping[str, Any] | None = None,
        job: JobRecord | None = None,
    ) -> None:
        """Write a run of one report, as the orchestrator does."""
        if job is not None:
            await self.environment.documents.commit([create_job(job)], timeout_seconds=10)
        document, objects = single_report_run(bucket=self.environment.bucket, run_id=run_id)
        document["steps"][STEP]["status"] = status
        if fault is not None:
            await self.fault({"contains": run_id.split("_")[1], **fault})
        await seed(self.environment, _only(document, objects))

    async def fault(self, rule: Mapping[str, Any]) -> None:
        """Have the stand-in misbehave in the next call."""
        control = self.environment.addresses["Gemini stand-in"] + "/control/faults"
        async with httpx2.AsyncClient(trust_env=False) as client:
            (await client.post(control, json=[rule])).raise_for_status()

    async def offer(self, *, per_minute: int | None = None) -> None:
        """Let the stand-in take this many calls a minute, or all calls."""
        rule = {"tier": "standard", "capacity": 1_000, "when_full": "limit"}
        rules = [{**rule, "per_minute": per_minute}] if per_minute else []
        control = self.environment.addresses["Gemini stand-in"] + "/control/tiers"
        async with httpx2.AsyncClient(trust_env=False) as client:
            (await client.put(control, json=rules)).raise_for_status()

    async def step(self, run_id: str) -> Mapping[str, Any]:
        """The report step of a run, as the documents have it."""
        return dict((await self._run(run_id))[1]["steps"][STEP])

    async def set_ready(self, run_id: str) -> None:
        """Make the step READY, which is the orchestrator's part."""
        version, _ = await self._run(run_id)
        ref = DocumentRef("flow_runs", run_id)
        write = Update(ref=ref, changes={("steps", STEP, "status"): "READY"}, guard=version)
        await self.environment.documents.commit([write], timeout_seconds=10)

    async def _run(self, run_id: str) -> tuple[Any, Mapping[str, Any]]:
        ref = DocumentRef("flow_runs", run_id)
        [run] = await self.environment.documents.read([ref], timeout_seconds=10)
        assert run is not None
        return run.version, run.data


def _violations(result: Any) -> Sequence[Mapping[str, Any]]:
    return list(result.response["violations"])


def _only(document: dict[str, Any], objects: Sequence[Any]) -> Scenario:
    runs = {document["runId"]: document}
    return Scenario(prompts={}, schemas={}, objects=objects, runs=runs, expectations=[])


@asynccontextmanager
async def operated(
    browser: Browser, data_dir: Path, pictures: Path, *, embedded: bool | None = None
) -> AsyncIterator[Operated]:
    async with (
        local_environment(
            embedded=embedded,
            data_dir=data_dir,
            say=print,
            tuning=EnvironmentOverrides(settings=PRICED),
        ) as environment,
        console_of(environment, data_dir) as state,
        await browser.new_context(viewport={"width": 1280, "height": 800}) as context,
    ):
        page = await context.new_page()
        page.set_default_timeout(PATIENCE)
        requests: list[str] = []
        page.on("request", lambda request: requests.append(request.url))
        page.on("dialog", lambda dialog: requests.append(f"dialog: {dialog.message}"))
        link = state.urls[CONSOLE]
        await page.goto(link)
        url = link.partition("/?")[0]
        yield Operated(
            environment=environment,
            page=page,
            url=url,
            pictures=pictures,
            data_dir=data_dir,
            requests=requests,
        )


@pytest.mark.timeout(700)
async def test_an_operator_sees_follows_and_mends_a_run_in_the_browser(
    browser: Browser, tmp_path: Path, pictures: Path
) -> None:
    expect.set_options(timeout=PATIENCE)
    async with operated(browser, tmp_path / "data", pictures) as operator:
        await the_key_has_left_the_address_bar(operator)
        await a_run_appears_without_a_reload(operator)
        await a_run_goes_live_from_ready_to_a_rendered_report(operator)
        await a_failed_step_leads_to_its_runbook(operator)
        await a_hanging_step_is_cancelled_and_run_again(operator)
        await a_dead_letter_is_replayed(operator)
        await hostile_report_text_stays_inert(operator)
        await the_keyboard_alone_is_enough(operator)
        await the_usage_is_plotted(operator)
        await a_queue_at_the_provider_is_seen(operator)

    assert not [url for url in operator.requests if not url.startswith(operator.url)]


@pytest.mark.timeout(1_500)
async def test_every_page_is_for_phones_and_for_wide_screens_light_and_dark(
    browser: Browser, tmp_path: Path
) -> None:
    async with operated(browser, tmp_path / "data", tmp_path, embedded=True) as operator:
        scenario = await asyncio.to_thread(build_scenario, bucket=operator.environment.bucket)
        await seed(operator.environment, scenario)
        step = operator.page.get_by_role("heading", level=1)
        expect.set_options(timeout=PATIENCE)
        await operator.open(f"/runs/20260105-090000_GOOG_demo/steps/{STEP}")
        await expect(step).to_contain_text("SUCCEEDED")
        await no_page_is_wider_than_its_window(operator)


async def the_key_has_left_the_address_bar(operator: Operated) -> None:
    await expect(operator.page).to_have_url(operator.url + "/")
    await expect(operator.page.get_by_text("No runs yet")).to_be_visible()
    await operator.accessible()


async def a_run_appears_without_a_reload(operator: Operated) -> None:
    scenario = await asyncio.to_thread(build_scenario, bucket=operator.environment.bucket)
    await seed(operator.environment, scenario)

    wanting = operator.page.get_by_role("heading", name="4 steps need attention")
    await expect(wanting).to_be_visible()
    row = operator.page.get_by_role("row", name="GOOG_demo")
    await expect(row).to_contain_text("6 succeeded")
    await operator.show("runs")


async def a_run_goes_live_from_ready_to_a_rendered_report(operator: Operated) -> None:
    page = operator.page
    await operator.begin(LIVE, status="PENDING", fault={"kind": "drip", "seconds": 4.0})
    await operator.open(f"/runs/{LIVE}")
    node = page.get_by_role("link", name=re.compile(f"^{STEP}, "))
    await expect(node).to_contain_text("PENDING")

    await operator.set_ready(LIVE)

    await expect(node).to_contain_text("RUNNING")
    await expect(page.get_by_text("Attempt 1 is at work.")).to_be_visible()
    await expect(node).to_contain_text("SUCCEEDED")
    # This is what a screen reader was told.
    await expect(page.get_by_role("status")).to_contain_text(f"{STEP} is now SUCCEEDED")
    await expect(page.get_by_role("img", name=re.compile("model, report call"))).to_be_visible()
    await node.click()
    report = page.get_by_role("article", name="The report")
    await expect(report.get_by_role("heading").first).to_be_visible()
    await expect(page.get_by_role("img", name=re.compile("^Chart: "))).to_be_visible()
    await operator.open("/runs/20260105-090000_GOOG_demo")
    await operator.show("run")
    await operator.open("/runs/20260105-090000_GOOG_demo/steps/llm_report_1d")
    await operator.page.wait_for_load_state("networkidle")
    await operator.show("step")


async def tab_to(page: Page, wanted: Locator) -> None:
    """Press Tab until the element has the focus."""
    for _ in range(_MOST_TABS):
        await page.keyboard.press("Tab")
        if await wanted.evaluate("element => element === document.activeElement"):
            return
    pytest.fail(f"the keyboard does not come to {wanted}")


async def a_failed_step_leads_to_its_runbook(operator: Operated) -> None:
    page = operator.page
    await operator.open("/")
    await page.get_by_role("link", name="llm_report_unknown_prompt", exact=True).click()
    await expect(page.get_by_role("heading", name="PROMPT_NOT_FOUND")).to_be_visible()
    await expect(page.get_by_text("Publish it, or correct")).to_be_visible()
    await operator.show("failed")

    await page.get_by_role("link", name="Runbook of PROMPT_NOT_FOUND").click()

    guide = operator.url + "/docs/how-to/mend-a-step.md"
    await expect(page).to_have_url(guide + "#prompt_not_found")
    await expect(page.get_by_role("heading", name="PROMPT_NOT_FOUND")).to_be_in_viewport()
    await operator.show("runbook", whole=False)
    await page.get_by_role("link", name="sweep-silent").click()
    await expect(page.get_by_role("heading", name="The sweep is silent")).to_be_visible()
    await operator.show_nothing_wrong("/errors", "/docs/how-to/runbooks/README.md", "/nothing")
    # The runbook is one click away from the list of what needs attention.
    await operator.open("/")
    await page.get_by_role("link", name="Runbook for llm_report_unknown_prompt").click()
    await expect(page).to_have_url(guide + "#prompt_not_found")


async def a_hanging_step_is_cancelled_and_run_again(operator: Operated) -> None:
    page = operator.page
    await operator.begin(HANGING, fault={"kind": "hang"})
    await operator.open(f"/runs/{HANGING}/steps/{STEP}")
    await expect(page.get_by_text("Attempt 1 is at work.")).to_be_visible()

    # All of this is done without a mouse.
    await tab_to(page, page.get_by_role("link", name="Cancel this step…"))
    await page.keyboard.press("Enter")
    await expect(page.get_by_label("Why?")).to_be_visible()
    await operator.show("cancel")
    await tab_to(page, page.get_by_label("Why?"))
    await page.keyboard.type("the chart is wrong")
    await tab_to(page, page.get_by_role("button", name="Cancel the step"))
    await page.keyboard.press("Enter")

    await expect(page.get_by_role("heading", level=1)).to_contain_text("CANCELLED")
    await expect(page.get_by_text("the chart is wrong")).to_be_visible()
    assert (await operator.step(HANGING))["status"] == "CANCELLED"

    await page.get_by_role("link", name="Rerun this step…").click()
    await page.get_by_label("Why?").fill("the chart is mended")
    await page.get_by_role("button", name="Run it again").click()

    await expect(page.get_by_role("heading", level=1)).to_contain_text("SUCCEEDED")
    assert (await operator.step(HANGING))["status"] == "SUCCEEDED"


async def a_dead_letter_is_replayed(operator: Operated) -> None:
    page, environment = operator.page, operator.environment
    if environment.backend == "embedded":
        return  # The embedded backend has no Pub/Sub that could keep a dead letter.
    await operator.begin(DEAD, status="RUNNING", job=queued(DEAD))
    letter = JobMessage(run_id=RunId(DEAD), step_id=StepId(STEP), claim_id=ClaimId("c"))
    topic = f"projects/{environment.project}/topics/{DEAD_LETTER_TOPIC}"
    async with publisher_client(environment.addresses["Pub/Sub emulator"]) as publisher:
        given_up = letter.encode({"CloudPubSubDeadLetterSourceDeliveryCount": "10"})
        await PubSubQueue(publisher, topic).publish([given_up], timeout_seconds=10)

    await page.get_by_role("link", name="Dead letters").click()
    row = page.get_by_role("row", name=DEAD)
    await expect(row).to_contain_text("undeliverable: refused 10 times")
    await operator.show("dead_letters")
    await row.get_by_role("link", name="Replay…").click()
    await expect(page.get_by_text("Paid model calls that may follow: 1 to 5.")).to_be_visible()
    await operator.accessible()
    await page.get_by_role("button", name="Replay it").click()

    await expect(page.get_by_text("There are none")).to_be_visible()
    await operator.open(f"/runs/{DEAD}/steps/{STEP}")
    await expect(page.get_by_role("heading", level=1)).to_contain_text("SUCCEEDED")


def queued(run_id: str) -> JobRecord:
    """The record of a job whose message is a dead letter."""
    return JobRecord(
        run_id=RunId(run_id),
        step_id=StepId(STEP),
        claim_id=ClaimId("c"),
        event_id="e",
        claimed_at=datetime(2026, 1, 6, 9, tzinfo=UTC),
        state=JobState.QUEUED,
    )


async def hostile_report_text_stays_inert(operator: Operated) -> None:
    page = operator.page
    await operator.begin(HOSTILE, fault={"kind": "none", "says": SAYS})
    await operator.open(f"/runs/{HOSTILE}/steps/{STEP}")
    await expect(page.get_by_role("heading", level=1)).to_contain_text("SUCCEEDED")
    report = page.get_by_role("article", name="The report")

    await expect(report).to_contain_text("<script>window.pwned=1</script>")
    await expect(report.locator("script, img, a, iframe, form")).to_have_count(0)
    await expect(report.locator("style, svg, meta, object, embed")).to_have_count(0)
    assert await page.evaluate("window.pwned") is None
    # The page is not made so wide either that the rest would be out of sight.
    assert await page.evaluate("document.body.scrollWidth <= window.innerWidth")
    await operator.accessible()


async def the_keyboard_alone_is_enough(operator: Operated) -> None:
    page = operator.page
    await operator.open("/")
    await page.keyboard.press("Tab")
    await expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(page.locator("main")).to_be_focused()
    await page.keyboard.press("Tab")
    await expect(
        page.get_by_role("link", name="llm_report_candles_too_large", exact=True)
    ).to_be_focused()
    await page.keyboard.press("Enter")

    await expect(page.get_by_role("heading", level=1)).to_contain_text("FAILED")


async def the_usage_is_plotted(operator: Operated) -> None:
    await operator.open("/usage")
    page = operator.page
    for measure in ("tokens", "cost"):
        plot = page.get_by_role("group", name=f"{measure.capitalize()} per day and model")
        await expect(plot.get_by_role("img", name=re.compile("gemini-")).first).to_be_visible()
    runs = await newest_runs_of(operator)
    steps = [step for run in runs for step in run.steps if step.tokens]
    total = sum(step.cost_usd or 0 for step in steps)
    assert total > 0
    facts = page.locator(".facts")
    await expect(facts).to_contain_text(dollars(total))
    await expect(facts).to_contain_text(count(sum(step.tokens or 0 for step in steps)))
    await operator.show("usage")


async def a_queue_at_the_provider_is_seen(operator: Operated) -> None:
    """There are more runs than the provider takes in a minute, and their queue is seen."""
    page = operator.page
    await operator.open("/quota")
    await expect(page.get_by_text("No call was ever held back")).to_be_visible()
    await operator.offer(per_minute=30)
    for number in range(45):
        await operator.begin(f"20260107-090000_BTCUSD_q{number:03}")

    waiting = re.compile(r"jobs? waits? for the provider's quota")
    await expect(page.get_by_text(waiting)).to_be_visible()
    await expect(page.get_by_role("heading", name=MODEL_NAME)).to_be_visible()
    await expect(page.get_by_text("Slot of the last")).to_be_visible()
    await operator.show("quota")
    await operator.offer()
    await expect(page.get_by_text("No job waits for the provider's quota.")).to_be_visible()


async def no_page_is_wider_than_its_window(operator: Operated) -> None:
    """No page is wider than its window, and all are accessible, at any width."""
    goog = "/runs/20260105-090000_GOOG_demo"
    step, bad = f"{goog}/steps/{STEP}", "/runs/20260105-090000_EURUSD_bad/steps"
    one, other = f"{goog[6:]}/{STEP}", f"{goog[6:]}/llm_report_1w"
    pages = (
        *("/", "/?status=failed", goog, step, f"{step}/print", f"{step}/verify", f"{step}/log"),
        *(f"/compare?a={one}&b={other}", f"{bad}/llm_report_unknown_prompt"),
        *(
            f"{bad}/llm_report_unknown_prompt/acts/acknowledge",
            "/dead-letters",
            "/quota",
            "/usage",
        ),
        *("/errors", "/docs/how-to/mend-a-step.md", "/prompts", "/schemas"),
        "/prompts/llm_prompt_1d_report_v1_0",
    )
    for width in (390, 768, 1440):
        await operator.page.set_viewport_size({"width": width, "height": 900})
        for path in pages:
            await operator.open(path)
            await operator.page.wait_for_load_state("networkidle")
            broken = await operator.page.evaluate(FIGURES_OF_MORE_THAN_A_LINE)
            assert broken == [], (path, width)
            needs = await operator.page.evaluate("document.documentElement.scrollWidth")
            assert needs <= width, (path, width)
            await operator.accessible()


async def newest_runs_of(operator: Operated) -> Sequence[RunView]:
    """The newest runs, as the command line reads them."""
    state = read_state(operator.data_dir)
    assert state is not None
    async with connection_to(operator.environment, state) as connection:
        return await newest_runs(connection, limit=300)
