"""What an evaluation will cost, before its first call: likely, and at most. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date

from executor.billing.prices import (
    MicroUsd,
    PriceTable,
    image_tokens,
    most_input_tokens,
    price_on,
)
from executor.billing.usage import Tokens
from executor.contract.tiers import ServiceTier
from executor.ports import ModelRequest
from infra.ops.evaluation.asking.answers import CellAnswer

#: In the units of the price table.
_FREE = MicroUsd(0)
_BYTES_PER_TOKEN = 4
#: An image at the default resolution (https://ai.google.dev/gemini-api/docs/media-resolution).
_TOKENS_PER_IMAGE = 1_120
#: A typical report, where the case has none of its own.
_LIKELY_OUTPUT_TOKENS = 1_500


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What calls cost; None where a model has no price."""

    likely: MicroUsd | None
    #: Without repairs: money for a repair is only reserved when one is made.
    most: MicroUsd | None


#: What no call at all costs.
FREE_OF_CHARGE = Cost(likely=_FREE, most=_FREE)


def cost_of(
    request: ModelRequest,
    stored: CellAnswer | None,
    prices: PriceTable,
    day: date,
    tiers: Sequence[ServiceTier],
) -> Cost:
    """What one cell costs, by what the case's own report took where that is known.

    Args:
        request: what is asked.
        stored: the case's own report.
        prices: by model.
        day: the calls'.
        tiers: those that may be asked, from the cheapest, which is the likely one.
    """
    standard = price_on(prices, request.profile.model_name, day)
    chosen = request.profile.service_tier
    by_tier = [standard and standard.at_tier(tier) for tier in ([chosen] if chosen else tiers)]
    known = [price for price in by_tier if price is not None]
    if len(known) < len(by_tier):
        return Cost(likely=None, most=None)
    tokens_in = stored.tokens_in if stored else None
    tokens_out = stored.tokens_out if stored else None
    images = (image_tokens(request) or _TOKENS_PER_IMAGE) * len(request.images)
    text = most_input_tokens(request, 0) // _BYTES_PER_TOKEN
    likely = Tokens(
        input=tokens_in or text + images, output=tokens_out or _LIKELY_OUTPUT_TOKENS
    )
    most = request.profile.max_output_tokens
    return Cost(
        likely=known[0].of(likely),
        most=None if most is None else max(each.worst_case(request, most) for each in known),
    )


def total(costs: Iterable[Cost]) -> Cost:
    """What several cells cost together; None where one of them is not known."""
    known = list(costs)
    likely, most = [each.likely for each in known], [each.most for each in known]
    return Cost(likely=_sum(likely), most=_sum(most))


def _sum(amounts: Iterable[MicroUsd | None]) -> MicroUsd | None:
    together = 0
    for amount in amounts:
        if amount is None:
            return None
        together += amount
    return MicroUsd(together) if together else _FREE
