"""Holding a job: every write to its record goes through here, one after the other."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

from shared.domain.documents import Version
from shared.domain.errors import FirestoreUnavailable
from shared.domain.jobs import JobRecord, parse_job_record
from shared.ports import Clock, Conflict, DocumentStore, StoreUnavailable

CALL_TIMEOUT_SECONDS = 10.0


class LeaseLost(Exception):
    """Another holder has the job, or the lease expired unrenewed: write nothing more."""


class HeldJob:
    """A job under this invocation's lease.

    `record` and `version` are what was written last. A lost answer is read back: the owner
    in the stored record tells whether the write was ours.
    """

    def __init__(
        self,
        *,
        documents: DocumentStore,
        clock: Clock,
        record: JobRecord,
        version: Version,
        owner: str,
        lease_for: timedelta,
    ) -> None:
        self._documents = documents
        self._clock = clock
        self._owner = owner
        self._lease_for = lease_for
        self._turn = asyncio.Lock()
        self._reserved = False
        self.record = record
        self.version = version

    async def acquire(self, *, max_llm_calls: int) -> None:
        """Take the lease, and book the first model call with it if the budget has one.

        Raises:
            LeaseLost: somebody else was faster.
            FirestoreUnavailable: Firestore did not answer.
        """
        reserve = self.record.llm_calls < max_llm_calls
        leased = self.record.take_lease(
            owner=self._owner, now=self._clock.now(), lease_for=self._lease_for
        )
        await self._write(lambda _: leased.begin_llm_call() if reserve else leased)
        self._reserved = reserve

    @property
    def settled(self) -> JobRecord:
        """The record without a call that was booked and not begun."""
        if not self._reserved:
            return self.record
        return replace(self.record, llm_calls=self.record.llm_calls - 1)

    async def book_llm_call(self) -> None:
        """Count one more model call, before it begins.

        Raises:
            LeaseLost: see `acquire`.
            FirestoreUnavailable: see `acquire`.
        """
        if self._reserved:
            self._reserved = False
            return
        await self._write(lambda job: job.begin_llm_call())

    async def keep(self, every: timedelta) -> None:
        """Renew the lease again and again, until cancelled.

        Raises:
            LeaseLost: it is gone.
        """
        while True:
            await asyncio.sleep(every.total_seconds())
            try:
                await self._write(
                    lambda job: job.renew(now=self._clock.now(), lease_for=self._lease_for)
                )
            except FirestoreUnavailable:
                if not self.record.leased_at(self._clock.now()):
                    raise LeaseLost from None

    async def update(self, change: Callable[[JobRecord], JobRecord]) -> None:
        """Write another state of the record.

        Raises:
            LeaseLost: see `acquire`.
            FirestoreUnavailable: see `acquire`.
        """
        await self._write(change)

    def adopt(self, record: JobRecord, version: Version) -> None:
        """Believe the stored record, if it is still held by us.

        Raises:
            LeaseLost: it is not.
        """
        held = record.lease is not None and record.lease.owner == self._owner
        if record.claim_id != self.record.claim_id or not held:
            raise LeaseLost
        self.record, self.version = record, version

    async def _write(self, change: Callable[[JobRecord], JobRecord]) -> None:
        async with self._turn:
            wanted = change(self.record)
            try:
                self.version = await self._documents.commit(
                    [wanted.update(self.version)], timeout_seconds=CALL_TIMEOUT_SECONDS
                )
            except (Conflict, StoreUnavailable):
                await self._read_back(wanted)
            else:
                self.record = wanted

    async def _read_back(self, wanted: JobRecord) -> None:
        try:
            (stored,) = await self._documents.read(
                [wanted.ref], timeout_seconds=CALL_TIMEOUT_SECONDS
            )
        except StoreUnavailable as problem:
            raise FirestoreUnavailable(f"job record: {problem}") from None
        if stored is None:
            raise LeaseLost
        record = parse_job_record(stored.data)
        if record == wanted:
            self.record, self.version = record, stored.version
        elif stored.version == self.version:
            raise FirestoreUnavailable("job record: the write was not applied")
        else:
            raise LeaseLost
