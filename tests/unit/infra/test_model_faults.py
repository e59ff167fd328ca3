"""Faults are read from a file and put in force at a running stand-in."""

from pathlib import Path

import pytest

from infra.local.gemini import create_app
from infra.local.gemini.faults import FaultKind, FaultRule
from infra.local.serving.asgi import serve
from infra.ops.local.faults import FaultsRefused, play_faults


async def test_the_faults_in_a_file_are_put_in_force(tmp_path: Path) -> None:
    path = tmp_path / "faults.json"
    path.write_text('[{"kind": "hang", "contains": "1d"}]')
    app = create_app()

    async with serve(app, name="Gemini stand-in") as url:
        await play_faults(url, path)

    assert app.state.faults.take("a 1d report") == FaultRule(kind=FaultKind.HANG, contains="1d")


@pytest.mark.parametrize("text", ["", "{}", '[{"kind": "wrng"}]', '[{"knd": "hang"}]'])
async def test_a_file_without_faults_is_refused_by_its_name(text: str, tmp_path: Path) -> None:
    path = tmp_path / "faults.json"
    path.write_text(text)

    async with serve(create_app(), name="Gemini stand-in") as url:
        with pytest.raises(FaultsRefused, match=r"faults\.json: ."):
            await play_faults(url, path)
