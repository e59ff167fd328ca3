"""The error tree: one class per code, retryable or not as the contract says."""

import inspect
import re
from collections.abc import Iterator

import pytest

from shared.domain import errors
from shared.domain.errors import (
    MAX_MESSAGE_CHARS,
    ErrorCode,
    FlowRunError,
    GcsWriteRefused,
    GeminiAccessDenied,
    GeminiCallEnded,
    InvalidStepInputs,
    RetryableError,
    StepError,
    WorkerError,
)

RETRYABLE = {
    "TIME_BUDGET_EXCEEDED",
    "GEMINI_REQUEST_FAILED",
    "RATE_LIMITED",
    "GCS_WRITE_FAILED",
    "GCS_READ_FAILED",
    "FIRESTORE_CLAIM_FAILED",
    "FIRESTORE_FINALIZE_FAILED",
    "FIRESTORE_UNAVAILABLE",
    "INTERNAL_ERROR",
}


def with_code(base: type[WorkerError] = WorkerError) -> Iterator[type[WorkerError]]:
    for kind in base.__subclasses__():
        if "code" in vars(kind):
            yield kind
        yield from with_code(kind)


ALL = sorted(with_code(), key=lambda kind: kind.code)


def test_every_code_has_a_class() -> None:
    assert {kind.code for kind in ALL} == set(ErrorCode)


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_each_class_is_retryable_as_the_contract_says(kind: type[WorkerError]) -> None:
    # A refused key or bucket shares its code with a failed call or write, but no other try can
    # mend it. A call that was billed without an answer would be billed again by another try.
    final = {GeminiAccessDenied, GeminiCallEnded, GcsWriteRefused}
    expected = kind.code in RETRYABLE and kind not in final

    assert kind("x").retryable is issubclass(kind, RetryableError) is expected


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_each_docstring_says_what_happened_and_what_to_do(kind: type[WorkerError]) -> None:
    what, _, advice = (inspect.getdoc(kind) or "").partition("\n\n")

    assert what.endswith(".")
    assert advice.endswith(".")


def test_the_tree_in_the_modules_docstring_is_the_tree_of_the_code() -> None:
    drawn = re.findall(
        r"[├└]── (\w+) +([A-Z_]{6,})(?:,.*)?$", errors.__doc__ or "", re.MULTILINE
    )

    assert sorted(drawn) == sorted((kind.__name__, str(kind.code)) for kind in ALL)


def test_run_level_errors_are_not_step_errors() -> None:
    run_level = {kind.code for kind in ALL if issubclass(kind, FlowRunError)}

    assert run_level == {ErrorCode.FLOW_RUN_NOT_FOUND, ErrorCode.FLOW_RUN_INVALID}
    assert {kind.code for kind in ALL if issubclass(kind, StepError)} == (
        set(ErrorCode) - run_level
    )


def test_a_long_message_is_shortened_and_says_so() -> None:
    error = InvalidStepInputs("x" * 10_000)

    assert len(error.message) == MAX_MESSAGE_CHARS
    assert error.message.endswith("…")


def test_the_document_form_has_details_only_when_there_are_any() -> None:
    assert InvalidStepInputs("m").as_document() == {
        "code": "INVALID_STEP_INPUTS",
        "message": "m",
    }
    assert InvalidStepInputs("m", details={"a": 1}).as_document()["details"] == {"a": 1}
