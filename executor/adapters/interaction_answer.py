"""From the body of an interaction to what has become of the call: pure.

Read here and not by the client library, whose types turn what they do not know into warnings.
The answer gets the words of generateContent, so that whoever reads reports, steps or bills
need not know by which API a call was made.
https://ai.google.dev/api/interactions-api
"""

import re
from collections.abc import Mapping
from typing import Any

from executor.adapters.envelope import (
    EnvelopeBroken,
    json_object,
    list_in,
    object_or_empty,
    plain,
    short_word,
)
from executor.ports import CallFailed, CallRunning, CallState, ModelAnswer
from executor.structured_output import SAFETY_REASONS
from shared.domain.errors import GeminiRequestFailed, LlmSafetyBlock, StepError

#: It becomes a part of a URL's path.
_ID = re.compile(r"[A-Za-z0-9_-]{1,512}")
#: A call that ended with something to read. `incomplete` is what a token limit leads to.
_FINISH_REASONS = {"completed": "STOP", "incomplete": "MAX_TOKENS"}
#: `requires_action` asks for the result of a tool, and no tool is offered;
#: `requires_continuation` is the server's own affair in the background.
_FAILED = frozenset(
    {"failed", "cancelled", "budget_exceeded", "requires_action", "requires_continuation"}
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
        EnvelopeBroken: the body is no interaction.
    """
    found = json_object(body).get("id")
    if not isinstance(found, str) or not _ID.fullmatch(found):
        raise EnvelopeBroken("an interaction without a usable id")
    return found


def parse_interaction(body: str) -> CallState:
    """What has become of the call.

    A status that is not known is taken for one more of a call under way: the deadlines bound
    the wait, while a second call would have to be paid for.

    Raises:
        EnvelopeBroken: the body is no interaction.
    """
    interaction = json_object(body)
    status = interaction.get("status")
    if not isinstance(status, str):
        raise EnvelopeBroken("an interaction without a status")
    if status in _FAILED:
        return CallFailed(_error(status, interaction))
    if status not in _FINISH_REASONS:
        return CallRunning()
    return ModelAnswer(
        text=_text(interaction),
        finish_reason=_FINISH_REASONS[status],
        block_reason=None,
        model_version=short_word(interaction.get("model")),
        response_id=short_word(interaction.get("id")),
        usage=_usage(object_or_empty(interaction.get("usage"))) or None,
    )


def _error(status: str, interaction: Mapping[str, Any]) -> StepError:
    """What a call without an answer means; its messages can quote the prompt, and stay here."""
    codes = [object_or_empty(error).get("code") for error in list_in(interaction, "errors")]
    # Codes are documented as URIs, each named for its kind of error.
    names = {str(code).rpartition("/")[2].upper() for code in codes}
    blocked = sorted(names & SAFETY_REASONS)
    if blocked:
        return LlmSafetyBlock(f"the call was blocked: {blocked[0]}")
    return GeminiRequestFailed(f"the provider ended the call: {status}")


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


def _usage(usage: Mapping[str, Any]) -> dict[str, Any]:
    counts = {ours: plain(usage.get(theirs)) for theirs, ours in _TOKENS.items()}
    return {name: count for name, count in counts.items() if isinstance(count, int)}
