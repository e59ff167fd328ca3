"""Who takes part in an enumeration, who may start when, and what others write meanwhile."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum

from tests.simulation.nemesis import Kind


class Act(StrEnum):
    """What anybody other than the worker does, at any moment at which it is possible."""

    TOUCH = "touch"  #: Fields of the run change that do not concern the worker.
    CANCEL = "cancel"  #: The orchestrator cancels the step.
    CANCEL_RUN = "cancel_run"  #: The orchestrator cancels the run with its steps.
    CLOSE_RUN = "close_run"  #: The orchestrator cancels the run alone.
    RERUN = "rerun"  #: The orchestrator makes the ended step READY again.
    CHANGE = "change"  #: The orchestrator makes it READY again, with other inputs.
    OPERATOR_CANCELS = "operator_cancels"  #: An operator cancels the step.
    OPERATOR_RERUNS = "operator_reruns"  #: An operator has the ended step run again.
    REPLAY = "replay"  #: An operator replays the dead letters.


#: The usual call meets one renewal of its lease, and ends long before a sweep.
RENEW_EVERY = timedelta(seconds=20)
_EXECUTORS = {Kind.MESSAGE: 2}
_EXECUTORS_AND_REDELIVERY = {Kind.MESSAGE: 3}
_EXECUTORS_REDELIVERY_AND_HOOK = {Kind.MESSAGE: 4}
_DISPATCHERS = {Kind.EVENT: 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A beginning, and all that may happen after it, in any order."""

    name: str
    #: What the scene is, in the words of the docs.
    what: str
    scenario: str = "single"
    call_mode: str = "at_least_once"
    #: How many deliveries of each kind may start.
    starts: Mapping[Kind, int] = field(default_factory=lambda: _EXECUTORS)
    sweeps: int = 1
    #: The acts of others; each happens at most once.
    acts: Sequence[Act] = ()
    #: How long the model thinks; a lease lasts 60 seconds. See also `RENEW_EVERY`.
    call_seconds: float = 22.0
    #: Whether the event of the run's creation is never delivered.
    event_lost: bool = False
    #: Whether at the beginning the steps are claimed and their jobs published.
    claimed: bool = True
    #: Whether at the beginning the first message is among the dead letters.
    dead_lettered: bool = False

    @property
    def needs_sweep(self) -> bool:
        """Whether the run may need a sweep to end although nothing goes wrong in the scene.

        Nobody but the sweep, or an operator, cares for a dead letter's job, and nobody but the
        sweep looks for the answer of a call in the background that is not announced.
        """
        unannounced = self.call_mode in {"background", "background_at_most_once"}
        return self.event_lost or self.dead_lettered or unannounced


SCENES: Mapping[str, Scene] = {
    scene.name: scene
    for scene in (
        Scene(
            name="step",
            what="two executors with a copy each, a redelivery, a sweep",
            starts=_EXECUTORS_AND_REDELIVERY,
        ),
        Scene(
            name="run",
            what="two dispatchers with the same event, a sweep, an orchestrator's write",
            scenario="pair",
            claimed=False,
            starts=_DISPATCHERS,
            acts=(Act.TOUCH,),
        ),
        Scene(
            name="step_background",
            what="the same as `step`, with calls in the background",
            call_mode="background",
            call_seconds=4.0,
            starts=_EXECUTORS_AND_REDELIVERY,
        ),
        Scene(
            name="step_at_most_once",
            what="the same as `step`, where no call may be made twice",
            call_mode="at_most_once",
        ),
        Scene(
            name="long_call",
            what="one executor whose call outlives its first lease, a redelivery, a sweep",
            call_seconds=90.0,
        ),
        Scene(
            name="lost_event",
            what="a run whose event is lost, two sweeps, an executor",
            claimed=False,
            event_lost=True,
            sweeps=2,
            starts={Kind.MESSAGE: 1},
        ),
        Scene(
            name="chain",
            what="an executor ends a step, two dispatchers with the event of it, a sweep",
            scenario="chain",
            starts={Kind.MESSAGE: 1, Kind.EVENT: 2},
        ),
        Scene(
            name="cancel",
            what="two executors, a sweep, and the orchestrator cancels the step",
            acts=(Act.CANCEL,),
        ),
        Scene(
            name="cancel_run",
            what="two dispatchers, a sweep, and the orchestrator cancels the run",
            scenario="pair",
            claimed=False,
            starts=_DISPATCHERS,
            acts=(Act.CANCEL_RUN,),
        ),
        Scene(
            name="close_run",
            what="two dispatchers, a sweep, and the run is closed, its step left READY",
            claimed=False,
            starts=_DISPATCHERS,
            acts=(Act.CLOSE_RUN,),
        ),
        Scene(
            name="rerun",
            what="two executors, a sweep, a dispatcher, and the ended step is READY again",
            starts={Kind.MESSAGE: 2, Kind.EVENT: 1},
            acts=(Act.RERUN,),
        ),
        Scene(
            name="change",
            what="the same as `rerun`, with other inputs",
            starts={Kind.MESSAGE: 2, Kind.EVENT: 1},
            acts=(Act.CHANGE,),
        ),
        Scene(
            name="operator",
            what="an executor, a sweep, and an operator who cancels and then reruns the step",
            starts={Kind.MESSAGE: 1},
            acts=(Act.OPERATOR_CANCELS, Act.OPERATOR_RERUNS),
        ),
        Scene(
            name="replay",
            what="an executor, a sweep, and an operator who replays the step's dead letter",
            starts={Kind.MESSAGE: 1},
            acts=(Act.REPLAY,),
            dead_lettered=True,
        ),
        Scene(
            name="step_hooks",
            what="two executors, a redelivery, a sweep, and `notify` with the hook of the call",
            call_mode="background_hooks",
            call_seconds=4.0,
            starts=_EXECUTORS_REDELIVERY_AND_HOOK,
        ),
    )
}
