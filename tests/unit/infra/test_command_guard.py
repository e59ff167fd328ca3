"""A defect of the command line is reported by its place only: nothing typed is repeated."""

import pytest

from infra.ops import main as command

CANARY = "canary-4711"


def test_a_defect_is_told_by_its_type_and_place_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails() -> None:
        raise RuntimeError(f"what was read says {CANARY}")

    monkeypatch.setattr(command, "app", fails)

    with pytest.raises(SystemExit) as ended:
        command.main()

    said = capsys.readouterr()
    assert ended.value.code == 1
    assert "a defect of worker-llm: RuntimeError" in said.err
    assert len(said.err.splitlines()) == 1
    assert CANARY not in said.err + said.out
    assert "Traceback" not in said.err + said.out
