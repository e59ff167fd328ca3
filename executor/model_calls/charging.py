"""Charging one model call to the ledger, where there is one."""

from dataclasses import dataclass

from executor.billing.bills import call_cost
from executor.billing.ledger import Reservation, SpendLedger
from executor.jobs.deadline import Deadline
from executor.jobs.invocation import Invocation
from executor.ports import ModelRequest
from shared.domain.attempts import ModelCall
from shared.domain.errors import FirestoreUnavailable
from shared.domain.jobs import BackgroundCall, JobRecord
from shared.log import EventLogger, LogEvent


@dataclass(frozen=True, slots=True, kw_only=True)
class Charges:
    """Without a ledger, nothing is charged and no database is asked."""

    ledger: SpendLedger | None

    async def reserve(
        self, request: ModelRequest, invocation: Invocation
    ) -> Reservation | None:
        """Hold the most that the next call can cost.

        Raises:
            CostCeilingExceeded: it does not fit under a ceiling.
            LlmProfileInvalid: the most that it can cost is not known.
            FirestoreUnavailable: the ledger did not answer.
        """
        if self.ledger is None:
            return None
        return await self.ledger.reserve(
            request, invocation.held.with_notes, invocation.deadline
        )

    def standing(
        self, request: ModelRequest, begun: BackgroundCall, invocation: Invocation
    ) -> Reservation | None:
        """What is held for a call that was begun before."""
        if self.ledger is None:
            return None
        return self.ledger.standing(request, invocation.held.with_notes, begun.begun_at.date())

    def not_made(self, reservation: Reservation | None) -> None:
        """Hold nothing for a call that could not be booked, and so was not made."""
        if self.ledger is not None and reservation is not None:
            self.ledger.release(reservation)

    def handed_over(self, reservation: Reservation | None) -> None:
        """Count a call that another process may see the end of.

        The run's account holds each call by name, and may learn its cost from any process.
        The day's is granted in slices, which only their holder can settle: it counts in full.
        """
        if self.ledger is not None and reservation is not None:
            self.ledger.hand_over(reservation)

    def ended(self, reservation: Reservation | None, call: ModelCall) -> None:
        """Charge what the call cost, or all that was held where that is not known."""
        if self.ledger is not None and reservation is not None:
            self.ledger.charge(reservation, call_cost(call, self.ledger.prices))

    async def settle(self, job: JobRecord, deadline: Deadline, log: EventLogger) -> bool:
        """Write what the claim's calls cost; whether nothing is left to be written.

        The report is stored before: a ledger that does not answer costs no answer that was
        paid for. All that was held stands until somebody settles it, so the ceiling holds.
        """
        if self.ledger is None:
            return True
        try:
            await self.ledger.settle(job, deadline)
        except FirestoreUnavailable as problem:
            log.warning(LogEvent.LLM_REQUEST_FINISHED, problem.message, code=problem.code)
            return False
        return True
