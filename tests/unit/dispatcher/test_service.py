"""Events in, claims and jobs out: bad input, lost answers, redeliveries, on embedded stores."""

import io
import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from dispatcher.ports import DispatcherPorts
from dispatcher.settings import read_settings
from dispatcher.wiring import assemble
from infra.local.cloud.cloud_events import Document, document_event
from infra.local.embedded.documents import CountedDocuments, EmbeddedDocuments
from infra.local.embedded.queue import KeptMessages
from shared.domain.documents import Create, DocumentRef, Snapshot, Update, Version, Write
from shared.domain.errors import FirestoreClaimFailed
from shared.domain.identifiers import RunId, StepId
from shared.domain.job_documents import job_ref
from shared.domain.messages import OutgoingMessage
from shared.log import EventLogger, Severity
from shared.ports import Conflict, DocumentStore, QueueUnavailable, StoreUnavailable

RUN_ID = "20260105-090000_BTCUSDT_abc"
RUN = DocumentRef("flow_runs", RUN_ID)
TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def flow_run(**changes: Any) -> dict[str, Any]:
    step = {"stepType": "LLM_REPORT", "status": "READY", "timeframe": "1d", "inputs": {}}
    return {"status": "RUNNING", "steps": {"1d:report-é": step}, **changes}


@dataclass
class _Clock:
    moment: datetime = datetime(2026, 1, 5, 9, tzinfo=UTC)

    def now(self) -> datetime:
        return self.moment

    def monotonic(self) -> float:
        return 0.0


@dataclass
class _LosesAnswers:
    """A store whose next commits are applied, and whose answers are lost."""

    store: EmbeddedDocuments
    lost: int = 0
    error: type[Exception] = StoreUnavailable

    async def read(
        self, refs: Sequence[DocumentRef], *, timeout_seconds: float
    ) -> Sequence[Snapshot | None]:
        return await self.store.read(refs, timeout_seconds=timeout_seconds)

    async def commit(self, writes: Sequence[Write], *, timeout_seconds: float) -> Version:
        version = await self.store.commit(writes, timeout_seconds=timeout_seconds)
        if self.lost:
            self.lost -= 1
            raise self.error("lost")
        return version


@dataclass
class _NeverTakesACommit:
    async def read(
        self, refs: Sequence[DocumentRef], *, timeout_seconds: float
    ) -> Sequence[Snapshot | None]:
        del timeout_seconds
        snapshot = Snapshot(ref=RUN, version=Version(1), data=flow_run())
        return [snapshot, *(None for _ in refs[1:])]

    async def commit(self, writes: Sequence[Write], *, timeout_seconds: float) -> Version:
        raise StoreUnavailable("InvalidArgument")


class _CannotBeRead(_NeverTakesACommit):
    async def read(
        self, refs: Sequence[DocumentRef], *, timeout_seconds: float
    ) -> Sequence[Snapshot | None]:
        raise StoreUnavailable("DEADLINE_EXCEEDED")


class _QueueIsDown:
    async def publish(
        self, messages: Sequence[OutgoingMessage], *, timeout_seconds: float
    ) -> None:
        raise QueueUnavailable("Unavailable")


