"""Past steps of an environment: read there, and nothing written."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from executor.ports import ObjectStore
from infra.ops.environment.connection import Connection
from infra.ops.environment.listing import NewestFirst, position_of
from infra.ops.environment.stored_documents import at, map_at, text_at
from infra.ops.evaluation.cases.folder_past import report_steps
from infra.ops.registry.documents import PROMPTS, SCHEMAS, RegistryKind, collection_of
from infra.ops.runs.reading import CALL_SECONDS
from shared.domain.documents import DocumentRef
from shared.domain.identifiers import RunId, StepId, is_run_id
from shared.domain.job_documents import job_ref
from shared.domain.steps import StepStatus

#: So many runs are looked at, the newest first.
MAX_RUNS = 5_000
_READ_TOGETHER = 100
_ENDED = frozenset({StepStatus.SUCCEEDED, StepStatus.FAILED})


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentPast:
    """Implements the Past port."""

    connection: Connection
    objects: ObjectStore

    async def prompt(self, prompt_id: str) -> Mapping[str, Any] | None:
        """See the port."""
        return await self._registered(PROMPTS, prompt_id)

    async def schema(self, schema_id: str) -> Mapping[str, Any] | None:
        """See the port."""
        return await self._registered(SCHEMAS, schema_id)

    async def job(self, run_id: str, step_id: str) -> Mapping[str, Any] | None:
        """See the port."""
        return await self._read(job_ref(RunId(run_id), StepId(step_id)))

    async def _registered(self, kind: RegistryKind, entry_id: str) -> Mapping[str, Any] | None:
        if not entry_id:
            return None
        return await self._read(DocumentRef(collection_of(self.connection, kind), entry_id))

    async def _read(self, ref: DocumentRef) -> Mapping[str, Any] | None:
        [found] = await self.connection.documents.read([ref], timeout_seconds=CALL_SECONDS)
        return found.data if found else None


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseSelection:
    """Which past steps are wanted."""

    since: datetime | None = None
    symbol: str | None = None
    timeframe: str | None = None
    sample: int = 200
    seed: int = 1

    def run_matches(self, run_id: str, run: Mapping[str, Any]) -> bool:
        """Whether the run is of the symbol, and one that the worker accepts."""
        return is_run_id(run_id) and self.symbol in {None, text_at(run, "scope", "symbol")}

    def step_matches(self, run: Mapping[str, Any], step_id: str) -> bool:
        """Whether the step has ended and is of the timeframe."""
        step = map_at(run, "steps", step_id)
        return at(step, "status") in _ENDED and self.timeframe in {
            None,
            text_at(step, "timeframe"),
        }

    def drawn(self, found: Sequence[tuple[str, str]]) -> Sequence[tuple[str, str]]:
        """A sample of the steps found; the same for the same steps and seed."""
        if len(found) <= self.sample:
            return sorted(found)
        chance = random.Random(self.seed)  # noqa: S311 - a sample, no secret
        return sorted(chance.sample(sorted(found), self.sample))


async def past_runs(
    connection: Connection, selection: CaseSelection
) -> Mapping[str, Mapping[str, Any]]:
    """The runs that may have wanted steps, by id; the newest ones, where there are very many.

    Raises:
        StoreUnavailable: Firestore did not answer.
    """
    runs: dict[str, Mapping[str, Any]] = {}
    after = None
    for _ in range(MAX_RUNS // _READ_TOGETHER):
        question = NewestFirst(
            collection=connection.flow_runs,
            since=selection.since,
            after=after,
            limit=_READ_TOGETHER,
        )
        found = await connection.runs.find(question, timeout_seconds=CALL_SECONDS)
        runs.update(
            (each.ref.document_id, each.data)
            for each in found
            if selection.run_matches(each.ref.document_id, each.data)
        )
        if len(found) < _READ_TOGETHER:
            break
        after = position_of(found[-1])
    return runs


def selected_steps(
    runs: Mapping[str, Mapping[str, Any]], selection: CaseSelection
) -> Sequence[tuple[str, str]]:
    """The sample, as run and step ids. Pure."""
    found = [
        (run_id, step_id)
        for run_id, run in runs.items()
        for step_id in report_steps(run)
        if selection.step_matches(run, step_id)
    ]
    return selection.drawn(found)
