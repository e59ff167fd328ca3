"""Whether bytes are an image that a decoder can read, judged by their structure: pure.

The provider refuses an image that it cannot decode, and with it the whole request, and does not
say which one it was. The structure is read here, and no pixel is: nothing is decompressed.
See docs/decisions/image-structure.md.
"""

import struct
import zlib
from collections.abc import Iterator

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"
_END_OF_JPEG = b"\xff\xd9"
#: Far beyond any chart; the provider scales larger ones down
#: (https://ai.google.dev/gemini-api/docs/image-understanding).
MAX_SIDE = 16_384
MAX_PIXELS = 67_108_864
#: Markers of a JPEG that stand alone, without a length (ITU-T T.81, table B.1).
_ALONE = frozenset({0x01, *range(0xD0, 0xD8)})
#: Markers that begin a frame and state its size; the others of this range are tables.
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_START_OF_SCAN = 0xDA


class ImageUnusable(ValueError):
    """The bytes are no image that a decoder reads; says why."""


def image_type(data: bytes) -> str | None:
    """The MIME type that the bytes claim: PNG, JPEG or WebP; None for anything else."""
    if data.startswith(_PNG):
        return "image/png"
    if data.startswith(_JPEG):
        return "image/jpeg"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    return None


def checked_image_type(data: bytes) -> str:
    """The MIME type of an image that is whole.

    Raises:
        ImageUnusable: no such image; or cut, damaged, empty, or absurdly large.
    """
    kind = image_type(data)
    if kind is None:
        raise ImageUnusable("is no PNG, JPEG or WebP")
    try:
        width, height = _SIZES[kind](data)
    except struct.error:
        raise ImageUnusable(f"is no whole {kind}: it ends too early") from None
    if not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE and width * height <= MAX_PIXELS):
        raise ImageUnusable(
            f"is {width} x {height} pixels: from 1 to {MAX_SIDE} a side are allowed,"
            f" and {MAX_PIXELS} in all"
        )
    return kind


def _png_size(data: bytes) -> tuple[int, int]:
    """See https://www.w3.org/TR/png-3/#5Chunk-layout."""
    chunks = list(_png_chunks(data))
    kinds = [kind for kind, _ in chunks]
    if kinds[:1] != [b"IHDR"] or kinds[-1:] != [b"IEND"]:
        raise ImageUnusable("is no whole PNG: it lacks its header or its end")
    if b"IDAT" not in kinds:
        raise ImageUnusable("is a PNG without image data")
    width, height = struct.unpack_from(">II", chunks[0][1])
    return width, height


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The chunks up to the end of the image; what follows that is nobody's."""
    at = len(_PNG)
    while at < len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        body = data[at + 8 : at + 8 + length]
        (stated,) = struct.unpack_from(">I", data, at + 8 + length)
        if zlib.crc32(kind + body) != stated:
            raise ImageUnusable("is a damaged PNG: a checksum is wrong")
        yield kind, body
        if kind == b"IEND":
            return
        at += 12 + length


def _jpeg_size(data: bytes) -> tuple[int, int]:
    """See ITU-T T.81, annex B (https://www.w3.org/Graphics/JPEG/itu-t81.pdf)."""
    size: tuple[int, int] | None = None
    at = 2
    while True:
        filler, marker = struct.unpack_from(">BB", data, at)
        if filler != 0xFF:  # noqa: PLR2004 - what every marker begins with
            raise ImageUnusable("is a damaged JPEG: a marker is missing")
        if marker == 0xFF or marker in _ALONE:  # noqa: PLR2004 - padding before a marker
            at += 1 if marker == 0xFF else 2  # noqa: PLR2004 - see above
            continue
        if marker in _FRAMES:
            height, width = struct.unpack_from(">HH", data, at + 5)
            size = width, height
        if marker == _START_OF_SCAN:
            break
        (length,) = struct.unpack_from(">H", data, at + 2)
        at += 2 + length
    if size is None:
        raise ImageUnusable("is a damaged JPEG: it states no size")
    if data.find(_END_OF_JPEG, at) < 0:
        raise ImageUnusable("is no whole JPEG: it lacks its end")
    return size


def _webp_size(data: bytes) -> tuple[int, int]:
    """See RFC 9649 (https://www.rfc-editor.org/rfc/rfc9649)."""
    (stated,) = struct.unpack_from("<I", data, 4)
    if stated + 8 > len(data):
        raise ImageUnusable("is no whole WebP: it ends too early")
    chunks = dict(_webp_chunks(data[: stated + 8]))
    if b"VP8X" in chunks:
        low, high = chunks[b"VP8X"][4:7], chunks[b"VP8X"][7:10]
        if not chunks.keys() & {b"VP8 ", b"VP8L", b"ANMF"}:
            raise ImageUnusable("is a WebP without image data")
        return int.from_bytes(low, "little") + 1, int.from_bytes(high, "little") + 1
    if b"VP8L" in chunks:
        (bits,) = struct.unpack_from("<I", chunks[b"VP8L"], 1)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if b"VP8 " in chunks:
        width, height = struct.unpack_from("<HH", chunks[b"VP8 "], 6)
        return width & 0x3FFF, height & 0x3FFF
    raise ImageUnusable("is a WebP without image data")


def _webp_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 12
    while at < len(data):
        kind, length = struct.unpack_from("<4sI", data, at)
        body = data[at + 8 : at + 8 + length]
        if len(body) < length:
            raise ImageUnusable("is no whole WebP: a chunk ends too early")
        yield kind, body
        at += 8 + length + length % 2


_SIZES = {"image/png": _png_size, "image/jpeg": _jpeg_size, "image/webp": _webp_size}
