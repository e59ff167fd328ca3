"""Breakages that only the second series of random runs shows: see `mutations`."""

from typing import Any

import dispatcher.refusing
import dispatcher.sweep
import dispatcher.sweep_jobs
import executor.ending
import executor.reports.making
from dispatcher.sweep_pages import Page, Pages
from executor.model_calls.calling import ModelCaller
from shared.domain.documents import Snapshot
from shared.ports import StoreUnavailable
from tests.simulation.mutations import Mutation, Patch, registering

LATER_MUTATIONS: dict[str, Mutation] = {}
_mutation = registering(LATER_MUTATIONS)


@_mutation("what was refused for good is tried again")
def _refusal_tried_again(patch: Patch) -> None:
    def may_try_again(self: Any, _error: Any, record: Any) -> bool:
        return bool(record.attempt < self.settings.limits.max_attempts)

    patch.setattr(executor.ending.Ending, "_may_try_again", may_try_again)


@_mutation("a query that is refused for good stops the sweep")
def _refusal_stops_sweep(patch: Patch) -> None:
    patch.setattr(dispatcher.sweep, "PortFailure", StoreUnavailable)


@_mutation("a model call may take longer than its invocation")
def _time_unwatched(patch: Patch) -> None:
    patch.setattr(ModelCaller, "_seconds_left", lambda _self, _invocation: 900.0)


@_mutation("a record that cannot be read stops the sweep")
def _unreadable_stops_sweep(patch: Patch) -> None:
    class Other(Exception):
        """Nobody raises it."""

    patch.setattr(dispatcher.sweep_jobs, "JobRecordInvalid", Other)


@_mutation("a page that comes too slowly is not halved")
def _page_not_halved(patch: Patch) -> None:
    async def behind(self: Pages, last: Snapshot | None) -> Page:
        found = await self.query(after=last, limit=self.size, heads=False)
        return Page(documents=found, last=found[-1] if len(found) == self.size else None)

    patch.setattr(Pages, "behind", behind)


@_mutation("a call is paid for although the run has no room for its outcome")
def _room_unchecked(patch: Patch) -> None:
    patch.setattr(executor.reports.making, "_check_room", lambda _invocation: None)


@_mutation("steps for which the run has no room are neither claimed nor refused")
def _not_refused(patch: Patch) -> None:
    async def refuse(*_arguments: Any) -> None:
        return None

    patch.setattr(dispatcher.refusing.Refusing, "refuse", refuse)
