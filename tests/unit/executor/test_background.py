"""Waiting for an answer in the background, in virtual time."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.background import (
    LAST_CHANCE_SECONDS,
    AnswerPending,
    BackgroundCalls,
    pause_seconds,
)
from executor.lease import HeldJob, LeaseLost
from executor.ports import (
    CallFailed,
    CallForgotten,
    CallRunning,
    CallState,
    ModelAnswer,
    ModelRequest,
)
from shared.domain.errors import (
    GeminiAccessDenied,
    GeminiRequestFailed,
    LlmSafetyBlock,
    RateLimited,
    StepError,
)
from shared.domain.jobs import BackgroundCall
from tests.held_job import (
    REQUEST,
    START,
    Documents,
    VirtualClock,
    held,
    invocation,
    queued,
    virtually,
)
from tests.worker import ANSWER

HOUR = timedelta(hours=1)
RUNNING = CallRunning()
CALL = BackgroundCall(id="v1_abc", begun_at=START, input_digest="digest")


@dataclass(slots=True)
class Model:
    """Implements the BackgroundModel port; the answer is there after `thinks_seconds`."""

    thinks_seconds: float = 0.0
    ends_as: CallState = ANSWER
    #: What befalls the first looks, one each.
    trouble: list[StepError] = field(default_factory=list)
    begins_in_seconds: float = 0.1
    looks: list[float] = field(default_factory=list)
    forgotten: list[tuple[str, bool]] = field(default_factory=list)

    async def begin(self, request: ModelRequest, *, timeout_seconds: float) -> str:
        del request, timeout_seconds
        await asyncio.sleep(self.begins_in_seconds)
        return CALL.id

    async def fetch(self, call_id: str, *, timeout_seconds: float) -> CallState:
        assert call_id == CALL.id
        assert 1 <= timeout_seconds <= 30
        now = asyncio.get_running_loop().time()
        self.looks.append(now)
        if self.trouble:
            raise self.trouble.pop(0)
        return self.ends_as if now >= self.thinks_seconds else RUNNING

    async def forget(self, call_id: str, *, ended: bool, timeout_seconds: float) -> None:
        del timeout_seconds
        self.forgotten.append((call_id, ended))


def calls(model: Model, longest: timedelta = HOUR) -> BackgroundCalls:
    return BackgroundCalls(model=model, clock=VirtualClock(), longest=longest)


def wait(model: Model, *, seconds: float = 480, longest: timedelta = HOUR) -> ModelAnswer:
    async def scene() -> ModelAnswer:
        work = invocation(await held(Documents()))
        return await calls(model, longest).answer(CALL, work, give_back_at=seconds)

    return virtually(scene())


@given(st.floats(0, 470))
def test_an_answer_is_noticed_soon_after_it_is_there(thinks_seconds: float) -> None:
    model = Model(thinks_seconds)

    assert wait(model) == ANSWER

    late = model.looks[-1] - thinks_seconds
    assert late <= max(0.5, thinks_seconds / 10) + 1e-6
    assert late <= 10
    assert len(model.looks) < 100


@given(st.floats(0, 480))
def test_nobody_waits_longer_than_told(seconds: float) -> None:
    model = Model(thinks_seconds=10_000)

    with pytest.raises(AnswerPending):
        wait(model, seconds=seconds)

    assert model.looks[-1] <= seconds
    assert model.forgotten == []


@given(st.integers(0, 100_000))
def test_pauses_are_a_tenth_of_the_time_so_far_within_bounds(seconds: int) -> None:
    pause = pause_seconds(timedelta(seconds=seconds))

    assert 0.5 <= pause <= 10
    assert pause == seconds / 10 or pause in {0.5, 10}


@pytest.mark.parametrize(
    "trouble",
    [[GeminiRequestFailed("503")], [GeminiRequestFailed("reset", maybe_billed=True)] * 3],
    ids=["refused", "lost"],
)
def test_a_look_without_an_answer_says_nothing(trouble: Sequence[StepError]) -> None:
    assert wait(Model(trouble=[*trouble])) == ANSWER


def test_the_provider_is_not_asked_sooner_than_it_wants() -> None:
    model = Model(trouble=[RateLimited("429", retry_after=timedelta(seconds=33))])

    assert wait(model) == ANSWER
    assert model.looks == [0, 33]


def test_a_look_that_is_refused_for_good_is_an_error() -> None:
    with pytest.raises(GeminiAccessDenied):
        wait(Model(trouble=[GeminiAccessDenied("403")]))


@pytest.mark.parametrize("error", [GeminiRequestFailed("failed"), LlmSafetyBlock("blocked")])
def test_a_failed_call_is_its_error_and_is_deleted(error: StepError) -> None:
    model = Model(ends_as=CallFailed(error))

    with pytest.raises(type(error)):
        wait(model)

    assert model.forgotten == [(CALL.id, True)]


def test_a_call_that_is_gone_may_have_been_billed() -> None:
    model = Model(ends_as=CallForgotten())

    with pytest.raises(GeminiRequestFailed) as raised:
        wait(model)

    assert raised.value.maybe_billed
    assert model.forgotten == []


def test_a_call_at_work_for_too_long_is_stopped_and_deleted() -> None:
    model = Model(thinks_seconds=10_000)

    with pytest.raises(GeminiRequestFailed, match="no answer within 60 s") as raised:
        wait(model, longest=timedelta(minutes=1))

    assert raised.value.maybe_billed
    assert model.forgotten == [(CALL.id, False)]


def test_the_id_is_recorded_with_the_inputs_before_anybody_looks() -> None:
    async def scene() -> None:
        documents = Documents()
        job = await held(documents)
        job.note(lambda record: record.note_inputs("digest"))
        model = Model()
        call = await calls(model).begin(REQUEST, invocation(job), seconds=60)

        assert model.looks == []
        assert (await documents.stored()).interaction == call
        assert (call.id, call.input_digest) == (CALL.id, "digest")

    virtually(scene())


def test_an_id_that_could_not_be_recorded_travels_with_the_next_write() -> None:
    async def scene() -> None:
        documents = Documents()
        job = await held(documents)
        documents.faults, documents.down_reads = ["down"], 1
        call = await calls(Model()).begin(REQUEST, invocation(job), seconds=60)
        assert (await documents.stored()).interaction is None
        await job.update(lambda record: record)

        assert (await documents.stored()).interaction == call

    virtually(scene())


def test_whoever_lost_the_lease_records_nothing() -> None:
    async def scene() -> None:
        documents = Documents()
        job = await held(documents)
        await documents.stolen()
        with pytest.raises(LeaseLost):
            await calls(Model()).begin(REQUEST, invocation(job), seconds=60)

        assert (await documents.stored()).interaction is None

    virtually(scene())


async def _stopped_in_begin(model: Model) -> tuple[HeldJob, float]:
    job = await held(Documents())
    beginning = asyncio.create_task(calls(model).begin(REQUEST, invocation(job), seconds=60))
    await asyncio.sleep(0.05)
    beginning.cancel()
    with pytest.raises(asyncio.CancelledError):
        await beginning
    return job, asyncio.get_running_loop().time()


def test_who_is_stopped_in_the_middle_still_learns_the_id() -> None:
    job, _ = virtually(_stopped_in_begin(Model(begins_in_seconds=2)))

    assert job.settled.interaction is not None


def test_who_is_stopped_does_not_wait_for_ever() -> None:
    job, ended_at = virtually(_stopped_in_begin(Model(begins_in_seconds=60)))

    assert job.settled.interaction is None
    assert ended_at <= LAST_CHANCE_SECONDS + 0.1


@pytest.mark.parametrize(
    ("call", "digest", "found"),
    [
        (CALL, "digest", True),
        (CALL, "other", False),
        (CALL, None, False),
        (None, "digest", False),
    ],
)
def test_only_the_answer_to_the_same_inputs_is_fetched(
    call: BackgroundCall | None, digest: str | None, *, found: bool
) -> None:
    record = replace(queued(), interaction=call, input_digest=digest)

    assert (calls(Model()).resumable(record) is not None) is found
