"""Hooks: whose call a hook names, judged by what the provider says of that call."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.billing.labels import CALL, CLAIM, RUN, STEP, call_labels
from executor.contract.canonical import sha256_hex
from executor.model_calls.hooks import INPUTS, announced_labels, own_call
from executor.ports import KeptCall
from shared.domain.identifiers import ClaimId, RunId, StepId
from shared.domain.jobs import BackgroundCall, JobRecord, JobState

NOW = datetime(2026, 1, 5, 9, tzinfo=UTC)
EARLIER = NOW - timedelta(minutes=1)
JOB = JobRecord(
    run_id=RunId("20260105-090000_BTCUSD_hook"),
    step_id=StepId("1d:report"),
    claim_id=ClaimId("c1"),
    event_id="e1",
    claimed_at=NOW,
    state=JobState.QUEUED,
    llm_calls=2,
    input_digest=sha256_hex(b"inputs"),
)
LABELS = call_labels(JOB.run_id, JOB.step_id, JOB.claim_id, JOB.llm_calls)
BEGUN = announced_labels(LABELS, JOB)


def kept(labels: object = BEGUN, created: datetime | None = EARLIER) -> KeptCall:
    assert isinstance(labels, dict)
    return KeptCall(labels=labels, created=created)


def test_the_call_that_the_job_booked_is_its_own_with_the_inputs_that_it_was_begun_with() -> (
    None
):
    found = own_call("v1_abc", kept(), JOB, NOW)

    assert found == BackgroundCall(
        id="v1_abc", begun_at=EARLIER, input_digest=sha256_hex(b"inputs")
    )


@pytest.mark.parametrize("created", [None, NOW + timedelta(hours=1)])
def test_a_call_was_not_begun_in_the_future(created: datetime | None) -> None:
    found = own_call("v1_abc", kept(created=created), JOB, NOW)

    assert found is not None
    assert found.begun_at == NOW


@pytest.mark.parametrize("name", [RUN, STEP, CLAIM, CALL])
@pytest.mark.parametrize("value", ["1", "", None])
def test_another_jobs_call_is_not(name: str, value: str | None) -> None:
    others = {**BEGUN, name: value}
    labels = {key: text for key, text in others.items() if text is not None}

    assert own_call("v1_abc", kept(labels), JOB, NOW) is None


def test_the_call_before_the_last_is_not() -> None:
    assert own_call("v1_abc", kept(), replace(JOB, llm_calls=3), NOW) is None


def test_a_call_that_the_provider_does_not_know_is_nobodys() -> None:
    assert own_call("v1_abc", None, JOB, NOW) is None


@given(st.text())
def test_inputs_that_cannot_be_read_are_no_ones(label: str) -> None:
    found = own_call("v1_abc", kept({**BEGUN, INPUTS: label}), JOB, NOW)

    assert found is not None
    assert found.input_digest != JOB.input_digest or label.lower() == BEGUN[INPUTS]


@given(st.binary())
def test_the_label_of_the_inputs_is_one_that_the_provider_takes(data: bytes) -> None:
    digest = sha256_hex(data)
    labels = announced_labels(LABELS, replace(JOB, input_digest=digest))

    assert len(labels[INPUTS]) <= 63
    assert labels[INPUTS] == labels[INPUTS].lower()
    found = own_call("v1_abc", kept(dict(labels)), JOB, NOW)
    assert found is not None
    assert found.input_digest == digest
