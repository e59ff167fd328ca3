"""Breakages that only the second series of random runs shows: see `mutations`."""

from typing import Any

import dispatcher.queued
import dispatcher.refusing
import dispatcher.sweep
import dispatcher.sweep_jobs
import dispatcher.sweep_plan
import executor.ending
import executor.jobs.outcome
import executor.reports.making
from dispatcher.sweep_pages import Page, Pages
from executor.model_calls.one_call import CallMaker
from shared.domain.documents import Snapshot
from shared.ports import StoreUnavailable
from tests.simulation.mutations import Mutation, Patch, registering

LATER_MUTATIONS: dict[str, Mutation] = {}
_mutation = registering(LATER_MUTATIONS)


class _Other(Exception):
    """An exception that no code raises."""


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
    patch.setattr(CallMaker, "_seconds_left", lambda _self, _invocation: 900.0)


@_mutation("a record that cannot be read stops the sweep")
def _unreadable_stops_sweep(patch: Patch) -> None:
    patch.setattr(dispatcher.sweep_jobs, "JobRecordInvalid", _Other)


@_mutation("a document of others in the queue is taken for a waiting job")
def _queued_document_believed(patch: Patch) -> None:
    patch.setattr(dispatcher.queued, "JobRecordInvalid", _Other)


@_mutation("a run that is none is told so by every sweep")
def _told_again(patch: Patch) -> None:
    for module in (dispatcher.refusing, dispatcher.sweep):
        patch.setattr(module, "says_invalid", lambda _data: False)


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


@_mutation("an ending that does not fit into the run is not written smaller")
def _not_written_smaller(patch: Patch) -> None:
    def no_smaller(**_facts: Any) -> tuple[()]:
        return ()

    patch.setattr(executor.jobs.outcome, "smaller_endings", no_smaller)
    patch.setattr(dispatcher.sweep_plan, "smaller_endings", no_smaller)
