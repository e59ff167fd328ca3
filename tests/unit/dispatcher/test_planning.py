"""What the dispatcher decides, table by table."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from dispatcher.planning import (
    Noop,
    executable_steps,
    is_worker_owned,
    jobs_to_publish,
    plan_claim,
    published_elsewhere,
    reason_for_nothing,
)
from shared.domain.documents import DELETE, Create, DocumentRef, Snapshot, Update, Version
from shared.domain.flow_run import FlowRun, RunStatus, parse_flow_run
from shared.domain.identifiers import ClaimId, RunId, StepId
from shared.domain.job_documents import job_document, job_ref
from shared.domain.jobs import JobMove, JobRecord, JobState
from shared.domain.steps import StepStatus

RUN_ID = RunId("20260105-090000_BTCUSDT_abc")
RUN_REF = DocumentRef("flow_runs", RUN_ID)
NOW = datetime(2026, 1, 5, 9, tzinfo=UTC)


def step(status: str, *depends_on: str, kind: str = "LLM_REPORT") -> dict[str, Any]:
    return {"stepType": kind, "status": status, "timeframe": "1d", "dependsOn": [*depends_on]}


def data(status: str = "RUNNING", /, **steps: Any) -> dict[str, Any]:
    return {"status": status, "scope": {"symbol": "BTCUSDT"}, "steps": steps}


def run(status: str = "RUNNING", /, **steps: Any) -> FlowRun:
    return parse_flow_run(RUN_ID, data(status, **steps))


@pytest.mark.parametrize("status", list(StepStatus))
@pytest.mark.parametrize("kind", ["LLM_REPORT", "LLM_RECOMMENDATION", "CHART_EXPORT", "NEW"])
def test_only_a_ready_report_is_executable(status: StepStatus, kind: str) -> None:
    found = executable_steps(run(s=step(status, kind=kind)))

    assert bool(found) is (status is StepStatus.READY and kind == "LLM_REPORT")


@pytest.mark.parametrize("status", list(RunStatus))
def test_only_a_running_run_is_worked_on(status: RunStatus) -> None:
    found = executable_steps(run(status, s=step("READY")))

    assert bool(found) is (status is RunStatus.RUNNING)


@pytest.mark.parametrize("status", list(StepStatus))
def test_a_step_waits_until_its_dependency_has_succeeded(status: StepStatus) -> None:
    found = executable_steps(run(a=step(status, kind="OHLCV_EXPORT"), s=step("READY", "a")))

    assert found == (("s",) if status is StepStatus.SUCCEEDED else ())


@pytest.mark.parametrize("dependencies", [["s"], ["gone"], "text", [1]])
def test_a_step_that_would_wait_for_ever_is_claimed_so_that_it_can_fail(
    dependencies: Any,
) -> None:
    broken = {**step("READY"), "dependsOn": dependencies}

    assert executable_steps(run(s=broken)) == ("s",)


def test_executable_steps_come_in_the_order_of_their_ids() -> None:
    ready: dict[str, Any] = {name: step("READY") for name in ("b", "a", "1d:c-é", "C")}

    assert executable_steps(run(**ready)) == ("1d:c-é", "C", "a", "b")


@pytest.mark.parametrize(
    ("of_run", "steps", "reason"),
    [
        ("SUCCEEDED", {"s": step("READY")}, Noop.ALREADY_FINAL),
        ("CANCELLED", {"s": step("READY")}, Noop.ALREADY_FINAL),
        ("PENDING", {"s": step("READY")}, Noop.NO_READY_STEP),
        ("RUNNING", {}, Noop.NO_READY_STEP),
        ("RUNNING", {"s": step("RUNNING")}, Noop.NO_READY_STEP),
        ("RUNNING", {"s": step("READY", kind="CHART_EXPORT")}, Noop.NO_READY_STEP),
        (
            "RUNNING",
            {"a": step("RUNNING"), "s": step("READY", "a")},
            Noop.DEPENDENCY_NOT_SUCCEEDED,
        ),
    ],
)
def test_a_run_that_asks_for_nothing_says_why(
    of_run: str, steps: dict[str, Any], reason: Noop
) -> None:
    assert reason_for_nothing(run(of_run, **steps)) is reason


READY_A = step("READY")
OWNED: dict[str, tuple[FlowRun | None, FlowRun, bool]] = {
    "our claim": (run(s=step("READY")), run(s=step("RUNNING")), True),
    "our claim of two": (
        run(a=step("READY"), b=step("READY")),
        run(a=step("RUNNING"), b=step("RUNNING")),
        True,
    ),
    "our success": (run(s=step("RUNNING")), run(s=step("SUCCEEDED")), True),
    "our failure": (run(s=step("RUNNING")), run(s=step("FAILED")), True),
    "our success beside a step that stays ready": (
        run(a=step("RUNNING"), s=step("READY")),
        run(a=step("SUCCEEDED"), s=step("READY")),
        True,
    ),
    "our success frees the next step": (
        run(a=step("RUNNING"), s=step("READY", "a")),
        run(a=step("SUCCEEDED"), s=step("READY", "a")),
        False,
    ),
    "a new document": (None, run(s=step("READY")), False),
    "nothing decoded differs": (run(s=step("READY")), run(s=step("READY")), False),
    "the orchestrator makes a step ready": (run(s=step("PENDING")), run(s=READY_A), False),
    "the orchestrator starts the run": (run("PENDING", s=READY_A), run(s=READY_A), False),
    "a step is added": (run(), run(s=READY_A), False),
    "a step is reopened": (run(s=step("FAILED")), run(s=READY_A), False),
    "another worker's step succeeds": (
        run(a=step("RUNNING", kind="CHART_EXPORT")),
        run(a=step("SUCCEEDED", kind="CHART_EXPORT")),
        False,
    ),
    "a claim and a change of dependencies": (
        run(s=step("READY"), a=step("FAILED")),
        run(s=step("RUNNING", "a"), a=step("FAILED")),
        False,
    ),
}


@pytest.mark.parametrize("case", OWNED)
def test_our_own_writes_are_recognized_and_no_executable_step_is_dropped(case: str) -> None:
    old, new, owned = OWNED[case]

    assert is_worker_owned(old, new) is owned


def claim(document: Mapping[str, Any], **stored: Snapshot) -> Any:
    view = parse_flow_run(RUN_ID, document)
    return plan_claim(
        run=view,
        steps=executable_steps(view),
        run_ref=RUN_REF,
        data=document,
        guard=Version(5),
        stored_jobs={StepId(name): snapshot for name, snapshot in stored.items()},
        claim_id=ClaimId("c2"),
        event_id="e2",
        now=NOW,
        queued_for=timedelta(seconds=60),
    )


def test_all_executable_steps_are_claimed_in_one_guarded_commit() -> None:
    document = data(a=step("READY"), b=step("READY"), c=step("READY", "a"))

    planned = claim(document)

    update, *records = planned.writes
    assert update == Update(
        ref=RUN_REF,
        guard=Version(5),
        changes={
            ("steps", "a", "status"): "RUNNING",
            ("steps", "b", "status"): "RUNNING",
            ("steps", "a", "outputs", "execution", "timing"): {
                "startedAt": "2026-01-05T09:00:00.000Z"
            },
            ("steps", "b", "outputs", "execution", "timing"): {
                "startedAt": "2026-01-05T09:00:00.000Z"
            },
        },
    )
    assert [type(write) for write in records] == [Create, Create]
    assert [write.data["stepId"] for write in records] == ["a", "b"]
    assert {write.data["claimId"] for write in records} == {"c2"}
    # At this time the sweep publishes again what is still queued.
    assert {write.data["wakeAt"] for write in records} == {NOW + timedelta(seconds=60)}
    assert [job.step_id for job in planned.jobs] == ["a", "b"]


def record(step_id: str, **changes: Any) -> JobRecord:
    fields: dict[str, Any] = {
        "run_id": RUN_ID,
        "step_id": StepId(step_id),
        "claim_id": ClaimId("c1"),
        "event_id": "e1",
        "claimed_at": NOW - timedelta(hours=1),
        "state": JobState.QUEUED,
        "wake_at": NOW,
        **changes,
    }
    return JobRecord(**fields)


def stored(job: JobRecord) -> Snapshot:
    ref = job_ref(job.run_id, job.step_id)
    return Snapshot(ref=ref, version=Version(9), data=job_document(job))


def test_a_step_made_ready_again_starts_its_record_over_under_a_new_claim() -> None:
    former = record("a", attempt=3, llm_calls=2).close(
        JobMove.FAIL, now=NOW, keep_for=timedelta(days=30)
    )

    planned = claim(data(a=step("READY")), a=stored(former))

    _, write = planned.writes
    assert isinstance(write, Update)
    assert write.guard == Version(9)
    assert write.changes["claimId",] == "c2"
    assert (write.changes["attempt",], write.changes["llmCalls",]) == (0, 0)
    assert write.changes["claimNumber",] == 2
    assert write.changes["wakeAt",] == NOW + timedelta(seconds=60)
    assert write.changes["expireAt",] is DELETE


@pytest.mark.parametrize(
    ("accounting", "known"),
    [
        ({"costUsd": 0.25}, 0.25),
        ({"costUsd": 0}, 0.0),
        ({"costUsd": -0.25}, None),
        ({"costUsd": "0.25"}, None),
        ({}, None),
        ([], None),
    ],
    ids=str,
)
def test_what_the_former_claim_cost_is_kept_where_the_step_says_it(
    accounting: Any, known: float | None
) -> None:
    former = record("a").close(JobMove.FAIL, now=NOW, keep_for=timedelta(days=30))
    outputs = {"outputs": {"execution": {"accounting": accounting}}}

    _, write = claim(data(a={**step("READY"), **outputs}), a=stored(former)).writes

    assert isinstance(write, Update)
    [kept] = write.changes["formerClaims",]
    assert kept.get("costUsd") == known


def test_a_record_that_nobody_can_read_is_overwritten_by_a_first_claim() -> None:
    unreadable = Snapshot(ref=job_ref(RUN_ID, StepId("a")), version=Version(9), data={"a": 1})

    _, write = claim(data(a=step("READY")), a=unreadable).writes

    assert isinstance(write, Update)
    assert (write.guard, write.changes["claimNumber",]) == (Version(9), 1)


@pytest.mark.parametrize(
    ("inputs", "hints"),
    [
        (
            {
                "llm": {
                    "promptId": "llm_prompt_1d_report_v1_0",
                    "llmProfile": {
                        "modelName": "gemini-3.5-flash",
                        "structuredOutput": {"schemaId": "llm_schema_1d_report_v1_0"},
                    },
                }
            },
            ("llm_prompt_1d_report_v1_0", "llm_schema_1d_report_v1_0", "gemini-3.5-flash"),
        ),
        ({"llm": {"promptId": "x/y", "llmProfile": []}}, (None, None, None)),
        ({"llm": {"llmProfile": {"modelName": 7}}}, (None, None, None)),
        ({"llm": "text"}, (None, None, None)),
        ("text", (None, None, None)),
        (None, (None, None, None)),
    ],
)
def test_a_job_carries_prompt_schema_and_model_if_they_are_names(
    inputs: Any, hints: tuple[str | None, ...]
) -> None:
    [job] = claim(data(a={**step("READY"), "inputs": inputs})).jobs

    assert (job.prompt_id, job.schema_id, job.model_name) == hints


@pytest.mark.parametrize(
    ("job", "published"),
    [
        (record("a", claim_id=ClaimId("c2"), event_id="e2", claimed_at=NOW), True),
        (record("a", event_id="e2", claimed_at=NOW - timedelta(seconds=10)), True),
        (record("a", event_id="e2", claimed_at=NOW - timedelta(seconds=9.999)), False),
        (record("a", event_id="e1"), False),
        (
            record("a", event_id="e2").take_lease(
                owner="o", now=NOW, lease_for=timedelta(seconds=60)
            ),
            False,
        ),
        (
            record("a", event_id="e2").close(
                JobMove.FAIL, now=NOW, keep_for=timedelta(days=30)
            ),
            False,
        ),
    ],
    ids=[
        "ours: the claim was applied and its answer lost",
        "this event's, long enough ago: its publisher is dead",
        "this event's, just now: its publisher is at work",
        "another event's",
        "already leased",
        "already closed",
    ],
)
def test_after_a_lost_claim_only_what_nobody_may_have_published_is_published(
    job: JobRecord, *, published: bool
) -> None:
    jobs = jobs_to_publish(
        [stored(job)],
        data(a=step("RUNNING")),
        claim_id=ClaimId("c2"),
        event_id="e2",
        now=NOW,
    )

    assert [message.step_id for message in jobs] == (["a"] if published else [])


RECENT = NOW - timedelta(seconds=9.999)
LEASED = record("a", event_id="e2", claimed_at=RECENT).take_lease(
    owner="o", now=NOW, lease_for=timedelta(seconds=60)
)


@pytest.mark.parametrize(
    ("jobs", "elsewhere"),
    [
        ([record("a", event_id="e2", claimed_at=RECENT)], True),
        ([record("a"), record("b", event_id="e2", claimed_at=RECENT)], True),
        ([], False),
        ([record("a", event_id="e2", claimed_at=NOW - timedelta(seconds=10))], False),
        ([record("a", event_id="e2", claimed_at=RECENT, claim_id=ClaimId("c2"))], False),
        ([record("a", event_id="e2", claimed_at=RECENT, attempt=1)], False),
        ([record("a", event_id="e1", claimed_at=RECENT)], False),
        ([LEASED], False),
    ],
    ids=[
        "this event's, just now",
        "one of two",
        "no job",
        "so long ago that its publisher is dead",
        "this delivery's own",
        "given back by an executor",
        "another event's",
        "an executor's",
    ],
)
def test_a_delivery_comes_again_while_another_may_be_publishing(
    jobs: list[JobRecord], *, elsewhere: bool
) -> None:
    found = published_elsewhere(
        [stored(job) for job in jobs], claim_id=ClaimId("c2"), event_id="e2", now=NOW
    )

    assert found is elsewhere


def test_the_reasons_have_the_names_that_queries_over_the_log_ask_for() -> None:
    assert [*Noop] == [
        "no_ready_step",
        "dependency_not_succeeded",
        "claim_conflict",
        "already_final",
        "worker_owned_change",
    ]
