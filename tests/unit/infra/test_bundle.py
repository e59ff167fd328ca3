"""The archives that are deployed."""

import hashlib
import os
import zipfile
from pathlib import Path

import pytest

from infra.local.processes.bundle import BundleError, write_bundle, zip_bundle

_SOURCES = {
    "dispatcher/__init__.py": "",
    "dispatcher/main.py": "import dispatcher.service\n",
    "dispatcher/service.py": "import shared.ids\n",
    "dispatcher/adapters/store.py": "",
    "dispatcher/requirements.txt": "functions-framework\n",
    "shared/__init__.py": "",
    "shared/ids.py": "",
    "shared/__pycache__/ids.py": "stale",
    "shared/.hidden/x.py": "private",
    "executor/main.py": "not of this function",
}
_FILES = (
    "dispatcher/__init__.py",
    "dispatcher/adapters/store.py",
    "dispatcher/service.py",
    "main.py",
    "requirements.txt",
    "shared/__init__.py",
    "shared/ids.py",
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return _write(tmp_path / "repository", list(_SOURCES))


def _write(root: Path, names: list[str]) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(_SOURCES[name])
    return root


def test_an_archive_holds_the_function_and_what_it_shares_and_nothing_else(
    root: Path, tmp_path: Path
) -> None:
    bundle = zip_bundle("dispatcher", tmp_path / "out" / "d.zip", root=root)

    with zipfile.ZipFile(tmp_path / "out" / "d.zip") as archive:
        assert tuple(archive.namelist()) == bundle.files == _FILES
        assert archive.read("main.py").decode() == _SOURCES["dispatcher/main.py"]


def test_equal_sources_give_equal_bytes(root: Path, tmp_path: Path) -> None:
    """Order of creation, times and permissions of the files leave no mark in the bundle."""
    twin = _write(tmp_path / "twin", list(reversed(_SOURCES)))
    os.utime(twin / "shared/ids.py", (0, 0))
    (twin / "shared/ids.py").chmod(0o755)

    bundle = zip_bundle("dispatcher", tmp_path / "one.zip", root=root)
    again = zip_bundle("dispatcher", tmp_path / "two.zip", root=twin)

    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()
    assert bundle == again
    assert bundle.sha256 == hashlib.sha256((tmp_path / "one.zip").read_bytes()).hexdigest()


def test_a_changed_source_gives_another_digest(root: Path, tmp_path: Path) -> None:
    before = zip_bundle("dispatcher", tmp_path / "d.zip", root=root)
    (root / "shared/ids.py").write_text("x = 1\n")

    assert zip_bundle("dispatcher", tmp_path / "d.zip", root=root).sha256 != before.sha256


def test_a_folder_holds_the_same_files_as_the_archive(root: Path, tmp_path: Path) -> None:
    target = tmp_path / "folder"

    bundle = write_bundle("dispatcher", target, root=root)

    found = sorted(p.relative_to(target).as_posix() for p in target.rglob("*") if p.is_file())
    assert tuple(found) == _FILES
    assert bundle == zip_bundle("dispatcher", tmp_path / "d.zip", root=root)


def test_an_earlier_bundle_is_replaced_whole(root: Path, tmp_path: Path) -> None:
    target = tmp_path / "folder"
    write_bundle("dispatcher", target, root=root)
    (root / "shared/ids.py").unlink()

    write_bundle("dispatcher", target, root=root)

    assert not (target / "shared/ids.py").exists()


def test_a_folder_with_other_things_in_it_is_left_alone(root: Path, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "letters.txt").write_text("dear")

    with pytest.raises(BundleError, match=r"letters\.txt"):
        write_bundle("dispatcher", tmp_path / "home", root=root)

    assert (tmp_path / "home" / "letters.txt").read_text() == "dear"


@pytest.mark.parametrize(
    "name", ["dispatcher/main.py", "dispatcher/requirements.txt", "shared/__init__.py"]
)
def test_incomplete_sources_are_refused_by_name(name: str, root: Path, tmp_path: Path) -> None:
    (root / name).unlink()

    with pytest.raises(BundleError, match=name):
        zip_bundle("dispatcher", tmp_path / "d.zip", root=root)

    assert not (tmp_path / "d.zip").exists()
