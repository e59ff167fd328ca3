"""A run near Firestore's limit: its steps end with a code before anything is paid for."""

from collections.abc import Mapping
from typing import Any

import pytest

from dispatcher.refusing import with_room
from infra.local.cloud.cloud_events import Document, document_event
from shared.domain.document_size import ENDING_BYTES, MAX_DOCUMENT_BYTES, document_size
from shared.domain.documents import DocumentRef, Update
from shared.domain.errors import ErrorCode
from shared.domain.flow_run import parse_flow_run
from shared.domain.identifiers import RunId, StepId
from shared.domain.job_documents import job_ref
from shared.ports import StoreRefused
from tests.support.sweep_site import NOW, TIMEOUT, Documents, Site

RUN_ID = RunId("20260105-090001_BTCUSDT_abc")
RUN = DocumentRef("flow_runs", RUN_ID)


def run_with(bytes_left: int, statuses: Mapping[str, str], **beside: Any) -> dict[str, Any]:
    """A RUNNING run to which so many bytes can be added."""
    steps = {
        name: {"stepType": "LLM_REPORT", "status": status, "inputs": {}}
        for name, status in statuses.items()
    }
    data: dict[str, Any] = {"status": "RUNNING", "steps": steps, "pad": "", **beside}
    data["pad"] = "x" * (MAX_DOCUMENT_BYTES - document_size(RUN, data) - bytes_left)
    assert document_size(RUN, data) == MAX_DOCUMENT_BYTES - bytes_left
    return data


async def by_sweep(site: Site) -> None:
    await site.sweep().run()


async def by_event(site: Site) -> None:
    stored = site.documents.present(RUN)
    assert stored is not None
    event = document_event(
        project="p",
        document_path=f"flow_runs/{RUN_ID}",
        old=None,
        new=stored,
        event_id="e",
        time=NOW,
    )
    attributes = {"id": "e", "subject": f"documents/flow_runs/{RUN_ID}"}
    await site.dispatcher().handle(attributes, event.body)


@pytest.mark.parametrize("noticed", [by_sweep, by_event])
@pytest.mark.parametrize("bytes_left", [40, 250, 400, ENDING_BYTES - 1])
async def test_a_step_without_room_fails_with_the_code_and_no_job(
    bytes_left: int, noticed: Any
) -> None:
    site = Site()
    await site.put(RUN, run_with(bytes_left, {"a": "READY"}))

    await noticed(site)

    step = (await site.read(RUN))["steps"]["a"]
    assert (step["status"], step["error"]["code"]) == ("FAILED", "RUN_TOO_LARGE")
    assert site.published() == []
    assert await site.read(job_ref(RUN_ID, StepId("a"))) == {}
    [told] = site.logged("step_failed")
    assert (told["code"], told["stepId"]) == ("RUN_TOO_LARGE", "a")


@pytest.mark.parametrize("noticed", [by_sweep, by_event])
@pytest.mark.parametrize("bytes_left", [0, 3, 20])
async def test_a_run_without_room_even_for_the_error_is_left_and_the_log_says_so(
    bytes_left: int, noticed: Any
) -> None:
    site = Site()
    await site.put(RUN, run_with(bytes_left, {"a": "READY"}))
    before = await site.read(RUN)

    await noticed(site)

    assert await site.read(RUN) == before
    [told] = site.logged("step_failed")
    assert told["code"] == "RUN_TOO_LARGE"
    assert "stays READY" in told["message"]


@pytest.mark.parametrize("noticed", [by_sweep, by_event])
async def test_of_many_steps_those_are_claimed_for_whose_ends_there_is_room(
    noticed: Any,
) -> None:
    site = Site()
    statuses = {"a": "READY", "b": "READY", "c": "READY", "d_at_work": "RUNNING"}
    await site.put(RUN, run_with(3 * ENDING_BYTES, statuses))

    await noticed(site)

    assert await site.steps(RUN_ID) == ["RUNNING", "RUNNING", "FAILED", "RUNNING"]
    assert [job.step_id for job in site.published()] == ["a", "b"]


@pytest.mark.parametrize("noticed", [by_sweep, by_event])
async def test_a_rerun_without_room_leaves_nothing_of_its_former_claim(noticed: Any) -> None:
    site = Site()
    data = run_with(600, {"a": "READY"})
    data["steps"]["a"]["outputs"] = {"gcs_uri": "gs://b/n", "execution": {"llm": {"x": 1}}}
    await site.put(RUN, data)

    await noticed(site)

    assert (await site.read(RUN))["steps"]["a"]["outputs"] == {}


