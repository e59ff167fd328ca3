"""Breakages that only runs with several service tiers show: see `mutations`."""

from executor.jobs.invocation import Invocation
from executor.model_calls.watching import CallWatcher
from executor.ports import CallFailed, CallState
from shared.domain.errors import GeminiRequestFailed
from shared.domain.jobs import BackgroundCall
from tests.simulation.mutations import Mutation, Patch, registering

TIER_MUTATIONS: dict[str, Mutation] = {}
_mutation = registering(TIER_MUTATIONS)


@_mutation("a dearer tier is called beside a call that is under way")
def _beside(patch: Patch) -> None:
    async def stopped(
        self: CallWatcher, call: BackgroundCall, invocation: Invocation
    ) -> CallState:
        del self, call, invocation
        return CallFailed(GeminiRequestFailed("believed to be over", maybe_billed=True))

    patch.setattr(CallWatcher, "_stopped", stopped)
