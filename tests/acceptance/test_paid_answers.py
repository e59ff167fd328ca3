"""A paid answer is kept while its place takes no writes, and no second answer is paid for."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from executor.contract.artifacts import GcsUri
from executor.ports import (
    ObjectInfo,
    ObjectsRefused,
    ObjectStore,
    ObjectsUnavailable,
    StoredObject,
)
from shared.domain.jobs import JobState
from shared.ports import PortFailure
from tests.chaos.kill_stage import kill_stage

SHORT = {
    "GEMINI_TIMEOUT_SECONDS": "3",
    "INVOCATION_TIMEOUT_SECONDS": "8",
    "FINALIZE_BUDGET_SECONDS": "4",
}
FORBIDDEN = "403 Forbidden: look at the roles of the function's account"


@dataclass(slots=True, kw_only=True)
class Unwilling:
    """An ObjectStore that refuses this many writes."""

    inner: ObjectStore
    trouble: PortFailure
    tries: int = 1_000
    proofs: list[GcsUri] = field(default_factory=list)

    async def stat(self, uri: GcsUri, *, timeout_seconds: float) -> ObjectInfo | None:
        return await self.inner.stat(uri, timeout_seconds=timeout_seconds)

    async def read(self, uri: GcsUri, **how: Any) -> StoredObject:
        return await self.inner.read(uri, **how)

    async def create(self, uri: GcsUri, data: bytes, **how: Any) -> None:
        if self.tries:
            self.tries -= 1
            raise self.trouble
        await self.inner.create(uri, data, **how)

    async def prove_writable(self, uri: GcsUri, *, timeout_seconds: float) -> None:
        self.proofs.append(uri)
        if self.tries:
            raise self.trouble
        await self.inner.prove_writable(uri, timeout_seconds=timeout_seconds)


@pytest.mark.parametrize(
    "trouble", [ObjectsRefused(FORBIDDEN), ObjectsUnavailable("no answer in time")]
)
async def test_an_answer_is_stored_when_its_place_takes_it_within_the_invocation(
    trouble: PortFailure, tmp_path: Path
) -> None:
    async with kill_stage(tmp_path, SHORT) as stage:
        process = stage.process()
        objects = Unwilling(inner=process.objects, trouble=trouble, tries=1)
        await stage.deliver(replace(process, objects=objects))

        assert (await stage.record()).state is JobState.SUCCEEDED
        assert stage.gemini.calls.received.total() == 1


async def test_a_place_that_refuses_for_good_ends_the_step_after_one_call_and_says_why(
    tmp_path: Path,
) -> None:
    async with kill_stage(tmp_path, SHORT) as stage:
        process = stage.process()
        objects = Unwilling(inner=process.objects, trouble=ObjectsRefused(FORBIDDEN))
        await stage.deliver(replace(process, objects=objects))

        record = await stage.record()
        assert record.state is JobState.FAILED
        assert record.last_error is not None
        assert record.last_error.code == "GCS_WRITE_FAILED"
        assert FORBIDDEN in record.last_error.message
        assert stage.gemini.calls.received.total() == 1


async def test_no_further_call_is_paid_while_the_place_does_not_answer(tmp_path: Path) -> None:
    async with kill_stage(tmp_path, {**SHORT, "MAX_ATTEMPTS": "3"}) as stage:
        process = stage.process()
        objects = Unwilling(inner=process.objects, trouble=ObjectsUnavailable("no answer"))
        unwilling = replace(process, objects=objects)
        await stage.deliver(unwilling)
        assert stage.gemini.calls.received.total() == 1
        await stage.deliver_when_wanted(unwilling)

        assert objects.proofs
        assert stage.gemini.calls.received.total() == 1
        objects.tries = 0
        await stage.deliver_when_wanted(unwilling)
        assert (await stage.record()).state is JobState.SUCCEEDED
        assert stage.gemini.calls.received.total() == 2
