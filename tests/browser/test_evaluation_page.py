"""The page of an evaluation in a real browser: complete, small, accessible, at three widths."""

import json
from pathlib import Path

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, Page

from infra.ops.checks.declared import read_checks
from infra.ops.evaluation.findings.document import results_bytes
from infra.ops.evaluation.findings.fail_if import parse_condition
from infra.ops.evaluation.findings.measures import MEASURES
from infra.ops.evaluation.page.rendering import evaluation_page
from tests.support.evaluated import (
    CHECKS,
    PHRASE,
    evaluated,
    evaluation_of_samples,
    sample_folder,
)

CASES = 200
WIDTHS = (1440, 768, 390)
MOST_BYTES = 10_000_000
FEW = 40


async def written_page(tmp_path: Path, cases: int, *, invalid_share: float) -> Path:
    """The page of an evaluation with planted losses."""
    folder = sample_folder(tmp_path, cases)
    effects = tmp_path / "effects.json"
    planted = {"invalid_share": invalid_share, "outside_share": 0.08, "tokens_factor": 1.1}
    effects.write_text(json.dumps([{"contains": PHRASE, **planted}]))
    ended = await evaluated(
        evaluation_of_samples(
            folder,
            tmp_path / "out",
            effects=effects,
            judge="gemma-4-judge",
            checks=read_checks(folder / CHECKS),
            conditions=[parse_condition("valid < -1%", MEASURES)],
        )
    )
    path = tmp_path / "evaluation.html"
    _, digest = results_bytes(ended.results)
    path.write_text(evaluation_page(ended.results, digest))
    return path


async def shown_cases(page: Page) -> int:
    visible = await page.locator("article.case").evaluate_all(
        "cases => cases.filter(each => getComputedStyle(each).display !== 'none').length"
    )
    return int(visible)


@pytest.mark.timeout(900)
async def test_the_page_of_200_cases_is_whole_and_small_and_for_everyone(
    browser: Browser, tmp_path: Path, pictures: Path
) -> None:
    path = await written_page(tmp_path, CASES, invalid_share=0.06)
    assert path.stat().st_size < MOST_BYTES
    asked: list[str] = []
    for width in WIDTHS:
        page = await browser.new_page(viewport={"width": width, "height": 1100})
        page.on("request", lambda request: asked.append(request.url))
        await page.goto(path.as_uri())
        if width == WIDTHS[0]:
            await page.screenshot(path=pictures / "evaluation.png")

        # No page scrolls sideways; a wide table scrolls in its own box.
        assert await page.evaluate("document.documentElement.scrollWidth") <= width
        # All cases look alike, and checking the whole page takes the checker minutes.
        await page.evaluate(
            "document.querySelectorAll('article.case:nth-of-type(n+4)')"
            ".forEach(each => each.remove())"
        )
        found = await Axe().run(page)
        assert found.violations_count == 0, found.generate_report()
        await page.close()
    assert asked == [path.as_uri()] * len(WIDTHS)


@pytest.mark.timeout(900)
async def test_only_the_cases_that_are_wanted_are_shown(
    browser: Browser, tmp_path: Path
) -> None:
    path = await written_page(tmp_path, FEW, invalid_share=0.4)
    page = await browser.new_page()
    await page.goto(path.as_uri())

    assert await shown_cases(page) == FEW
    await page.get_by_label("only with problems").check()
    problems = await shown_cases(page)
    assert 2 < problems < FEW / 2
    await page.get_by_label("only where they differ").check()
    assert problems <= await shown_cases(page) <= FEW
    assert await page.get_by_text("the loss valid < -1%").is_visible()
