"""What a model call cost, as it was served: pure."""

import re
from collections.abc import Iterator
from datetime import date

from executor.billing.prices import FREE, MicroUsd, Price, PriceTable, price_on
from executor.billing.usage import usage_tokens
from executor.contract.tiers import ServiceTier, served_tier
from shared.domain.attempts import ModelCall
from shared.domain.jobs import JobRecord

#: What follows a model's name in the version that served it: a number, a date, a stage
#: (https://ai.google.dev/gemini-api/docs/models#model-versions).
_REVISION = re.compile(r"-(?:\d[\d-]*|latest|preview[\w.-]*|exp(?:erimental)?[\w.-]*)")


def call_cost(call: ModelCall, prices: PriceTable) -> MicroUsd | None:
    """What the call cost; None where that is not known.

    An error answer costs nothing (https://ai.google.dev/gemini-api/docs/billing). Of a call
    under way, cut off, or answered without a usage that can be read, it is not known. The price
    is that of the model and the tier that served it, on the day on which it began.
    """
    if call.ended_at is None:
        return None
    tokens = usage_tokens(call.usage)
    if tokens is None:
        return FREE if call.code is not None and not call.maybe_billed else None
    price = served_price(call, prices, call.started_at.date())
    return None if price is None else price.of(tokens)


def known_costs(job: JobRecord, prices: PriceTable) -> Iterator[tuple[int, MicroUsd]]:
    """What the calls of a claim cost, by their numbers, where the job record knows it."""
    for attempt in job.history:
        for call in attempt.calls:
            cost = call_cost(call, prices)
            if cost is not None:
                yield call.number, cost


def served_price(call: ModelCall, prices: PriceTable, day: date) -> Price | None:
    """The price at which the call was served; None where the table does not have it."""
    model = served_model(call, prices)
    tier = served_tier(call.service_tier, asked_tier(call))
    price = None if model is None else price_on(prices, model, day)
    return price.at_tier(tier) if price is not None and tier is not None else None


def served_model(call: ModelCall, prices: PriceTable) -> str | None:
    """The name under which the table may have the model that served the call; None without one.

    A provider serves another model than was asked where it has retired that one.
    """
    asked, version = call.model_name or "", (call.model_version or "").rpartition("/")[2]
    if not version or is_revision(version, asked):
        return asked
    if version in prices:
        return version
    return max((name for name in prices if is_revision(version, name)), key=len, default=None)


def is_revision(version: str, model: str) -> bool:
    """Whether this version is one of that model, and no other model whose name is longer."""
    return version == model or (
        version.startswith(model)
        and _REVISION.fullmatch(version.removeprefix(model)) is not None
    )


def asked_tier(call: ModelCall) -> ServiceTier:
    """The service tier that the call was made at."""
    return ServiceTier(call.asked_tier) if call.asked_tier else ServiceTier.STANDARD


def tier_name(tier: ServiceTier) -> str | None:
    """The tier as a call's record keeps it: the usual one needs no word."""
    return None if tier is ServiceTier.STANDARD else str(tier)


def served_otherwise(call: ModelCall) -> bool:
    """Whether another model or tier served the call than was asked."""
    version, asked = call.model_version, call.model_name
    other = bool(version and asked) and not is_revision(
        str(version).rpartition("/")[2], str(asked)
    )
    tier = asked_tier(call)
    # A call that failed may not have been served at all.
    silent = call.service_tier is None
    return other or (not silent and served_tier(call.service_tier, tier) is not tier)
