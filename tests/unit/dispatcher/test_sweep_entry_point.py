"""The function `sweep`, as functions-framework serves it to Cloud Scheduler."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest
from functions_framework.aio import create_asgi_app

from dispatcher import wiring
from dispatcher.sweep_plan import SweepOutcome
from dispatcher.sweep_report import SweepReport
from infra.local.processes.bundle import REPOSITORY
from infra.local.serving.asgi import serve

DONE = SweepReport(jobs=Counter({SweepOutcome.REPUBLISHED: 2}), runs=3, claimed=1)


@dataclass(frozen=True, slots=True)
class Swept:
    """A sweep whose report is known beforehand."""

    report: SweepReport

    async def run(self) -> SweepReport:
        """The report."""
        return self.report


@pytest.fixture
def environ(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The function's settings, which a process reads once."""
    monkeypatch.setenv("GCP_PROJECT", "p")
    monkeypatch.setenv("JOBS_TOPIC", "jobs")
    wiring.settings.cache_clear()
    yield
    wiring.settings.cache_clear()


@pytest.mark.usefixtures("environ")
@pytest.mark.parametrize(
    ("report", "status"),
    [
        pytest.param(DONE, 200, id="all was looked at"),
        pytest.param(SweepReport(complete=False), 503, id="its time was over"),
        pytest.param(SweepReport(failed=Counter(QueueUnavailable=1)), 503, id="one failed"),
    ],
)
async def test_the_status_says_whether_something_was_left_and_the_body_what_was_done(
    monkeypatch: pytest.MonkeyPatch, report: SweepReport, status: int
) -> None:
    monkeypatch.setattr(wiring, "sweeper", lambda: Swept(report).run)
    make_app: Any = create_asgi_app
    app = make_app("sweep", str(REPOSITORY / "dispatcher/main.py"))

    async with (
        serve(app, name="sweep") as url,
        httpx2.AsyncClient(trust_env=False, timeout=30) as client,
    ):
        answer = await client.post(url)

    assert (answer.status_code, answer.json()) == (status, report.as_json())


def test_the_report_s_counts_are_named_as_dashboards_read_them() -> None:
    assert DONE.as_json() == {
        "republished": 2,
        "exhausted": 0,
        "abandoned": 0,
        "left": 0,
        "let_through": 0,
        "dearer_tier": 0,
        "out_of_patience": 0,
        "runs": 3,
        "claimed": 1,
        "failed": {},
        "failedDocuments": [],
        "complete": True,
    }
