"""Documents in a file: after a kill the file holds what was committed, and nothing else."""

import resource
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.ops.evaluation.asking.kept_documents import KeptDocuments
from infra.ops.evaluation.cases.document_json import from_json, to_json
from shared.domain.documents import Create, DocumentRef, Update, Version
from shared.ports import Conflict

RUN, JOB = DocumentRef("flow_runs", "r"), DocumentRef("llm_jobs", "r~s")
WHEN = datetime(2026, 1, 5, 9, 0, 0, 123456, tzinfo=UTC)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**40), 2**40)
    | st.text()
    | st.binary(max_size=8)
    | st.datetimes(timezones=st.just(UTC)),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["a", "$time", "$map", "$bytes", "é"]), inner, max_size=3
        )
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=3), VALUES, max_size=3))
def test_a_document_comes_back_as_it_was(document: dict[str, object]) -> None:
    assert from_json(to_json(document)) == document


def test_a_value_that_json_cannot_hold_is_refused() -> None:
    with pytest.raises(ValueError, match="not JSON serializable"):
        to_json({"reference": object()})


async def committed(path: Path) -> None:
    """Two commits, the second of two documents."""
    kept = await KeptDocuments.opened(path)
    await kept.commit([Create(ref=RUN, data={"status": "READY"})], timeout_seconds=1)
    [run] = await kept.read([RUN], timeout_seconds=1)
    assert run is not None
    await kept.commit(
        [
            Update(ref=RUN, changes={("status",): "RUNNING"}, guard=run.version),
            Create(ref=JOB, data={"claimedAt": WHEN}),
        ],
        timeout_seconds=1,
    )
    # Nothing is left to write: the file is now as kill -9 would leave it.
    kept.close()


async def test_every_commit_is_there_for_the_next_process(tmp_path: Path) -> None:
    await committed(tmp_path / "journal")

    again = await KeptDocuments.opened(tmp_path / "journal")
    run, job = await again.read([RUN, JOB], timeout_seconds=1)
    again.close()

    assert run is not None
    assert job is not None
    assert run.data == {"status": "RUNNING"}
    assert job.data == {"claimedAt": WHEN}


async def test_at_each_length_of_a_cut_file_whole_commits_stand_and_no_part_of_one(
    tmp_path: Path,
) -> None:
    path = tmp_path / "journal"
    await committed(path)
    whole = path.read_bytes()

    for length in range(len(whole) + 1):
        path.write_bytes(whole[:length])
        kept = await KeptDocuments.opened(path)
        run, job = await kept.read([RUN, JOB], timeout_seconds=1)
        status = run.data["status"] if run else None
        assert (status, job is not None) in {
            (None, False),
            ("READY", False),
            ("RUNNING", True),
        }
        # The next commit begins on a line of its own.
        other = DocumentRef("flow_runs", "other")
        await kept.commit([Create(ref=other, data={})], timeout_seconds=1)
        kept.close()
        again = await KeptDocuments.opened(path)
        assert (await again.read([other], timeout_seconds=1))[0] is not None
        again.close()


async def test_a_guard_that_does_not_hold_leaves_the_file_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    await committed(path)
    before = path.read_bytes()
    kept = await KeptDocuments.opened(path)

    with pytest.raises(Conflict):
        await kept.commit([Update(ref=RUN, changes={}, guard=Version(1))], timeout_seconds=1)
    kept.close()

    assert path.read_bytes() == before


async def test_after_a_write_that_failed_nothing_is_committed_any_more(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    kept = await KeptDocuments.opened(path)
    await kept.commit([Create(ref=RUN, data={"status": "READY"})], timeout_seconds=1)
    # There is room for only a part of the next line, as on a disk that is getting full.
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 10, hard))
    try:
        for _ in range(2):
            with pytest.raises(OSError, match=r"journal\.jsonl"):
                await kept.commit([Create(ref=JOB, data={"n": 1})], timeout_seconds=1)
        kept.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    again = await KeptDocuments.opened(path)
    run, job = await again.read([RUN, JOB], timeout_seconds=1)
    again.close()
    assert run is not None
    assert job is None
