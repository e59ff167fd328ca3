"""The stand-in's answers in the form of a GenerateContentResponse: pure.

Tokens are counted roughly. https://ai.google.dev/api/generate-content#generatecontentresponse
"""

import hashlib
import json
from typing import Any

from infra.local.gemini.answers import answer_for
from infra.local.gemini.faults import FaultRule
from infra.local.gemini.judging import asks_for_judgement, judgement
from infra.local.gemini.reports import market_of, report_markdown
from infra.local.gemini.requests import GenerateRequest

#: What an image costs (https://ai.google.dev/gemini-api/docs/tokens).
_TOKENS_PER_IMAGE = 258
_CHARS_PER_TOKEN = 4
_DEFAULT_OUTPUT_TOKENS = 8_192
_THOUGHT_TOKENS = 64


def output_text(request: GenerateRequest, says: str = "") -> str:
    """JSON that satisfies the request's schema; `says` ends its markdown."""
    if asks_for_judgement(request.schema):
        return json.dumps(judgement(request.text))
    markdown = report_markdown(request.text, images=len(request.images))
    value = answer_for(
        request.schema,
        seed=_seed(request),
        markdown=f"{markdown}\n{says}".strip(),
        market=market_of(request.text),
    )
    return json.dumps(value, ensure_ascii=False)


def stopped_answer(request: GenerateRequest, text: str) -> dict[str, Any]:
    """The answer with this text, cut where the request's token limit cuts it."""
    cap = max_output_chars(request)
    return answer(
        request,
        text[:cap],
        "STOP" if len(text) <= cap else "MAX_TOKENS",
    )


def max_output_chars(request: GenerateRequest) -> int:
    """How many characters of text the request's token limit lets through."""
    tokens = int(request.config.get("maxOutputTokens") or _DEFAULT_OUTPUT_TOKENS)
    return tokens * _CHARS_PER_TOKEN


def answer(request: GenerateRequest, text: str, finish_reason: str) -> dict[str, Any]:
    """An answer of one candidate; without a text it has no parts at all."""
    candidate: dict[str, Any] = {
        "index": 0,
        "content": {"role": "model", **({"parts": [{"text": text}]} if text else {})},
        "finishReason": finish_reason,
    }
    if finish_reason == "CONTINUATION":
        # With it, a client may ask for more of the same answer.
        candidate["continuationToken"] = "Z28gb24="
    tokens = len(text) // _CHARS_PER_TOKEN
    return envelope(request, output_tokens=tokens, candidates=[candidate])


def with_null_part(whole: dict[str, Any]) -> dict[str, Any]:
    """The same answer with a part before it whose text is null."""
    for candidate in whole["candidates"]:
        candidate["content"]["parts"].insert(0, {"text": None})
    return whole


def served(whole: dict[str, Any], rule: FaultRule) -> dict[str, Any]:
    """The answer with what the rule wants it to say of how it was served."""
    changed = {
        "usageMetadata": rule.usage,
        "modelVersion": rule.model_version or None,
    }
    return {**whole, **{name: value for name, value in changed.items() if value is not None}}


def envelope(
    request: GenerateRequest, *, output_tokens: int = 0, **fields: Any
) -> dict[str, Any]:
    """What surrounds every answer, blocked ones too: usage, model version, id."""
    images = len(request.images)
    prompt_tokens = len(request.text) // _CHARS_PER_TOKEN + _TOKENS_PER_IMAGE * images
    thoughts = _THOUGHT_TOKENS if request.config.get("thinkingConfig") else 0
    usage = {
        "promptTokenCount": prompt_tokens,
        "candidatesTokenCount": output_tokens,
        "totalTokenCount": prompt_tokens + output_tokens + thoughts,
        **({"thoughtsTokenCount": thoughts} if thoughts else {}),
    }
    return {
        **fields,
        "usageMetadata": usage,
        "modelVersion": f"{request.model}-001",
        "responseId": f"{_seed(request):016x}",
    }


def _seed(request: GenerateRequest) -> int:
    """Equal requests get equal answers."""
    text = json.dumps(request.body, sort_keys=True)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8])
