"""What the orchestrator and others do to the runs while the worker is at work."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from random import Random
from typing import Any

from shared.domain.documents import DELETE, Create, DocumentRef, FieldPath
from shared.ports import StoreRefused
from tests.simulation.bucket import Bucket
from tests.simulation.delivery import FLOW_RUNS, Stage
from tests.simulation.nemesis import Fault, Kind
from tests.simulation.operators import Cancel, Command, ReplayLetters, Rerun
from tests.simulation.promises import ENDED, LLM_REPORT
from tests.simulation.records import Records
from tests.simulation.scenarios import (
    IMAGE,
    IMAGE_URI,
    MANIFEST,
    MANIFEST_URI,
    PROMPT,
    PROMPT_ID,
    SCHEMA,
    SCHEMA_ID,
    Scenario,
    candles,
    candles_uri,
    run_document,
)
from tests.simulation.surroundings import FILLER, NONE, ROOMS, Surroundings, filler
from tests.simulation.world import World

#: At this many moments within the first minutes, others may write a run.
_MOMENTS = 6
_WITHIN_SECONDS = 240.0
_FIRST_VERSION = 1


@dataclass(slots=True, kw_only=True)
class Orchestrator:
    """Starts the runs, and interferes with them when the nemesis wants it to."""

    world: World
    records: Records
    bucket: Bucket
    scenario: Scenario
    surroundings: Surroundings = NONE
    #: Where operators' commands run.
    operators: Stage | None = None
    done: bool = False

    def seed(self) -> None:
        """Store all that the runs need, and then the runs, whose events start everything."""
        self.bucket.create(IMAGE_URI, IMAGE, {})
        self.bucket.create(MANIFEST_URI, MANIFEST, {})
        self._create("llm_prompts", PROMPT_ID, dict(PROMPT))
        self._create("llm_schemas", SCHEMA_ID, dict(SCHEMA))
        for ref, data in self.surroundings.foreign.items():
            self._create(ref.collection, ref.document_id, dict(data))
        for run_id, reports in self.scenario.runs.items():
            for report in reports:
                self._put_candles(run_id, report.step_id, _FIRST_VERSION)
            document = run_document(run_id, reports)
            room = self.surroundings.rooms.get(run_id)
            if room is not None:
                ref = DocumentRef(FLOW_RUNS, run_id)
                document["progress"] = {"filler": filler(ref, document, room)}
            self._create(FLOW_RUNS, run_id, document)

    async def interfere(self) -> None:
        """Interfere at some moments."""
        draw = self.world.nemesis.schedule
        moments = sorted(draw.uniform(0, _WITHIN_SECONDS) for _ in range(_MOMENTS))
        for moment in moments:
            await asyncio.sleep(max(0.0, moment - self.world.loop.time()))
            number, fault = self.world.next_fault(Kind.ACT, "orchestrator", "may act")
            if fault is not None:
                self._act(fault, self.world.nemesis.details(number))
        self.done = True

    def _act(self, fault: Fault, draw: Random) -> None:
        run_id = draw.choice(list(self.scenario.runs))
        step_id = draw.choice(self.scenario.runs[run_id]).step_id
        present = self.records.present(DocumentRef(FLOW_RUNS, run_id))
        steps: Any = present.fields["steps"] if present else {}
        ended = steps[step_id]["status"] in ENDED
        if fault is Fault.TOUCHED:
            self._write(run_id, {("progress", "seen"): len(self.world.kinds)})
        elif fault is Fault.FILLED and present is not None:
            ref = DocumentRef(FLOW_RUNS, run_id)
            self._write(run_id, {FILLER: filler(ref, present.fields, draw.choice(ROOMS))})
        elif fault is Fault.RUN_CANCELLED:
            self._write(run_id, {("status",): "CANCELLED", **_cancelled(steps)})
        elif fault is Fault.CANCELLED and not ended:
            self._write(run_id, {("steps", step_id, "status"): "CANCELLED"})
        elif fault is Fault.RERUN and ended:
            self._write(run_id, _reopened(step_id))
        elif fault is Fault.CHANGED and ended:
            self._rerun_on_other_inputs(run_id, step_id)
        else:
            self._operate(fault, run_id, step_id)

    def _operate(self, fault: Fault, run_id: str, step_id: str) -> None:
        commands: dict[Fault, Command] = {
            Fault.OPERATOR_CANCELS: Cancel(run_id=run_id, step_id=step_id),
            Fault.OPERATOR_RERUNS: Rerun(run_id=run_id, step_id=step_id),
            Fault.REPLAYED: ReplayLetters(),
        }
        if self.operators is not None and fault in commands:
            self.operators.start(commands[fault])

    def _rerun_on_other_inputs(self, run_id: str, step_id: str) -> None:
        version = 1 + sum(f"/{run_id}/{step_id}-" in uri.name for uri in self.bucket.blobs)
        self._put_candles(run_id, step_id, version)
        place = ("steps", f"candles-{step_id}", "outputs", "gcs_uri")
        changes = {place: str(candles_uri(run_id, step_id, version)), **_reopened(step_id)}
        self._write(run_id, changes)

    def _put_candles(self, run_id: str, step_id: str, version: int) -> None:
        uri = candles_uri(run_id, step_id, version)
        self.bucket.create(uri, candles(run_id, step_id, version), {})

    def _create(self, collection: str, name: str, data: dict[str, Any]) -> None:
        self.records.create(Create(ref=DocumentRef(collection, name), data=data))

    def _write(self, run_id: str, changes: dict[FieldPath, Any]) -> None:
        self.world.note("orchestrator", f"writes {sorted(map('.'.join, changes))}")
        # When the run has no room for a change, the change is not written, and its author is
        # told so.
        with suppress(StoreRefused):
            self.records.act(DocumentRef(FLOW_RUNS, run_id), changes)


def _cancelled(steps: Any) -> dict[FieldPath, Any]:
    return {
        ("steps", step_id, "status"): "CANCELLED"
        for step_id, step in steps.items()
        if step["stepType"] == LLM_REPORT and step["status"] not in ENDED
    }


def _reopened(step_id: str) -> dict[FieldPath, Any]:
    place = ("steps", step_id)
    return {
        (*place, "status"): "READY",
        (*place, "outputs"): {},
        (*place, "error"): DELETE,
        (*place, "finishedAt"): DELETE,
    }
