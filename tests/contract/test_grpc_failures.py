"""Whatever Firestore and Pub/Sub answer or fail to answer becomes a port's outcome, in time."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import grpc
import pytest

from infra.local.emulators.clients import firestore_client, publisher_client, subscriber_client
from infra.ops.dead_letters import box as letters
from infra.ops.dead_letters.box import BoxUnavailable, PubSubDeadLetters
from shared.adapters.firestore import FirestoreDocuments, FirestoreUnfinishedWork
from shared.adapters.pubsub import PubSubQueue
from shared.domain.documents import Create, DocumentRef
from shared.domain.messages import OutgoingMessage
from shared.ports import (
    Conflict,
    PortFailure,
    QueueRefused,
    StoreRefused,
    Unavailable,
)
from tests.support.failing_grpc import (
    CANARY,
    Behavior,
    drip,
    failing,
    garbage,
    hang,
    serving,
)
from tests.support.machine_time import GRACE, stopwatch

SECONDS = 0.6
REF = DocumentRef("flow_runs", "r")
NOW = datetime(2026, 1, 5, tzinfo=UTC)
Status = grpc.StatusCode
MAY_PASS = [
    Status.UNAVAILABLE,
    Status.CANCELLED,
    Status.INTERNAL,
    Status.UNKNOWN,
    Status.DEADLINE_EXCEEDED,
    Status.RESOURCE_EXHAUSTED,
    Status.DATA_LOSS,
]
FOR_GOOD = [
    Status.INVALID_ARGUMENT,
    Status.OUT_OF_RANGE,
    Status.PERMISSION_DENIED,
    Status.UNAUTHENTICATED,
    Status.UNIMPLEMENTED,
]


async def read(host: str) -> object:
    client: Any = firestore_client(host, "p")
    return await FirestoreDocuments(client).read([REF], timeout_seconds=SECONDS)


async def commit(host: str) -> object:
    client: Any = firestore_client(host, "p")
    write = Create(ref=REF, data={"a": 1})
    return await FirestoreDocuments(client).commit([write], timeout_seconds=SECONDS)


async def due_jobs(host: str) -> object:
    work = FirestoreUnfinishedWork(firestore_client(host, "p"))
    return await work.due_jobs(NOW, after=None, limit=5, timeout_seconds=SECONDS)


async def running_runs(host: str) -> object:
    work = FirestoreUnfinishedWork(firestore_client(host, "p"))
    return await work.running_runs("flow_runs", after=None, limit=5, timeout_seconds=SECONDS)


async def publish(host: str) -> object:
    queue = PubSubQueue(publisher_client(host), "projects/p/topics/t")
    await queue.publish([OutgoingMessage(data=b"x")], timeout_seconds=SECONDS)
    return None


OPERATIONS = [read, commit, due_jobs, running_runs, publish]
Operation = Callable[[str], Awaitable[object]]


async def outcome(behave: Behavior, operation: Operation) -> tuple[BaseException | None, float]:
    """The outcome of the operation, and after how many seconds it came."""
    async with serving(behave) as host, stopwatch() as watch:
        try:
            await operation(host)
        except Exception as error:  # noqa: BLE001 -- what it is, the tests say
            return error, watch.seconds
        return None, watch.seconds


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("status", MAY_PASS, ids=lambda status: status.name)
async def test_what_may_pass_is_unavailable_and_over_in_time(
    status: Any, operation: Operation
) -> None:
    error, seconds = await outcome(failing(status), operation)

    assert isinstance(error, Unavailable)
    assert CANARY not in str(error)
    assert seconds < SECONDS + GRACE


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("status", FOR_GOOD, ids=lambda status: status.name)
async def test_what_is_refused_for_good_says_the_status_and_nothing_of_the_message(
    status: Any, operation: Operation
) -> None:
    error, seconds = await outcome(failing(status), operation)

    assert isinstance(error, StoreRefused | QueueRefused)
    assert error.unfit == (status in {Status.INVALID_ARGUMENT, Status.OUT_OF_RANGE})
    assert str(error).startswith(status.name)
    assert CANARY not in str(error)
    assert seconds < SECONDS + GRACE


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("behave", [hang, garbage], ids=["nothing", "garbage"])
async def test_no_operation_outlives_its_time(behave: Behavior, operation: Operation) -> None:
    error, seconds = await outcome(behave, operation)

    assert isinstance(error, PortFailure)
    assert seconds < SECONDS + GRACE


@pytest.mark.parametrize("operation", [due_jobs, running_runs])
async def test_an_answer_that_never_ends_is_given_up_in_time(operation: Operation) -> None:
    error, seconds = await outcome(drip, operation)

    assert isinstance(error, Unavailable)
    assert seconds < SECONDS + GRACE


@pytest.mark.parametrize(
    "status", [Status.FAILED_PRECONDITION, Status.ALREADY_EXISTS, Status.NOT_FOUND]
)
async def test_a_guard_that_did_not_hold_is_a_conflict_of_a_commit_alone(status: Any) -> None:
    error, _ = await outcome(failing(status), commit)
    assert isinstance(error, Conflict)

    error, _ = await outcome(failing(status), read)
    assert isinstance(error, StoreRefused)


@pytest.mark.parametrize("act", ["pull", "hold", "acknowledge"])
@pytest.mark.parametrize(
    "behave",
    [hang, garbage, *(failing(status) for status in (Status.UNAVAILABLE, Status.INTERNAL))],
    ids=["nothing", "garbage", "UNAVAILABLE", "INTERNAL"],
)
async def test_the_dead_letter_box_keeps_time_too(
    behave: Behavior, act: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(letters, "_CALL_SECONDS", SECONDS)
    monkeypatch.setattr(letters, "_PULL_SECONDS", SECONDS / 2)

    async def operation(host: str) -> object:
        async with subscriber_client(host) as client:
            dead = PubSubDeadLetters(client, "projects/p/subscriptions/s")
            if act == "pull":
                return await dead.pull(1)
            await (dead.hold(["a"], 10) if act == "hold" else dead.acknowledge(["a"]))
            return None

    error, seconds = await outcome(behave, operation)

    # A pull without an answer counts as having found nothing; an acknowledgement's answer is
    # empty anyway.
    silent = behave is hang if act == "pull" else behave is garbage
    assert error is None if silent else isinstance(error, BoxUnavailable)
    assert seconds < SECONDS + GRACE
