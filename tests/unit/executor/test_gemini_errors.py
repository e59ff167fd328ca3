"""Each failure of the provider, its library or the network becomes one error of the domain."""

import inspect
import json
from datetime import UTC, datetime, timedelta
from types import ModuleType
from typing import Any

import google.auth.exceptions
import httpx2
import pytest
from google.genai import errors
from hypothesis import given
from hypothesis import strategies as st

from executor.adapters.envelope import EnvelopeBroken
from executor.adapters.error_rules import RULES
from executor.adapters.gemini_errors import as_answer, classify
from shared.domain.errors import (
    ErrorCode,
    GeminiAccessDenied,
    GeminiRequestFailed,
    InvalidStepInputs,
    LlmProfileInvalid,
    QuotaKind,
    RateLimited,
    RetryableError,
    StepError,
)

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
CANARY = "canary 8a1f of the prompt"
#: These are raised by parts of the library that are never called, or by programming errors.
NOT_OF_A_CALL = {
    "UnknownFunctionCallArgumentError",
    "UnsupportedFunctionError",
    "FunctionInvocationError",
    "InvalidURL",
    "CookieConflict",
    "ContinuationInterruptedError",
}


def answered(code: int, status: str | None = None, *details: dict[str, Any]) -> errors.APIError:
    kind = errors.ClientError if code < 500 else errors.ServerError
    inner = {"code": code, "message": CANARY, "status": status, "details": list(details)}
    return kind(code, {"error": inner})


def auth_error(kind: type[Exception], cause: object) -> Exception:
    return kind(cause)


def quota(*ids: str) -> dict[str, Any]:
    return {
        "@type": "type.googleapis.com/google.rpc.QuotaFailure",
        "violations": [{"quotaId": quota_id, "quotaMetric": "x"} for quota_id in ids],
    }


def retry_info(delay: str) -> dict[str, Any]:
    return {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay}


def reason(word: str) -> dict[str, Any]:
    return {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": word}


def retry_after(error: StepError) -> timedelta | None:
    assert isinstance(error, RetryableError)
    return error.retry_after


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        *(
            (code, GeminiRequestFailed)
            for code in (408, 409, 425, 499, 500, 502, 503, 504, 599)
        ),
        *((code, LlmProfileInvalid) for code in (400, 404, 405, 422, 451, 501, 505)),
        *((code, GeminiAccessDenied) for code in (401, 402, 403, 407)),
        (413, InvalidStepInputs),
        (429, RateLimited),
        (302, GeminiRequestFailed),
    ],
)
def test_a_status_decides_the_error(code: int, expected: type[StepError]) -> None:
    error = classify(answered(code), now=NOW)

    assert type(error) is expected
    assert error.details["httpStatus"] == code


@pytest.mark.parametrize(
    "failure",
    [
        answered(400, "INVALID_ARGUMENT", reason("API_KEY_INVALID")),
        answered(400, "FAILED_PRECONDITION"),
        auth_error(google.auth.exceptions.DefaultCredentialsError, CANARY),
    ],
)
def test_a_key_or_project_that_is_refused_ends_the_step_at_once(failure: Exception) -> None:
    error = classify(failure, now=NOW)

    assert error.code is ErrorCode.GEMINI_REQUEST_FAILED
    assert not error.retryable


def test_a_metadata_server_that_is_away_for_a_moment_is_asked_again() -> None:
    away = auth_error(google.auth.exceptions.TransportError, "no metadata server")
    failure = auth_error(google.auth.exceptions.RefreshError, away)

    assert type(classify(failure, now=NOW)) is GeminiRequestFailed


@pytest.mark.parametrize(
    ("delay", "expected"),
    [
        ("36s", timedelta(seconds=36)),
        ("36.75s", timedelta(seconds=36.75)),
        ("0s", timedelta(0)),
        ("86400s", timedelta(days=1)),
        ("9999999s", timedelta(days=1)),
        ("-1s", None),
        ("1e9s", None),
        ("99999999999999999999s", None),
        ("soon", None),
        (None, None),
        (36, None),
    ],
)
def test_the_provider_s_delay_is_kept_when_it_is_one(
    delay: Any, expected: timedelta | None
) -> None:
    error = classify(answered(429, "RESOURCE_EXHAUSTED", retry_info(delay)), now=NOW)

    assert retry_after(error) == expected


def test_a_delay_is_heeded_with_an_overload_too() -> None:
    error = classify(answered(503, "UNAVAILABLE", retry_info("7s")), now=NOW)

    assert retry_after(error) == timedelta(seconds=7)


@pytest.mark.parametrize(
    ("now", "hours"),
    [
        (NOW, 20),
        (NOW.replace(hour=7), 1),
        (NOW.replace(hour=8), 24),
    ],
)
def test_a_quota_of_the_day_waits_for_the_next_day(now: datetime, hours: int) -> None:
    burst = "GenerateRequestsPerMinutePerProjectPerModel-FreeTier"
    daily = "GenerateRequestsPerDayPerProjectPerModel-FreeTier"
    failure = answered(429, "RESOURCE_EXHAUSTED", quota(burst, daily), retry_info("22s"))

    error = classify(failure, now=now)

    assert type(error) is RateLimited
    assert retry_after(error) == timedelta(hours=hours)
    assert error.details["quotas"] == [burst, daily]


