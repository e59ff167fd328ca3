"""Judges with which code a step may have failed, given all that happened to its run."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tests.simulation.metering import PATIENCE_SECONDS, Metering
from tests.simulation.nemesis import HARMLESS, Fault, Injected, Kind
from tests.simulation.promises import Promise, Violation
from tests.simulation.scenarios import Scenario

_CALLS = frozenset({Kind.GENERATE, Kind.BEGIN, Kind.ASK})
_LOOKS = frozenset({Kind.STAT, Kind.FETCH})
_UPLOADS = frozenset({Kind.STAT, Kind.CREATE})
_ANY = frozenset(Kind)
_EVERY = frozenset(Fault)
#: For each code: the faults of which one must have happened, and the kinds of operations on
#: which it may have happened.
_NEEDS: Mapping[str, tuple[Collection[Fault], Collection[Kind]]] = {
    "LLM_SAFETY_BLOCK": ({Fault.BLOCKED}, _CALLS),
    "INVALID_STRUCTURED_OUTPUT": ({Fault.INVALID}, _CALLS),
    "RATE_LIMITED": ({Fault.RATE_LIMITED}, _CALLS),
    "GEMINI_REQUEST_FAILED": (_EVERY, _CALLS),
    "LLM_PROFILE_INVALID": ({Fault.UNFIT}, _CALLS),
    "GCS_READ_FAILED": (_EVERY, _LOOKS),
    "GCS_WRITE_FAILED": (_EVERY, _UPLOADS),
    "ARTIFACT_CONFLICT": ({Fault.CHANGED}, {Kind.ACT}),
    "FIRESTORE_UNAVAILABLE": (_EVERY - HARMLESS, {Kind.READ}),
    "TIME_BUDGET_EXCEEDED": (_EVERY, _ANY),
    "ATTEMPTS_EXHAUSTED": (_EVERY - HARMLESS, _ANY),
    "CALL_OUTCOME_UNKNOWN": (_EVERY, _ANY),
}
#: A wait begins with the first refusal, while patience begins with the claim. Each fault before
#: it takes as long again: the rest of a lease, and the time until the next sweep.
_UNTIL_FIRST_WAIT = 120.0
#: Faults that never change how a step ends.
ENDURED = frozenset(
    {Fault.DUPLICATE, Fault.DELAYED, Fault.TOUCHED, Fault.SLOW, Fault.OVERDUE, Fault.LOST}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Endings:
    """Judges how the steps of one run of the simulation ended."""

    scenario: Scenario
    injected: Collection[Injected]
    #: The kind of each operation.
    kinds: list[Kind]
    #: The runs that lacked room at some time.
    full: Collection[str]
    #: The runs of which a call was stopped in favour of a call at a dearer tier.
    stopped: Collection[str] = ()
    #: How many calls the provider takes; None means all.
    metering: Metering | None = None

    def violations(self, run_id: str, steps: Mapping[str, Any]) -> Iterator[Violation]:
        """What is wrong with the ends of the scenario's steps in this run."""
        sound = {item.fault for item in self.injected} <= ENDURED and run_id not in self.full
        count = sum(map(len, self.scenario.runs.values()))
        enough = self.metering is None or self.metering.enough(count)
        for report in self.scenario.runs[run_id]:
            step = steps[report.step_id]
            planned = self.scenario.ends.get(report.step_id, "SUCCEEDED")
            what = f"{run_id}, {report.step_id}: {step['status']}"
            if sound and enough and step["status"] != planned:
                yield Violation(Promise.EVERYTHING_ENDS, f"{what}, and nothing was wrong")
            if step["status"] == "FAILED" and not self._right(run_id, step, planned):
                yield Violation(Promise.EVERYTHING_ENDS, f"{what} with {step['error']}")

    def _right(self, run_id: str, step: Mapping[str, Any], planned: str) -> bool:
        code = step["error"]["code"]
        if code == "RUN_TOO_LARGE":
            return run_id in self.full
        if planned == "FAILED" and code in {"INVALID_STEP_INPUTS", "PROMPT_NOT_FOUND"}:
            return True
        if code == "GEMINI_REQUEST_FAILED" and run_id in self.stopped:
            # How the stopped call ended is the last error of a step that has no attempts left.
            return not {item.fault for item in self.injected} <= HARMLESS
        if self._waited_in_vain(step):
            return True
        faults, kinds = _NEEDS.get(code, ((), ()))
        return any(
            item.fault in faults and self.kinds[item.operation] in kinds
            for item in self.injected
        )

    def _waited_in_vain(self, step: Mapping[str, Any]) -> bool:
        """Whether the provider had no room for the step until its patience was over."""
        error = step["error"]
        waited = error.get("details", {}).get("waitedSeconds", 0)
        return (
            self.metering is not None
            and error["code"] in {"RATE_LIMITED", "GEMINI_REQUEST_FAILED"}
            and waited >= PATIENCE_SECONDS - _UNTIL_FIRST_WAIT * (1 + len(self.injected))
        )
