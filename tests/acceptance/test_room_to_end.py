"""A run near Firestore's limit, through both stages: it gets a code, and no paid call."""

from pathlib import Path
from typing import Any

import pytest

from shared.domain.document_size import MAX_DOCUMENT_BYTES, document_size
from shared.domain.documents import DocumentRef
from tests.support.one_report import RUN_ID, STEP_ID, OneReport, one_report

RUN = DocumentRef("flow_runs", RUN_ID)


def leave(report: OneReport, bytes_left: int) -> None:
    """Fill the run before it is seeded, so that it has this many bytes left."""
    report.run["pad"] = ""
    size = document_size(RUN, report.run)
    report.run["pad"] = "x" * (MAX_DOCUMENT_BYTES - size - bytes_left)


@pytest.mark.parametrize("bytes_left", [40, 250, 400, 3_000])
async def test_a_run_near_the_limit_ends_with_its_code_before_a_call(
    bytes_left: int, tmp_path: Path
) -> None:
    async with one_report(tmp_path) as report:
        leave(report, bytes_left)

        step = await report.execute()

    assert (step["status"], step["error"]["code"]) == ("FAILED", "RUN_TOO_LARGE")
    assert report.calls() == 0


async def test_a_run_with_room_enough_succeeds(tmp_path: Path) -> None:
    async with one_report(tmp_path) as report:
        leave(report, 20_000)

        step = await report.execute()

    assert (step["status"], report.calls()) == ("SUCCEEDED", 1)


async def test_a_run_that_others_fill_after_the_claim_costs_no_call(tmp_path: Path) -> None:
    async with one_report(tmp_path) as report:
        documents = report.environment.documents

        def fill(ref: DocumentRef, _old: Any, new: Any) -> None:
            steps = new.fields.get("steps", {}) if ref == RUN and new else {}
            if steps.get(STEP_ID, {}).get("status") != "RUNNING" or "pad" in new.fields:
                return
            left = MAX_DOCUMENT_BYTES - document_size(RUN, {**new.fields, "pad": ""})
            # Another writer would do this between the claim and the lease.
            new.fields["pad"] = "x" * (left - 300)

        documents.listen(fill)
        step = await report.execute()

    assert (step["status"], step["error"]["code"]) == ("FAILED", "RUN_TOO_LARGE")
    assert report.calls() == 0
