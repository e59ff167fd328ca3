"""The spending of runs and days, under ceilings that hold for all executors.

A run's account is the document `llm_spend/run~<runId>`: a call is held for before it begins, by
a commit that is guarded by the version read, and settled after its report is stored. The day's
ceiling is granted in slices; see `day`.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from random import Random
from typing import Any

from executor.billing.accounts import Account, parse_account
from executor.billing.bills import known_costs
from executor.billing.day import COLLECTION, KEEP_ACCOUNTS, DayBudget
from executor.billing.prices import FREE, MicroUsd, Price, PriceTable, price_on
from executor.billing.time_left import TimeLeft
from executor.billing.worst_case import worst_case
from executor.ports import CALL_TIMEOUT_SECONDS, ModelRequest
from shared.domain.documents import Create, DocumentRef, FieldPath, Snapshot, Update, Write
from shared.domain.errors import CostCeilingExceeded, FirestoreUnavailable, LlmProfileInvalid
from shared.domain.identifiers import RunId, job_id
from shared.domain.jobs import JobRecord
from shared.ports import Clock, Conflict, DocumentStore, StoreUnavailable

MAX_TRIES = 20
#: A call begins so soon after it was reserved for: within its invocation.
_BEGINS_WITHIN = timedelta(minutes=10)
_FIRST_JITTER_SECONDS = 0.05
_LONGEST_JITTER_SECONDS = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservation:
    """The most that a call can cost, held for it."""

    call: str
    run_id: RunId
    day: date
    amount: MicroUsd
    price: Price


@dataclass(frozen=True, slots=True, kw_only=True)
class SpendLedger:
    """Holds spending under the ceilings. An account without a ceiling is never written."""

    documents: DocumentStore
    clock: Clock
    random: Random
    prices: PriceTable
    per_run: MicroUsd | None
    #: This instance's part in the day's ceiling, where there is one.
    day: DayBudget | None
    #: What calls cost that were made here, until their runs' accounts know it; None is all that
    #: was held.
    _costs: dict[str, MicroUsd | None] = field(default_factory=dict)
    #: Runs whose accounts a write may still change that was given up.
    _unanswered: set[RunId] = field(default_factory=set)

    async def reserve(
        self, request: ModelRequest, job: JobRecord, deadline: TimeLeft
    ) -> Reservation:
        """Hold the most that the job's next call can cost; the same call is held for once.

        What former holders of the claim left standing is settled with it: by their usage
        where the job record knows it, and in full where a call's outcome was lost.

        Raises:
            CostCeilingExceeded: it does not fit; nothing is held.
            CostCeilingHeld: it does not fit before calls under way have ended.
            LlmProfileInvalid: the most that it can cost is not known.
            FirestoreUnavailable: the ledger did not answer.
        """
        now = self.clock.now()
        today, begins_by = now.date(), (now + _BEGINS_WITHIN).date()
        number = job.llm_calls + 1
        reservation = self._reservation(request, job, today, number, begins_by=begins_by)
        call, amount = reservation.call, reservation.amount
        if self.day is not None:
            await self.day.grant(call, today, amount, deadline)
        if self.per_run is None:
            return reservation
        try:
            await self._change(
                job.run_id,
                lambda run: self._settled(run, job, kept=call).reserve(call, amount),
                deadline.available,
            )
        except (CostCeilingExceeded, FirestoreUnavailable):
            self.release(reservation)
            raise
        # A former call of this number cost nothing, and left it to this one.
        self._costs.pop(call, None)
        return reservation

    def standing(self, request: ModelRequest, job: JobRecord, day: date) -> Reservation:
        """What was held, on that day, for the call that the job booked last.

        Raises:
            LlmProfileInvalid: see `reserve`.
        """
        return self._reservation(request, job, day, job.llm_calls, begins_by=day)

    def charge(self, reservation: Reservation, cost: MicroUsd | None) -> None:
        """Remember what the call cost, without a known cost all of it; `settle` writes it."""
        if self.day is not None:
            self.day.charge(reservation.call, cost)
        if self.per_run is not None:
            self._costs[reservation.call] = cost

    def release(self, reservation: Reservation) -> None:
        """Hold nothing more for a call that was not made, under the day's ceiling.

        The run's account holds the call by its name, also for another process that makes it.
        """
        if self.day is not None:
            self.day.charge(reservation.call, FREE)

    def hand_over(self, reservation: Reservation) -> None:
        """Count a call in full under the day's ceiling: its end may be seen elsewhere."""
        if self.day is not None:
            self.day.charge(reservation.call, None)

    async def settle(self, job: JobRecord, deadline: TimeLeft) -> None:
        """Leave nothing reserved for the claim but a call that is under way in the background.

        Raises:
            FirestoreUnavailable: the ledger did not answer; what is reserved stands.
        """
        if self.per_run is not None:
            under_way = f"{_claim(job)}{job.llm_calls}" if job.interaction else None
            await self._change(
                job.run_id,
                lambda run: self._settled(run, job, kept=under_way),
                deadline.remaining,
            )
        if self.day is not None:
            await self.day.settle(deadline)

    def _settled(self, run: Account, job: JobRecord, *, kept: str | None) -> Account:
        """The account after the claim's calls, of whatever day, but for the one kept."""
        claim = _claim(job)
        known = {f"{claim}{number}": cost for number, cost in known_costs(job, self.prices)}
        booked = {f"{claim}{number}" for number in range(1, job.llm_calls + 1)}
        for call in run.reserved:
            _, _, name = call.partition("/")
            if name.startswith(claim) and kept not in {call, name}:
                cost = self._costs.get(call, known.get(name))
                if name in booked and not cost:
                    # A call that cost nothing left its number to the next one, which may have
                    # been made elsewhere: what that one cost is in the record, or not known.
                    cost = known.get(name) or None
                run = run.charge(call, cost)
        return run

    def _reservation(
        self,
        request: ModelRequest,
        job: JobRecord,
        day: date,
        number: int,
        *,
        begins_by: date,
    ) -> Reservation:
        price = self._price(request, day)
        # A call is billed at the price of the day on which it begins.
        later = self._price(request, begins_by)
        return Reservation(
            call=f"{day}/{_claim(job)}{number}",
            run_id=job.run_id,
            day=day,
            amount=max(worst_case(price, request, day), worst_case(later, request, begins_by)),
            price=price,
        )

    def _price(self, request: ModelRequest, today: date) -> Price:
        model = request.profile.model_name
        price = price_on(self.prices, model, today)
        if price is None:
            raise LlmProfileInvalid(
                f"llmProfile.modelName: {model} has no price in MODEL_PRICES for {today},"
                " and a cost ceiling is set"
            )
        return price

    async def _change(
        self,
        run_id: RunId,
        change: Callable[[Account], Account],
        seconds_left: Callable[[], float],
    ) -> None:
        """Apply the change to the run's account; again, when others changed it meanwhile."""
        ref = DocumentRef(COLLECTION, f"run~{run_id}")
        for attempt in range(MAX_TRIES):
            if seconds_left() <= 0:
                break
            try:
                [stored] = await self.documents.read(
                    [ref], timeout_seconds=CALL_TIMEOUT_SECONDS
                )
                before = parse_account(
                    stored.data if stored else None, scope="run", ceiling=self.per_run
                )
                after = change(before)
                if after == before and run_id not in self._unanswered:
                    return
                expires = self.clock.now() + KEEP_ACCOUNTS
                write = _write(ref, stored, after, expires)
                self._unanswered.add(run_id)
                await self.documents.commit([write], timeout_seconds=CALL_TIMEOUT_SECONDS)
            except (Conflict, StoreUnavailable):
                # Another job's answer may have come after this write was sent.
                self._unanswered.add(run_id)
                await self._pause(attempt)
            else:
                # What came before was guarded by a version that is gone.
                self._unanswered.discard(run_id)
                for call in before.reserved.keys() - after.reserved.keys():
                    self._costs.pop(call, None)
                return
        raise FirestoreUnavailable("the run's spending could not be written in time")

    async def _pause(self, attempt: int) -> None:
        longest = min(_FIRST_JITTER_SECONDS * 2.0**attempt, _LONGEST_JITTER_SECONDS)
        await asyncio.sleep(self.random.uniform(0, longest))


def _claim(job: JobRecord) -> str:
    """What the names of the claim's calls begin with, behind their day."""
    return f"{job_id(job.run_id, job.step_id)}/{job.claim_id}/"


def _write(
    ref: DocumentRef, stored: Snapshot | None, account: Account, expires: datetime
) -> Write:
    fields = {**account.as_document(), "expireAt": expires}
    if stored is None:
        return Create(ref=ref, data=fields)
    changes: dict[FieldPath, Any] = {(name,): value for name, value in fields.items()}
    return Update(ref=ref, changes=changes, guard=stored.version)
