"""How each fault looks to the client: one table for each place where a call can go wrong."""

import json
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from starlette.responses import Response

from infra.local.gemini.faults import FaultKind, FaultRule
from infra.local.gemini.generation import (
    answer,
    envelope,
    max_output_chars,
    output_text,
    stopped_answer,
    with_null_part,
)
from infra.local.gemini.provider_errors import (
    html_error,
    key_revoked,
    no_quota,
    quota_error,
    status_error,
    token_expired,
    word_error,
)
from infra.local.gemini.requests import GenerateRequest
from infra.local.serving.broken_answers import (
    CutAnswer,
    DrippedAnswer,
    LongAnswer,
    LostAnswer,
    NoAnswer,
)

_DRIP_PIECES = 40
_MEBIBYTES = 32

_Refusals: TypeAlias = Mapping[FaultKind, Callable[[FaultRule, str], Response]]

#: What answers in the place of the API, or before it: alike for both dialects.
_BEFORE_THE_API: _Refusals = {
    FaultKind.HANG: lambda _, __: NoAnswer(),
    FaultKind.RESET_BEFORE_ANSWER: lambda _, __: LostAnswer(),
    FaultKind.STATUS_AS_HTML: lambda rule, said: html_error(rule.status, quoting=said),
    FaultKind.LONG_PAGE: lambda rule, said: LongAnswer(
        html_error(rule.status, quoting=said), mebibytes=_MEBIBYTES
    ),
    FaultKind.BUSY_GATEWAY: lambda rule, said: html_error(
        rule.status, quoting=said, retry_seconds=rule.seconds
    ),
    FaultKind.KEY_REVOKED: lambda _, said: key_revoked(quoting=said),
    FaultKind.TOKEN_EXPIRED: lambda _, said: token_expired(quoting=said),
}
#: The call never reaches the model. The second argument is what an error may quote.
REFUSALS: _Refusals = {
    **_BEFORE_THE_API,
    FaultKind.STATUS: lambda rule, said: status_error(rule.status, quoting=said),
    FaultKind.ERROR: lambda rule, said: status_error(
        rule.status, status=rule.reason, quoting=rule.says or said
    ),
    FaultKind.ERROR_IN_SUCCESS: lambda rule, said: status_error(
        rule.status, status=rule.reason, quoting=rule.says or said, http_status=200
    ),
    FaultKind.RATE_LIMIT: lambda rule, said: quota_error(
        per="Minute", retry_seconds=rule.seconds, quoting=said
    ),
    FaultKind.DAILY_QUOTA: lambda rule, said: quota_error(
        per="Day", retry_seconds=rule.seconds, quoting=said
    ),
    FaultKind.NO_QUOTA: lambda _, said: no_quota(quoting=said),
}
#: The same in the dialect of Interactions, which has neither details nor delays.
WORD_REFUSALS: _Refusals = {
    **_BEFORE_THE_API,
    FaultKind.STATUS: lambda rule, said: word_error(rule.status, quoting=said),
    FaultKind.ERROR: lambda rule, said: word_error(
        rule.status, word=rule.reason.lower(), quoting=rule.says or said
    ),
    FaultKind.ERROR_IN_SUCCESS: lambda rule, said: word_error(
        rule.status, word=rule.reason.lower(), quoting=rule.says or said, http_status=200
    ),
    FaultKind.RATE_LIMIT: lambda rule, said: word_error(
        429, word="rate_limit_exceeded", quoting=said, retry_seconds=rule.seconds
    ),
    FaultKind.DAILY_QUOTA: lambda _, said: word_error(429, word="quota_exceeded", quoting=said),
    FaultKind.NO_QUOTA: lambda _, __: word_error(
        429, word="quota_exceeded", quoting="quota exceeded for the free tier, limit: 0"
    ),
}

#: What the model answers.
ANSWERS: Mapping[FaultKind, Callable[[FaultRule, GenerateRequest], dict[str, Any]]] = {
    FaultKind.NONE: lambda rule, asked: stopped_answer(asked, output_text(asked, rule.says)),
    FaultKind.PROMPT_BLOCKED: lambda rule, asked: envelope(
        asked, promptFeedback={"blockReason": rule.reason}
    ),
    FaultKind.ANSWER_BLOCKED: lambda rule, asked: answer(asked, "", rule.reason),
    FaultKind.FINISH_REASON: lambda rule, asked: answer(
        asked, output_text(asked, rule.says), rule.reason
    ),
    FaultKind.CUT_JSON: lambda rule, asked: answer(
        asked, _half(output_text(asked, rule.says)), "MAX_TOKENS"
    ),
    FaultKind.REPETITION: lambda rule, asked: stopped_answer(
        asked, f'{{"summary": {{"markdown": "{rule.says}' + "the " * max_output_chars(asked)
    ),
    FaultKind.FENCED: lambda rule, asked: stopped_answer(
        asked, f"```json\n{output_text(asked, rule.says)}\n```"
    ),
    FaultKind.NULL_PART: lambda rule, asked: with_null_part(
        stopped_answer(asked, output_text(asked, rule.says))
    ),
    FaultKind.NO_PARTS: lambda _, asked: answer(asked, "", "STOP"),
    FaultKind.NO_CANDIDATES: lambda _, asked: envelope(asked),
    FaultKind.PROSE: lambda rule, asked: stopped_answer(
        asked, f"Here is your report. {rule.says}"
    ),
    FaultKind.WRONG_SCHEMA: lambda rule, asked: stopped_answer(
        asked, json.dumps({"summary": {"markdown": 7}, "details": {rule.says: rule.says}})
    ),
}

#: How much of the model's answer arrives, and when.
DELIVERIES: Mapping[FaultKind, Callable[[FaultRule, Response], Response]] = {
    FaultKind.RESET_AFTER_ANSWER: lambda _, __: LostAnswer(),
    FaultKind.CUT_ANSWER: lambda _, whole: CutAnswer(whole, share=0.5),
    FaultKind.TRUNCATED_ENVELOPE: lambda _, whole: Response(
        _half(bytes(whole.body).decode()), media_type="application/json"
    ),
    FaultKind.BYTE_ORDER_MARK: lambda _, whole: _json(b"\xef\xbb\xbf" + bytes(whole.body)),
    FaultKind.NOT_UTF8: lambda rule, whole: _json(
        bytes(whole.body).replace(b" ", b"\xe9 ", 1), charset=rule.reason
    ),
    FaultKind.OTHER_CHARSET: lambda rule, whole: _json(bytes(whole.body), charset=rule.reason),
    FaultKind.LONG_ANSWER: lambda _, whole: LongAnswer(whole, mebibytes=_MEBIBYTES),
    FaultKind.DRIP: lambda rule, whole: DrippedAnswer(
        whole, seconds=rule.seconds, pieces=_DRIP_PIECES
    ),
}


def _half(text: str) -> str:
    return text[: len(text) // 2]


def _json(body: bytes, charset: str = "utf-8") -> Response:
    return Response(body, headers={"content-type": f"application/json; charset={charset}"})
