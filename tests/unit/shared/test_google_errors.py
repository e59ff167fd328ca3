"""Every exception of Google's libraries is one of a port's outcomes, named without content."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from google.api_core import exceptions
from google.auth import exceptions as auth

from shared.adapters.google_errors import OUTCOMES, PortOutcome, asked, outcome_of, status_of
from shared.ports import Conflict, StoreRefused, StoreUnavailable

CANARY = "canary-4711"
#: The library's constructors have no types.
api: Any = exceptions


def _refresh_error() -> Exception:
    made: Any = auth
    error: Exception = made.RefreshError(CANARY)
    return error


def family(ancestor: type[Exception]) -> Iterator[type[Exception]]:
    yield ancestor
    for child in ancestor.__subclasses__():
        yield from family(child)


# Cloud Storage's client adds classes of its own below GoogleAPIError: the tests of its adapter
# look at those.
API_ERRORS = [
    kind
    for kind in family(exceptions.GoogleAPIError)
    if kind.__module__ == "google.api_core.exceptions"
]


@pytest.mark.parametrize("kind", [*API_ERRORS, *family(auth.GoogleAuthError)])
def test_every_exception_of_the_libraries_is_in_the_table(kind: type[Exception]) -> None:
    assert kind in OUTCOMES


def test_an_exception_of_a_newer_library_counts_as_its_nearest_known_ancestor() -> None:
    newer = type("Newer", (exceptions.PermissionDenied,), {})

    assert outcome_of(newer(CANARY)) is PortOutcome.REFUSED
    assert outcome_of(RuntimeError(CANARY)) is PortOutcome.UNAVAILABLE


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            api.InvalidArgument(f"Document {CANARY} exceeds the maximum allowed size"),
            "INVALID_ARGUMENT: too large",
        ),
        (
            api.InvalidArgument(f"too many index entries for {CANARY}"),
            "INVALID_ARGUMENT: too many index entries, or one of them too long",
        ),
        (
            api.PermissionDenied(CANARY),
            "PERMISSION_DENIED: look at the roles of the function's account",
        ),
        (api.ServiceUnavailable(CANARY), "UNAVAILABLE"),
        (api.InvalidArgument(CANARY), "INVALID_ARGUMENT"),
        (TimeoutError(CANARY), "DEADLINE_EXCEEDED"),
        (_refresh_error(), "RefreshError"),
    ],
)
def test_the_status_and_a_short_reason_are_told_and_nothing_of_the_message(
    error: Exception, said: str
) -> None:
    assert status_of(error) == said


class Failing:
    """Fails as often as told, then answers."""

    def __init__(self, error: Exception, times: int) -> None:
        self.error = error
        self.left = times
        self.calls = 0

    async def __call__(self) -> str:
        """One try."""
        self.calls += 1
        if self.left:
            self.left -= 1
            raise self.error
        return "answer"


async def ask(failing: Failing, *, again: bool, seconds: float = 0.3) -> str:
    return await asked(
        failing, seconds, unavailable=StoreUnavailable, refused=StoreRefused, again=again
    )


async def test_what_may_pass_is_asked_again_where_that_is_safe() -> None:
    failing = Failing(api.Cancelled(CANARY), times=1)

    assert await ask(failing, again=True) == "answer"
    with pytest.raises(StoreUnavailable, match=r"^CANCELLED$"):
        await ask(Failing(api.Cancelled(CANARY), times=1), again=False)


async def test_what_is_refused_for_good_is_asked_once() -> None:
    failing = Failing(api.NotFound(CANARY), times=9)

    with pytest.raises(StoreRefused, match=r"^NOT_FOUND$"):
        await ask(failing, again=True)
    assert failing.calls == 1


async def test_what_never_passes_is_over_in_time_and_says_the_last_status() -> None:
    begun = asyncio.get_running_loop().time()

    with pytest.raises(StoreUnavailable, match=r"^(UNAVAILABLE|DEADLINE_EXCEEDED)$"):
        await ask(Failing(api.ServiceUnavailable(CANARY), times=10_000), again=True)

    assert asyncio.get_running_loop().time() - begun < 0.8


async def test_a_defect_is_no_answer_and_a_port_s_own_exception_passes() -> None:
    with pytest.raises(StoreUnavailable, match=r"^ValueError$"):
        await ask(Failing(ValueError(CANARY), times=1), again=True)
    with pytest.raises(Conflict):
        await ask(Failing(Conflict("x"), times=1), again=True)


async def test_a_cancelled_call_is_cancelled() -> None:
    async def for_ever() -> str:
        await asyncio.Event().wait()
        return ""

    asking = asyncio.create_task(
        asked(for_ever, 60, unavailable=StoreUnavailable, refused=StoreRefused)
    )
    await asyncio.sleep(0)
    asking.cancel()

    with pytest.raises(asyncio.CancelledError):
        await asking
