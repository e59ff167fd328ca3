"""What kind of picture some bytes are, and whether it is a whole one."""

import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.inputs.images import ImageUnusable, checked_image_type, image_type
from infra.local.scenario.single import tiny_png
from tests.support.images import picture

PNG, JPEG = picture("PNG"), picture("JPEG")
WEBP, LOSSLESS = picture("WEBP"), picture("WEBP", lossless=True)
PROGRESSIVE = picture("JPEG", progressive=True)
WITH_PROFILE = picture("WEBP", icc_profile=b"a profile")


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (tiny_png(), "image/png"),
        (b"\xff\xd8\xff\xe0\x00\x10JFIF", "image/jpeg"),
        (b"RIFF\x24\x00\x00\x00WEBPVP8 ", "image/webp"),
        (b"RIFF\x24\x00\x00\x00WAVEfmt ", None),
        (b"GIF89a", None),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", None),
        (b"%PDF-1.7", None),
        (b"\x89PNG", None),
        (b" \x89PNG\r\n\x1a\n", None),
        (b"", None),
    ],
)
def test_the_first_bytes_tell_the_kind(data: bytes, expected: str | None) -> None:
    assert image_type(data) == expected


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (tiny_png(), "image/png"),
        (PNG, "image/png"),
        (JPEG, "image/jpeg"),
        (PROGRESSIVE, "image/jpeg"),
        (WEBP, "image/webp"),
        (LOSSLESS, "image/webp"),
        (WITH_PROFILE, "image/webp"),
    ],
)
def test_a_whole_image_is_taken_whatever_follows_it(data: bytes, expected: str) -> None:
    assert checked_image_type(data) == expected
    assert checked_image_type(data + b"\x00" * 9) == expected


def png(*chunks: tuple[bytes, bytes], width: int = 2, height: int = 2) -> bytes:
    header = (b"IHDR", struct.pack(">II5B", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in (header, *chunks)
    )


IDAT, IEND = (b"IDAT", zlib.compress(b"\x00\x01\x02" * 2)), (b"IEND", b"")


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "is no PNG, JPEG or WebP"),
        (b"\x89PNG\r\n\x1a\n", "lacks its header or its end"),
        (png(IEND), "without image data"),
        (png(IDAT), "lacks its header or its end"),
        (png(IDAT, IEND, width=0), "0 x 2 pixels"),
        (png(IDAT, IEND, height=0), "2 x 0 pixels"),
        (png(IDAT, IEND, width=40_000, height=40_000), "40000 x 40000 pixels"),
        (png(IDAT, IEND, width=16_384, height=16_384), "16384 x 16384 pixels"),
        (PNG[:-20] + b"\x00" * 20, "checksum|too early"),
        (PNG.replace(PNG[60:61], bytes([PNG[60] ^ 1]), 1), "checksum|too early|header"),
        (b"\xff\xd8\xff\xe0\x00\x10JFIF", "too early"),
        (b"\xff\xd8\xff\xd9", "too early"),
        (JPEG[:-2], "lacks its end"),
        (b"RIFF\x24\x00\x00\x00WEBPVP8 ", "too early"),
        (b"RIFF\x04\x00\x00\x00WEBP", "without image data"),
        (WEBP[:-1], "too early"),
    ],
)
def test_an_image_that_no_decoder_reads_is_refused_with_the_reason(
    data: bytes, why: str
) -> None:
    with pytest.raises(ImageUnusable, match=why):
        checked_image_type(data)


@pytest.mark.parametrize("data", [PNG, JPEG, PROGRESSIVE, WEBP, LOSSLESS, WITH_PROFILE])
def test_an_image_cut_anywhere_is_refused(data: bytes) -> None:
    for end in range(len(data) - 1):
        with pytest.raises(ImageUnusable):
            checked_image_type(data[:end])


@given(st.integers(8, len(PNG) - 1), st.integers(1, 255))
def test_a_png_with_one_wrong_byte_is_refused(at: int, flip: int) -> None:
    damaged = bytearray(PNG)
    damaged[at] ^= flip

    with pytest.raises(ImageUnusable):
        checked_image_type(bytes(damaged))


@given(
    st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF\x40\x00\x00\x00WEBP"]),
    st.binary(max_size=64),
)
def test_any_bytes_are_judged(start: bytes, rest: bytes) -> None:
    try:
        kind = checked_image_type(start + rest)
    except ImageUnusable:
        return
    assert kind == image_type(start + rest)
