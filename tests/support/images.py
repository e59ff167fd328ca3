"""Images in the formats that charts come in."""

import io
import random

from PIL import Image


def picture(kind: str, *, width: int = 24, height: int = 16, **options: object) -> bytes:
    """A picture of noise, always the same, as `PNG`, `JPEG` or `WEBP`."""
    noise = random.Random(7).randbytes(width * height * 3)
    file = io.BytesIO()
    Image.frombytes("RGB", (width, height), noise).save(file, kind, **options)
    return file.getvalue()
