"""Writes the generated pages: `python -m infra.docs`."""

from infra.docs.pages import FOLDER, pages

for name, text in pages().items():
    (FOLDER / name).write_text(text, encoding="utf-8")
