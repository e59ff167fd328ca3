"""Asking once more for an answer that cannot be used: pure."""

from dataclasses import replace

from executor.contract.profile import LlmProfile, ThinkingConfig, ThinkingLevel
from executor.ports import Correction, ModelAnswer, ModelRequest
from executor.validation.answer import Kind
from shared.domain.errors import InvalidStructuredOutput

#: A longer answer was running away: repeating it would cost more than it tells.
MAX_SHOWN_BYTES = 65_536
#: The most that `maxOutputTokens` may be: models make up to 65,536 tokens, and some one less
#: (https://ai.google.dev/gemini-api/docs/models).
MOST_OUTPUT_TOKENS = 65_535
#: Thoughts and answer share one limit (https://ai.google.dev/gemini-api/docs/thinking).
_LESS_THINKING = {
    # A model that is told nothing thinks much.
    None: ThinkingLevel.LOW,
    ThinkingLevel.HIGH: ThinkingLevel.LOW,
    ThinkingLevel.MEDIUM: ThinkingLevel.LOW,
    ThinkingLevel.LOW: ThinkingLevel.MINIMAL,
}

_REPAIR = (
    "The answer above cannot be used: {reason}. Write the full report again, as one JSON object"
    " that satisfies the response schema, complete and shorter than before if it was cut off."
    " Answer with the JSON alone."
)


def second_request(
    request: ModelRequest, answer: ModelAnswer, problem: InvalidStructuredOutput
) -> ModelRequest | None:
    """The one request that may follow an unusable answer; None where none would help.

    An answer that broke off is asked for once more as it was: what ends in `OTHER` or
    `MALFORMED_RESPONSE` is mostly gone at the second try (pydantic-ai#631). Where the limit of
    the output was used up, the second call has more room or thinks less, as far as the profile
    allows. Any other answer is shown to the model, with what is wrong with it.
    """
    if problem.details.get("kind") == Kind.FINISH_REASON:
        return request
    if answer.finish_reason == "MAX_TOKENS":
        profile = _roomier(request.profile, answer)
        if profile is None:
            return None
        request = replace(request, profile=profile)
    instruction = _REPAIR.format(reason=_reason(problem))
    correction = Correction(former_text=_shown(answer.text), instruction=instruction)
    return replace(request, correction=correction)


def _roomier(profile: LlmProfile, answer: ModelAnswer) -> LlmProfile | None:
    """The profile of a second call that is not cut off as the first was; None without one.

    A limit that the profile names is the author's, and stands. Where it names none, the
    provider's default cut the answer off, and the second call asks for all that there is.
    """
    thoughts, text = (
        _count(answer, "thoughtsTokenCount"),
        _count(answer, "candidatesTokenCount"),
    )
    if profile.max_output_tokens is None and 0 < thoughts + text < MOST_OUTPUT_TOKENS:
        return profile.model_copy(update={"max_output_tokens": MOST_OUTPUT_TOKENS})
    if profile.thinking_config is None and not thoughts:
        return profile
    thinking = profile.thinking_config or ThinkingConfig()
    less = _LESS_THINKING.get(thinking.thinking_level)
    if less is not None:
        thinking = thinking.model_copy(update={"thinking_level": less})
        return profile.model_copy(update={"thinking_config": thinking})
    # Thoughts that cannot be fewer leave no more room, unless it was the text that took it.
    return profile if thoughts < text else None


def _count(answer: ModelAnswer, name: str) -> int:
    """The count of this name on the answer's bill; zero where none can be read."""
    value = (answer.usage or {}).get(name)
    if isinstance(value, str) and value.isascii() and value.isdecimal():
        return int(value)
    return value if isinstance(value, int) else 0


def _shown(former_text: str | None) -> str | None:
    """The text, if it is not too long; a lone surrogate in it could not be sent."""
    if former_text is None:
        return None
    sendable = former_text.encode("utf-8", "replace")
    return sendable.decode() if len(sendable) <= MAX_SHOWN_BYTES else None


def _reason(problem: InvalidStructuredOutput) -> str:
    found = [f"at {error['path'] or 'the top'}: {error['error']}" for error in problem.errors]
    return "; ".join([problem.message, *found])
