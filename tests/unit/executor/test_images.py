"""What kind of picture some bytes are."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.images import image_type
from infra.local.scenario.single import tiny_png


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
def test_the_bytes_decide(data: bytes, expected: str | None) -> None:
    assert image_type(data) == expected


@given(st.binary(max_size=64))
def test_any_bytes_are_judged(data: bytes) -> None:
    assert image_type(data) in {None, "image/png", "image/jpeg", "image/webp"}
