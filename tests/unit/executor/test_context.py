"""Reading several things at once."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from executor.inputs.context import all_or_first_error
from shared.domain.errors import GcsReadFailed, InvalidStepInputs


async def read(result: str) -> str:
    return result


async def refused() -> str:
    raise InvalidStepInputs("no such object")


def reading(*reads: Coroutine[Any, Any, str]) -> list[str]:
    async def scene() -> list[str]:
        return await all_or_first_error(reads)

    return asyncio.run(scene())


def test_the_results_come_in_the_order_asked_for() -> None:
    assert reading(read("a"), read("b")) == ["a", "b"]


def test_the_first_failure_comes_as_itself_and_in_no_group() -> None:
    """On Python 3.11.2 an exception that is raised within `except*` comes in a group."""
    with pytest.raises(InvalidStepInputs, match="no such object"):
        reading(read("a"), refused())


def test_a_failure_ends_the_reads_that_are_still_under_way() -> None:
    ended: list[str] = []

    async def slow() -> str:
        try:
            await asyncio.sleep(3600)
        finally:
            ended.append("slow")
        raise GcsReadFailed("never")

    with pytest.raises(InvalidStepInputs):
        reading(slow(), refused())
    assert ended == ["slow"]


def test_a_failure_within_a_group_of_reads_comes_as_itself_too() -> None:
    async def several() -> str:
        return "".join(await all_or_first_error([read("b"), refused()]))

    with pytest.raises(InvalidStepInputs):
        reading(read("a"), several())