class Stage:
    """A dispatcher with its surroundings."""

    def __init__(self, store: DocumentStore | None = None, queue: Any = None) -> None:
        self.documents = EmbeddedDocuments()
        self.counted = CountedDocuments(store or self.documents)
        self.jobs = KeptMessages()
        self.clock = _Clock()
        self.stream = io.StringIO()
        self.dispatcher = assemble(
            DispatcherPorts(
                documents=self.counted,
                queue=queue or self.jobs,
                clock=self.clock,
                log=EventLogger(
                    component="dispatcher",
                    env="test",
                    clock=self.clock,
                    threshold=Severity.DEBUG,
                    stream=self.stream,
                ),
                new_id=lambda: uuid.uuid4().hex,
            ),
            read_settings({"GCP_PROJECT": "p", "JOBS_TOPIC": "jobs"}),
        )

    async def seed(self, data: dict[str, Any], ref: DocumentRef = RUN) -> bytes:
        """Store a run; the body of the event that this causes."""
        bodies: list[bytes] = []
        self.documents.listen(lambda ref, old, new: bodies.append(body(ref, old, new)))
        await self.documents.commit([Create(ref=ref, data=data)], timeout_seconds=1)
        return bodies[0]

    async def handle(self, data: bytes, **attributes: str) -> None:
        given = {"id": "e1", "subject": f"documents/flow_runs/{RUN_ID}", **attributes}
        await self.dispatcher.handle(given, data)

    async def run(self, ref: DocumentRef = RUN) -> Any:
        [snapshot] = await self.documents.read([ref], timeout_seconds=1)
        return snapshot and snapshot.data

    def entries(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.stream.getvalue().splitlines()]

    def last(self) -> dict[str, Any]:
        return self.entries()[-1]


def body(ref: DocumentRef, old: Document | None, new: Document | None) -> bytes:
    return document_event(
        project="p",
        document_path=f"{ref.collection}/{ref.document_id}",
        old=old,
        new=new,
        event_id="e1",
        time=datetime(2026, 1, 5, 9, tzinfo=UTC),
    ).body


async def test_the_happy_path_is_one_commit_no_read_and_one_job() -> None:
    stage = Stage()
    event = await stage.seed(flow_run())

    await stage.handle(event, traceparent=TRACEPARENT)

    assert stage.counted.calls == 1
    run = await stage.run()
    assert run["steps"]["1d:report-é"]["status"] == "RUNNING"
    [job] = stage.jobs.messages
    assert job.attributes["stepId"] == "1d:report-é"
    assert job.attributes["traceparent"] == TRACEPARENT
    assert [entry["event"] for entry in stage.entries()] == [
        "cloud_event_received",
        "cloud_event_parsed",
        "ready_step_selected",
        "claim_attempt",
        "job_published",
        "cloud_event_finished",
    ]
    assert {entry["logging.googleapis.com/trace"] for entry in stage.entries()} == {
        "projects/p/traces/4bf92f3577b34da6a3ce929d0e0e4736"
    }


async def test_the_steps_are_logged_sorted_and_without_inputs() -> None:
    stage = Stage()
    other = {"stepType": "NEW_TYPE", "status": "PENDING", "dependsOn": ["1d:report-é"]}
    event = await stage.seed(flow_run(steps={"z": other, **flow_run()["steps"]}))

    await stage.handle(event)

    [parsed] = [e for e in stage.entries() if e["event"] == "cloud_event_parsed"]
    assert parsed["flowRunSteps"] == [
        {"id": "1d:report-é", "stepType": "LLM_REPORT", "status": "READY", "dependsOn": []},
        {"id": "z", "stepType": "NEW_TYPE", "status": "PENDING", "dependsOn": ["1d:report-é"]},
    ]


@pytest.mark.parametrize(
    "subject",
    [
        "",
        "documents/llm_jobs/x",
        "documents/flow_runs",
        "documents/flow_runs/",
        "documents/flow_runs/a/sub/b",
        "flow_runs/x",
    ],
)
async def test_an_event_of_another_collection_is_ignored_without_a_call(subject: str) -> None:
    stage = Stage()
    event = await stage.seed(flow_run())

    await stage.handle(event, subject=subject)

    assert (stage.counted.calls, stage.jobs.messages) == (0, [])
    assert stage.last()["event"] == "cloud_event_ignored"
    assert stage.last()["reason"] == "other_collection"


