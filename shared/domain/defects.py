"""Naming an exception that nobody expected, without repeating what it says."""

from collections.abc import Iterator
from types import TracebackType

_OWN_PACKAGES = frozenset({"dispatcher", "executor", "infra", "shared"})


def place_of(problem: BaseException) -> str:
    """The exception's type, and the innermost place in our own code that it went through.

    Never its text: that may quote a prompt, a document or a secret.
    """
    first = first_of(problem)
    places = list(_places(first.__traceback__))
    name = type(first).__name__
    return f"{name} in {places[-1]}" if places else name


def first_of(problem: BaseException) -> BaseException:
    """The exception itself, or the first one within a group of them."""
    while isinstance(problem, BaseExceptionGroup):
        problem = problem.exceptions[0]
    return problem


def _places(step: TracebackType | None) -> Iterator[str]:
    """From the outermost on, those in our own packages."""
    while step is not None:
        module = str(step.tb_frame.f_globals.get("__name__", ""))
        if module.partition(".")[0] in _OWN_PACKAGES:
            yield f"{module}.{step.tb_frame.f_code.co_name}, line {step.tb_lineno}"
        step = step.tb_next
