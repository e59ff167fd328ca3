"""Files that a user names are read only up to the allowed size, whatever kind they are."""

import os
from pathlib import Path

import pytest

from infra.files import FileUnfit, read_bounded
from infra.ops.registry.files import MAX_FILE_BYTES, FileInvalid, read_prompt


def test_a_file_at_the_bound_is_read_and_one_byte_more_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"12345")

    assert read_bounded(path, 5) == b"12345"
    with pytest.raises(FileUnfit, match="more than 4 bytes"):
        read_bounded(path, 4)


def test_a_device_a_pipe_and_a_folder_are_no_files(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    for path in (Path("/dev/zero"), pipe, tmp_path):
        with pytest.raises(FileUnfit, match="not a regular file"):
            read_bounded(path, 5)


def test_a_prompt_that_is_a_link_to_a_device_is_refused_at_once(tmp_path: Path) -> None:
    path = tmp_path / "llm_prompt_1d_report_v1_0.json"
    path.symlink_to("/dev/zero")

    with pytest.raises(FileInvalid, match="not a regular file"):
        read_prompt(path)


def test_a_prompt_that_is_too_large_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "llm_prompt_1d_report_v1_0.json"
    path.write_bytes(b"x" * (MAX_FILE_BYTES + 1))

    with pytest.raises(FileInvalid, match=f"more than {MAX_FILE_BYTES} bytes"):
        read_prompt(path)
