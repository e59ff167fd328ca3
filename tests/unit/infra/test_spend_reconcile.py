"""A bill beside the job records: every orphan on either side is found, and nothing else."""

import json
import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from executor.billing.labels import MAX_VALUE_CHARS, call_labels, label_value
from infra.ops.spend.export import BilledLine, ExportInvalid, read_export
from infra.ops.spend.reconciling import DisagreementKind, reconcile
from shared.domain.attempts import Attempt, CallPurpose, ModelCall
from shared.domain.identifiers import ClaimId, RunId, StepId
from shared.domain.jobs import JobRecord, JobState

NOW = datetime(2026, 3, 1, tzinfo=UTC)
SINCE, UNTIL = NOW - timedelta(days=1), NOW + timedelta(days=1)
CALL = ModelCall(
    number=1,
    purpose=CallPurpose.REPORT,
    started_at=NOW,
    ended_at=NOW,
    model_name="gemini-x",
    usage={"totalTokenCount": 10},
)


def job(number: int, calls: Sequence[ModelCall]) -> JobRecord:
    return JobRecord(
        run_id=RunId(f"20260301-090000_BTCUSD_{number:05}"),
        step_id=StepId(f"1d:llm_report-{number % 3}"),
        claim_id=ClaimId(f"{number:032x}"),
        event_id="e",
        claimed_at=NOW,
        state=JobState.SUCCEEDED,
        history=(Attempt(number=1, started_at=NOW, calls=tuple(calls)),),
    )


def row(record: JobRecord, call: int, sku: str, **more: Any) -> dict[str, Any]:
    labels = call_labels(record.run_id, record.step_id, record.claim_id, call)
    return {
        "labels": [{"key": key, "value": value} for key, value in labels.items()],
        "sku": {"id": "A", "description": f"Gemini X {sku}"},
        "usage_start_time": "2026-03-01T09:00:00Z",
        "cost": 0.001,
        **more,
    }


def export(path: Path, rows: Sequence[dict[str, Any]]) -> Sequence[BilledLine]:
    path.write_text("".join(f"{json.dumps(each)}\n" for each in rows))
    return list(read_export(path))


def test_ten_thousand_lines_with_planted_faults_show_these_and_nothing_else(
    tmp_path: Path,
) -> None:
    chance = random.Random(1)
    jobs = [job(number, [CALL, replace(CALL, number=2)]) for number in range(2_400)]
    rows = [
        row(each, call, sku) for each in jobs for call in (1, 2) for sku in ("Input", "Output")
    ]
    rows += [{"labels": [], "sku": {"description": "Cloud Run"}, "cost": 1}] * 380
    stranger, planted = job(99_999, []), dict.fromkeys(DisagreementKind, 0)
    for index in chance.sample(range(len(jobs)), 6):
        rows = [each for each in rows if each["labels"] != row(jobs[index], 2, "")["labels"]]
        planted[DisagreementKind.NOT_BILLED] += 1
    for number in range(5):
        rows.append(row(stranger, number + 1, "Input"))
        planted[DisagreementKind.BILLED_UNKNOWN] += 1
    for each in chance.sample(rows[:1_000], 7):
        rows.append(each)
        planted[DisagreementKind.DOUBLED] += 1
    rows.append(row(jobs[0], 3, "Input"))
    planted[DisagreementKind.BILLED_MORE] += 1
    rows.append(row(jobs[1], 1, "Priority Output"))
    planted[DisagreementKind.OTHER_TIER] += 1
    chance.shuffle(rows)

    found = reconcile(export(tmp_path / "bill", rows), jobs, since=SINCE, until=UNTIL)

    assert len(rows) >= 9_950
    assert {
        kind: sum(each.kind is kind for each in found.findings) for kind in DisagreementKind
    } == planted
    assert found.others == 380


def test_a_bill_that_agrees_shows_nothing(tmp_path: Path) -> None:
    jobs = [job(1, [CALL]), job(2, [replace(CALL, service_tier="flex")])]
    rows = [row(jobs[0], 1, "Input"), row(jobs[1], 1, "Flex Input")]

    found = reconcile(export(tmp_path / "bill", rows), jobs, since=SINCE, until=UNTIL)

    assert found.findings == []
    assert str(found.billed) == "0.002"


@pytest.mark.parametrize(
    "call",
    [
        replace(CALL, usage=None, code="RATE_LIMITED"),
        replace(CALL, started_at=UNTIL),
        replace(CALL, started_at=SINCE - timedelta(seconds=1)),
    ],
    ids=["refused", "later", "earlier"],
)
def test_a_call_that_the_bill_need_not_have_is_not_missed(
    call: ModelCall, tmp_path: Path
) -> None:
    lines = export(tmp_path / "bill", [])

    assert reconcile(lines, [job(1, [call])], since=SINCE, until=UNTIL).findings == []


def test_an_array_is_read_as_lines_are(tmp_path: Path) -> None:
    path = tmp_path / "bill.json"
    path.write_text(json.dumps([row(job(1, []), 1, "Input")]))

    [line] = read_export(path)

    assert line.ours
    assert line.tier == "standard"


@pytest.mark.parametrize(
    "text", ["nonsense", "{}", "[1]", '{"cost": "much"}', '{"cost": true}']
)
def test_a_file_that_is_no_export_is_refused_by_its_line(text: str, tmp_path: Path) -> None:
    path = tmp_path / "bill"
    path.write_text(text)

    with pytest.raises(ExportInvalid, match="bill:1: "):
        list(read_export(path))


@pytest.mark.parametrize(
    "text", ["claim-1", "20260301-090000_BTCUSD_x", "4h:report", "x" * 200, "ü", ""]
)
def test_a_label_is_one_that_the_provider_takes(text: str) -> None:
    value = label_value(text)

    assert len(value) <= MAX_VALUE_CHARS
    assert all(letter in "abcdefghijklmnopqrstuvwxyz0123456789_-" for letter in value)


def test_texts_that_differ_have_labels_that_differ() -> None:
    texts = ["a:b", "a-b", "A-B", "a/b", "x" * 63, "x" * 64, "x" * 65]

    assert len({label_value(text) for text in texts}) == len(texts)
