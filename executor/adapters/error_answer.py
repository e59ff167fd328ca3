"""What an error answer says, in either dialect of the provider, or from a gateway: pure.

generateContent answers with google.rpc.Status (https://google.aip.dev/193). Interactions answer
with a code that is a word (https://ai.google.dev/gemini-api/docs/api-errors). A message can
quote the request, so it stays here. What is read instead are machine words, each checked
against the form it should have, and which of a few known sentences the message is.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from executor.adapters.error_sentences import ErrorSubject, named_parameters, subject_of
from executor.adapters.rpc_status import NO_DETAILS, RpcDetails, read_details

_WORD = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")
_MAX_MESSAGE_CHARS = 2_000
#: https://ai.google.dev/gemini-api/docs/api-errors; `internal` and `overloaded` are what users
#: see beside the documented words.
STATUS_OF_WORD: Mapping[str, int] = {
    "INVALID_REQUEST": 400,
    "FAILED_PRECONDITION": 400,
    "PARAMETER_UNKNOWN": 400,
    "AUTHENTICATION": 401,
    "PAYMENT_REQUIRED": 402,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "MODEL_NOT_FOUND": 404,
    "ALREADY_EXISTS": 409,
    "ABORTED": 409,
    "OUT_OF_RANGE": 416,
    "RATE_LIMIT_EXCEEDED": 429,
    "QUOTA_EXCEEDED": 429,
    "TOO_MANY_REQUESTS": 429,
    "CANCELLED": 499,
    "API_ERROR": 500,
    "INTERNAL": 500,
    "INTERNAL_ERROR": 500,
    "UNIMPLEMENTED": 501,
    "SERVICE_UNAVAILABLE": 503,
    "OVERLOADED": 503,
    "DEADLINE_EXCEEDED": 504,
    # Canonical codes (google/rpc/code.proto), where only the name of one is given.
    "INVALID_ARGUMENT": 400,
    "UNAUTHENTICATED": 401,
    "RESOURCE_EXHAUSTED": 429,
    "UNAVAILABLE": 503,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorAnswer:
    """What is kept of an error answer: nothing of it can quote the request."""

    status_code: int
    #: The word of the error's code or status, in capital letters.
    word: str | None
    #: False where something between us and the API answered.
    from_api: bool
    subject: ErrorSubject | None = None
    #: The fields of the profile that the message names.
    parameters: Sequence[str] = ()
    details: RpcDetails = NO_DETAILS
    #: The header Retry-After, as it came.
    retry_after: str | None = None

    @property
    def name(self) -> str:
        """The status, and the word where there is one."""
        return f"{self.status_code} {self.word}" if self.word else f"{self.status_code}"


class AnsweredWithError(Exception):
    """Somebody answered the call with an error."""

    # No frozen dataclass: an exception's traceback is set on its way through `with` blocks.
    def __init__(self, answer: ErrorAnswer) -> None:
        super().__init__(answer.name)
        self.answer = answer


def read_error(
    status_code: int, body: object, *, retry_after: str | None = None
) -> ErrorAnswer:
    """The error in an answer with this status; `body` is its bytes, or JSON that was read."""
    error = error_object(_json(body))
    if error is None:
        return ErrorAnswer(
            status_code=status_code, word=None, from_api=False, retry_after=retry_after
        )
    return read_error_object(error, status_code=status_code, retry_after=retry_after)


def read_error_object(
    error: Mapping[str, Any], *, status_code: int | None = None, retry_after: str | None = None
) -> ErrorAnswer:
    """The error in the object that describes it; its own code decides without a status."""
    word = error_word(error.get("code")) or error_word(error.get("status"))
    details, said = read_details(error), _message(error)
    return ErrorAnswer(
        status_code=status_code or _own_code(error, word),
        word=word,
        from_api=True,
        subject=ErrorSubject.NO_QUOTA if details.no_quota else subject_of(said),
        parameters=named_parameters(said),
        details=details,
        retry_after=retry_after,
    )


def error_object(body: object) -> Mapping[str, Any] | None:
    """The object in an answer that says what went wrong; None in one that holds none.

    Some servers wrap it into a list of one.
    """
    if isinstance(body, list) and len(body) == 1:
        [body] = body
    if not isinstance(body, Mapping):
        return None
    error = body.get("error")
    if isinstance(error, Mapping):
        return error
    return {"message": error} if isinstance(error, str) and error else None


def error_word(value: object) -> str | None:
    """The error's name in capital letters; where it is a URI, the last part of that."""
    if not isinstance(value, str):
        return None
    word = value.rpartition("/")[2]
    return word.upper().replace("-", "_") if _WORD.fullmatch(word) else None


def _own_code(error: Mapping[str, Any], word: str | None) -> int:
    code = error.get("code")
    if isinstance(code, str) and code.isascii() and code.isdecimal():
        code = int(code[:3])
    if isinstance(code, int) and HTTPStatus.BAD_REQUEST <= code < 600:  # noqa: PLR2004
        return code
    return STATUS_OF_WORD.get(word or "", HTTPStatus.OK)


def _message(error: Mapping[str, Any]) -> str:
    message = error.get("message")
    return message[:_MAX_MESSAGE_CHARS] if isinstance(message, str) else ""


def _json(body: object) -> object:
    if not isinstance(body, bytes | str):
        return body
    try:
        # Bytes may begin with a byte order mark, which the decoder knows.
        return json.loads(body)
    except (ValueError, RecursionError):
        return None
