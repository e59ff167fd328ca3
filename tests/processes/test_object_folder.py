import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.local.storage.names import file_names, is_valid_name, name_of
from infra.local.storage.objects import (
    BucketNotFound,
    InvalidName,
    ObjectFolder,
    ObjectNotFound,
    ObjectRecord,
    PreconditionFailed,
)

ODD_NAMES = [
    "run/1d/llm_report:GOOG:1d.json",
    "with space.txt",
    "Größe/日本語.json",
    "../../escape",
    "a/../b",
    "a/./b",
    "/etc/passwd",
    "folder/",
    "a//b",
    "%2e%2e",
    "100%.txt",
    "tab\there",
    "nul\x00byte",
    ".metadata",
    "x" * 1024,
    "ü" * 512,
]


@pytest.fixture
def folder(tmp_path: Path) -> ObjectFolder:
    objects = ObjectFolder(tmp_path / "objects")
    objects.create_bucket("reports")
    return objects


def _create(folder: ObjectFolder, data: bytes) -> bool:
    try:
        folder.write("reports", "run/report.json", data, if_generation_match=0)
    except PreconditionFailed:
        return False
    return True


def _create_in(root: Path, number: int) -> bool:
    return _create(ObjectFolder(root), b"%d" % number)


def _files(folder: ObjectFolder) -> Iterator[Path]:
    return (path for path in folder.root.rglob("*") if path.is_file())


def test_an_object_is_a_file_that_a_user_can_read(folder: ObjectFolder) -> None:
    folder.write("reports", "run/1d/step.json", b"{}", metadata={"digest": "abc"})

    assert (folder.root / "reports/run/1d/step.json").read_bytes() == b"{}"


def test_what_was_written_is_read_with_all_that_was_said_of_it(folder: ObjectFolder) -> None:
    written = folder.write(
        "reports", "a.bin", b"hello", content_type="text/x-odd", metadata={"k": "ä"}
    )

    assert folder.read("reports", "a.bin") == (written, b"hello")
    assert folder.stat("reports", "a.bin") == written
    assert (written.content_type, written.metadata, written.size) == (
        "text/x-odd",
        {"k": "ä"},
        5,
    )
    assert (written.crc32c, written.md5) == ("mnG7TA==", "XUFAKrxLKna5cZ2REBfFkg==")


def test_every_write_has_a_later_generation_and_only_the_last_is_kept(
    folder: ObjectFolder,
) -> None:
    first = folder.write("reports", "a", b"1")
    second = folder.write("reports", "a", b"2", if_generation_match=first.generation)

    assert second.generation > first.generation
    assert folder.read("reports", "a", second.generation)[1] == b"2"
    with pytest.raises(ObjectNotFound):
        folder.read("reports", "a", first.generation)


def test_a_failed_precondition_changes_nothing(folder: ObjectFolder) -> None:
    first = folder.write("reports", "a", b"1")

    with pytest.raises(PreconditionFailed) as failure:
        folder.write("reports", "a", b"2", if_generation_match=0)
    with pytest.raises(PreconditionFailed):
        folder.delete("reports", "a", if_generation_match=first.generation + 1)

    assert (failure.value.required, failure.value.actual) == (0, first.generation)
    assert folder.read("reports", "a") == (first, b"1")


def test_a_missing_object_fails_any_precondition_but_zero(folder: ObjectFolder) -> None:
    with pytest.raises(PreconditionFailed):
        folder.write("reports", "a", b"1", if_generation_match=7)
    with pytest.raises(ObjectNotFound):
        folder.delete("reports", "a", if_generation_match=7)

    assert folder.stat("reports", "a") is None


def test_of_32_racing_threads_one_creates_the_object(folder: ObjectFolder) -> None:
    payloads = [b"%d" % number for number in range(32)]

    with ThreadPoolExecutor(max_workers=32) as pool:
        won = list(pool.map(lambda data: _create(folder, data), payloads))

    assert sum(won) == 1
    assert folder.read("reports", "run/report.json")[1] == payloads[won.index(True)]


def test_of_racing_processes_one_creates_the_object(folder: ObjectFolder) -> None:
    context = multiprocessing.get_context("spawn")

    with ProcessPoolExecutor(max_workers=3, mp_context=context) as pool:
        won = list(pool.map(_create_in, [folder.root] * 24, range(24)))

    assert sum(won) == 1
    assert folder.read("reports", "run/report.json")[1] == b"%d" % won.index(True)


def test_readers_beside_a_writer_see_record_and_bytes_that_belong_together(
    folder: ObjectFolder,
) -> None:
    def read() -> tuple[ObjectRecord, bytes]:
        return folder.read("reports", "a")

    folder.write("reports", "a", b"", metadata={"length": "0"})
    with ThreadPoolExecutor(max_workers=4) as pool:
        reads = []
        for length in range(50):
            written = {"length": str(length)}
            pool.submit(folder.write, "reports", "a", b"x" * length, metadata=written)
            reads.append(pool.submit(read))

    for future in reads:
        record, data = future.result()
        assert record.metadata == {"length": str(len(data))}


