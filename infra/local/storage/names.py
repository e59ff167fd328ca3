"""Which names objects may have, and which file each of them is kept in.

A name is its own relative path wherever a file system allows that. Every other name (`..`,
empty or over-long segments, control characters, or `a` where `a/b` stands already) is
percent-encoded into one file name that begins with a percent sign, which no natural path does.
"""

import hashlib
import re
from urllib.parse import quote, unquote

_ENCODED = "%"
# No percent-encoding begins so: `=` is encoded itself.
_HASHED = "%="
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_LONGEST_NAME_BYTES = 1024  # https://cloud.google.com/storage/docs/objects#naming
_LONGEST_FILE_NAME_BYTES = 255


def is_valid_name(name: str) -> bool:
    """Whether Cloud Storage allows an object of this name."""
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        return False
    breaks = {"\r", "\n"} & set(name)
    return 0 < size <= _LONGEST_NAME_BYTES and name not in {".", ".."} and not breaks


def name_digest(name: str) -> str:
    """A short form of the name that is safe in file names: hexadecimal SHA-256."""
    return hashlib.sha256(name.encode()).hexdigest()


def file_names(name: str) -> tuple[str, ...]:
    """The paths, relative to the bucket's folder, that may hold the object; the best first."""
    encoded = _ENCODED + quote(name, safe="")
    if len(encoded) > _LONGEST_FILE_NAME_BYTES:
        encoded = _HASHED + name_digest(name)
    natural = all(_is_plain(segment) for segment in name.split("/"))
    return (name, encoded) if natural else (encoded,)


def name_of(file: str) -> str | None:
    """The object that the file holds; None when the file's name does not tell.

    It does not for a file that no object name leads to, and for one named by a digest, see
    `digest_of`.
    """
    name = unquote(file[1:]) if file.startswith(_ENCODED) else file
    return name if is_valid_name(name) and file in file_names(name) else None


def digest_of(file: str) -> str | None:
    """The `name_digest` that the file is named by, if it is."""
    return file.removeprefix(_HASHED) if file.startswith(_HASHED) else None


def _is_plain(segment: str) -> bool:
    return (
        segment not in {"", ".", ".."}
        and not segment.startswith(_ENCODED)
        and not _CONTROL.search(segment)
        and len(segment.encode()) <= _LONGEST_FILE_NAME_BYTES
    )
