"""Which calls a provider counts together, and so keep one pace: pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from executor.contract.tiers import ServiceTier
from executor.ports import ModelRequest
from executor.settings import GeminiSettings
from shared.domain.pace_documents import pace_names, pace_place


@dataclass(frozen=True, slots=True)
class Pool:
    """Calls that a provider counts together: those of one model at one service tier."""

    model: str
    tier: ServiceTier = ServiceTier.STANDARD


def pool_place(pool: Pool, endpoint: str) -> str:
    """Which pace the calls of a pool keep."""
    usual = pool.tier is ServiceTier.STANDARD
    return pace_place(pool.model, endpoint if usual else f"{endpoint}-{pool.tier}")


def pool_places(gemini: GeminiSettings, model: str) -> Sequence[str]:
    """The paces that calls of the model may keep."""
    return [pool_place(Pool(model, tier), gemini.endpoint) for tier in gemini.service_tiers]


def request_pool(request: ModelRequest) -> Pool:
    """The pool of the call that makes the request."""
    return Pool(request.profile.model_name, request.service_tier)


def pool_of(place: str) -> tuple[Pool, str] | None:
    """The pool that keeps this pace, and its endpoint; None for what is no pace's place."""
    names = pace_names(place)
    if names is None:
        return None
    model, endpoint = names
    for tier in ServiceTier:
        if tier is not ServiceTier.STANDARD and endpoint.endswith(f"-{tier}"):
            return Pool(model, tier), endpoint.removesuffix(f"-{tier}")
    return Pool(model), endpoint
