"""The sweep at work on embedded documents: what it finds, and what goes wrong meanwhile."""

import asyncio

from dispatcher.settings import SweepSettings, read_settings
from dispatcher.sweep import CURSOR
from shared.domain.documents import DocumentRef
from shared.domain.identifiers import RunId, StepId
from shared.domain.job_documents import COLLECTION, job_ref
from tests.support.sweep_site import ENVIRON, NOW, SECOND, Site


async def test_jobs_on_many_pages_are_each_published_once_and_moved_forward() -> None:
    site = Site()
    for number in range(5):
        await site.job(await site.run(number, "RUNNING"))

    report = await site.sweep().run()

    assert report.finished
    assert report.as_json()["republished"] == 5
    assert len({message.run_id for message in site.published()}) == 5
    assert len(site.published()) == 5
    again = await site.sweep().run()
    assert again.as_json()["republished"] == 0
    assert len(site.published()) == 5


async def test_the_summary_is_logged_with_its_counts() -> None:
    site = Site()
    await site.job(await site.run(1, "RUNNING"))
    await site.run(2, "READY", steps=2)

    await site.sweep().run()

    [summary] = site.logged("sweep_finished")
    assert summary["severity"] == "INFO"
    counts = {name: summary[name] for name in ("republished", "runs", "claimed", "complete")}
    assert counts == {"republished": 1, "runs": 2, "claimed": 2, "complete": True}


async def test_a_ready_step_whose_event_was_lost_is_claimed_and_published() -> None:
    site = Site()
    run_id = await site.run(1, "READY", steps=3)

    report = await site.sweep().run()

    assert (report.claimed, await site.steps(run_id)) == (3, ["RUNNING"] * 3)
    assert sorted(message.step_id for message in site.published()) == ["s0", "s1", "s2"]
    job = await site.read(job_ref(run_id, StepId("s0")))
    assert (job["state"], job["eventId"].startswith("sweep-")) == ("QUEUED", True)


async def test_all_spent_steps_of_one_run_end_in_one_sweep() -> None:
    site = Site(environ={**ENVIRON, "SWEEP_PAGE_SIZE": "20"})
    run_id = await site.run(1, "RUNNING", steps=8)
    for step in range(8):
        await site.job(run_id, step, attempt=5, wakes=2, state="RUNNING")

    report = await site.sweep().run()

    assert report.as_json()["exhausted"] == 8
    assert await site.steps(run_id) == ["FAILED"] * 8
    assert len(site.logged("step_failed")) == 8
    assert site.queue.messages == []


async def test_a_job_of_a_cancelled_step_is_abandoned_and_its_step_left_alone() -> None:
    site = Site()
    run_id = await site.run(1, "CANCELLED")
    await site.job(run_id)
    before = await site.read(DocumentRef("flow_runs", run_id))

    report = await site.sweep().run()

    assert report.as_json()["abandoned"] == 1
    assert (await site.read(job_ref(run_id, StepId("s0"))))["state"] == "ABANDONED"
    assert await site.read(DocumentRef("flow_runs", run_id)) == before


async def test_a_commit_whose_answer_was_lost_is_known_to_be_ours_and_published() -> None:
    site = Site()
    await site.job(await site.run(1, "RUNNING"))
    sweep = site.sweep()
    site.documents.lost_answers = 1

    report = await sweep.run()

    assert report.finished
    assert len(site.published()) == 1


async def test_one_job_that_cannot_be_written_does_not_stop_the_others() -> None:
    site = Site()
    runs = [await site.run(number, "RUNNING") for number in range(3)]
    for run_id in runs:
        await site.job(run_id)
    site.documents.unavailable.add(job_ref(runs[0], StepId("s0")))

    report = await site.sweep().run()

    assert [message.run_id for message in site.published()] == runs[1:]
    assert not report.finished
    assert report.failed == {"StoreUnavailable": 1}
    assert report.failed_documents == [f"{runs[0]}~s0"]


