"""Which calls a provider counts together, and so keep one pace: pure."""

from dataclasses import dataclass

from executor.contract.tiers import ServiceTier
from shared.domain.pace_documents import pace_place


@dataclass(frozen=True, slots=True)
class Pool:
    """Calls that a provider counts together: those of one model at one service tier."""

    model: str
    tier: ServiceTier = ServiceTier.STANDARD


def pool_place(pool: Pool, endpoint: str) -> str:
    """Which pace the calls of a pool keep."""
    usual = pool.tier is ServiceTier.STANDARD
    return pace_place(pool.model, endpoint if usual else f"{endpoint}-{pool.tier}")
