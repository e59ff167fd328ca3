"""The spending of runs and days in the database, under ceilings that hold for all executors.

A reservation is one batch read and one commit over two documents, `llm_spend/run~<runId>` and
`llm_spend/day~<YYYY-MM-DD>`, guarded by the versions that were read: of executors that reserve
at the same moment one wins, and the others look again. Nothing is kept in the process.
"""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from random import Random
from typing import Any, TypeAlias

from executor.lease import CALL_TIMEOUT_SECONDS
from executor.ports import ModelRequest
from executor.prices import MicroUsd, Price, PriceTable, price_on, usage_tokens
from executor.spend import Account, Ceilings, parse_account
from shared.domain.documents import Create, DocumentRef, FieldPath, Snapshot, Update, Write
from shared.domain.errors import FirestoreUnavailable, LlmProfileInvalid
from shared.domain.identifiers import RunId, job_id
from shared.domain.jobs import JobRecord
from shared.ports import Clock, Conflict, DocumentStore, StoreUnavailable

COLLECTION = "llm_spend"
MAX_TRIES = 20
_FIRST_JITTER_SECONDS = 0.05
_LONGEST_JITTER_SECONDS = 2.0
_KEEP = timedelta(days=400)

#: The run's account, then the day's.
_Accounts: TypeAlias = tuple[Account, Account]


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
    """Holds spending under the ceilings."""

    documents: DocumentStore
    clock: Clock
    random: Random
    prices: PriceTable
    ceilings: Ceilings

    async def reserve(self, request: ModelRequest, job: JobRecord) -> Reservation:
        """Hold the most that the job's next call can cost; the same call is held for once.

        What former holders of the claim left standing is settled with it: by their usage
        where the job record knows it, and in full where a call's outcome was lost.

        Raises:
            CostCeilingExceeded: it does not fit; nothing is held.
            LlmProfileInvalid: the most that it can cost is not known.
            FirestoreUnavailable: the ledger did not answer.
        """
        today = self.clock.now().date()
        reservation = self._reservation(request, job, today, job.llm_calls + 1)
        claim = _claim(job, today)
        known = {
            f"{claim}{number}": cost for number, cost in _known_costs(job, reservation.price)
        }

        def reserved(accounts: _Accounts) -> _Accounts:
            run, day = accounts
            for call in run.reserved:
                if call.startswith(claim) and call != reservation.call:
                    run, day = (
                        run.settle(call, known.get(call)),
                        day.settle(call, known.get(call)),
                    )
            call, amount = reservation.call, reservation.amount
            return run.reserve(call, amount), day.reserve(call, amount)

        await self._change(job.run_id, today, reserved)
        return reservation

    def standing(self, request: ModelRequest, job: JobRecord, day: date) -> Reservation:
        """What was held, on that day, for the call that the job booked last.

        Raises:
            LlmProfileInvalid: see `reserve`.
        """
        return self._reservation(request, job, day, job.llm_calls)

    async def settle(self, reservation: Reservation, cost: MicroUsd | None) -> None:
        """Let the call stand with what it cost; without a known cost, with all of it.

        Raises:
            FirestoreUnavailable: the ledger did not answer; the reservation still stands.
        """
        call = reservation.call

        def settled(accounts: _Accounts) -> _Accounts:
            run, day = accounts
            return run.settle(call, cost), day.settle(call, cost)

        await self._change(reservation.run_id, reservation.day, settled)

    def _reservation(
        self, request: ModelRequest, job: JobRecord, day: date, number: int
    ) -> Reservation:
        price = self._price(request, day)
        return Reservation(
            call=f"{_claim(job, day)}{number}",
            run_id=job.run_id,
            day=day,
            amount=_worst_case(price, request),
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
        self, run_id: RunId, day: date, change: Callable[[_Accounts], _Accounts]
    ) -> None:
        """Apply the change to both accounts; again, when others changed them meanwhile."""
        refs = (_ref("run", run_id), _ref("day", str(day)))
        for attempt in range(MAX_TRIES):
            try:
                run, spent_day = await self.documents.read(
                    refs, timeout_seconds=CALL_TIMEOUT_SECONDS
                )
                before = self._accounts(run, spent_day)
                after = change(before)
                if after == before:
                    return
                expires = self.clock.now() + _KEEP
                writes = [
                    _write(refs[0], run, after[0], expires),
                    _write(refs[1], spent_day, after[1], expires),
                ]
                await self.documents.commit(writes, timeout_seconds=CALL_TIMEOUT_SECONDS)
            except (Conflict, StoreUnavailable):
                await self._pause(attempt)
            else:
                return
        raise FirestoreUnavailable("the spending could not be written")

    def _accounts(self, run: Snapshot | None, day: Snapshot | None) -> _Accounts:
        ceilings = self.ceilings
        return (
            parse_account(run.data if run else None, scope="run", ceiling=ceilings.per_run),
            parse_account(day.data if day else None, scope="day", ceiling=ceilings.per_day),
        )

    async def _pause(self, attempt: int) -> None:
        longest = min(_FIRST_JITTER_SECONDS * 2.0**attempt, _LONGEST_JITTER_SECONDS)
        await asyncio.sleep(self.random.uniform(0, longest))


def _claim(job: JobRecord, day: date) -> str:
    """What the names of the claim's calls of that day begin with."""
    return f"{day}/{job_id(job.run_id, job.step_id)}/{job.claim_id}/"


def _worst_case(price: Price, request: ModelRequest) -> MicroUsd:
    most = request.profile.max_output_tokens
    if most is None:
        raise LlmProfileInvalid(
            "llmProfile.maxOutputTokens: required, as a cost ceiling is set"
        )
    return price.worst_case(request, most)


def _known_costs(job: JobRecord, price: Price) -> Iterator[tuple[int, MicroUsd]]:
    for attempt in job.history:
        for call in attempt.calls:
            tokens = usage_tokens(call.usage)
            if tokens is not None:
                yield call.number, price.of(tokens)


def _ref(scope: str, name: str) -> DocumentRef:
    return DocumentRef(COLLECTION, f"{scope}~{name}")


def _write(
    ref: DocumentRef, stored: Snapshot | None, account: Account, expires: datetime
) -> Write:
    fields = {**account.as_document(), "expireAt": expires}
    if stored is None:
        return Create(ref=ref, data=fields)
    changes: dict[FieldPath, Any] = {(name,): value for name, value in fields.items()}
    return Update(ref=ref, changes=changes, guard=stored.version)
