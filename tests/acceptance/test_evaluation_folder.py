"""The folder of an evaluation: it is tried before anything is paid, and it may get full."""

import json
import os
import stat
from pathlib import Path

import pytest

from infra.local.gemini import create_app
from infra.local.serving.asgi import serve
from infra.ops.evaluation.evaluating import prepared
from tests.support.command_line import Asked, said, started
from tests.support.evaluated import evaluation_of_samples, sample_folder

CASES = 12
#: The journal takes about six kilobytes for each cell.
MOST_FILE_BYTES = 100_000


@pytest.mark.parametrize("place", ["", "pinned", "reports", "journal.jsonl/x", "lock/x"])
async def test_a_folder_that_cannot_be_written_is_found_before_anything_is_asked(
    tmp_path: Path, place: str
) -> None:
    folder, out = sample_folder(tmp_path, 1), tmp_path / "evaluation"
    # A file stands in the place of a folder, or a folder in the place of a file.
    if place.endswith("/x"):
        (out / place).mkdir(parents=True)
    else:
        (out / place).parent.mkdir(parents=True, exist_ok=True)
        (out / place).touch()

    with pytest.raises(OSError, match="evaluation"):
        async with prepared(evaluation_of_samples(folder, out)):
            pass


@pytest.mark.skipif(not os.geteuid(), reason="root may write everywhere")
async def test_a_folder_without_the_right_to_write_is_found_before_anything_is_asked(
    tmp_path: Path,
) -> None:
    folder, out = sample_folder(tmp_path, 1), tmp_path / "evaluation"
    out.mkdir()
    out.chmod(stat.S_IRUSR | stat.S_IXUSR)

    with pytest.raises(PermissionError, match="evaluation"):
        async with prepared(evaluation_of_samples(folder, out)):
            pass


@pytest.mark.timeout(300)
async def test_a_disk_that_is_full_in_the_middle_ends_it_and_what_was_answered_is_kept(
    tmp_path: Path,
) -> None:
    folder, out = sample_folder(tmp_path, CASES), tmp_path / "evaluation"
    asked = Asked(create_app(latency_seconds=0.05))
    async with serve(asked, name="Gemini stand-in") as url:
        full = await started(folder, out, url, most_file_bytes=MOST_FILE_BYTES)
        output, errors = await full.communicate()
        before = len(asked.times)
        summary = json.loads(await said(await started(folder, out, url)))

    assert full.returncode == 1
    assert not output
    # The message names the file, and there is no traceback.
    assert errors.decode().strip().endswith(f"{out / 'journal.jsonl'}: File too large")
    assert "Traceback" not in errors.decode()
    # Nothing was asked that could not be booked, and nothing is asked twice.
    assert 4 < before < 2 * CASES
    assert set(asked.times.values()) == {1}
    # The answers of the calls that were under way could not be kept; these calls are named.
    assert summary["unanswered"] <= 4
    assert len(asked.times) + summary["unanswered"] >= 2 * CASES
