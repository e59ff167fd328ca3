"""Negative answers to begin, get, cancel and delete of a call in the background.

No single one of them loses a call that was paid for. Each row is a test.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from infra.local.gemini.faults import Asked, FaultKind, FaultRule
from shared.domain.errors import ErrorCode


class CallId(StrEnum):
    """What becomes of the id of the call."""

    NONE = "there is none"
    KEPT = "kept, and looked for again"
    USED = "used: the call has ended"
    GIVEN_UP = "given up"
    STAYS = "the provider may keep it until it expires; the log says so"


@dataclass(frozen=True, slots=True, kw_only=True)
class NegativeAnswer:
    """One negative answer, and what must come of it."""

    answer: str
    rules: Sequence[FaultRule]
    call_id: CallId
    #: How many calls are begun, and how many of them may be billed.
    calls: int = 1
    billed: int = 1
    code: ErrorCode | None = None
    message: str = ""
    environ: Mapping[str, str] = field(default_factory=dict)

    @property
    def at(self) -> Asked:
        """The request that gets the negative answer; how a call has ended is told by a get."""
        rule = self.rules[0]
        return Asked.GET if rule.kind is FaultKind.CALL_ENDS else rule.at


def _word(at: Asked, status: int, word: str, times: int = 1, **fields: Any) -> FaultRule:
    kind = FaultKind.ERROR
    return FaultRule(kind=kind, at=at, status=status, reason=word, times=times, **fields)


def _begin(status: int, word: str, code: ErrorCode, says: str) -> NegativeAnswer:
    return NegativeAnswer(
        answer=f"{status} `{word}`",
        rules=[_word(Asked.CALL, status, word)],
        call_id=CallId.NONE,
        billed=0,
        code=code,
        message=f"{says}: {status} {word.upper()}",
    )


def _kept(answer: str, *rules: FaultRule) -> NegativeAnswer:
    return NegativeAnswer(answer=answer, rules=rules, call_id=CallId.KEPT)


def _get(kind: FaultKind, times: int = 2, **fields: Any) -> FaultRule:
    return FaultRule(kind=kind, at=Asked.GET, times=times, **fields)


def _ends(status: str, **fields: Any) -> NegativeAnswer:
    return NegativeAnswer(
        answer=f"the call ends as `{status}`, with usage",
        rules=[FaultRule(kind=FaultKind.CALL_ENDS, reason=status, times=9)],
        call_id=CallId.USED,
        code=ErrorCode.GEMINI_REQUEST_FAILED,
        message=f"the provider ended the call: {status}",
        **fields,
    )


_BLOCK, _PROFILE = ErrorCode.LLM_SAFETY_BLOCK, ErrorCode.LLM_PROFILE_INVALID
_ACCESS = ErrorCode.GEMINI_REQUEST_FAILED
_ONCE = {"CALL_POLICY": "at_most_once"}
_BLOCKED = "the call was blocked"
_CREDENTIALS = "the provider refuses our credentials"
_REFUSES = "the provider refuses the request"

ROWS: Sequence[NegativeAnswer] = (
    _begin(400, "content_blocked", _BLOCK, _BLOCKED),
    _begin(400, "safety", _BLOCK, _BLOCKED),
    _begin(400, "prohibited_content", _BLOCK, _BLOCKED),
    _begin(400, "language", _BLOCK, _BLOCKED),
    _begin(400, "invalid_request", _PROFILE, _REFUSES),
    _begin(400, "parameter_unknown", _PROFILE, _REFUSES),
    _begin(416, "out_of_range", _PROFILE, _REFUSES),
    _begin(
        400,
        "failed_precondition",
        _ACCESS,
        "the provider refuses the API key or its project",
    ),
    _begin(401, "authentication", _ACCESS, _CREDENTIALS),
    _begin(
        402,
        "payment_required",
        _ACCESS,
        "the project's credits at the provider are used up",
    ),
    _begin(403, "permission_denied", _ACCESS, _CREDENTIALS),
    _begin(404, "model_not_found", _PROFILE, "modelName: the provider has no such model here"),
    _begin(501, "unimplemented", _PROFILE, "the provider does not support the request"),
    NegativeAnswer(
        answer="429 `quota_exceeded` with `limit: 0`",
        rules=[FaultRule(kind=FaultKind.NO_QUOTA)],
        call_id=CallId.NONE,
        billed=0,
        code=_ACCESS,
        message="the project has no quota for this model at all (limit: 0): 429 QUOTA_EXCEEDED",
    ),
    NegativeAnswer(
        answer="400 with the reason `API_KEY_INVALID`",
        rules=[FaultRule(kind=FaultKind.KEY_REVOKED)],
        call_id=CallId.NONE,
        billed=0,
        code=_ACCESS,
        message="the provider refuses the API key or its project: 400 INVALID_ARGUMENT",
    ),
    NegativeAnswer(
        answer="500 `api_error`, once",
        rules=[_word(Asked.CALL, 500, "api_error")],
        call_id=CallId.NONE,
        calls=2,
    ),
    NegativeAnswer(
        answer="the connection is reset once the call has begun",
        rules=[FaultRule(kind=FaultKind.RESET_AFTER_ANSWER)],
        call_id=CallId.NONE,
        calls=2,
        billed=2,
    ),
    NegativeAnswer(
        answer="400 `content_blocked`",
        rules=[_word(Asked.GET, 400, "content_blocked", times=99)],
        call_id=CallId.USED,
        code=_BLOCK,
        message=f"{_BLOCKED}: 400 CONTENT_BLOCKED",
    ),
    NegativeAnswer(
        answer="400 `malformed_response`",
        rules=[_word(Asked.GET, 400, "malformed_response")],
        call_id=CallId.USED,
        calls=2,
        billed=2,
    ),
    _kept("400 with the reason `API_KEY_INVALID`, twice", _get(FaultKind.KEY_REVOKED)),
    _kept("400 `invalid_request`, twice", _word(Asked.GET, 400, "invalid_request", 2)),
    _kept("401 `authentication`, twice", _word(Asked.GET, 401, "authentication", 2)),
    _kept("402 `payment_required`, twice", _word(Asked.GET, 402, "payment_required", 2)),
    _kept("403 `permission_denied`, twice", _word(Asked.GET, 403, "permission_denied", 2)),
    _kept("404 `not_found`, once", _word(Asked.GET, 404, "not_found")),
    _kept("404 `not_found`, four times", _word(Asked.GET, 404, "not_found", 4)),
    _kept("404 with a page, twice", _get(FaultKind.STATUS_AS_HTML, status=404)),
    _kept("429 `rate_limit_exceeded`", _word(Asked.GET, 429, "rate_limit_exceeded")),
    _kept("500 `api_error`, twice", _word(Asked.GET, 500, "api_error", 2)),
    _kept("502 with a page, twice", _get(FaultKind.STATUS_AS_HTML, status=502)),
    _kept("500 with a page of 32 MiB", _get(FaultKind.LONG_PAGE, 1, status=500)),
    _kept("503 `service_unavailable`, twice", _word(Asked.GET, 503, "service_unavailable", 2)),
    _kept("200 with an error 503", _get(FaultKind.ERROR_IN_SUCCESS, 1, reason="overloaded")),
    _kept("the connection is reset, twice", _get(FaultKind.RESET_BEFORE_ANSWER)),
    NegativeAnswer(
        answer="404 `not_found`, for good",
        rules=[_word(Asked.GET, 404, "not_found", 999)],
        call_id=CallId.GIVEN_UP,
        code=ErrorCode.CALL_OUTCOME_UNKNOWN,
        message="call 1: the provider does not know the call any more",
        environ=_ONCE,
    ),
    _ends("cancelled"),
    _ends("budget_exceeded"),
    _ends("requires_action"),
    _ends("failed"),
    _ends("budget_exceeded", environ=_ONCE),
    *(
        NegativeAnswer(answer=answer, rules=[rule], call_id=call_id)
        for answer, rule, call_id in (
            ("404 `not_found`", _word(Asked.DELETE, 404, "not_found"), CallId.USED),
            (
                "403 `permission_denied`",
                _word(Asked.DELETE, 403, "permission_denied"),
                CallId.STAYS,
            ),
            ("500 `api_error`", _word(Asked.DELETE, 500, "api_error"), CallId.STAYS),
            (
                "502 with a page",
                FaultRule(kind=FaultKind.STATUS_AS_HTML, at=Asked.DELETE, status=502),
                CallId.STAYS,
            ),
        )
    ),
    *(
        NegativeAnswer(
            answer=answer,
            rules=[rule, FaultRule(kind=FaultKind.CALL_NEVER_ENDS)],
            call_id=call_id,
            calls=2,
            billed=2,
            environ={"GEMINI_BACKGROUND_TIMEOUT_SECONDS": "1"},
        )
        for answer, rule, call_id in (
            ("404 `not_found`", _word(Asked.CANCEL, 404, "not_found"), CallId.GIVEN_UP),
            ("409 `aborted`", _word(Asked.CANCEL, 409, "aborted"), CallId.GIVEN_UP),
            ("400, it has ended", _word(Asked.CANCEL, 400, "invalid_request"), CallId.GIVEN_UP),
            ("403", _word(Asked.CANCEL, 403, "permission_denied"), CallId.STAYS),
            ("500 `api_error`", _word(Asked.CANCEL, 500, "api_error"), CallId.STAYS),
        )
    ),
)
