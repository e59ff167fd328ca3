"""The error table, from the error tree."""

import inspect
from collections.abc import Iterator

from infra.docs.markdown import one_line, page, table
from shared.domain.errors import FlowRunError, FlowRunNotFound, RetryableError, WorkerError


def errors_page() -> str:
    """`docs/reference/errors.md`."""
    return page(
        "Error codes",
        "shared/domain/errors.py",
        "Programs act on `error.code`; the message is for people, at most a few hundred"
        " characters, and holds no prompt, context or model text.",
        "**Retryable** says whether the worker tries again by itself, within the budgets of"
        " attempts, calls and time, before the step fails with the code.",
        table(
            ["code", "level", "retryable", "what happened", "what to do"],
            sorted(_row(kind) for kind in _with_code(WorkerError)),
        ),
        "Benign, and never written as an error: `NO_READY_STEP`, `DEPENDENCY_NOT_SUCCEEDED`,"
        " `STEP_CLAIM_CONFLICT`, `STEP_FINALIZE_CONFLICT`; the log has them as the reasons of"
        " `cloud_event_noop` and `job_noop`.",
    )


def _with_code(base: type[WorkerError]) -> Iterator[type[WorkerError]]:
    for kind in base.__subclasses__():
        if "code" in vars(kind):
            yield kind
        yield from _with_code(kind)


def _row(kind: type[WorkerError]) -> tuple[str, ...]:
    what, _, advice = (inspect.getdoc(kind) or "").partition("\n\n")
    level = "run" if issubclass(kind, FlowRunError) else "step"
    level = "log only" if kind is FlowRunNotFound else level
    retryable = "yes" if issubclass(kind, RetryableError) else "no"
    return f"`{kind.code}`", level, retryable, one_line(what), one_line(advice)
