"""From the body of an interaction to what has become of the call: pure.

Read here and not by the client library, whose types turn what they do not know into warnings.
The answer gets the words of generateContent, so that readers of reports, steps and bills need
not know by which API a call was made.
https://ai.google.dev/api/interactions-api
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from executor.adapters.envelope import (
    EnvelopeBroken,
    answer_object,
    list_in,
    object_or_empty,
    plain,
    short_word,
)
from executor.adapters.error_answer import error_word
from executor.adapters.error_rule import BLOCKED_WORDS
from executor.ports import CallFailed, CallRunning, CallState, KeptCall, ModelAnswer
from shared.domain.errors import (
    GeminiCallEnded,
    GeminiRequestFailed,
    LlmSafetyBlock,
    ServedCall,
    StepError,
)
from shared.domain.times import parse_time

#: Far above what was seen, far below what a URL holds.
_MAX_ID_CHARS = 1_024
#: A call that ended with something to read. `incomplete` is what a token limit leads to.
_FINISH_REASONS = {"completed": "STOP", "incomplete": "MAX_TOKENS"}
#: `requires_action` asks for the result of a tool, and no tool is offered;
#: `requires_continuation` is the server's own affair in the background.
_ENDED = frozenset({"cancelled", "budget_exceeded", "requires_action", "requires_continuation"})
_FAILED = "failed"
#: The words by which a call says that the model's output broke off: the finish reasons of the
#: other API, in whose words such an answer is judged
#: (https://ai.google.dev/gemini-api/docs/api-errors).
BROKEN_OFF_WORDS = frozenset(
    {
        "MALFORMED_FUNCTION_CALL",
        "MALFORMED_RESPONSE",
        "MALFORMED_TOOL_CALL",
        "MISSING_THOUGHT_SIGNATURE",
        "OTHER",
        "TOO_MANY_TOOL_CALLS",
        "UNEXPECTED_TOOL_CALL",
    }
)
#: The words by which a call says that it was shed or evicted: cheap tiers give way to others.
_NO_ROOM = frozenset(
    {
        "OVERLOADED",
        "RATE_LIMIT_EXCEEDED",
        "RESOURCE_EXHAUSTED",
        "SERVICE_UNAVAILABLE",
        "TOO_MANY_REQUESTS",
        "UNAVAILABLE",
    }
)
_TOKENS = {
    "total_input_tokens": "promptTokenCount",
    "total_cached_tokens": "cachedContentTokenCount",
    "total_output_tokens": "candidatesTokenCount",
    "total_thought_tokens": "thoughtsTokenCount",
    "total_tool_use_tokens": "toolUsePromptTokenCount",
    "total_tokens": "totalTokenCount",
}


def parse_id(body: str) -> str:
    """The id of the interaction that was begun.

    Raises:
        AnsweredWithError: the body is an error after all, as gateways answer.
        EnvelopeBroken: the body is no interaction, or its id cannot stand in a path.
    """
    found = answer_object(body).get("id")
    if not isinstance(found, str) or not _is_usable(found):
        raise EnvelopeBroken("an interaction without a usable id")
    return found


def _is_usable(call_id: str) -> bool:
    # It is escaped in the path; `.` and `..` mean another place even so.
    return (
        0 < len(call_id) <= _MAX_ID_CHARS and call_id.isprintable() and call_id.strip(".") != ""
    )


def parse_kept(body: str) -> KeptCall:
    """With which labels, and when, the call was begun.

    Raises:
        AnsweredWithError: the body is an error after all, as gateways answer.
        EnvelopeBroken: the body is no interaction.
    """
    interaction = answer_object(body)
    labels = object_or_empty(interaction.get("labels"))
    return KeptCall(
        labels={name: value for name, value in labels.items() if isinstance(value, str)},
        created=parse_time(interaction.get("created")),
    )


def parse_interaction(body: str, *, tier: str | None = None) -> CallState:
    """What has become of the call.

    A status that is not known is taken for one more of a call under way: the deadlines bound
    the wait, while a second call would have to be paid for.

    Args:
        body: the text of the response.
        tier: the service tier that a header of the response names, if one does.

    Raises:
        AnsweredWithError: the body is an error after all, as gateways answer.
        EnvelopeBroken: the body is no interaction.
    """
    interaction = answer_object(body)
    status = interaction.get("status")
    if not isinstance(status, str):
        raise EnvelopeBroken("an interaction without a status")
    served = ServedCall(
        model_version=short_word(interaction.get("model")),
        service_tier=short_word(tier or interaction.get("service_tier")),
        usage=_usage(interaction.get("usage")),
    )
    if status in _FINISH_REASONS:
        text = _text(interaction)
        return _answer(interaction, _FINISH_REASONS[status], served, text)
    if status != _FAILED and status not in _ENDED:
        return CallRunning()
    words = _error_words(interaction)
    broken_off = sorted(words & BROKEN_OFF_WORDS)
    if broken_off and served.usage:
        return _answer(interaction, broken_off[0], served, None)
    return CallFailed(_error(status, words, served))


def _answer(
    interaction: Mapping[str, Any], reason: str, served: ServedCall, text: str | None
) -> ModelAnswer:
    return ModelAnswer(
        text=text,
        finish_reason=reason,
        block_reason=None,
        model_version=served.model_version,
        response_id=short_word(interaction.get("id")),
        usage=served.usage,
        service_tier=served.service_tier,
        worked=_worked(interaction),
    )


def _worked(interaction: Mapping[str, Any]) -> timedelta | None:
    """From its creation to its last change: nothing changes a call that has ended."""
    created, updated = map(parse_time, (interaction.get("created"), interaction.get("updated")))
    if created is None or updated is None:
        return None
    return max(updated - created, timedelta(0))


def _error_words(interaction: Mapping[str, Any]) -> frozenset[str]:
    """The kinds of error that the call met; messages can quote the prompt, and stay here."""
    errors = [object_or_empty(error) for error in list_in(interaction, "errors")]
    return frozenset(word for error in errors if (word := error_word(error.get("code"))))


def _error(status: str, words: frozenset[str], served: ServedCall) -> StepError:
    """What a call without an answer means.

    One with usage is billed for it, and another call would be as well. One that the provider
    failed without usage is an error of the API, which costs nothing
    (https://ai.google.dev/gemini-api/docs/billing). Of one that was stopped it is not known
    what the model had done until then.
    """
    billed = served if served.usage else None
    blocked = sorted(words & BLOCKED_WORDS)
    if blocked:
        return LlmSafetyBlock(
            f"the call was blocked: {blocked[0]}", maybe_billed=bool(billed), served=billed
        )
    message = f"the provider ended the call: {status}"
    if status == _FAILED and words & _NO_ROOM:
        # What was done until then is billed; without anything done, it is a refusal.
        return GeminiRequestFailed(
            f"{message}, for want of room", served=billed, refused=billed is None
        )
    if billed is not None:
        return GeminiCallEnded(message, maybe_billed=True, served=billed)
    return GeminiRequestFailed(message, maybe_billed=status != _FAILED)


def _text(interaction: Mapping[str, Any]) -> str | None:
    """The text of the model's output, joined; thoughts are steps of their own."""
    steps = [object_or_empty(step) for step in list_in(interaction, "steps")]
    contents = [
        object_or_empty(content)
        for step in steps
        if step.get("type") == "model_output"
        for content in list_in(step, "content")
    ]
    texts = [content.get("text") for content in contents if content.get("type") == "text"]
    if not all(isinstance(text, str) for text in texts):
        raise EnvelopeBroken("a content's text is not text")
    return "".join(text for text in texts if text) if texts else None


def _usage(usage: Any) -> Mapping[str, Any] | None:
    """The counts in the words of the other API, readable or not; None where there are none."""
    if not isinstance(usage, dict):
        return None
    found = {ours: plain(usage[theirs]) for theirs, ours in _TOKENS.items() if theirs in usage}
    return found or None
