"""Write the source of a function as it is deployed: the archive mirrors the repository.

Packages keep their names, so the same imports work in tests, locally and in the cloud; only
`main.py` and `requirements.txt` move to the root, where functions-framework and the builder
look for them.
"""

import hashlib
import io
import shutil
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from infra.failures import CannotBeDone

Stage = Literal["dispatcher", "executor"]

REPOSITORY = Path(__file__).resolve().parents[3]
_HOISTED = ("main.py", "requirements.txt")
_SHARED = "shared"
_CACHE = "__pycache__"
#: The earliest time a zip archive can hold: it says that no time is meant.
_NO_TIME = (1980, 1, 1, 0, 0, 0)
_PERMISSIONS = 0o100644
_UNIX = 3


class BundleError(CannotBeDone):
    """A bundle cannot be written; the message says what is missing or in the way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """What was written: file names in order, and the hash that names this content.

    `sha256` is the lower-case hex digest of the archive, also of a bundle written as a
    folder: equal sources have equal digests on every machine.
    """

    files: tuple[str, ...]
    sha256: str


def write_bundle(stage: Stage, target: Path, *, root: Path = REPOSITORY) -> Bundle:
    """Write the function's source as a folder, replacing an earlier bundle of it.

    Raises:
        BundleError: The sources are incomplete, or `target` holds something else.
    """
    content = _content(stage, root)
    _clear(stage, target)
    for name, data in content.items():
        path = target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return _bundle(content)


def zip_bundle(stage: Stage, target_zip: Path, *, root: Path = REPOSITORY) -> Bundle:
    """Write the function's source as a zip archive: same sources, same bytes.

    Raises:
        BundleError: The sources are incomplete.
    """
    content = _content(stage, root)
    target_zip.parent.mkdir(parents=True, exist_ok=True)
    target_zip.write_bytes(_archive(content))
    return _bundle(content)


def _bundle(content: Mapping[str, bytes]) -> Bundle:
    digest = hashlib.sha256(_archive(content)).hexdigest()
    return Bundle(files=tuple(content), sha256=digest)


def _content(stage: Stage, root: Path) -> Mapping[str, bytes]:
    """Name in the archive -> bytes, sorted by name."""
    needed = [*(f"{stage}/{name}" for name in _HOISTED), f"{_SHARED}/__init__.py"]
    missing = [path for path in needed if not (root / path).is_file()]
    if missing:
        raise BundleError(f"no bundle of the {stage}: {root} lacks {', '.join(missing)}")
    places = {name: root / stage / name for name in _HOISTED}
    for package in (stage, _SHARED):
        places |= {path.relative_to(root).as_posix(): path for path in _modules(root / package)}
    del places[f"{stage}/main.py"]
    return {name: places[name].read_bytes() for name in sorted(places)}


def _modules(package: Path) -> Iterator[Path]:
    for path in package.rglob("*.py"):
        inner = path.relative_to(package).parts
        if _CACHE not in inner and not any(part.startswith(".") for part in inner):
            yield path


def _archive(content: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in content.items():
            entry = zipfile.ZipInfo(name, date_time=_NO_TIME)
            entry.create_system = _UNIX
            entry.external_attr = _PERMISSIONS << 16
            # Stored: what deflate makes of the same input differs between zlib builds.
            archive.writestr(entry, data, compress_type=zipfile.ZIP_STORED)
    return buffer.getvalue()


def _clear(stage: Stage, target: Path) -> None:
    """Empty the folder if all it holds is an earlier bundle."""
    present = {path.name for path in target.iterdir()} if target.is_dir() else set()
    foreign = present - {*_HOISTED, stage, _SHARED, _CACHE}
    if foreign:
        raise BundleError(f"{target} holds what no bundle does: {', '.join(sorted(foreign))}")
    if present:
        shutil.rmtree(target)
