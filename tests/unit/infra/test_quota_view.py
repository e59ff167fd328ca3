"""What an operator sees of a provider's quota, and how many reads that takes."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from jsonschema import Draft202012Validator

from executor.contract.tiers import ServiceTier
from executor.model_calls.pools import Pool, pool_of, pool_place
from infra.docs.json_shapes import SHAPES
from infra.local.embedded.documents import EmbeddedDocuments
from infra.ops.console.reads import metered
from infra.ops.environment.connection import Connection
from infra.ops.environment.listing import EmbeddedRunListing
from infra.ops.quota.reading import MOST_PLACES, read_quotas
from infra.ops.quota.view import Quotas, QuotaStanding, WaitingJobs, quotas_of
from infra.ops.quota.words import allowed_words, standing_words, summary, waiting_words
from shared.domain.documents import Create, DocumentRef
from shared.domain.identifiers import ClaimId, RunId, StepId
from shared.domain.job_documents import COLLECTION, QUEUE, create_job
from shared.domain.jobs import JobRecord, JobState
from shared.domain.pace_documents import pace_place, pace_write
from shared.domain.pacing import Pace, first_refused, limited, unknown
from shared.domain.waiting import Waiting

NOW = datetime(2026, 1, 5, 9, 0, 30, tzinfo=UTC)
PLACE = pace_place("gemini-x", "ai_studio")
FLEX = pace_place("gemini-x", "ai_studio-flex")


class At:
    """Implements the Clock port at one moment."""

    def now(self) -> datetime:
        return NOW

    def monotonic(self) -> float:
        return 0.0


def waiting_job(number: int, *, place: str = PLACE, claimed_hours_ago: float = 1) -> JobRecord:
    claimed_at = NOW - timedelta(hours=claimed_hours_ago)
    until = claimed_at + timedelta(hours=6)
    return JobRecord(
        run_id=RunId("20260105-090000_BTCUSD_demo"),
        step_id=StepId(f"s{number:03}"),
        claim_id=ClaimId("c"),
        event_id="e",
        claimed_at=claimed_at,
        state=JobState.QUEUED,
        waiting=Waiting(
            place=place, since=claimed_at, until=until, due_at=until, turn=claimed_at
        ),
    )


def only(quotas: Quotas) -> str:
    [quota] = quotas.quotas
    return quota.standing


def seen(pace: Pace, now: datetime = NOW) -> Quotas:
    return quotas_of({PLACE: pace}, {}, cut=False, now=now)


def refused_again(pace: Pace, times: int) -> Pace:
    for _ in range(times):
        at = pace.resume_at + timedelta(seconds=10)
        pace, granted = pace.granted(at, 1)
        assert granted == 1
        pace = pace.refused(at + timedelta(seconds=1))
    return pace


@pytest.mark.parametrize("tier", ServiceTier)
@pytest.mark.parametrize("model", ["gemini-3.5-flash", "publishers/x@1 y|z", "a-flex"])
def test_the_pool_of_a_place_is_the_one_it_was_made_of(model: str, tier: ServiceTier) -> None:
    pool = Pool(model, tier)

    assert pool_of(pool_place(pool, "vertex-europe-west4")) == (pool, "vertex-europe-west4")


@pytest.mark.parametrize("text", ["", "no place", "a@b@c", "|"])
def test_what_is_no_place_is_of_no_pool(text: str) -> None:
    assert pool_of(text) is None


def test_a_model_stands_by_what_its_pace_says() -> None:
    refused = first_refused(PLACE, NOW, delay=None)
    delayed = first_refused(PLACE, NOW, delay=timedelta(seconds=30))
    outage = refused_again(refused, 3)

    assert only(seen(refused)) == QuotaStanding.PAUSED
    assert only(seen(delayed)) == QuotaStanding.PAUSED
    assert only(seen(refused, refused.resume_at)) == QuotaStanding.PACED
    assert only(seen(refused, NOW + timedelta(minutes=11))) == QuotaStanding.FREE
    assert only(seen(outage, outage.resume_at)) == QuotaStanding.OUTAGE
    [quota] = seen(outage, outage.resume_at - timedelta(seconds=1)).quotas
    assert quota.strikes == 4
    assert "Refused 4 times in a row" in standing_words(quota)
    assert quota.resume_at == outage.resume_at


def test_what_is_allowed_is_configured_learned_guessed_or_all() -> None:
    steady = replace(unknown(PLACE, NOW), steady=True, peak=31.4)

    [told] = seen(limited(PLACE, NOW, 60.0)).quotas
    [known] = seen(steady).quotas
    [free] = seen(steady, NOW + timedelta(minutes=11)).quotas
    [guessed] = seen(replace(steady, steady=False)).quotas

    assert (told.configured, told.learned, allowed_words(told)) == (
        60.0,
        None,
        "57 a minute, configured",
    )
    assert (known.configured, known.learned) == (None, 31.4)
    assert allowed_words(known) == "30 a minute, learned"
    assert (free.allowed, allowed_words(free), free.learned) == (None, "all", 31.4)
    assert guessed.learned is None
    assert allowed_words(guessed).endswith(" a minute, a first guess")


def test_taken_is_what_was_granted_and_not_refused_of_late() -> None:
    pace, granted = limited(PLACE, NOW, 6_000.0).granted(NOW + timedelta(seconds=6), 40)
    pace = pace.refused(NOW + timedelta(seconds=8), count=3)

    [quota] = seen(pace, NOW + timedelta(minutes=1)).quotas
    [later] = seen(pace, NOW + timedelta(minutes=20)).quotas

    assert granted == 40
    assert (quota.taken, quota.refused) == (37, 3)
    assert (later.taken, later.refused, list(later.minutes)) == (0, 0, [])


def test_the_queue_says_its_last_slot_and_the_patience_that_ends_first() -> None:
    jobs = [waiting_job(1, claimed_hours_ago=3), waiting_job(2, claimed_hours_ago=4.5)]
    pace = replace(unknown(PLACE, NOW), steady=True, peak=30.0, growing_since=NOW)
    queue = WaitingJobs(jobs=60, first=jobs)

    [quota] = quotas_of({PLACE: pace}, {PLACE: queue}, cut=False, now=NOW).quotas

    assert quota.waiting is not None
    assert quota.waiting.last_slot_at == pace.slot_after(NOW, 59)
    assert quota.waiting.patience_until == NOW + timedelta(hours=1.5)
    assert quota.waiting.patience_used == pytest.approx(0.75)
    assert waiting_words(quota).endswith("patience until 2026-01-05 10:30:30 UTC")
    assert "60, the last until about 09:02:" in waiting_words(quota)


def test_jobs_of_which_no_record_can_be_read_are_counted_all_the_same() -> None:
    quotas = quotas_of({}, {PLACE: WaitingJobs(jobs=2)}, cut=False, now=NOW)

    [quota] = quotas.quotas
    assert quota.waiting is not None
    assert (quota.waiting.jobs, quota.waiting.patience_until) == (2, None)
    assert (quota.standing, quota.model) == (QuotaStanding.FREE, "gemini-x")
    assert summary(quotas) == "2 jobs wait for the provider's quota."


@pytest.fixture
def documents() -> EmbeddedDocuments:
    return EmbeddedDocuments()


@pytest.fixture
def connection(documents: EmbeddedDocuments) -> Connection:
    return Connection(
        name="here",
        project="p",
        database="(default)",
        flow_runs="flow_runs",
        documents=documents,
        runs=EmbeddedRunListing(documents),
        objects=lambda: pytest.fail("no object is read"),
        local=None,
    )


async def put(documents: EmbeddedDocuments, *writes: Create) -> None:
    await documents.commit(list(writes), timeout_seconds=1)


async def test_all_queues_and_paces_are_found_and_read_within_bounds(
    documents: EmbeddedDocuments, connection: Connection
) -> None:
    paces = [unknown(pace_place(f"a-{n:02}", "e"), NOW) for n in range(MOST_PLACES + 5)]
    # By its id it comes after all those that are read.
    own = replace(unknown(PLACE, NOW), limit=30.0)
    for pace in (*paces, own):
        await documents.commit([pace_write(pace, None)], timeout_seconds=1)
    await put(documents, *(create_job(waiting_job(number)) for number in range(1_000)))
    await put(documents, create_job(waiting_job(5_000, place=FLEX)))
    counted, meter = metered(connection)

    quotas = await read_quotas(counted, At())

    waits = {quota.place: quota.waiting.jobs for quota in quotas.quotas if quota.waiting}
    assert waits == {PLACE: 1_000, FLEX: 1}
    assert [quota.tier for quota in quotas.quotas[:2]] == ["standard", "flex"]
    assert quotas.quotas[0].configured == 30.0
    assert quotas.cut
    assert len(quotas.quotas) == MOST_PLACES + 2
    # The reads: the heads of the queues, a count and their end; then the paces and one more,
    # and those of the two queues.
    assert meter.reads <= 2 * 10 + 1 + 1 + MOST_PLACES + 1 + 2


async def test_what_stands_in_the_queue_and_is_no_job_hides_none(
    documents: EmbeddedDocuments, connection: Connection
) -> None:
    odd = ["", "zzz", "no place|x", "|", PLACE]
    await put(
        documents,
        *(
            Create(ref=DocumentRef(COLLECTION, f"odd-{number}"), data={QUEUE: key})
            for number, key in enumerate(odd)
        ),
        create_job(waiting_job(1)),
    )
    await documents.commit(
        [Create(ref=DocumentRef("llm_pacing", "broken"), data={"peak": "x"})], timeout_seconds=1
    )

    quotas = await read_quotas(connection, At())

    [own] = [quota for quota in quotas.quotas if quota.place == PLACE]
    assert own.waiting is not None
    assert own.waiting.patience_until == NOW + timedelta(hours=5)
    assert not quotas.cut
    Draft202012Validator(SHAPES["quota"]).validate(json.loads(json.dumps(quotas.as_json())))


async def test_an_environment_where_nobody_was_refused_says_so(connection: Connection) -> None:
    quotas = await read_quotas(connection, At())

    assert quotas.as_json() == {"quotas": [], "cut": False}
    assert summary(quotas) == "No job waits for the provider's quota."
