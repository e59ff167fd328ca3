"""A report on paper: a page of each of the demo's timeframes, printed by a real browser."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pypdfium2
import pytest
from playwright.async_api import Browser, Page, expect

from infra.local.demo import seed
from infra.local.environment import local_environment
from infra.local.overrides import EnvironmentOverrides
from infra.local.scenario import build_scenario
from infra.ops.console.serving import CONSOLE, console_of

REPORTS = {
    "1M": ("20260105-090000_BTCUSD_demo", "llm_report_1M"),
    "1w": ("20260105-090000_GOOG_demo", "llm_report_1w"),
    "1d": ("20260105-090000_GOOG_demo", "llm_report_1d"),
    "4h": ("20260105-090000_EURUSD_demo", "4h:llm_report-1"),
}
#: A loaded machine is slow; nothing here is measured.
PATIENCE = 120_000
MOST_PAGES = 4
#: Millimetres of white that a printer needs on every side, in points.
MARGIN = 6 * 72 / 25.4
WHITE = 255


@dataclass(frozen=True, slots=True)
class Printed:
    """What the printer put out."""

    pages: Sequence[str]
    #: For each page: how far its text is from the nearest edge, in points.
    margins: Sequence[float]
    #: For each page: the brightness of its corner.
    corners: Sequence[int]


@pytest.mark.timeout(700)
async def test_a_report_of_each_timeframe_is_printed_whole_and_readable(
    browser: Browser, tmp_path: Path, pictures: Path
) -> None:
    expect.set_options(timeout=PATIENCE)
    async with (
        local_environment(
            embedded=True, data_dir=tmp_path, say=print, tuning=EnvironmentOverrides()
        ) as environment,
        console_of(environment, tmp_path) as state,
        await browser.new_context() as context,
    ):
        page = await context.new_page()
        page.set_default_timeout(PATIENCE)
        await page.goto(state.urls[CONSOLE])
        await seed(
            environment, await asyncio.to_thread(build_scenario, bucket=environment.bucket)
        )
        url = state.urls[CONSOLE].partition("/?")[0]
        for timeframe, (run_id, step_id) in REPORTS.items():
            await page.goto(f"{url}/runs/{run_id}/steps/{step_id}")
            await expect(page.get_by_role("heading", level=1)).to_contain_text("SUCCEEDED")
            await page.goto(f"{url}/runs/{run_id}/steps/{step_id}/print")
            await is_printed_well(page, timeframe, tmp_path / f"{timeframe}.pdf")
        first_page(tmp_path / "1d.pdf", pictures / "console_print.png")


async def is_printed_well(page: Page, timeframe: str, file: Path) -> None:
    await page.wait_for_load_state("networkidle")
    title = await page.get_by_role("heading", level=1).inner_text()
    figures = await page.locator("td.figure").all_inner_texts()
    sources = await page.locator(".made dd").all_inner_texts()
    # A reader whose screen is dark prints on white paper too.
    await page.emulate_media(color_scheme="dark")
    await page.pdf(path=file, format="A4")
    printed = read(file)

    whole = " ".join("\n".join(printed.pages).split())
    assert title in whole
    assert f" {timeframe} " in title
    # No number is broken across lines, and its source stands below it.
    assert not [one for one in (*figures, *sources) if one not in whole]
    assert len(sources) >= 7
    # Controls of the screen are of no use on paper.
    assert "Skip to content" not in whole
    assert "Dead letters" not in whole
    assert len(printed.pages) <= MOST_PAGES
    for number, text in enumerate(printed.pages, start=1):
        assert f"{number} / {len(printed.pages)}" in " ".join(text.split())
    assert min(printed.margins) >= MARGIN
    assert set(printed.corners) == {WHITE}


def first_page(file: Path, picture: Path) -> None:
    """Keep a picture of the first page."""
    document = pypdfium2.PdfDocument(file)
    document[0].render(scale=1.2).to_pil().save(picture, optimize=True)
    document.close()


def read(file: Path) -> Printed:
    """What a reader of the file sees."""
    document = pypdfium2.PdfDocument(file)
    pages, margins, corners = [], [], []
    for page in document:
        text = page.get_textpage()
        width, height = page.get_size()
        boxes = [text.get_rect(n) for n in range(text.count_rects())]
        margins.append(
            min(
                min(left, bottom, width - right, height - top)
                for left, bottom, right, top in boxes
            )
        )
        pages.append(text.get_text_bounded())
        corners.append(min(page.render(scale=0.5).to_pil().getpixel((2, 2))))
    document.close()
    return Printed(pages=pages, margins=margins, corners=corners)
