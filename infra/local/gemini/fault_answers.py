"""How each fault looks to the client: one table for each place where a call can go wrong."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from starlette.responses import Response

from infra.local.broken_answers import CutAnswer, DrippedAnswer, LostAnswer, NoAnswer
from infra.local.gemini.faults import FaultKind, FaultRule
from infra.local.gemini.generation import (
    answer,
    envelope,
    max_output_chars,
    output_text,
    stopped_answer,
)
from infra.local.gemini.provider_errors import (
    html_error,
    key_revoked,
    quota_error,
    status_error,
)
from infra.local.gemini.requests import GenerateRequest

_DRIP_PIECES = 40

#: The call never reaches the model. The second argument is what an error may quote.
REFUSALS: Mapping[FaultKind, Callable[[FaultRule, str], Response]] = {
    FaultKind.HANG: lambda _, __: NoAnswer(),
    FaultKind.RESET_BEFORE_ANSWER: lambda _, __: LostAnswer(),
    FaultKind.STATUS: lambda rule, said: status_error(rule.status, quoting=said),
    FaultKind.STATUS_AS_HTML: lambda rule, said: html_error(rule.status, quoting=said),
    FaultKind.KEY_REVOKED: lambda _, said: key_revoked(quoting=said),
    FaultKind.RATE_LIMIT: lambda rule, said: quota_error(
        per="Minute", retry_seconds=rule.seconds, quoting=said
    ),
    FaultKind.DAILY_QUOTA: lambda rule, said: quota_error(
        per="Day", retry_seconds=rule.seconds, quoting=said
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
    FaultKind.DRIP: lambda rule, whole: DrippedAnswer(
        whole, seconds=rule.seconds, pieces=_DRIP_PIECES
    ),
}


def _half(text: str) -> str:
    return text[: len(text) // 2]