@pytest.mark.parametrize("data", [b"\xff", b"{}", b"canary-1b2c"])
async def test_an_unreadable_event_is_ignored_with_an_error_that_does_not_quote_it(
    data: bytes,
) -> None:
    stage = Stage()

    await stage.handle(data)

    assert stage.counted.calls == 0
    assert stage.last()["severity"] == "ERROR"
    assert stage.last()["reason"] == "unreadable"
    assert "canary" not in stage.stream.getvalue()


@pytest.mark.parametrize("data", [b"", b"\x1a\x00", b"\x1a\x05\x0a\x03abc"])
async def test_an_event_without_its_data_has_the_run_read_by_its_subject(data: bytes) -> None:
    stage = Stage()
    await stage.seed(flow_run())

    await stage.handle(data)

    assert len(stage.jobs.messages) == 1
    assert (await stage.run())["steps"]["1d:report-é"]["status"] == "RUNNING"


async def test_an_event_without_data_for_a_run_that_is_gone_asks_for_nothing() -> None:
    stage = Stage()

    await stage.handle(b"")

    assert stage.last()["reason"] == "document_deleted"


async def test_an_event_without_data_comes_again_while_the_run_cannot_be_read() -> None:
    stage = Stage(_CannotBeRead())

    with pytest.raises(FirestoreClaimFailed, match="reading the run failed"):
        await stage.handle(b"")

    assert stage.last()["outcome"] == "redeliver"


async def test_a_run_that_breaks_the_contract_is_told_so_also_without_the_event_s_data() -> (
    None
):
    stage = Stage()
    await stage.seed({"status": "RUNNING", "steps": []})

    await stage.handle(b"")

    assert (await stage.run())["error"]["code"] == "FLOW_RUN_INVALID"


async def test_a_deleted_run_is_ignored_without_a_call() -> None:
    stage = Stage()
    gone = Document(fields=flow_run(), create_time=1_000, update_time=1_000)

    await stage.handle(body(RUN, gone, None))

    assert stage.counted.calls == 0
    assert stage.last()["reason"] == "document_deleted"
    assert stage.last()["code"] == "FLOW_RUN_NOT_FOUND"


@pytest.mark.parametrize(
    "changes",
    [
        {"steps": {"a": {"stepType": "NEW_TYPE", "status": "READY"}}},
        {"steps": {}},
        {"status": "CANCELLED"},
        {"status": "PENDING"},
    ],
    ids=str,
)
async def test_a_change_that_asks_for_nothing_costs_nothing(changes: dict[str, Any]) -> None:
    stage = Stage()
    event = await stage.seed(flow_run(**changes))

    await stage.handle(event)

    assert (stage.counted.calls, stage.jobs.messages) == (0, [])
    assert stage.last()["event"] == "cloud_event_noop"


@pytest.mark.parametrize(
    "changes",
    [
        {"status": "NEW"},
        {"status": 7},
        {"runId": "other"},
        {"steps": []},
        {"steps": {"a/b": {}}},
        {"steps": {"a": 1}},
        {"steps": {"a": {"stepType": "LLM_REPORT", "status": "DONE"}}},
        {"steps": {"a": {"stepType": 7, "status": "READY"}}},
    ],
    ids=str,
)
async def test_a_broken_run_is_told_so_once_and_none_of_its_steps_is_touched(
    changes: dict[str, Any],
) -> None:
    stage = Stage()
    event = await stage.seed(flow_run(**changes))

    await stage.handle(event)
    [seen] = await stage.documents.read([RUN], timeout_seconds=1)
    assert seen is not None
    told = Document(fields=seen.data, create_time=1_000, update_time=seen.version)
    await stage.handle(body(RUN, None, told))

    run = await stage.run()
    assert run["error"]["code"] == "FLOW_RUN_INVALID"
    assert {**run, "error": None} == {**flow_run(**changes), "error": None}
    assert (stage.counted.calls, stage.jobs.messages) == (1, [])