def test_a_file_dropped_in_is_served(folder: ObjectFolder) -> None:
    (folder.root / "reports/charts").mkdir()
    path = folder.root / "reports/charts/1d.png"
    path.write_bytes(b"png")
    os.utime(path, ns=(1_700_000_000_123_456_789, 1_700_000_000_123_456_789))

    record, data = folder.read("reports", "charts/1d.png")

    assert data == b"png"
    assert (record.content_type, record.generation) == ("image/png", 1_700_000_000_123_456)
    assert [item.name for item in folder.list("reports")] == ["charts/1d.png"]
    with pytest.raises(PreconditionFailed):
        folder.write("reports", "charts/1d.png", b"", if_generation_match=0)


def test_a_file_changed_by_hand_loses_what_was_said_of_the_old_one(
    folder: ObjectFolder,
) -> None:
    written = folder.write("reports", "a.json", b"{}", metadata={"digest": "of {}"})
    (folder.root / "reports/a.json").write_bytes(b'{"changed": true}')

    record, _ = folder.read("reports", "a.json")

    assert record.metadata == {}
    assert record.generation > written.generation


def test_a_file_removed_by_hand_is_gone_and_can_be_created_again(folder: ObjectFolder) -> None:
    folder.write("reports", "a.json", b"{}")
    (folder.root / "reports/a.json").unlink()

    assert folder.stat("reports", "a.json") is None
    assert folder.list("reports") == []
    folder.write("reports", "a.json", b"{}", if_generation_match=0)


@pytest.mark.parametrize("order", [("a", "a/b"), ("a/b", "a")])
def test_an_object_may_be_called_like_anothers_folder(
    folder: ObjectFolder, order: tuple[str, str]
) -> None:
    for name in order:
        folder.write("reports", name, name.encode())

    assert [folder.read("reports", name)[1] for name in order] == [b.encode() for b in order]
    assert [item.name for item in folder.list("reports")] == ["a", "a/b"]
    for name in order:
        folder.delete("reports", name)
    assert list((folder.root / "reports").iterdir()) == []


@pytest.mark.parametrize("name", ODD_NAMES)
def test_an_odd_name_stays_inside_its_bucket(folder: ObjectFolder, name: str) -> None:
    before = {*folder.root.parent.iterdir()}

    folder.write("reports", name, b"odd", if_generation_match=0)

    assert folder.read("reports", name)[1] == b"odd"
    assert [item.name for item in folder.list("reports")] == [name]
    assert {*folder.root.parent.iterdir()} == before
    assert {path.relative_to(folder.root).parts[0] for path in _files(folder)} == {
        "reports",
        ".metadata",
    }


@pytest.mark.parametrize("name", ["", ".", "..", "a\nb", "a\rb", "x" * 1025, "\ud800"])
def test_a_name_that_cloud_storage_refuses_is_refused(folder: ObjectFolder, name: str) -> None:
    with pytest.raises(InvalidName):
        folder.write("reports", name, b"")

    assert folder.stat("reports", name) is None


@given(st.text(min_size=1, max_size=300).filter(is_valid_name))
def test_every_file_name_leads_back_to_its_object(name: str) -> None:
    for file in file_names(name):
        assert name_of(file) == name or file.startswith("%=")
        assert ".." not in file.split("/")
        assert not file.startswith("/")


@pytest.mark.parametrize("bucket", ["", "..", ".metadata", "a/b", "UPPER", "x" * 300])
def test_a_bucket_that_cloud_storage_refuses_is_refused(
    folder: ObjectFolder, bucket: str
) -> None:
    with pytest.raises(InvalidName):
        folder.create_bucket(bucket)
    assert folder.stat(bucket, "lock") is None


def test_a_missing_bucket_is_told_apart_from_a_missing_object(folder: ObjectFolder) -> None:
    with pytest.raises(BucketNotFound):
        folder.write("absent", "a", b"")
    with pytest.raises(BucketNotFound):
        folder.read("absent", "a")
    with pytest.raises(BucketNotFound):
        folder.list("absent")
    with pytest.raises(ObjectNotFound):
        folder.read("reports", "a")

    assert folder.buckets() == ["reports"]


def test_a_listing_is_sorted_bounded_and_can_be_continued(folder: ObjectFolder) -> None:
    for name in ("b/2", "b/1", "a", "c", "b/é", "b/z"):
        folder.write("reports", name, b"")

    first = folder.list("reports", "b/", limit=2)
    rest = folder.list("reports", "b/", after=first[-1].name)

    assert [item.name for item in (*first, *rest)] == ["b/1", "b/2", "b/z", "b/é"]
