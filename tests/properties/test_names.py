"""Laws of ids, field paths, places of objects, deadlines and messages."""

from hypothesis import given
from hypothesis import strategies as st

from executor.contract.artifacts import artifact_uri, normalize_prefix, parse_gcs_uri
from executor.contract.canonical import canonical_hash
from executor.jobs.deadline import Deadline
from shared.domain.flow_run import step_field
from shared.domain.identifiers import (
    RUN_ID_PATTERN,
    TIMEFRAME_PATTERN,
    ClaimId,
    RunId,
    StepId,
    Timeframe,
    is_run_id,
    is_step_id,
    job_id,
    split_job_id,
)
from shared.domain.messages import JobMessage, decode_job_message
from tests.support.held_job import VirtualClock

RUN_IDS = st.from_regex(RUN_ID_PATTERN, fullmatch=True).filter(lambda text: len(text) < 200)
STEP_IDS = st.text(min_size=1, max_size=120).filter(is_step_id)
TIMEFRAMES = st.from_regex(TIMEFRAME_PATTERN, fullmatch=True).filter(str.isalnum)
PREFIXES = st.text(alphabet="ab/-_é", max_size=20)
SECONDS = st.floats(0, 1e6)


@given(run=RUN_IDS.filter(is_run_id), step=STEP_IDS)
def test_job_ids_lead_back_and_so_never_collide(run: str, step: str) -> None:
    assert split_job_id(job_id(RunId(run), StepId(step))) == (run, step)


@given(step=STEP_IDS, path=st.lists(st.text(min_size=1), max_size=3))
def test_a_step_id_is_one_segment_of_a_field_path(step: str, path: list[str]) -> None:
    assert step_field(StepId(step), *path) == ("steps", step, *path)


@given(prefix=PREFIXES, run=RUN_IDS.filter(is_run_id), timeframe=TIMEFRAMES, step=STEP_IDS)
def test_a_reports_place_names_its_step_and_reads_back(
    prefix: str, run: str, timeframe: str, step: str
) -> None:
    uri = artifact_uri(
        bucket="a-bucket",
        prefix=prefix,
        run_id=RunId(run),
        timeframe=Timeframe(timeframe),
        step_id=StepId(step),
    )

    assert parse_gcs_uri(str(uri)) == uri
    *_, run_part, timeframe_part, file = uri.name.split("/")
    assert (run_part, timeframe_part, file) == (run, timeframe, f"{step}.json")
    assert "//" not in uri.name
    assert not uri.name.startswith("/")


@given(prefix=PREFIXES)
def test_normalizing_a_prefix_twice_changes_nothing_more(prefix: str) -> None:
    once = normalize_prefix(prefix)

    assert normalize_prefix(once) == once


@given(run=RUN_IDS.filter(is_run_id), step=STEP_IDS, claim=st.text(min_size=1, max_size=40))
def test_a_job_message_reads_back(run: str, step: str, claim: str) -> None:
    try:
        claim.encode()
    except UnicodeEncodeError:
        return
    message = JobMessage(run_id=RunId(run), step_id=StepId(step), claim_id=ClaimId(claim))

    assert decode_job_message(message.encode().data) == message


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(items=st.dictionaries(st.text(max_size=5), JSON, max_size=6), seed=st.randoms())
def test_a_hash_does_not_depend_on_the_order_of_keys(
    items: dict[str, object], seed: object
) -> None:
    names = list(items)
    seed.shuffle(names)  # type: ignore[attr-defined]
    shuffled = {name: items[name] for name in names}
    try:
        expected = canonical_hash(items)
    except ValueError:
        return

    assert canonical_hash(shuffled) == expected


class Stopped(VirtualClock):
    """A clock that stands still."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def monotonic(self) -> float:
        return self._seconds


@given(ends=SECONDS, reserve=SECONDS, now=SECONDS, later=SECONDS)
def test_a_deadline_only_ever_comes_nearer(
    ends: float, reserve: float, now: float, later: float
) -> None:
    first, second = (
        Deadline(clock=Stopped(moment), ends_at=ends, reserve_seconds=reserve)
        for moment in sorted((now, later))
    )

    assert 0 <= second.available() <= first.available()
    assert first.available() <= first.remaining()
    assert not first.allows(first.available() + 1)
