"""What the provider and its gateways really answer, through both stages and real sockets."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from infra.local.emulators.clients import firestore_client
from infra.local.gemini.faults import Asked
from shared.domain.job_documents import job_ref
from tests.acceptance.test_model_faults import (
    calls,
    check,
    check_failure,
    check_success,
    may_be_billed,
)
from tests.support.emulators import Emulators
from tests.support.heard_firestore import HeardFirestore
from tests.support.model_stage import RUN_ID, STEP_ID, Ended, drive, seeds
from tests.tables.model_faults import Row
from tests.tables.negative_answers import ROWS as NEGATIVE_ANSWERS
from tests.tables.negative_answers import CallId, NegativeAnswer
from tests.tables.provider_faults import ROWS

INTERACTIONS = {"GEMINI_API": "interactions"}


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
async def test_an_answer_of_the_provider_ends_as_the_table_says(
    row: Row, tmp_path: Path
) -> None:
    began = datetime.now(UTC)  # noqa: TID251 - the harness runs on this machine's time

    ended = await drive(tmp_path, row.rules, seeded=seeds(**row.profile), environ=row.environ)

    check(row, ended, began)


EACH = pytest.mark.parametrize(
    "row", NEGATIVE_ANSWERS, ids=lambda row: f"{row.at}: {row.answer}{row.environ or ''}"
)


@EACH
async def test_no_negative_answer_loses_a_call_that_was_paid_for(
    row: NegativeAnswer, tmp_path: Path
) -> None:
    ended = await drive(tmp_path, row.rules, environ={**INTERACTIONS, **row.environ})

    check_negative(row, ended)


@pytest.fixture
async def firestore(emulators: Emulators, project_id: str) -> AsyncIterator[HeardFirestore]:
    client: Any = firestore_client(emulators.firestore_host, project_id)
    yield HeardFirestore(client)
    client.close()


@pytest.mark.emulators
@EACH
async def test_none_does_so_with_the_record_in_firestore(
    row: NegativeAnswer, tmp_path: Path, firestore: HeardFirestore
) -> None:
    environ = {**INTERACTIONS, **row.environ}

    ended = await drive(tmp_path, row.rules, environ=environ, firestore=firestore)

    check_negative(row, ended)


def test_the_table_has_negative_answers_to_everything_that_is_asked() -> None:
    assert len(NEGATIVE_ANSWERS) >= 45
    # The worker is told of a hook and does not ask for it: tests/acceptance/test_hooks.py tests
    # what becomes of it.
    assert {row.at for row in NEGATIVE_ANSWERS} == set(Asked) - {Asked.HOOK}


def check_negative(row: NegativeAnswer, ended: Ended) -> None:
    """Check that step, money and id are as the row says."""
    assert len(calls(ended)) == row.calls
    ids = [
        data["interaction"]["id"]
        for ref, data in ended.written
        if ref == job_ref(RUN_ID, STEP_ID) and data.get("interaction")
    ]
    match row.call_id:
        case CallId.NONE:
            # When a call was begun although the answer was negative, nobody was told its id.
            assert len(set(ids)) == int(row.code is None)
        case CallId.KEPT:
            # The provider still has the answer, so no second call is paid for.
            assert len(set(ids)) == 1
            assert ended.calls.received.total() == ended.calls.answered.total() == 1
        case CallId.USED | CallId.GIVEN_UP | CallId.STAYS:
            assert len(set(ids)) == row.calls
    if row.code is None:
        check_success(ended)
    else:
        check_failure(Row(fault="", rules=[], code=row.code, message=row.message), ended)
    assert may_be_billed(ended) == row.billed
    let_go = [entry for entry in ended.entries if entry["event"] == "llm_background_deleted"]
    kept = any(entry["severity"] == "WARNING" for entry in let_go)
    assert kept is (row.call_id is CallId.STAYS)
