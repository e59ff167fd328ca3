"""Errors as the provider words them: google.rpc.Status in JSON.

Real ones can quote the request, and the key. These do so always, so that a test can see
whether anything of it gets through. https://google.aip.dev/193
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


def status_error(code: int, *, quoting: str, details: list[Any] | None = None) -> Response:
    """The error with this HTTP status; its message quotes the request."""
    error: dict[str, Any] = {
        "code": code,
        "message": f"fault on demand, about: {quoting[:_QUOTED_CHARS]}",
        "status": _STATUS.get(code, "UNKNOWN"),
        "details": details or [],
    }
    return JSONResponse({"error": error}, status_code=code)


def html_error(code: int, *, quoting: str) -> Response:
    """The error as a proxy's page."""
    title = HTTPStatus(code).phrase
    body = f"<html><title>{code} {title}</title><body>{quoting[:_QUOTED_CHARS]}</body></html>"
    return HTMLResponse(body, status_code=code)


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
