"""From the body of a generateContent answer to a ModelAnswer: pure.

Read here and not by the client library: that one turns enumerations it does not know into
warnings, and usage into types of its own, where the step wants it as the provider sent it.
https://ai.google.dev/api/generate-content#generatecontentresponse
"""

import re
from collections.abc import Mapping
from typing import Any

from executor.adapters.envelope import (
    EnvelopeBroken,
    answer_object,
    kept,
    list_in,
    object_or_empty,
    short_word,
)
from executor.ports import ModelAnswer

_ENUM = re.compile(r"[A-Z][A-Z0-9_]{0,63}")


#: In the order in which they are kept: the bill comes before its breakdowns.
_BILLED = (
    "totalTokenCount",
    "promptTokenCount",
    "candidatesTokenCount",
    "thoughtsTokenCount",
    "toolUsePromptTokenCount",
    "cachedContentTokenCount",
    "trafficType",
)


def parse_answer(body: str, *, tier: str | None = None) -> ModelAnswer:
    """The answer in the body of a response with status 200.

    Args:
        body: the text of the response.
        tier: the service tier that a header of the response names, if one does.

    Raises:
        AnsweredWithError: it is an error after all, as gateways answer.
        EnvelopeBroken: it is not JSON, or does not have the API's form.
    """
    envelope = answer_object(body)
    candidate = object_or_empty(next(iter(list_in(envelope, "candidates")), {}))
    feedback = object_or_empty(envelope.get("promptFeedback"))
    usage = _usage(envelope.get("usageMetadata"))
    ratings = [object_or_empty(rating) for rating in list_in(candidate, "safetyRatings")]
    return ModelAnswer(
        text=_text(object_or_empty(candidate.get("content"))),
        finish_reason=_enum(candidate.get("finishReason")),
        block_reason=_enum(feedback.get("blockReason")),
        model_version=short_word(envelope.get("modelVersion")),
        response_id=short_word(envelope.get("responseId")),
        usage=usage,
        service_tier=short_word(tier or (usage or {}).get("trafficType")),
        safety=[rating for rating in kept(ratings) if rating],
    )


def _text(content: Mapping[str, Any]) -> str | None:
    """The text parts joined and otherwise untouched; thoughts are no part of the answer."""
    parts = [object_or_empty(part) for part in list_in(content, "parts")]
    said = [part.get("text") for part in parts if not part.get("thought")]
    texts = [text for text in said if text is not None]
    if not all(isinstance(text, str) for text in texts):
        raise EnvelopeBroken("a part's text is not text")
    return "".join(texts) if texts else None


def _usage(usage: Any) -> Mapping[str, Any] | None:
    """The usage as far as it can be kept; one that is no object leaves the answer as it is."""
    if not isinstance(usage, dict):
        return None
    billed = {name: usage[name] for name in _BILLED if name in usage}
    return kept({**billed, **usage}) or None


def _enum(value: Any) -> str | None:
    """The name of an enumeration's member, known or not: it is written into messages."""
    if value is None:
        return None
    return value if isinstance(value, str) and _ENUM.fullmatch(value) else "UNREADABLE"
