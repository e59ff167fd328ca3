"""The embedded adapters with the real dispatcher; the executor is a scripted endpoint."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from infra.local.embedded.deliveries import DeliveryPolicy
from infra.local.embedded.environment import (
    EmbeddedEnvironment,
    Stages,
    _dispatcher,
    sweep_handler,
)
from infra.local.processes.functions import function_environ
from infra.local.storage.objects import ObjectFolder
from shared.domain.documents import Create, DocumentRef, Update
from shared.domain.messages import decode_job_message

RUN = DocumentRef("flow_runs", "20260101-000000_BTCUSDT_abc")
FAST = DeliveryPolicy(first_retry_seconds=0.01, max_attempts=3)
TIMEOUT = 5.0


class Executor:
    """Answers each push with the next status, and repeats the last one."""

    def __init__(self, statuses: Sequence[int]) -> None:
        self.statuses = list(statuses)
        self.bodies: list[dict[str, Any]] = []
        self.most_at_once = self.now = 0
        self.pushed = asyncio.Event()

    async def answer(self, body: bytes) -> int:
        """Take a push, for a little more than no time."""
        self.now += 1
        self.most_at_once = max(self.most_at_once, self.now)
        self.bodies.append(json.loads(body))
        self.pushed.set()
        await asyncio.sleep(0.01)
        self.now -= 1
        return self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]


def flow_run(steps: int = 1) -> dict[str, Any]:
    step = {"stepType": "LLM_REPORT", "status": "READY", "timeframe": "1d", "inputs": {}}
    return {"status": "RUNNING", "steps": {f"1d:report-{n}": dict(step) for n in range(steps)}}


@asynccontextmanager
async def running(
    tmp_path: Path, executor: Executor, *, policy: DeliveryPolicy = FAST
) -> AsyncIterator[EmbeddedEnvironment]:
    folder = ObjectFolder(tmp_path / "objects")
    stages: Callable[[EmbeddedEnvironment], Stages] = lambda environment: Stages(  # noqa: E731
        dispatch=_dispatcher(environment), execute=executor.answer
    )
    with (tmp_path / "worker.log").open("w") as log:
        async with EmbeddedEnvironment(
            environ=function_environ("local", "http://127.0.0.1:1"),
            folder=folder,
            log_stream=log,
            policy=policy,
            stages=stages,
        ) as environment:
            yield environment


async def seed(environment: EmbeddedEnvironment, steps: int = 1) -> None:
    write = Create(ref=RUN, data=flow_run(steps))
    await environment.documents.commit([write], timeout_seconds=TIMEOUT)
    async with asyncio.timeout(TIMEOUT):
        await environment.idle()


async def test_a_ready_step_is_claimed_and_pushed_by_its_document_event_alone(
    tmp_path: Path,
) -> None:
    executor = Executor([200])

    async with running(tmp_path, executor) as environment:
        await seed(environment)
        [run] = await environment.documents.read([RUN], timeout_seconds=TIMEOUT)

    assert run is not None
    assert run.data["steps"]["1d:report-0"]["status"] == "RUNNING"
    [body] = executor.bodies
    message = decode_job_message(base64.b64decode(body["message"]["data"]))
    assert (message.run_id, message.step_id) == (RUN.document_id, "1d:report-0")
    # One commit claims; the event of this commit costs nothing.
    assert environment.worker_documents.calls == 1


async def test_a_refused_push_comes_again_with_the_same_message(tmp_path: Path) -> None:
    executor = Executor([503, 500, 204])

    async with running(tmp_path, executor) as environment:
        await seed(environment)

    assert [body["deliveryAttempt"] for body in executor.bodies] == [1, 2, 3]
    assert len({body["message"]["messageId"] for body in executor.bodies}) == 1
    assert environment.dead_letters.messages == []


async def test_a_push_refused_to_the_end_becomes_a_dead_letter(tmp_path: Path) -> None:
    executor = Executor([503])

    async with running(tmp_path, executor) as environment:
        await seed(environment)

    assert len(executor.bodies) == FAST.max_attempts
    [letter] = environment.dead_letters.messages
    assert decode_job_message(letter.data).run_id == RUN.document_id


async def test_no_more_pushes_run_at_once_than_the_policy_allows(tmp_path: Path) -> None:
    executor = Executor([200])
    policy = DeliveryPolicy(concurrency=2)

    async with running(tmp_path, executor, policy=policy) as environment:
        await seed(environment, steps=8)

    assert (len(executor.bodies), executor.most_at_once) == (8, 2)


async def test_a_dispatcher_that_raises_gets_the_same_event_again(tmp_path: Path) -> None:
    seen: list[str] = []

    async def dispatch(attributes: Any, _data: bytes) -> None:
        seen.append(attributes["id"])
        assert attributes["subject"] == f"documents/flow_runs/{RUN.document_id}"
        if len(seen) == 1:
            raise RuntimeError("not yet")

    executor = Executor([200])
    async with EmbeddedEnvironment(
        environ={},
        folder=ObjectFolder(tmp_path),
        policy=FAST,
        stages=lambda _: Stages(dispatch=dispatch, execute=executor.answer),
    ) as environment:
        await seed(environment)

    assert len(seen) == 2
    assert len(set(seen)) == 1


async def test_a_step_whose_event_is_lost_is_claimed_by_the_sweep(tmp_path: Path) -> None:
    async def lose(_attributes: Any, _data: bytes) -> None:
        return

    executor = Executor([200])
    with (tmp_path / "worker.log").open("w") as log:
        async with EmbeddedEnvironment(
            environ=function_environ("local", "http://127.0.0.1:1"),
            folder=ObjectFolder(tmp_path / "objects"),
            log_stream=log,
            stages=lambda environment: Stages(
                dispatch=lose,
                execute=executor.answer,
                sweep=sweep_handler(environment, environment.environ),
            ),
        ) as environment:
            await seed(environment)
            assert executor.bodies == []
            async with asyncio.timeout(60):
                await executor.pushed.wait()

    assert len(executor.bodies) == 1
    # What the sweep reads is a cost of its own, and not of a step.
    assert environment.worker_documents.calls == 0


async def test_the_end_of_the_block_drops_what_is_under_way(tmp_path: Path) -> None:
    executor = Executor([503])
    policy = DeliveryPolicy(first_retry_seconds=3600, longest_retry_seconds=3600)

    async with running(tmp_path, executor, policy=policy) as environment:
        write = Create(ref=RUN, data=flow_run())
        await environment.documents.commit([write], timeout_seconds=TIMEOUT)
        await asyncio.sleep(0.1)

    assert len(executor.bodies) == 1


async def test_documents_of_other_collections_cause_no_event(tmp_path: Path) -> None:
    async with running(tmp_path, Executor([200])) as environment:
        write = Create(ref=DocumentRef("llm_prompts", "x"), data={})
        await environment.documents.commit([write], timeout_seconds=TIMEOUT)

        assert not environment._events.busy


async def test_listeners_see_every_change_with_what_was_before(tmp_path: Path) -> None:
    async with running(tmp_path, Executor([200])) as environment:
        documents, ref = environment.documents, DocumentRef("llm_jobs", "x")
        seen: list[tuple[Any, Any]] = []
        documents.listen(
            lambda _, old, new: seen.append((old and old.fields, new and new.fields))
        )

        version = await documents.commit([Create(ref=ref, data={"n": 1})], timeout_seconds=1)
        update = Update(ref=ref, changes={("n",): 2}, guard=version)
        await documents.commit([update], timeout_seconds=1)
        documents.delete(ref)

    assert seen == [(None, {"n": 1}), ({"n": 1}, {"n": 2}), ({"n": 2}, None)]
