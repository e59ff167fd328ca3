"""What an error code means and what to do about it: the docstrings of the error tree."""

import functools
import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from shared.domain.errors import RetryableError, WorkerError


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """One code's runbook in two sentences."""

    code: str
    meaning: str
    remedy: str
    retryable: bool

    def as_json(self) -> dict[str, object]:
        """The advice as `--json` prints it."""
        return {"meaning": self.meaning, "remedy": self.remedy, "retryable": self.retryable}


def advice_for(code: str) -> Advice | None:
    """The advice on a code; None for one that is not ours."""
    return all_advice().get(code)


@functools.cache
def all_advice() -> Mapping[str, Advice]:
    """Every code's advice, in the order of the error tree."""
    return {error.code: _advice(error) for error in _concrete(WorkerError)}


def _concrete(error: type[WorkerError]) -> Iterator[type[WorkerError]]:
    if "code" in vars(error):
        yield error
    for child in error.__subclasses__():
        yield from _concrete(child)


def _advice(error: type[WorkerError]) -> Advice:
    paragraphs = (inspect.getdoc(error) or "").split("\n\n")
    meaning, *remedy = (" ".join(paragraph.split()) for paragraph in paragraphs)
    return Advice(
        code=error.code,
        meaning=meaning,
        remedy=" ".join(remedy),
        retryable=issubclass(error, RetryableError),
    )
