"""How much of the provider's quota production leaves, by its environment's documents."""

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from infra.local.embedded.documents import EmbeddedDocuments
from infra.ops.environment.listing import EmbeddedRunListing
from infra.ops.evaluation.asking.production import ProductionQuota, left_by
from shared.domain.documents import Create, DocumentRef
from shared.domain.pace_documents import pace_write
from shared.domain.pacing import Minute, limited

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
PACE = limited("gemini-x@ai_studio", NOW - timedelta(hours=1), 30.0)


class Noon:
    """A clock that always says noon."""

    def now(self) -> datetime:
        return NOW

    def monotonic(self) -> float:
        return 0.0


def minute(ago: int, granted: int) -> Minute:
    return Minute(at=NOW - timedelta(minutes=ago), granted=granted)


async def left(documents: EmbeddedDocuments) -> float:
    quota = ProductionQuota(
        documents=documents,
        runs=EmbeddedRunListing(documents),
        places={"gemini-x@ai_studio"},
        clock=Noon(),
    )
    return await quota.left()


@pytest.mark.parametrize(
    ("minutes", "expected"),
    [
        ((), 26.46),
        ((minute(14, 18), minute(1, 5), minute(0, 2)), 8.46),
        ((minute(16, 18), minute(1, 5)), 21.46),
        ((minute(1, 29),), 0),
    ],
    ids=["idle", "the busiest minute counts", "an old minute does not", "nothing is left"],
)
def test_a_tenth_and_the_busiest_minute_of_late_stay_free(
    minutes: tuple[Minute, ...], expected: float
) -> None:
    assert left_by(replace(PACE, minutes=minutes), NOW) == pytest.approx(expected, abs=0.05)


async def test_where_no_limit_is_known_there_is_none() -> None:
    documents = EmbeddedDocuments()

    assert await left(documents) == math.inf
    forgotten = replace(PACE, limit=None, until=NOW)
    await documents.commit([pace_write(forgotten, None)], timeout_seconds=1)
    assert await left(documents) == math.inf


async def test_what_the_environment_has_learned_is_heeded() -> None:
    documents = EmbeddedDocuments()
    learned = replace(PACE, minutes=(minute(1, 20),))
    await documents.commit([pace_write(learned, None)], timeout_seconds=1)

    assert await left(documents) == pytest.approx(6.46, abs=0.05)


async def test_nothing_is_left_while_a_step_waits() -> None:
    documents = EmbeddedDocuments()
    jobs = [("closed", "SUCCEEDED"), ("at work", "RUNNING")]
    for name, state in jobs:
        ref = DocumentRef("llm_jobs", name)
        await documents.commit([Create(ref=ref, data={"state": state})], timeout_seconds=1)
    assert await left(documents) == math.inf

    waiting = Create(ref=DocumentRef("llm_jobs", "r~s"), data={"state": "QUEUED"})
    await documents.commit([waiting], timeout_seconds=1)
    assert await left(documents) == 0
