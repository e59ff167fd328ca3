"""The lease on a job: all writes to the job's record go through here, one at a time."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random
from typing import TypeAlias

from executor.ports import CALL_TIMEOUT_SECONDS
from shared.domain.attempts import CallPurpose
from shared.domain.documents import Version
from shared.domain.errors import FirestoreUnavailable
from shared.domain.job_documents import job_ref, parse_job_record, update_job
from shared.domain.jobs import JobRecord
from shared.guarded import Backoff, Done, Tries, guarded
from shared.ports import (
    Clock,
    Conflict,
    DocumentStore,
    PortFailure,
    StoreRefused,
    StoreUnavailable,
)

#: Wait before a renewal that Firestore did not answer is tried again.
_RENEW_AGAIN_SECONDS = 1.0
#: The holder alone writes its record: a refused write is read back at once.
_TRIES = Tries(limit=3, backoff=Backoff(0.0, 0.0))

_Change: TypeAlias = Callable[[JobRecord], JobRecord]


class LeaseLost(Exception):
    """Another holder has the job, or the lease expired unrenewed: write nothing more."""

    def __init__(self, found: JobRecord | None = None) -> None:
        #: The record that others wrote, where it was read.
        self.found = found
        super().__init__()


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
        random: Random,
    ) -> None:
        self._documents = documents
        self._clock = clock
        self._owner = owner
        self._lease_for = lease_for
        self._random = random
        self._turn = asyncio.Lock()
        self._reserved = False
        self._notes: list[_Change] = []
        #: The record with these notes as it was last asked for, and what it was made of.
        self._noted: tuple[tuple[JobRecord, int, bool], JobRecord] | None = None
        #: Writes that may have been applied, or still be: no answer came, or it was cancelled.
        self._unanswered: list[_Wanted] = []
        #: An answer was paid for and is being stored.
        self.storing = False
        #: A former attempt began a call that may have to be paid for, and left no report.
        self.lost_call = record.call_open
        self.record = record
        self.version = version
        #: On the monotonic clock: the lease began to run before its write was sent.
        self._held_until = 0.0

    async def acquire(self, *, reserve_call: bool) -> None:
        """Take the lease, and with it book the first model call if asked to.

        Raises:
            LeaseLost: somebody else was faster.
            FirestoreUnavailable: Firestore did not answer.
        """

        def leased(job: JobRecord) -> JobRecord:
            now = self._clock.now()
            taken = job.take_lease(owner=self._owner, now=now, lease_for=self._lease_for)
            return taken.book_llm_call() if reserve_call else taken

        await self.update(leased)
        self._reserved = reserve_call

    @property
    def with_notes(self) -> JobRecord:
        """The record with what was noted, and without a call that was booked and not begun."""
        # Asked for a dozen times a job, and hardly ever after a change.
        state = (self.record, len(self._notes), self._reserved)
        if self._noted is None or self._noted[0] != state:
            record = self._with(self._notes)
            noted = record.unbook_llm_call() if self._reserved else record
            self._noted = (state, noted)
        return self._noted[1]

    async def book_llm_call(self, purpose: CallPurpose) -> None:
        """Count one more model call, before it begins.

        Raises:
            LeaseLost: see `acquire` and `check_unexpired`.
            FirestoreUnavailable: see `acquire`.
        """
        if self._reserved and purpose is CallPurpose.REPORT:
            self._reserved = False
        else:
            await self.update(lambda job: job.book_llm_call(purpose))
        self.check_unexpired()

    def check_unexpired(self) -> None:
        """Raise LeaseLost if the lease has expired by the clocks, as after a long stop."""
        if not self._seconds_held():
            raise LeaseLost

    def note(self, change: _Change) -> None:
        """Add this change to the next write of the record."""
        self._notes.append(change)

    @contextmanager
    def answer_in_hand(self) -> Iterator[None]:
        """Say that an answer which was paid for is being stored, while the block lasts."""
        self.storing = True
        try:
            yield
        finally:
            self.storing = False

    async def keep(self, every: timedelta) -> None:
        """Renew the lease again and again, until cancelled.

        Raises:
            LeaseLost: it is gone, or it expires while Firestore does not answer.
        """
        pause = every.total_seconds()
        while True:
            await asyncio.sleep(pause)
            if not self._seconds_held():
                # Not renewed either: it would be held by whoever has just let go of it.
                raise LeaseLost
            try:
                async with asyncio.timeout(self._seconds_held()):
                    await self.update(self._renewed)
                pause = every.total_seconds()
            except TimeoutError:
                raise LeaseLost from None
            except FirestoreUnavailable:
                pause = min(_RENEW_AGAIN_SECONDS, self._seconds_held())

    async def update(self, change: _Change) -> None:
        """Write another state of the record.

        Raises:
            LeaseLost: see `acquire`.
            FirestoreUnavailable: see `acquire`.
        """
        async with self._turn:
            await guarded(
                self._wanted(change),
                commit=self._commit,
                read_back=lambda wanted: self._read_back(wanted, change),
                tries=_TRIES,
                random=self._random,
                exhausted=lambda: FirestoreUnavailable("job record: the write was not applied"),
            )

    async def give_back(self, change: _Change) -> None:
        """Write the record for the next holder; a call that was booked and not begun goes.

        Raises:
            LeaseLost: see `acquire`.
            FirestoreUnavailable: see `acquire`.
        """
        unbooked, self._reserved = self._reserved, False
        await self.update(lambda job: change(job.unbook_llm_call() if unbooked else job))

    def adopt(self, record: JobRecord, version: Version) -> None:
        """Take over the stored record, if this invocation still holds it.

        Raises:
            LeaseLost: it is not.
        """
        held = record.lease is not None and record.lease.owner == self._owner
        if record.claim_id != self.record.claim_id or not held:
            raise LeaseLost(record)
        written = next((each for each in self._unanswered if each.record == record), None)
        if written is not None:
            # A renewal that was cancelled before its answer came, and carried notes.
            self._written(written, version)
        self.record, self.version = record, version

    def _renewed(self, job: JobRecord) -> JobRecord:
        return job.renew(now=self._clock.now(), lease_for=self._lease_for)

    def _seconds_held(self) -> float:
        """What is left of the lease on both clocks: others go by the wall's, which can jump."""
        lease = self.record.lease
        expires_at: datetime = lease.expires_at if lease else self._clock.now()
        by_the_wall = (expires_at - self._clock.now()).total_seconds()
        return max(0.0, min(by_the_wall, self._held_until - self._clock.monotonic()))

    def _wanted(self, change: _Change) -> "_Wanted":
        """The record with all that was noted so far, and with the change."""
        record = self._with([*self._notes, change])
        held_until = self._clock.monotonic() + self._lease_for.total_seconds()
        return _Wanted(
            record=record, change=change, notes=len(self._notes), held_until=held_until
        )

    def _with(self, changes: Sequence[_Change]) -> JobRecord:
        record = self.record
        for change in changes:
            record = change(record)
        return record

    async def _commit(self, wanted: "_Wanted") -> Done[None] | None:
        self._unanswered.append(wanted)
        try:
            version = await self._documents.commit(
                [update_job(wanted.record, self.version)], timeout_seconds=CALL_TIMEOUT_SECONDS
            )
        except (Conflict, StoreUnavailable):
            return None
        except StoreRefused as problem:
            raise FirestoreUnavailable(f"job record: {problem}") from None
        return self._written(wanted, version)

    async def _read_back(self, wanted: "_Wanted", change: _Change) -> "Done[None] | _Wanted":
        """Done when the write was applied after all; else what to write now."""
        ref = job_ref(wanted.record.run_id, wanted.record.step_id)
        try:
            (stored,) = await self._documents.read([ref], timeout_seconds=CALL_TIMEOUT_SECONDS)
        except PortFailure as problem:
            raise FirestoreUnavailable(f"job record: {problem}") from None
        if stored is None:
            raise LeaseLost
        record = parse_job_record(stored.data)
        for tried in self._unanswered:
            if tried.change is change and tried.record == record:
                return self._written(tried, stored.version)
        if stored.version != self.version:
            self.adopt(record, stored.version)
        return self._wanted(change)

    def _written(self, wanted: "_Wanted", version: Version) -> Done[None]:
        if wanted.record.lease != self.record.lease:
            self._held_until = wanted.held_until
        self.record, self.version = wanted.record, version
        del self._notes[: wanted.notes]
        # The others were guarded by the version before.
        self._unanswered.clear()
        return Done(None)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wanted:
    """The record as it is to be written."""

    record: JobRecord
    #: What of it is not from the notes.
    change: _Change
    #: How many of the notes it carries.
    notes: int
    #: The end of a lease that it begins or renews, on the monotonic clock.
    held_until: float
