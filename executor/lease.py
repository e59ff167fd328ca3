"""Holding a job: every write to its record goes through here, one after the other."""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TypeAlias

from shared.domain.attempts import CallPurpose
from shared.domain.documents import Version
from shared.domain.errors import FirestoreUnavailable
from shared.domain.job_documents import job_ref, parse_job_record, update_job
from shared.domain.jobs import JobRecord
from shared.ports import Clock, Conflict, DocumentStore, StoreUnavailable

CALL_TIMEOUT_SECONDS = 10.0
#: Wait before a renewal that Firestore did not answer is tried again.
_RENEW_AGAIN_SECONDS = 1.0
#: Tries of one write, each further one after reading back what stands.
_MAX_TRIES = 3

_Change: TypeAlias = Callable[[JobRecord], JobRecord]


class LeaseLost(Exception):
    """Another holder has the job, or the lease expired unrenewed: write nothing more."""


class HeldJob:
    """A job under this invocation's lease.

    `record` and `version` are what was written last. A lost answer is read back: the stored
    record tells whether the write was ours.
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
        self._notes: list[_Change] = []
        #: A former attempt began a call that may have to be paid for, and left no report.
        self.lost_call = record.call_open
        self.record = record
        self.version = version

    async def acquire(self, *, reserve_call: bool) -> None:
        """Take the lease, and with it book the first model call if asked to.

        Raises:
            LeaseLost: somebody else was faster.
            FirestoreUnavailable: Firestore did not answer.
        """
        leased = self.record.take_lease(
            owner=self._owner, now=self._clock.now(), lease_for=self._lease_for
        )
        await self._write(lambda _: leased.book_llm_call() if reserve_call else leased)
        self._reserved = reserve_call

    @property
    def settled(self) -> JobRecord:
        """The record with what was noted, and without a call that was booked and not begun."""
        record = self.record
        for note in self._notes:
            record = note(record)
        return record.unbook_llm_call() if self._reserved else record

    async def book_llm_call(self, purpose: CallPurpose) -> None:
        """Count one more model call, before it begins.

        Raises:
            LeaseLost: see `acquire` and `check_unexpired`.
            FirestoreUnavailable: see `acquire`.
        """
        if self._reserved and purpose is CallPurpose.REPORT:
            self._reserved = False
        else:
            await self._write(lambda job: job.book_llm_call(purpose))
        self.check_unexpired()

    def check_unexpired(self) -> None:
        """Look at the clock, not at Firestore.

        Raises:
            LeaseLost: the lease has expired, as after a process that was stopped.
        """
        if not self.record.leased_at(self._clock.now()):
            raise LeaseLost

    def note(self, change: _Change) -> None:
        """Have the next write of the record, whatever it is for, carry this change too."""
        self._notes.append(change)

    async def keep(self, every: timedelta) -> None:
        """Renew the lease again and again, until cancelled.

        Raises:
            LeaseLost: it is gone, or it expires while Firestore does not answer.
        """
        pause = every.total_seconds()
        while True:
            await asyncio.sleep(pause)
            try:
                async with asyncio.timeout(self._seconds_held()):
                    await self._write(self._renewed)
                pause = every.total_seconds()
            except TimeoutError:
                raise LeaseLost from None
            except FirestoreUnavailable:
                if not self._seconds_held():
                    raise LeaseLost from None
                pause = min(_RENEW_AGAIN_SECONDS, self._seconds_held())

    async def update(self, change: _Change) -> None:
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

    def _renewed(self, job: JobRecord) -> JobRecord:
        return job.renew(now=self._clock.now(), lease_for=self._lease_for)

    def _seconds_held(self) -> float:
        lease = self.record.lease
        expires_at: datetime = lease.expires_at if lease else self._clock.now()
        return max(0.0, (expires_at - self._clock.now()).total_seconds())

    async def _write(self, change: _Change) -> None:
        async with self._turn:
            for _ in range(_MAX_TRIES):
                noted = len(self._notes)
                wanted = self.record
                for note in [*self._notes, change]:
                    wanted = note(wanted)
                if await self._written(wanted):
                    del self._notes[:noted]
                    return
        raise FirestoreUnavailable("job record: the write was not applied")

    async def _written(self, wanted: JobRecord) -> bool:
        """Whether the record now stands as wanted; if not, it is still as it was, or ours."""
        try:
            self.version = await self._documents.commit(
                [update_job(wanted, self.version)], timeout_seconds=CALL_TIMEOUT_SECONDS
            )
        except (Conflict, StoreUnavailable):
            return await self._read_back(wanted)
        self.record = wanted
        return True

    async def _read_back(self, wanted: JobRecord) -> bool:
        ref = job_ref(wanted.run_id, wanted.step_id)
        try:
            (stored,) = await self._documents.read([ref], timeout_seconds=CALL_TIMEOUT_SECONDS)
        except StoreUnavailable as problem:
            raise FirestoreUnavailable(f"job record: {problem}") from None
        if stored is None:
            raise LeaseLost
        record = parse_job_record(stored.data)
        if record == wanted:
            self.record, self.version = record, stored.version
            return True
        if stored.version != self.version:
            # A renewal of ours that was cancelled before its answer came, or another holder.
            self.adopt(record, stored.version)
        return False
