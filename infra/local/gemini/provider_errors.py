"""Errors as the provider words them, in the dialects of both APIs.

generateContent answers with google.rpc.Status in JSON (https://google.aip.dev/193),
Interactions with a word (https://ai.google.dev/gemini-api/docs/api-errors). Real ones can quote
the request, and the key. These do so always, so that a test can see whether anything of it gets
through.
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from starlette.responses import HTMLResponse, JSONResponse, Response

_TYPE = "type.googleapis.com/google.rpc."
_QUOTED_CHARS = 200
#: https://github.com/googleapis/googleapis/blob/master/google/rpc/code.proto
_STATUS = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    408: "DEADLINE_EXCEEDED",
    409: "ABORTED",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
#: https://ai.google.dev/gemini-api/docs/api-errors
_WORD = {
    400: "invalid_request",
    401: "authentication",
    402: "payment_required",
    403: "permission_denied",
    404: "not_found",
    409: "aborted",
    416: "out_of_range",
    429: "rate_limit_exceeded",
    499: "cancelled",
    501: "unimplemented",
    503: "service_unavailable",
    504: "deadline_exceeded",
}


def status_error(
    code: int,
    *,
    quoting: str,
    details: list[Any] | None = None,
    status: str = "",
    http_status: int = 0,
) -> Response:
    """The error of generateContent with this code; its message quotes the request."""
    error: dict[str, Any] = {
        "code": code,
        "message": _message(quoting),
        "status": status or _STATUS.get(code, "UNKNOWN"),
        "details": details or [],
    }
    return JSONResponse({"error": error}, status_code=http_status or code)


def word_error(
    code: int,
    *,
    quoting: str,
    word: str = "",
    http_status: int = 0,
    retry_seconds: float | None = None,
) -> Response:
    """The error of Interactions with this status; its message quotes the request."""
    error = {"code": word or _WORD.get(code, "api_error"), "message": _message(quoting)}
    headers = {} if retry_seconds is None else {"Retry-After": f"{retry_seconds:.0f}"}
    return JSONResponse({"error": error}, status_code=http_status or code, headers=headers)


def _message(quoting: str) -> str:
    return f"fault on demand, about: {quoting[:_QUOTED_CHARS]}"


def html_error(code: int, *, quoting: str, retry_seconds: float | None = None) -> Response:
    """The error as a proxy's page."""
    known = code in set(HTTPStatus)
    title = HTTPStatus(code).phrase if known else "Web server is returning an unknown error"
    body = f"<html><title>{code} {title}</title><body>{quoting[:_QUOTED_CHARS]}</body></html>"
    headers = {} if retry_seconds is None else {"Retry-After": f"{retry_seconds:.0f}"}
    return HTMLResponse(body, status_code=code, headers=headers)


def token_expired(*, quoting: str) -> Response:
    """What Vertex says to an access token that was valid an hour ago."""
    reason = {
        "@type": f"{_TYPE}ErrorInfo",
        "reason": "ACCESS_TOKEN_EXPIRED",
        "domain": "googleapis.com",
    }
    return status_error(401, quoting=quoting, details=[reason])


def no_quota(*, quoting: str) -> Response:
    """429 of a project that may not use the model; zero is left out, as protobuf does."""
    violation = {
        "quotaMetric": "generativelanguage.googleapis.com/generate_content_free_tier_requests",
        "quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier",
        "quotaDimensions": {"location": "global", "model": "gemini"},
    }
    details = [
        {"@type": f"{_TYPE}QuotaFailure", "violations": [violation]},
        {"@type": f"{_TYPE}RetryInfo", "retryDelay": "22s"},
    ]
    return status_error(429, quoting=quoting, details=details)


def key_revoked(*, quoting: str) -> Response:
    """What the Developer API says to a key that it no longer knows: 400, not 401."""
    reason = {
        "@type": f"{_TYPE}ErrorInfo",
        "reason": "API_KEY_INVALID",
        "domain": "googleapis.com",
    }
    return status_error(400, quoting=quoting, details=[reason])


def quota_error(*, per: str, retry_seconds: float, quoting: str) -> Response:
    """429 for a quota per `Minute` or `Day`."""
    violation: Mapping[str, Any] = {
        "quotaMetric": "generativelanguage.googleapis.com/generate_content_requests",
        "quotaId": f"GenerateRequestsPer{per}PerProjectPerModel",
        "quotaValue": "250",
    }
    details = [
        {"@type": f"{_TYPE}QuotaFailure", "violations": [violation]},
        {"@type": f"{_TYPE}RetryInfo", "retryDelay": f"{retry_seconds:g}s"},
    ]
    return status_error(429, quoting=quoting, details=details)
