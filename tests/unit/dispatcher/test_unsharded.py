"""Job records that no version with shards has written are woken all the same."""

from datetime import timedelta

from dispatcher.unsharded import MOST_OF_A_PAGE, OLD, old_jobs
from shared.domain.documents import DocumentRef, Snapshot, Version
from shared.domain.identifiers import RunId, StepId
from shared.domain.job_documents import SHARD, SHARDS, job_ref, shard_of
from tests.support.sweep_site import ENVIRON, NOW, Site

WIDE = {**ENVIRON, "SWEEP_PAGE_SIZE": "100"}
#: The site's runs began at NOW.
LATER = OLD.total_seconds()


def run(run_id: str, status: str = "RUNNING", step_type: str = "LLM_REPORT") -> Snapshot:
    steps = {"s": {"stepType": step_type, "status": status}}
    return Snapshot(
        ref=DocumentRef("flow_runs", run_id), version=Version(1), data={"steps": steps}
    )


def test_a_record_stays_in_its_shard_for_ever_and_shards_are_about_equal() -> None:
    ids = [
        f"20260105-09{n // 60:02}{n % 60:02}_BTCUSDT_abc~llm_report_1d" for n in range(3_200)
    ]
    counts = [sum(shard_of(name) == shard for name in ids) for shard in range(SHARDS)]

    assert shard_of(ids[0]) == 14
    assert min(counts) > 140
    assert max(counts) < 260


def test_only_records_of_reports_at_work_in_runs_that_began_long_ago_are_looked_at() -> None:
    now = NOW + OLD
    runs = [
        run("20260105-090000_BTCUSDT_abc"),
        run("20260105-090001_BTCUSDT_abc"),
        run("20260105-085959_BTCUSDT_abc", status="READY"),
        run("20260105-085958_BTCUSDT_abc", step_type="CHART_EXPORT"),
        run("20269999-085957_BTCUSDT_abc"),
        run("odd"),
    ]

    assert [ref.document_id for ref in old_jobs(runs, now)] == [
        "20260105-090000_BTCUSDT_abc~s",
        "20269999-085957_BTCUSDT_abc~s",
    ]


async def test_a_due_record_without_a_shard_is_woken_by_the_sweep_after_the_next() -> None:
    site = Site(environ=WIDE)
    run_id = await site.run(0, "RUNNING")
    await site.job(run_id)
    await forget_the_shard(site, run_id)
    site.clock.seconds = LATER

    first = await site.sweep().run()
    assert first.finished
    assert site.published() == []
    record = await site.read(job_ref(run_id, StepId("s0")))
    assert record[SHARD] == shard_of(f"{run_id}~s0")

    await site.sweep().run()
    assert [message.run_id for message in site.published()] == [run_id]


async def test_a_page_costs_one_read_of_a_few_records_and_in_the_end_all_are_seen() -> None:
    site = Site(environ=WIDE)
    steps = 3 * MOST_OF_A_PAGE
    run_id = await site.run(0, "RUNNING", steps=steps)
    for step in range(steps):
        await site.job(run_id, step)
        await forget_the_shard(site, run_id, step)
    site.clock.seconds = LATER

    await site.sweep().run()
    assert len(await sharded(site, run_id, steps)) == MOST_OF_A_PAGE

    for _ in range(30):
        site.clock.seconds += timedelta(minutes=1).total_seconds()
        await site.sweep().run()
    assert len({message.step_id for message in site.published()}) == steps


async def test_a_record_that_cannot_be_written_is_told_and_stops_nothing() -> None:
    site = Site(environ=WIDE)
    run_id = await site.run(0, "RUNNING")
    await site.job(run_id)
    await forget_the_shard(site, run_id)
    ready = await site.run(1, "READY")
    site.documents.unavailable.add(job_ref(run_id, StepId("s0")))
    site.clock.seconds = LATER

    report = await site.sweep().run()

    assert report.failed == {"StoreUnavailable": 1}
    assert await site.steps(ready) == ["RUNNING"]


async def sharded(site: Site, run_id: RunId, steps: int) -> list[int]:
    records = [await site.read(job_ref(run_id, StepId(f"s{step}"))) for step in range(steps)]
    return [number for number, record in enumerate(records) if SHARD in record]


async def forget_the_shard(site: Site, run_id: RunId, step: int = 0) -> None:
    """Leave the record as a version without shards wrote it."""
    ref = job_ref(run_id, StepId(f"s{step}"))
    record = await site.read(ref)
    site.documents.delete(ref)
    record.pop(SHARD)
    await site.put_as_it_is(ref, record)
