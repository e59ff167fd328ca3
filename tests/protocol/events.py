"""What a simulated run does to each step, in the words of the model."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum
from typing import Any

from executor.contract.artifacts import GcsUri
from executor.ports import ModelRequest
from shared.domain.messages import OutgoingMessage
from tests.simulation.adapters import Observer
from tests.simulation.ledger import CallSeen
from tests.simulation.model import marker_of
from tests.simulation.process import OPERATOR, Process
from tests.simulation.promises import ENDED, LLM_REPORT, JobChange
from tests.simulation.records import Change, moment_of


class Event(IntEnum):
    """The visible transitions of `protocol.pml`, where each is defined as `E_` and its name."""

    CLAIM = 1
    WAKE = 2
    LEASE = 3
    EXPIRE = 4
    CALL = 5
    STORE = 6
    RELEASE = 7
    SUCCEED = 8
    FAIL = 9
    ABANDON = 10
    CANCEL = 11
    OPERATOR_CANCELS = 12
    REOPEN = 13
    FRESH = 14


Trace = tuple[Event, ...]

_ENDS = {"SUCCEEDED": Event.SUCCEED, "FAILED": Event.FAIL, "ABANDONED": Event.ABANDON}


@dataclass(slots=True)
class StepEvents:
    """Gathers the events of every step (implements `simulate.Watcher`)."""

    of_steps: dict[str, list[Event]] = field(default_factory=lambda: defaultdict(list))
    #: The steps whose lease is known to have expired.
    _expired: set[str] = field(default_factory=set)
    _cancelled_at: dict[str, datetime] = field(default_factory=dict)
    #: The step of each call, by the call's identity.
    _under_way: dict[int, str] = field(default_factory=dict)

    def beside(self, observer: Observer) -> Observer:
        """See `Watcher.beside`."""
        return _Both(self, observer)

    def traces(self) -> Sequence[Trace]:
        """The events of each step."""
        return [tuple(events) for events in self.of_steps.values()]

    def committed(self, who: Process | None, changes: Sequence[Change]) -> None:
        """See `records.Reader`."""
        jobs: dict[str, JobChange] = {}
        for change in changes:
            if change.ref.collection == "llm_jobs" and change.new is not None:
                key = change.ref.document_id
                old = change.old.fields if change.old else None
                jobs[key] = JobChange(key=key, old=old, new=change.new.fields)
        operated = who is not None and who.name.startswith(OPERATOR)
        for key, job in jobs.items():
            self.of_steps[key] += list(self._of_job(job, operated=operated))
        if who is None or operated:
            for change in changes:
                self._others(change, operated=operated)

    def _of_job(self, job: JobChange, *, operated: bool) -> Iterator[Event]:
        old, new = job.old or {}, job.new
        before, after = old.get("state"), new["state"]
        if operated:
            if after not in {before, "ABANDONED"} or new["attempt"] < old["attempt"]:
                yield from self._expiry(job)
                yield Event.FRESH
            return
        if job.is_claim:
            self._expired.discard(job.key)
            yield Event.CLAIM
        elif job.taken_by is not None:
            yield from self._expiry(job)
            self._expired.discard(job.key)
            yield Event.LEASE
        elif after == "QUEUED" and before == "RUNNING":
            self._expired.discard(job.key)
            yield Event.RELEASE
        elif new.get("wakes", 0) > old.get("wakes", 0):
            yield from self._expiry(job)
            yield Event.WAKE
        elif after != before:
            yield _ENDS[after]

    def _expiry(self, job: JobChange) -> Iterator[Event]:
        """The expiry of the lease, where somebody else acted after it was over."""
        if job.old is None or job.old["state"] != "RUNNING" or job.key in self._expired:
            return
        self._expired.add(job.key)
        events, over_at = self.of_steps[job.key], job.old["lease"]["expiresAt"]
        if events[-1:] == [Event.CANCEL] and self._cancelled_at[job.key] >= over_at:
            # The lease was over before the orchestrator's write, which came between look and
            # act.
            events.insert(-1, Event.EXPIRE)
        else:
            yield Event.EXPIRE

    def _others(self, change: Change, *, operated: bool) -> None:
        old: Any = change.old.fields if change.old else {}
        new: Any = change.new.fields if change.new else {}
        for step_id, step in new.get("steps", {}).items():
            was = old.get("steps", {}).get(step_id, {}).get("status")
            if step["stepType"] != LLM_REPORT or was in {None, step["status"]}:
                continue
            events = self.of_steps[f"{change.ref.document_id}~{step_id}"]
            if step["status"] == "CANCELLED":
                if change.new is not None:
                    self._cancelled_at[f"{change.ref.document_id}~{step_id}"] = moment_of(
                        change.new
                    )
                events.append(Event.OPERATOR_CANCELS if operated else Event.CANCEL)
            elif was in ENDED:
                events.append(Event.REOPEN)

    def stored(self, uri: GcsUri) -> None:
        """A report was stored."""
        run_id, *_, file = uri.name.split("/")
        self.of_steps[f"{run_id}~{file.removesuffix('.json')}"].append(Event.STORE)

    def called(self, request: ModelRequest, call: CallSeen | None) -> None:
        """The model was called."""
        run_id, step_id, _ = marker_of(request).split("|")
        key = f"{run_id}~{step_id}"
        self.of_steps[key].append(Event.CALL)
        if call is not None:
            self._under_way[id(call)] = key

    def ended(self, call: CallSeen, *, free: bool) -> None:
        """Note that the call has ended; to the model, a free call was never made."""
        key = self._under_way.pop(id(call), None)
        if free and key is not None:
            events = self.of_steps[key]
            del events[len(events) - 1 - events[::-1].index(Event.CALL)]


@dataclass(frozen=True, slots=True)
class _Both:
    events: StepEvents
    observer: Observer

    def stored(self, who: Process, uri: GcsUri) -> None:
        self.events.stored(uri)
        self.observer.stored(who, uri)

    def called(self, who: Process, request: ModelRequest) -> CallSeen | None:
        call = self.observer.called(who, request)
        self.events.called(request, call)
        return call

    def call_ended(self, call: CallSeen | None, *, free: bool) -> None:
        if call is not None:
            self.events.ended(call, free=free)
        self.observer.call_ended(call, free=free)

    def published(self, who: Process, messages: Sequence[OutgoingMessage]) -> None:
        self.observer.published(who, messages)
