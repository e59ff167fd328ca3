"""The console's evaluation pages in a real browser: accessible, and at three widths."""

import json
from pathlib import Path

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser

from infra.local.embedded.documents import EmbeddedDocuments
from infra.local.embedded.objects import EmbeddedObjects
from infra.local.serving.asgi import serve
from infra.local.storage.objects import ObjectFolder
from infra.ops.checks.declared import read_checks
from infra.ops.console.app import create_app
from infra.ops.console.dead_letters import DeadLetterPlaces
from infra.ops.console.security import Secrets
from infra.ops.environment.connection import Connection
from infra.ops.environment.listing import EmbeddedRunListing
from infra.ops.evaluation.findings.document import results_bytes
from tests.support.evaluated import (
    CHECKS,
    PHRASE,
    evaluated,
    evaluation_of_samples,
    sample_folder,
)

WIDTHS = (1440, 768, 390)


async def written(tmp_path: Path) -> str:
    """The name of an evaluation of eight cases that is written to its folder."""
    folder = sample_folder(tmp_path, 8)
    effects = tmp_path / "effects.json"
    effects.write_text(json.dumps([{"contains": PHRASE, "outside_share": 0.5}]))
    checks = read_checks(folder / CHECKS)
    out = tmp_path / "out"
    ended = await evaluated(evaluation_of_samples(folder, out, effects=effects, checks=checks))
    data, digest = results_bytes(ended.results)
    name = f"evaluation-{digest[:12]}"
    (out / f"{name}.json").write_bytes(data)
    return name


@pytest.mark.timeout(600)
async def test_the_list_and_the_page_are_for_everyone_at_three_widths(
    browser: Browser, tmp_path: Path
) -> None:
    name = await written(tmp_path)
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
    app = create_app(connection, own, places, author="ann", evaluations=tmp_path / "out")
    async with serve(app, name="console") as url:
        page = await browser.new_page()
        await page.goto(f"{url}/?key={own.access_key}")
        for path in ("/evaluations", f"/evaluations/{name}"):
            for width in WIDTHS:
                await page.set_viewport_size({"width": width, "height": 1100})
                await page.goto(url + path)
                assert await page.get_by_text("llm_prompt_1d_report_v1_1").first.is_visible()
                await page.screenshot(path=tmp_path / f"{width}.png")

                # No page scrolls sideways; a wide table scrolls in its own box.
                assert await page.evaluate("document.documentElement.scrollWidth") <= width
                found = await Axe().run(page)
                assert found.violations_count == 0, found.generate_report()
