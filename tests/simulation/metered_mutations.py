"""Breakages that only runs beside a provider with a quota show: see `mutations`."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import executor.model_calls.pacing
from dispatcher.pacer import Pacer
from shared.domain.attempts import CallPurpose
from shared.domain.jobs import JobRecord
from shared.domain.pacing import Pace
from shared.domain.waiting import Waiting, begin_waiting
from tests.simulation.mutations import Mutation, Patch, registering

METERED_MUTATIONS: dict[str, Mutation] = {}
_mutation = registering(METERED_MUTATIONS)


@_mutation("a call that was refused counts as one that may be billed")
def _refusals_count(patch: Patch) -> None:
    def call_refused(self: JobRecord, purpose: CallPurpose = CallPurpose.REPORT) -> JobRecord:
        return replace(self.call_was_billed(purpose), refusals=self.refusals + 1)

    patch.setattr(JobRecord, "call_refused", call_refused)


@_mutation("jobs are let through whether or not there is a slot for them")
def _slots_ignored(patch: Patch) -> None:
    granted = Pace.granted

    def grant(self: Pace, now: datetime, wanted: int) -> tuple[Pace, int]:
        return granted(self, now, wanted)[0], wanted

    patch.setattr(Pace, "granted", grant)


@_mutation("a step's patience ends after five minutes")
def _no_patience(patch: Patch) -> None:
    def begin(**given: Any) -> Waiting:
        waiting = begin_waiting(**given)
        return replace(waiting, until=given["claimed_at"] + timedelta(minutes=5))

    patch.setattr(executor.model_calls.pacing, "begin_waiting", begin)


@_mutation("nobody looks at the queue")
def _queue_unwatched(patch: Patch) -> None:
    async def look(_self: Pacer) -> None:
        return None

    patch.setattr(Pacer, "look", look)


@_mutation("refusals teach nothing")
def _nothing_learned(patch: Patch) -> None:
    def refused(self: Pace, now: datetime, **_seen: Any) -> Pace:
        del now
        return self

    patch.setattr(Pace, "refused", refused)
