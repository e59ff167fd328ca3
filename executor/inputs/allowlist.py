"""Which profiles may be used: the model allowlist with its retirement dates, and the cap."""

from collections.abc import Mapping, Sequence
from datetime import date, timedelta

from executor.contract.profile import LlmProfile
from executor.contract.tiers import ServiceTier
from executor.settings import GeminiApi
from shared.domain.errors import LlmProfileInvalid

WARN_BEFORE = timedelta(days=30)


def check_profile(
    profile: LlmProfile,
    *,
    allowed: Mapping[str, date | None],
    max_output_tokens: int | None,
    today: date,
) -> date | None:
    """The model's last day of use, when it is at most 30 days ahead.

    Raises:
        LlmProfileInvalid: the model is not listed or its last day has passed; or the
            profile may ask for more output than the cap allows.
    """
    retires = check_model(profile.model_name, allowed, today)
    _check_output_tokens(profile.max_output_tokens, max_output_tokens)
    return retires


def check_api(profile: LlmProfile, api: GeminiApi) -> None:
    """See that the interface which is called has every setting of the profile.

    Raises:
        LlmProfileInvalid: naming the one that it does not have.
    """
    # https://ai.google.dev/api/interactions-api: its generation_config knows no top_k.
    if api is GeminiApi.INTERACTIONS and profile.top_k is not None:
        raise LlmProfileInvalid("llmProfile.topK: unknown to GEMINI_API=interactions")


def check_tier(profile: LlmProfile, tiers: Sequence[ServiceTier]) -> None:
    """See that the environment allows the service tier that the profile names, if it does.

    Raises:
        LlmProfileInvalid: it does not.
    """
    if profile.service_tier is not None and profile.service_tier not in tiers:
        raise LlmProfileInvalid(
            f"llmProfile.serviceTier: {profile.service_tier} is not in GEMINI_SERVICE_TIERS"
            f" ({','.join(tiers)})"
        )


def check_model(name: str, allowed: Mapping[str, date | None], today: date) -> date | None:
    """The model's last day, when it retires soon. An empty allowlist allows every model.

    Raises:
        LlmProfileInvalid: the model is not listed, or its last day has passed.
    """
    if not allowed:
        return None
    if name not in allowed:
        raise LlmProfileInvalid(f"llmProfile.modelName: {name} is not in GEMINI_ALLOWED_MODELS")
    last_day = allowed[name]
    if last_day is None:
        return None
    if today > last_day:
        raise LlmProfileInvalid(f"llmProfile.modelName: {name} was retired after {last_day}")
    return last_day if last_day - today <= WARN_BEFORE else None


def _check_output_tokens(asked: int | None, cap: int | None) -> None:
    if cap is None:
        return
    # The profile is authoritative, so the cap is never filled in for a missing value, and
    # a missing value means the model's own limit, which a cap is there to prevent.
    if asked is None:
        raise LlmProfileInvalid(
            f"llmProfile.maxOutputTokens: required, at most {cap} (MAX_OUTPUT_TOKENS)"
        )
    if asked > cap:
        raise LlmProfileInvalid(
            f"llmProfile.maxOutputTokens: {asked}, at most {cap} (MAX_OUTPUT_TOKENS)"
        )
