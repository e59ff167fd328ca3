"""Calls in the background: begun, left alone and looked for, in virtual time."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from executor.jobs.lease import HeldJob, LeaseLost
from executor.jobs.outcome import AnswerPending
from executor.model_calls.background import LAST_CHANCE_SECONDS, BackgroundCalls
from executor.model_calls.looks import FIRST_LOOK, SHORTEST_PAUSE
from executor.model_calls.watching import (
    FORGOTTEN_AFTER,
    FORGOTTEN_LOOKS,
    MISSING_AGAIN,
    CallWatcher,
)
from executor.ports import (
    CallFailed,
    CallForgotten,
    CallRunning,
    CallState,
    KeptCall,
    ModelAnswer,
    ModelRequest,
)
from executor.settings import HookSettings
from shared.domain.errors import (
    GeminiAccessDenied,
    GeminiRequestFailed,
    InvalidStepInputs,
    LlmProfileInvalid,
    LlmSafetyBlock,
    RateLimited,
    StepError,
)
from shared.domain.jobs import BackgroundCall
from tests.support.held_job import (
    REQUEST,
    START,
    Documents,
    VirtualClock,
    held,
    invocation,
    queued,
    virtually,
)
from tests.support.worker import ANSWER

HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
SECOND = timedelta(seconds=1)
HOOKS = HookSettings(url="https://hooks.example", secret=SecretStr("s" * 32))
MOST_LOOKS = 60
RUNNING = CallRunning()
CALL = BackgroundCall(id="v1_abc", begun_at=START, input_digest="digest")


@dataclass(slots=True)
class Model:
    """Implements the BackgroundModel port; the answer is there after `thinks_seconds`."""

    thinks_seconds: float = 0.0
    ends_as: CallState = ANSWER
    #: The errors that the first looks raise, one error for each look.
    trouble: list[StepError] = field(default_factory=list)
    begins_in_seconds: float = 0.1
    looks: list[float] = field(default_factory=list)
    forgotten: list[tuple[str, bool]] = field(default_factory=list)
    #: How a call ends when it is stopped; None where a stop does not end it.
    stops_as: CallState | None = None
    stopped: list[float] = field(default_factory=list)
    kept: KeptCall | None = None

    async def begin(self, request: ModelRequest, *, timeout_seconds: float) -> str:
        del request, timeout_seconds
        await asyncio.sleep(self.begins_in_seconds)
        return CALL.id

    async def fetch(self, call_id: str, *, timeout_seconds: float) -> CallState:
        assert call_id == CALL.id
        assert timeout_seconds == 30
        now = asyncio.get_running_loop().time()
        self.looks.append(now)
        if self.trouble:
            raise self.trouble.pop(0)
        if self.stopped and self.stops_as:
            return self.stops_as
        return self.ends_as if now >= self.thinks_seconds else RUNNING

    async def describe(self, call_id: str, *, timeout_seconds: float) -> KeptCall | None:
        del timeout_seconds
        return self.kept if call_id == CALL.id else None

    async def stop(self, call_id: str, *, timeout_seconds: float) -> None:
        del timeout_seconds
        assert call_id == CALL.id
        self.stopped.append(asyncio.get_running_loop().time())

    async def forget(self, call_id: str, *, ended: bool, timeout_seconds: float) -> None:
        del timeout_seconds
        self.forgotten.append((call_id, ended))


def calls(model: Model, longest: timedelta = HOUR) -> BackgroundCalls:
    clock = VirtualClock()
    watcher = CallWatcher(model=model, clock=clock, longest=longest)
    return BackgroundCalls(model=model, clock=clock, watcher=watcher)


def wait(
    model: Model, *, longest: timedelta = HOUR, call: BackgroundCall = CALL
) -> ModelAnswer:
    """Look as often as the job is woken, each time in an invocation of its own."""

    async def scene() -> ModelAnswer:
        work = invocation(await held(Documents()))
        work.held.note(lambda job: job.begin_in_background(call))
        looking = calls(model, longest)
        for _ in range(MOST_LOOKS):
            try:
                work = await looking.looked(work)
            except AnswerPending as pending:
                rest = pending.look_at - VirtualClock().now()
                # If the rest were zero or negative, there would be too many looks.
                await asyncio.sleep(rest.total_seconds())
            else:
                return await looking.answer(call, work)
        raise AssertionError("no end")

    return virtually(scene())


@given(st.floats(0, 3_500))
def test_an_answer_is_noticed_soon_after_it_is_there(thinks_seconds: float) -> None:
    model = Model(thinks_seconds)

    assert wait(model) == ANSWER

    late = model.looks[-1] - thinks_seconds
    assert late <= max(10, thinks_seconds / 2) + 1e-6
    assert late <= 600
    assert len(model.looks) <= MOST_LOOKS


def test_nobody_waits_for_an_answer() -> None:
    async def scene() -> float:
        work = invocation(await held(Documents()))
        work.held.note(lambda job: job.begin_in_background(CALL))
        with pytest.raises(AnswerPending):
            await calls(Model(thinks_seconds=10_000)).looked(work)
        return VirtualClock().monotonic()

    assert virtually(scene()) == 0


def test_a_job_without_a_call_looks_for_none() -> None:
    async def scene() -> None:
        model = Model()
        work = invocation(await held(Documents()))

        assert await calls(model).looked(work) == work
        assert model.looks == []

    virtually(scene())


def test_the_first_look_is_due_when_the_calls_before_had_ended() -> None:
    async def scene() -> tuple[timedelta, timedelta]:
        work = invocation(await held(Documents()))
        work.held.note(lambda job: job.begin_in_background(CALL))
        looking = calls(Model(ends_as=replace(ANSWER, worked=timedelta(minutes=7))))
        before = looking.first_look_at(CALL, work, until=START + 6 * HOUR) - START
        await looking.looked(work)
        return before, looking.first_look_at(CALL, work, until=START + 6 * HOUR) - START

    assert virtually(scene()) == (FIRST_LOOK, timedelta(minutes=7))


def first_look(
    announced: Sequence[str | None], *, left: timedelta, hooks: HookSettings | None = HOOKS
) -> timedelta:
    """When the next call is first looked for, after one answer for each item announced."""

    async def scene() -> timedelta:
        work = invocation(await held(Documents()))
        work.held.note(lambda job: job.begin_in_background(CALL))
        looking = replace(calls(Model(ends_as=replace(ANSWER, worked=SECOND))), hooks=hooks)
        for each in announced:
            await looking.looked(replace(work, announced=each))
        return looking.first_look_at(CALL, work, until=START + left) - START

    return virtually(scene())


@pytest.mark.parametrize(
    ("left", "look"),
    [
        (6 * HOUR, HOUR),
        (30 * MINUTE, 15 * MINUTE),
        (4 * SECOND, SHORTEST_PAUSE),
        (-HOUR, SHORTEST_PAUSE),
    ],
    ids=["at most until it is given up", "half of the time", "no time", "too late"],
)
def test_a_look_waits_for_the_hook_where_hooks_come(left: timedelta, look: timedelta) -> None:
    assert first_look([CALL.id], left=left) == look


@pytest.mark.parametrize(
    ("announced", "hooks"),
    [
        ([], HOOKS),
        ([None], HOOKS),
        (["v1_other"], HOOKS),
        ([CALL.id, None], HOOKS),
        ([CALL.id], None),
    ],
    ids=["none seen", "none came", "of another call", "none came lately", "not asked for"],
)
def test_a_look_waits_for_no_hook_that_may_not_come(
    announced: Sequence[str | None], hooks: HookSettings | None
) -> None:
    look = first_look(announced, left=6 * HOUR, hooks=hooks)

    assert look == (SHORTEST_PAUSE if announced else FIRST_LOOK)


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


@pytest.mark.parametrize(
    "refusal",
    [GeminiAccessDenied("403"), LlmProfileInvalid("400"), InvalidStepInputs("413")],
    ids=repr,
)
def test_a_look_that_is_refused_says_nothing_either(refusal: StepError) -> None:
    model = Model(trouble=[refusal] * 30)

    assert wait(model) == ANSWER
    assert model.forgotten == []


def test_a_call_that_can_never_be_looked_for_ends_with_the_reason_and_may_be_billed() -> None:
    model = Model(trouble=[GeminiAccessDenied("403")] * 10_000)

    with pytest.raises(GeminiAccessDenied) as raised:
        wait(model, longest=timedelta(minutes=1))

    assert raised.value.maybe_billed


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
    assert len(model.looks) >= FORGOTTEN_LOOKS
    assert model.looks[-1] >= FORGOTTEN_AFTER.total_seconds()


@given(st.integers(0, 110))
def test_a_call_that_is_not_known_for_a_while_is_found_again(seconds: int) -> None:
    """The provider also says that it does not know a call that it has just taken."""

    @dataclass(slots=True)
    class Late(Model):
        async def fetch(self, call_id: str, *, timeout_seconds: float) -> CallState:
            found = await Model.fetch(self, call_id, timeout_seconds=timeout_seconds)
            return found if self.looks[-1] >= seconds else CallForgotten()

    assert wait(Late()) == ANSWER


def test_how_long_a_call_has_been_missing_survives_its_holders() -> None:
    async def scene() -> BackgroundCall | None:
        work = invocation(await held(Documents()))
        work.held.note(lambda job: job.begin_in_background(CALL))
        for _ in range(2):
            with pytest.raises(AnswerPending) as raised:
                await calls(Model(ends_as=CallForgotten())).looked(work)
            assert raised.value.look_at == VirtualClock().now() + MISSING_AGAIN
        return work.held.with_notes.interaction

    noted = virtually(scene())

    assert noted is not None
    assert (noted.missing_since, noted.missing_looks) == (START, 2)


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


def test_an_executor_that_lost_the_lease_records_nothing() -> None:
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

    assert job.with_notes.interaction is not None


def test_who_is_stopped_does_not_wait_for_ever() -> None:
    job, ended_at = virtually(_stopped_in_begin(Model(begins_in_seconds=60)))

    assert job.with_notes.interaction is None
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


STOPPED = GeminiRequestFailed("stopped", maybe_billed=True)


def wait_until_stopped(model: Model, *, stop_at: float) -> ModelAnswer:
    return wait(model, call=replace(CALL, stop_at=START + timedelta(seconds=stop_at)))


def test_a_call_is_stopped_when_a_dearer_one_must_begin_and_its_end_is_read() -> None:
    model = Model(thinks_seconds=300, stops_as=CallFailed(STOPPED))

    with pytest.raises(GeminiRequestFailed, match="stopped"):
        wait_until_stopped(model, stop_at=100)

    [at] = model.stopped
    assert at == pytest.approx(100, abs=0.5)
    assert model.looks[-1] >= at


def test_an_answer_that_came_before_the_stop_is_taken() -> None:
    assert wait_until_stopped(Model(300, stops_as=ANSWER), stop_at=100) == ANSWER


def test_a_call_that_does_not_stop_is_waited_for() -> None:
    model = Model(thinks_seconds=130)

    assert wait_until_stopped(model, stop_at=100) == ANSWER
    assert len(model.stopped) >= 1


def test_a_call_that_answers_in_time_is_not_stopped() -> None:
    model = Model(thinks_seconds=90)

    assert wait_until_stopped(model, stop_at=100) == ANSWER
    assert model.stopped == []
