"""The mutation check on a small repository: what it says, and what it leaves behind."""

import subprocess
import sys
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[2]
_MAIN = """
import sys
from pathlib import Path
from tests.mutants import running
from tests.mutants.__main__ import main

running._LEAST_SECONDS = running._PATIENCE = 2.0
sys.exit(main(sys.argv[2:], Path(sys.argv[1])))
"""
_RULE = """
def enough(have: int, need: int) -> int:
    if have < need:
        have = have + 1
    return have
"""
_WITHOUT_AN_END = _RULE.replace("if", "while")
_WEAK = """
from shared.rule import enough

def test_enough() -> None:
    assert enough(1, 3)
"""
_BITING = """
from shared.rule import enough

def test_enough() -> None:
    assert enough(1, 2) == 2
    assert enough(3, 3) == 3
    assert enough(4, 3) == 4
"""
_SURVIVES = [
    "enough: if have < need:… -> pass",
    "enough: have < need -> have <= need",
    "enough: have < need -> have >= need",
    "enough: have = have + 1 -> pass",
    "enough: 1 -> 2",
]


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Return a repository with one module."""
    for name in ("shared", "tests/mutants"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "shared/__init__.py").touch()
    (tmp_path / "shared/rule.py").write_text(_RULE)
    (tmp_path / "pyproject.toml").write_text("[tool.pytest.ini_options]\n")
    return tmp_path


def mutants(repository: Path, test: str, listed: list[str], *names: str) -> tuple[int, str]:
    """The exit code of the command, and what it prints."""
    (repository / "tests/test_rule.py").write_text(test)
    survivors = [f'survivors."{name}" = "as the test wants it"\n' for name in listed]
    table = repository / "tests/mutants/survivors.toml"
    table.write_text('["shared.rule"]\ntests = ["tests/test_rule.py"]\n' + "".join(survivors))
    said = subprocess.run(
        [sys.executable, "-c", _MAIN, str(repository), *names],
        cwd=_ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return said.returncode, said.stdout + said.stderr


def test_a_survivor_fails_the_command_until_it_is_listed(repository: Path) -> None:
    ended, said = mutants(repository, _WEAK, [])
    assert ended == 1
    assert said.startswith("shared.rule: 7 mutants, 2 killed, 0 listed survive")
    assert all(f'"{name}"' in said for name in _SURVIVES)

    ended, said = mutants(repository, _WEAK, _SURVIVES)
    assert (ended, said) == (0, "shared.rule: 7 mutants, 2 killed, 5 listed survive\n")


def test_a_survivor_that_is_listed_and_killed_fails_the_command(repository: Path) -> None:
    ended, said = mutants(repository, _BITING, _SURVIVES)

    assert ended == 1
    assert f'listed, does not survive:\n    "{_SURVIVES[0]}"' in said


def test_only_a_changed_source_makes_it_start_over_and_nothing_else_is_left(
    repository: Path,
) -> None:
    mutants(repository, _BITING, [])
    record = repository / "build/mutants/shared.rule.jsonl"
    digest, *lines = record.read_text().splitlines()
    assert [path.name for path in record.parent.iterdir()] == [record.name]
    assert (repository / "shared/rule.py").read_text() == _RULE

    # The record is as if the run had been stopped after the second mutant, in the middle of a
    # line.
    believed = [line.replace("killed", "survived") for line in lines[:2]]
    record.write_text("\n".join([digest, *believed, lines[2][:9]]) + "\n")
    _, said = mutants(repository, _BITING, [])
    assert said.startswith("shared.rule: 7 mutants, 5 killed")

    ended, said = mutants(repository, _BITING + "# changed\n", [])
    assert (ended, said) == (0, "shared.rule: 7 mutants, 7 killed, 0 listed survive\n")


def test_a_mutant_without_an_end_is_ended_and_counts_as_noticed(repository: Path) -> None:
    (repository / "shared/rule.py").write_text(_WITHOUT_AN_END)

    ended, said = mutants(repository, _BITING, [])

    assert (ended, said) == (0, "shared.rule: 6 mutants, 6 killed, 0 listed survive\n")
    assert "timed out" in (repository / "build/mutants/shared.rule.jsonl").read_text()


def test_tests_that_fail_anyway_say_nothing(repository: Path) -> None:
    ended, said = mutants(repository, "def test_never():\n    assert not 'sound'\n", [])

    assert ended == 2
    assert "its tests fail on the module as it is" in said


def test_a_module_that_is_not_in_the_table_is_named(repository: Path) -> None:
    ended, said = mutants(repository, _BITING, [], "shared.other")

    assert (ended, said) == (2, "survivors.toml has shared.rule, but not shared.other\n")
