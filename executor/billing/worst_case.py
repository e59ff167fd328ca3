"""The most that a call can cost, before it is made: pure."""

from datetime import date

from executor.billing.prices import MicroUsd, Price
from executor.contract.tiers import ServiceTier
from executor.ports import ModelRequest
from shared.domain.errors import LlmProfileInvalid


def worst_case(price: Price, request: ModelRequest, day: date) -> MicroUsd:
    """The most that the call can cost, at the dearest of the tiers that may serve it.

    The usual one is always among them: a provider that serves at another tier than was asked
    serves at that.

    Raises:
        LlmProfileInvalid: it is not known: no bound of the output, or no price of a tier.
    """
    most = request.profile.max_output_tokens
    if most is None:
        raise LlmProfileInvalid(
            "llmProfile.maxOutputTokens: required, as a cost ceiling is set"
        )
    tiers = dict.fromkeys([ServiceTier.STANDARD, request.service_tier, *request.may_reach])
    at_tiers = {tier: price.at_tier(tier) for tier in tiers}
    unpriced = next((tier for tier, found in at_tiers.items() if found is None), None)
    if unpriced is not None:
        model = request.profile.model_name
        raise LlmProfileInvalid(
            f"llmProfile.modelName: {model} has no price of the tier {unpriced} in MODEL_PRICES"
            f" for {day}, and a cost ceiling is set"
        )
    return max(found.worst_case(request, most) for found in at_tiers.values() if found)