def test_a_burst_waits_as_long_as_the_provider_says() -> None:
    failure = answered(429, "RESOURCE_EXHAUSTED", quota("RequestsPerMinute"), retry_info("22s"))

    assert retry_after(classify(failure, now=NOW)) == timedelta(seconds=22)


def test_the_fields_that_are_wrong_are_named() -> None:
    violation = {"field": "generation_config.response_json_schema", "description": CANARY}
    detail = {"@type": "type.googleapis.com/google.rpc.BadRequest"}
    failure = answered(400, "INVALID_ARGUMENT", {**detail, "fieldViolations": [violation]})

    error = classify(failure, now=NOW)

    assert error.details["fields"] == ["generation_config.response_json_schema"]
    assert error.message == "the provider refuses the request: 400 INVALID_ARGUMENT"


def exceptions_of(*modules: ModuleType) -> list[type[Exception]]:
    return sorted(
        {
            kind
            for module in modules
            for _, kind in inspect.getmembers(module, inspect.isclass)
            if issubclass(kind, Exception) and not issubclass(kind, Warning)
        },
        key=lambda kind: f"{kind.__module__}.{kind.__name__}",
    )


def raised(kind: type[Exception]) -> Exception:
    """An instance, whatever its constructor wants; its text is the canary if it has one."""
    if issubclass(kind, errors.APIError):
        return kind(418, {"error": {"message": CANARY}})
    failure = kind.__new__(kind)
    failure.args = (CANARY,)
    return failure


@pytest.mark.parametrize(
    "kind",
    [
        *exceptions_of(errors, httpx2, google.auth.exceptions),
        EnvelopeBroken,
        TimeoutError,
        UnicodeDecodeError,
    ],
    ids=lambda kind: f"{kind.__module__}.{kind.__name__}",
)
def test_every_exception_of_the_libraries_has_its_row(kind: type[Exception]) -> None:
    failure = raised(kind)
    error = classify(failure, now=NOW)
    asked = as_answer(failure)
    [row] = [rule for rule in RULES if rule.matches(asked)][:1]

    assert isinstance(error, StepError)
    assert CANARY not in json.dumps(error.as_document())
    assert (row is RULES[-1]) == (kind.__name__ in NOT_OF_A_CALL)


@pytest.mark.parametrize(
    ("failure", "expected"),
    [
        (TimeoutError(), True),
        (httpx2.ReadError("reset"), True),
        (httpx2.RemoteProtocolError("cut"), True),
        (httpx2.ConnectError("refused"), False),
        (httpx2.ConnectTimeout("slow"), False),
        (answered(500), False),
        (answered(502), True),
        (answered(503), False),
        (answered(504), True),
        (EnvelopeBroken(), True),
        (ZeroDivisionError(), True),
    ],
    ids=repr,
)
def test_a_call_may_be_billed_unless_the_model_surely_never_worked(
    failure: Exception, *, expected: bool
) -> None:
    error = classify(failure, now=NOW)

    assert isinstance(error, GeminiRequestFailed)
    assert error.maybe_billed is expected


@pytest.mark.parametrize(
    ("failure", "expected"),
    [
        (answered(429), True),
        (answered(503), True),
        (answered(529), True),
        (httpx2.ConnectError("refused"), True),
        (auth_error(google.auth.exceptions.TransportError, "no metadata server"), True),
        (answered(500), False),
        (answered(502), False),
        (TimeoutError(), False),
        (httpx2.ReadError("reset"), False),
    ],
    ids=repr,
)
def test_a_refusal_is_told_from_a_failure(failure: Exception, *, expected: bool) -> None:
    error = classify(failure, now=NOW)

    assert isinstance(error, RetryableError)
    assert error.refused is expected
    assert not (error.refused and error.maybe_billed)


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        ((), QuotaKind.UNNAMED),
        (("SomethingElse",), QuotaKind.UNNAMED),
        (("GenerateRequestsPerMinutePerProjectPerModel",), QuotaKind.MINUTE),
        (("RequestsPerMinute", "generate_requests_per_day"), QuotaKind.DAY),
    ],
)
def test_a_refusal_says_which_limit_it_met(ids: tuple[str, ...], expected: QuotaKind) -> None:
    error = classify(answered(429, "RESOURCE_EXHAUSTED", quota(*ids)), now=NOW)

    assert isinstance(error, RateLimited)
    assert error.quota is expected


def test_what_nobody_thought_of_may_be_tried_again_and_says_its_name() -> None:
    error = classify(ZeroDivisionError(CANARY), now=NOW)

    assert error.retryable
    assert error.message == "unexpected: ZeroDivisionError"


KEYS = ["error", "message", "code", "status", "details", "reason", "retryDelay"]
KEYS += ["violations", "quotaId", "fieldViolations", "field"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=9) | st.just(CANARY),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4)
    ),
    max_leaves=30,
)


@given(code=st.integers(400, 599), body=st.dictionaries(st.just("error"), JSON) | JSON)
def test_no_error_body_breaks_the_mapping_or_gets_through_it(code: int, body: Any) -> None:
    kind = errors.ClientError if code < 500 else errors.ServerError

    error = classify(kind(code, body), now=NOW)

    assert CANARY not in json.dumps(error.as_document())
