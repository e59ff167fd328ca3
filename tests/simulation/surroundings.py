"""What stands in the stores beside the runs of a scenario, and how full these are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from random import Random
from typing import Any

from infra.local.cloud.cloud_events import Document
from shared.domain.document_size import MAX_DOCUMENT_BYTES, document_size
from shared.domain.documents import DocumentRef, FieldPath, Snapshot
from tests.simulation.delivery import FLOW_RUNS
from tests.simulation.process import EPOCH

JOBS = "llm_jobs"
#: The field in which others keep what fills a run.
FILLER: FieldPath = ("progress", "filler")
#: How many bytes are left in a run that is nearly full. They are enough for nothing at all, for
#: hardly more than a code, for an ending in its smallest form, for one of two steps, or for
#: all.
ROOMS = (0, 40, 150, 600, 3_000, 5_000, 9_000)
#: The most that a page may weigh to be answered in time. Most documents weigh 1.
PAGE_WEIGHT = 30
#: The weights of documents that are heavy, and of those that no page at all brings in time.
_HEAVY, _UNREADABLE = 20, 1_000

_DUE = EPOCH - timedelta(hours=1)
_LATER = EPOCH + timedelta(minutes=2)
#: Documents of others, by document id. The sweep finds those that have a shard and a time.
_JOBS: Mapping[str, Mapping[str, Any]] = {
    "bare": {"shard": 0, "wakeAt": _DUE},
    "other~worker": {"shard": 3, "wakeAt": _DUE, "state": "WAITING", "owner": {"pid": 7}},
    "20260105-090000_BTCUSDT_aaa~z": {"shard": 5, "wakeAt": _LATER, "runId": 5, "stepId": None},
    "no-shard": {"wakeAt": _DUE, "state": "QUEUED"},
    "no-time": {"shard": 9, "wakeAt": "2026-01-05T09:00:00Z", "runId": "x", "stepId": "y"},
    "deep": {"shard": 15, "wakeAt": _LATER, "lease": [1, {"a": None}], "history": "none"},
    "queued": {"shard": 1, "wakeAt": _DUE, "queue": "in/line|0", "waiting": []},
    "queued-first": {"queue": "|0"},
    # This one stands at the head of the queue in which jobs of the simulation wait.
    "queued-here": {"queue": "simulated@ai_studio|0", "state": "QUEUED", "waiting": "yes"},
    "queued-last": {"queue": "~~0", "runId": "z"},
}
_RUNS: Mapping[str, Mapping[str, Any]] = {
    "nightly-backup": {"status": "RUNNING", "size": 5},
    "20260105-090000_BTCUSDT_zzz": {"status": "RUNNING", "steps": ["a", "b"]},
    "20260105-080000_BTCUSDT_yyy": {"status": "RUNNING", "steps": {"a": "READY"}},
    "20260105-080000_ETHUSDT_xxx": {
        "status": "RUNNING",
        "steps": {"a": {"stepType": "NEWS_EXPORT", "status": "READY", "dependsOn": [5]}},
    },
    "20260105-070000_ETHUSDT_www": {"status": "PAUSED", "steps": {}},
    "20260105-070000_ETHUSDT_vvv": {"status": "RUNNING", "runId": "another", "steps": {}},
    "~": {"status": "RUNNING", "steps": {}, "error": "not a map"},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a case has beside the runs of its scenario."""

    #: The documents of others.
    foreign: Mapping[DocumentRef, Mapping[str, Any]] = field(default_factory=dict)
    #: The weights of documents that weigh more than 1 in a page of a query.
    weights: Mapping[DocumentRef, int] = field(default_factory=dict)
    #: How many bytes of room are left in a run at the beginning, by run id.
    rooms: Mapping[str, int] = field(default_factory=dict)

    def weight(self, page: Sequence[Snapshot]) -> int:
        """The weight of the page."""
        return sum(self.weights.get(document.ref, 1) for document in page)


NONE = Surroundings()


def drawn_surroundings(
    draw: Random, run_ids: Sequence[str], *, foreign: bool, heavy: bool, full: bool
) -> Surroundings:
    """Draw surroundings of this kind."""
    others = {
        **{DocumentRef(JOBS, name): data for name, data in _JOBS.items()},
        **{DocumentRef(FLOW_RUNS, name): data for name, data in _RUNS.items()},
    }
    refs = sorted(others, key=str) if foreign or heavy else []
    count = draw.choice((draw.randint(0, len(refs)), len(refs)))
    stand = draw.sample(refs, count)
    ours = [DocumentRef(FLOW_RUNS, run_id) for run_id in run_ids]
    weights = {ref: draw.choice((1, _HEAVY, _UNREADABLE)) for ref in stand}
    # Every run of ours can be read, if only in a page of its own.
    weights |= {ref: draw.choice((1, _HEAVY)) for ref in ours}
    return Surroundings(
        foreign={ref: others[ref] for ref in stand},
        weights=weights if heavy else {},
        rooms={run_id: draw.choice(ROOMS) for run_id in run_ids} if full else {},
    )


def room_in(ref: DocumentRef, document: Document) -> int:
    """How many bytes can still be added to the document."""
    return MAX_DOCUMENT_BYTES - document_size(ref, document.fields)


def filler(ref: DocumentRef, data: Mapping[str, Any], room: int) -> str:
    """A text that leaves only this many bytes in the document when it stands at `FILLER`."""
    place, name = FILLER
    inside = {**data.get(place, {}), name: ""}
    size = document_size(ref, {**data, place: inside})
    return "." * max(0, MAX_DOCUMENT_BYTES - room - size)
