"""The provider's service tiers: by what words they are asked for, and served."""

from enum import StrEnum


class ServiceTier(StrEnum):
    """How soon a call is answered, and at what price; from the cheapest to the dearest.

    https://ai.google.dev/gemini-api/docs/optimization
    """

    DEFERRED = "deferred"  #: Half the price, within a day, in the background alone.
    FLEX = "flex"  #: Half the price, within minutes, and may be refused or evicted.
    STANDARD = "standard"
    PRIORITY = "priority"  #: Dearer, before all others; served as standard over its limit.

    @property
    def slow(self) -> bool:
        """Whether nobody should wait for its answer with an instance held."""
        return self in {ServiceTier.DEFERRED, ServiceTier.FLEX}

    def is_dearer(self, other: "ServiceTier") -> bool:
        """Whether a call at this tier comes after one at the other."""
        order = list(ServiceTier)
        return order.index(self) > order.index(other)


#: The words of the header `x-gemini-service-tier`, and of `usageMetadata.trafficType`
#: (https://ai.google.dev/api/generate-content#UsageMetadata).
_SERVED = {
    **{str(tier): tier for tier in ServiceTier},
    "on_demand": ServiceTier.STANDARD,
    "traffic_type_unspecified": ServiceTier.STANDARD,
    "on_demand_flex": ServiceTier.FLEX,
    "on_demand_priority": ServiceTier.PRIORITY,
    "on_demand_offpeak": ServiceTier.DEFERRED,
}


def served_tier(word: str | None, asked: ServiceTier) -> ServiceTier | None:
    """The tier that the provider's word means; None where it is not known.

    Without a word, a call that asked for no other tier than the usual one was served at that.
    """
    if not word:
        return asked if asked is ServiceTier.STANDARD else None
    return _SERVED.get(word.lower())
