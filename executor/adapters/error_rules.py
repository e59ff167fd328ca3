"""The table of failures: what happened, the error that it becomes, and what it may cost."""

from http import HTTPStatus

from executor.adapters.error_answer import AnsweredWithError
from executor.adapters.error_rule import (
    BLOCKED_WORDS,
    OVERLOADED,
    SENT_ON_BY_A_GATEWAY,
    Rule,
    answered,
    any_of,
    error_that,
    is_a,
    is_access_refusal,
    is_refused_by_proxy,
    limited_about,
    quota_kind,
    refused_about,
)
from executor.adapters.error_sentences import ErrorSubject
from executor.adapters.transport_rules import TRANSPORT_RULES
from shared.domain.errors import (
    GeminiAccessDenied,
    GeminiRequestFailed,
    InvalidStepInputs,
    LlmProfileInvalid,
    LlmSafetyBlock,
    QuotaKind,
    RateLimited,
    StepError,
)

#: Requests per day are counted anew at midnight Pacific time
#: (https://ai.google.dev/gemini-api/docs/rate-limits), which is 07:00 or 08:00 UTC.
DAILY_RESET_UTC_HOUR = 8


def _about(subject: ErrorSubject, named: str, error: type[StepError], says: str) -> Rule:
    """A row for a refusal of the request that says what it is about."""
    return Rule(
        when=f"400 with a sentence about {named}",
        matches=refused_about(subject),
        error=error,
        says=says,
    )


_REFUSALS = (
    Rule(
        when="an error whose word says that the prompt or the answer was blocked",
        matches=error_that(lambda answer: answer.word in BLOCKED_WORDS),
        error=LlmSafetyBlock,
        says="the call was blocked",
    ),
    Rule(
        when="400 with a reason or a sentence about the API key, or with `FAILED_PRECONDITION`",
        matches=error_that(is_access_refusal),
        error=GeminiAccessDenied,
        says="the provider refuses the API key or its project",
    ),
    Rule(
        when="402; 429 with a sentence about credits that are used up",
        matches=any_of(
            answered(HTTPStatus.PAYMENT_REQUIRED), limited_about(ErrorSubject.NO_CREDIT)
        ),
        error=GeminiAccessDenied,
        says="the project's credits at the provider are used up",
    ),
    Rule(
        when="429 with a sentence about a monthly spending cap",
        matches=limited_about(ErrorSubject.SPENDING_CAP),
        error=GeminiAccessDenied,
        says="the project's spending cap at the provider is reached",
    ),
    Rule(
        when="429 whose `QuotaFailure` or sentence says that the limit is zero",
        matches=limited_about(ErrorSubject.NO_QUOTA),
        error=GeminiAccessDenied,
        says="the project has no quota for this model at all (limit: 0)",
    ),
    Rule(
        when="401, 403",
        matches=answered(HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN),
        error=GeminiAccessDenied,
        says="the provider refuses our credentials",
    ),
    Rule(
        when="407, or a proxy that refuses to connect with a 4xx",
        matches=any_of(answered(HTTPStatus.PROXY_AUTHENTICATION_REQUIRED), is_refused_by_proxy),
        error=GeminiAccessDenied,
        says="the proxy that HTTPS_PROXY, HTTP_PROXY or ALL_PROXY names refuses the connection",
    ),
    Rule(
        when="404 that is not the API's own",
        matches=error_that(
            lambda answer: answer.status_code == HTTPStatus.NOT_FOUND and not answer.from_api
        ),
        error=GeminiAccessDenied,
        says="no Gemini API is served at this address, see GEMINI_BASE_URL and GEMINI_LOCATION",
    ),
    Rule(
        when="404",
        matches=answered(HTTPStatus.NOT_FOUND),
        error=LlmProfileInvalid,
        says="modelName: the provider has no such model here",
    ),
    Rule(
        when="429 that names a quota per day, or with `quota_exceeded`",
        matches=error_that(
            lambda answer: (
                answer.status_code == HTTPStatus.TOO_MANY_REQUESTS
                and quota_kind(answer) is QuotaKind.DAY
            )
        ),
        error=RateLimited,
        says="the provider's quota of the day is used up",
        refused=True,
        until_next_day=True,
    ),
    Rule(
        when="429",
        matches=answered(HTTPStatus.TOO_MANY_REQUESTS),
        error=RateLimited,
        says="the provider's rate limit is reached",
        refused=True,
    ),
    Rule(
        when="501, 505",
        matches=answered(HTTPStatus.NOT_IMPLEMENTED, HTTPStatus.HTTP_VERSION_NOT_SUPPORTED),
        error=LlmProfileInvalid,
        says="the provider does not support the request",
    ),
)
_TROUBLE = (
    Rule(
        when="408, 499, 502, 504: something in between gave up waiting",
        # 499 is CANCELLED (google/rpc/code.proto).
        matches=answered(408, 499, HTTPStatus.BAD_GATEWAY, HTTPStatus.GATEWAY_TIMEOUT),
        error=GeminiRequestFailed,
        says="the provider gave up",
        maybe_billed=True,
    ),
    Rule(
        when="520 to 524: a gateway sent the request on, and got no proper answer",
        matches=answered(*SENT_ON_BY_A_GATEWAY),
        error=GeminiRequestFailed,
        says="a gateway got no proper answer from the provider",
        maybe_billed=True,
    ),
    Rule(
        when="503, 529: the provider has no room",
        matches=answered(HTTPStatus.SERVICE_UNAVAILABLE, OVERLOADED),
        error=GeminiRequestFailed,
        says="the provider failed",
        refused=True,
    ),
    Rule(
        when="any other 5xx; 409, 425",
        # 409 is ABORTED (google/rpc/code.proto).
        matches=answered(*range(500, 600), HTTPStatus.CONFLICT, HTTPStatus.TOO_EARLY),
        error=GeminiRequestFailed,
        says="the provider failed",
    ),
    _about(
        ErrorSubject.IMAGES,
        "an image",
        InvalidStepInputs,
        "charts: the provider cannot read one of the images",
    ),
    _about(
        ErrorSubject.INPUT_TOKENS,
        "the number of input tokens",
        InvalidStepInputs,
        "the prompt and its context are longer than the model takes",
    ),
    Rule(
        when="413; 400 with a sentence about the size of the request",
        matches=any_of(
            answered(HTTPStatus.REQUEST_ENTITY_TOO_LARGE),
            refused_about(ErrorSubject.REQUEST_SIZE),
        ),
        error=InvalidStepInputs,
        says="the prompt and its context are larger than the provider takes",
    ),
    _about(
        ErrorSubject.SCHEMA,
        "the schema",
        LlmProfileInvalid,
        "structuredOutput: the provider refuses the schema",
    ),
    Rule(
        when="any other 4xx, 400 among them",
        matches=answered(*range(400, 500)),
        error=LlmProfileInvalid,
        says="the provider refuses the request",
    ),
    Rule(
        when="status 200 with an error of a kind that is not known",
        matches=answered(HTTPStatus.OK),
        error=GeminiRequestFailed,
        says="the provider's answer is an error of an unknown kind",
        maybe_billed=True,
    ),
    Rule(
        when="any other status",
        matches=is_a(AnsweredWithError),
        error=GeminiRequestFailed,
        says="the provider's status is none of an API",
    ),
)
#: In the order in which they are tried.
RULES: tuple[Rule, ...] = (*_REFUSALS, *_TROUBLE, *TRANSPORT_RULES)