async def test_a_record_that_is_not_ours_is_named_and_does_not_stop_the_others() -> None:
    site = Site()
    await site.put(DocumentRef(COLLECTION, "x~y"), {"wakeAt": NOW - 9 * SECOND})
    await site.job(await site.run(1, "RUNNING"))

    report = await site.sweep().run()

    assert report.failed == {"JobRecordInvalid": 1}
    assert len(site.published()) == 1


async def test_a_queue_that_refuses_leaves_the_jobs_to_a_later_sweep() -> None:
    site = Site()
    run_id = await site.run(1, "RUNNING")
    await site.job(run_id)
    site.queue.refuses = True

    assert (await site.sweep().run()).failed == {"QueueUnavailable": 1}
    site.queue.refuses = False
    site.clock.seconds += 600

    assert (await site.sweep().run()).finished
    assert len(site.published()) == 1


async def test_a_sweep_cut_short_says_so_and_the_next_one_goes_on_behind_it() -> None:
    site = Site(environ={**ENVIRON, "SWEEP_BUDGET_SECONDS": "5"})
    runs = [await site.run(number, "READY") for number in range(5)]
    site.documents.seconds_per_page = 2.0

    first = await site.sweep().run()
    claimed = [status for run in runs for status in await site.steps(run)]
    # The runs before the cursor are not looked at again, although one needs a look by now.
    assert not first.finished
    assert not first.complete
    assert claimed == ["RUNNING"] * 4 + ["READY"]
    assert await site.read(CURSOR) == {"after": runs[3]}

    second = await site.sweep().run()

    assert second.finished
    assert (second.runs, second.claimed) == (1, 1)
    assert (await site.read(CURSOR))["after"] is None


async def test_a_sweep_that_reaches_its_bound_of_pages_says_so() -> None:
    site = Site(environ={**ENVIRON, "SWEEP_MAX_PAGES": "1"})
    for number in range(3):
        await site.job(await site.run(number, "RUNNING"))

    assert not (await site.sweep().run()).complete
    assert len(site.published()) == 2


async def test_a_run_that_breaks_the_contract_is_told_so_once_and_stops_no_other() -> None:
    site, broken = Site(), DocumentRef("flow_runs", "no-run-id")
    await site.put(broken, {"status": "RUNNING"})
    await site.run(1, "READY")

    reports = [await site.sweep().run() for _ in range(2)]

    assert [(report.finished, report.runs) for report in reports] == [(True, 2)] * 2
    assert reports[0].claimed == 1
    assert (await site.read(broken))["error"]["code"] == "FLOW_RUN_INVALID"
    assert len(site.logged("cloud_event_ignored")) == 1


async def test_however_many_jobs_are_due_the_runs_have_their_turn() -> None:
    site = Site(environ={**ENVIRON, "SWEEP_BUDGET_SECONDS": "8"})
    for number in range(9):
        await site.job(await site.run(number, "RUNNING"))
    lost = RunId("20260105-080000_BTCUSDT_abc")
    step = {"stepType": "LLM_REPORT", "status": "READY", "inputs": {}}
    await site.put(DocumentRef("flow_runs", lost), {"status": "RUNNING", "steps": {"s0": step}})
    site.documents.seconds_per_page = 2.0

    report = await site.sweep().run()

    assert not report.complete
    assert report.as_json()["republished"] == 4
    assert await site.steps(lost) == ["RUNNING"]


async def test_sweeps_side_by_side_publish_each_job_once() -> None:
    site = Site()
    for number in range(5):
        await site.job(await site.run(number, "RUNNING"))
    ready = await site.run(9, "READY", steps=2)

    reports = await asyncio.gather(*(site.sweep().run() for _ in range(8)))

    assert all(report.finished for report in reports)
    published = [(message.run_id, message.step_id) for message in site.published()]
    assert len(published) == len(set(published)) == 7
    assert await site.steps(ready) == ["RUNNING"] * 2


def test_the_bounds_are_settings() -> None:
    bounds = {"SWEEP_BUDGET_SECONDS": "9", "SWEEP_MAX_PAGES": "8", "MAX_ATTEMPTS": "7"}

    assert read_settings({**ENVIRON, **bounds}).sweep == SweepSettings(
        max_attempts=7, budget_seconds=9, page_size=2, max_pages=8, pacing_seconds=60
    )