@pytest.mark.parametrize("noticed", [by_sweep, by_event])
async def test_a_claim_that_the_store_finds_unfit_ends_the_steps_and_is_not_tried_again(
    noticed: Any,
) -> None:
    """The limit of 40,000 index entries is such a case: no size foretells it."""
    site = Site()
    site.documents = documents = NoClaims(site.clock)
    await site.put(RUN, run_with(500_000, {"a": "READY", "b": "READY"}))

    await noticed(site)

    assert await site.steps(RUN_ID) == ["FAILED", "FAILED"]
    assert documents.claims == 1
    codes = {entry["code"] for entry in site.logged("step_failed")}
    assert codes == {ErrorCode.RUN_TOO_LARGE}


def test_what_is_at_work_already_needs_its_room_too() -> None:
    data = {
        "status": "RUNNING",
        "steps": {
            "mine": {"stepType": "LLM_REPORT", "status": "RUNNING"},
            "other": {"stepType": "OHLCV_EXPORT", "status": "RUNNING"},
        },
    }
    run = parse_flow_run(RUN_ID, data)

    steps = (StepId("a"), StepId("b"))

    assert with_room(run, steps, 3 * ENDING_BYTES) == (steps, ())
    assert with_room(run, steps, 3 * ENDING_BYTES - 1) == (steps[:1], steps[1:])
    assert with_room(run, steps, -5) == ((), steps)


class NoClaims(Documents):
    """Takes no claim, whatever its size."""

    def __init__(self, clock: Any) -> None:
        super().__init__(clock)
        self.claims = 0

    async def commit(self, writes: Any, *, timeout_seconds: float) -> Any:
        """Refuse every commit that makes a step RUNNING."""
        changed = [w.changes for w in writes if isinstance(w, Update)]
        if any("RUNNING" in changes.values() for changes in changed):
            self.claims += 1
            raise StoreRefused("INVALID_ARGUMENT: too many index entries", unfit=True)
        return await super().commit(writes, timeout_seconds=timeout_seconds)


async def test_the_end_of_an_exhausted_job_is_said_in_the_room_there_is() -> None:
    site = Site()
    await site.put(RUN, run_with(60, {"s0": "RUNNING"}))
    await site.job(RUN_ID, 0, attempt=5, wakes=2, state="RUNNING")

    await site.sweep().run()

    step = (await site.read(RUN))["steps"]["s0"]
    assert (step["status"], step["error"]["code"]) == ("FAILED", "ATTEMPTS_EXHAUSTED")
    assert (await site.read(job_ref(RUN_ID, StepId("s0"))))["state"] == "FAILED"


async def test_a_job_closes_where_its_run_has_no_room_at_all() -> None:
    site = Site()
    await site.put(RUN, run_with(0, {"s0": "RUNNING"}))
    await site.job(RUN_ID, 0, attempt=5, wakes=2, state="RUNNING")

    await site.sweep().run()

    assert await site.steps(RUN_ID) == ["RUNNING"]
    job = await site.read(job_ref(RUN_ID, StepId("s0")))
    assert (job["state"], job["lastError"]["code"]) == ("FAILED", "RUN_TOO_LARGE")


async def test_what_others_add_meanwhile_is_seen_in_the_run_that_is_read_back() -> None:
    site = Site()
    await site.put(RUN, run_with(500_000, {"a": "READY"}))
    [before] = await site.documents.read([RUN], timeout_seconds=TIMEOUT)
    assert before is not None
    stale = Document(fields=dict(before.data), create_time=1_000, update_time=2_000)
    grown: dict[tuple[str, ...], Any] = {("pad2",): "x" * 499_500}
    await site.documents.commit(
        [Update(ref=RUN, changes=grown, guard=before.version)], timeout_seconds=TIMEOUT
    )
    event = document_event(
        project="p",
        document_path=f"flow_runs/{RUN_ID}",
        old=None,
        new=stale,
        event_id="e",
        time=NOW,
    )
    attributes = {"id": "e", "subject": f"documents/flow_runs/{RUN_ID}"}

    await site.dispatcher().handle(attributes, event.body)

    assert await site.steps(RUN_ID) == ["FAILED"]
    assert site.published() == []