@pytest.mark.parametrize("document_id", ["r", "20260105-090000_btc_abc", "ü"])
async def test_a_document_that_is_no_run_is_told_so(document_id: str) -> None:
    stage, ref = Stage(), DocumentRef("flow_runs", document_id)
    event = await stage.seed(flow_run(), ref)

    await stage.handle(event, subject=f"documents/flow_runs/{document_id}")

    assert (await stage.run(ref))["error"]["code"] == "FLOW_RUN_INVALID"


@pytest.mark.parametrize("error", [StoreUnavailable, Conflict])
async def test_a_claim_whose_answer_was_lost_is_found_to_be_ours_and_published(
    error: type[Exception],
) -> None:
    documents = EmbeddedDocuments()
    stage = Stage(_LosesAnswers(documents, lost=1, error=error))
    stage.documents = documents
    event = await stage.seed(flow_run())

    await stage.handle(event)

    assert len(stage.jobs.messages) == 1
    assert stage.counted.calls == 2
    assert stage.last()["event"] == "cloud_event_finished"


async def test_an_event_that_comes_again_at_once_publishes_nothing_and_asks_to_come_later() -> (
    None
):
    """The process that claimed may be publishing, or dead: only a later delivery can tell."""
    stage = Stage()
    event = await stage.seed(flow_run())
    await stage.handle(event)

    for _ in range(2):
        with pytest.raises(FirestoreClaimFailed):
            await stage.handle(event)

    assert len(stage.jobs.messages) == 1
    assert stage.last()["outcome"] == "redeliver"


async def test_an_event_redelivered_after_its_publisher_died_publishes_the_job() -> None:
    stage = Stage(queue=_QueueIsDown())
    event = await stage.seed(flow_run())
    with pytest.raises(QueueUnavailable):
        await stage.handle(event)
    assert stage.last()["outcome"] == "redeliver"

    later = Stage(stage.documents)
    later.clock.moment += timedelta(seconds=11)
    await later.handle(event)

    [job] = later.jobs.messages
    [record] = await stage.documents.read(
        [job_ref(RunId(RUN_ID), StepId("1d:report-é"))], timeout_seconds=1
    )
    assert record is not None
    assert job.attributes["claimId"] == record.data["claimId"]


async def test_a_stale_event_is_decided_again_and_later_steps_are_left_to_their_own() -> None:
    """If this event claimed the later steps and we died, its redelivery would not know them."""
    stage = Stage()
    event = await stage.seed(flow_run())
    later: list[bytes] = []
    stage.documents.listen(lambda ref, old, new: later.append(body(ref, old, new)))
    [seen] = await stage.documents.read([RUN], timeout_seconds=1)
    assert seen is not None
    more = {"stepType": "LLM_REPORT", "status": "READY", "timeframe": "1w"}
    write = Update(ref=RUN, changes={("steps", "more"): more}, guard=seen.version)
    await stage.documents.commit([write], timeout_seconds=1)

    await stage.handle(event)
    assert [job.attributes["stepId"] for job in stage.jobs.messages] == ["1d:report-é"]

    await stage.handle(later[0], id="e2")
    steps = [job.attributes["stepId"] for job in stage.jobs.messages]
    assert steps == ["1d:report-é", "more"]


async def test_a_store_that_takes_no_claim_gets_the_event_again_and_the_log_says_why() -> None:
    stage = Stage(_NeverTakesACommit())
    event = await stage.seed(flow_run())

    with pytest.raises(FirestoreClaimFailed):
        await stage.handle(event)

    assert stage.last()["severity"] == "ERROR"
    assert stage.last()["code"] == "FIRESTORE_CLAIM_FAILED"
    assert "InvalidArgument" in stage.last()["message"]


async def test_a_run_deleted_meanwhile_is_left_alone() -> None:
    stage = Stage()
    event = await stage.seed(flow_run())
    stage.documents.delete(RUN)

    await stage.handle(event)

    assert (await stage.run(), stage.jobs.messages) == (None, [])
