"""Charging one model call to the ledger, where there is one."""

from dataclasses import dataclass

from executor.invocation import Invocation
from executor.ledger import Reservation, SpendLedger
from executor.ports import ModelAnswer, ModelRequest
from executor.prices import FREE, MicroUsd, usage_tokens
from shared.domain.errors import FirestoreUnavailable
from shared.domain.jobs import BackgroundCall
from shared.events import Event


@dataclass(frozen=True, slots=True, kw_only=True)
class Charges:
    """Without a ledger, nothing is charged and no database is asked."""

    ledger: SpendLedger | None

    async def reserve(self, request: ModelRequest, work: Invocation) -> Reservation | None:
        """Hold the most that the next call can cost.

        Raises:
            CostCeilingExceeded: it does not fit under a ceiling.
            LlmProfileInvalid: the most that it can cost is not known.
            FirestoreUnavailable: the ledger did not answer.
        """
        if self.ledger is None:
            return None
        return await self.ledger.reserve(request, work.held.settled)

    def standing(
        self, request: ModelRequest, begun: BackgroundCall, work: Invocation
    ) -> Reservation | None:
        """What is held for a call that was begun before."""
        if self.ledger is None:
            return None
        return self.ledger.standing(request, work.held.settled, begun.begun_at.date())

    async def answered(
        self, reservation: Reservation | None, answer: ModelAnswer, work: Invocation
    ) -> None:
        """Charge what the call cost, or all that was held where its usage is not known."""
        tokens = usage_tokens(answer.usage)
        if reservation is not None:
            cost = None if tokens is None else reservation.price.of(tokens)
            await self._settle(reservation, cost, work)

    async def failed(
        self,
        reservation: Reservation | None,
        work: Invocation,
        *,
        maybe_billed: bool,
    ) -> None:
        """Charge nothing, or all that was held where the provider may have worked."""
        if reservation is not None:
            await self._settle(reservation, None if maybe_billed else FREE, work)

    async def _settle(
        self, reservation: Reservation, cost: MicroUsd | None, work: Invocation
    ) -> None:
        if self.ledger is None:
            return
        try:
            await self.ledger.settle(reservation, cost)
        except FirestoreUnavailable as problem:
            # The answer is paid for and must not be lost. All that was held stands instead of
            # what the call cost: the ceiling holds, and the claim's next call settles it.
            work.log.warning(Event.LLM_REQUEST_FINISHED, problem.message, code=problem.code)
