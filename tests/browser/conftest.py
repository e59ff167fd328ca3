"""A real browser: Debian's chromium, driven by Playwright."""

import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, async_playwright

_NAMES = ("chromium", "chromium-browser", "google-chrome")
_MISSING = (
    "the browser tests need chromium: `make browser` installs Debian's; elsewhere install it "
    "and name it in CHROMIUM"
)


@pytest.fixture(scope="session")
def chromium() -> str:
    """Return where chromium is; skip without it, or fail when CI is set."""
    named = os.environ.get("CHROMIUM")
    found = named or next((path for name in _NAMES if (path := shutil.which(name))), None)
    if found is None and os.environ.get("CI"):
        pytest.fail(_MISSING, pytrace=False)
    if found is None:
        pytest.skip(_MISSING)
    return found


@pytest.fixture
async def browser(chromium: str) -> AsyncIterator[Browser]:
    """Run a browser without a window for one test."""
    # Chromium's own sandbox is not for root, as whom containers often run tests.
    sandbox = [] if os.geteuid() else ["--no-sandbox"]
    async with async_playwright() as playwright:
        running = await playwright.chromium.launch(executable_path=chromium, args=sandbox)
        try:
            yield running
        finally:
            await running.close()


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Return the folder for screenshots: that of the docs, when UPDATE_PICTURES is set."""
    if not os.environ.get("UPDATE_PICTURES"):
        return tmp_path
    return Path(__file__).parents[2] / "docs/images"
