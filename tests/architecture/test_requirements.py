"""The compiled requirement sets match pyproject.toml, and are pinned, hashed and minimal."""

import importlib.metadata
import re
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

_ROOT = Path(__file__).parents[2]
_SETS = {
    **{path.stem: path for path in (_ROOT / "infra/requirements").glob("*.txt")},
    "dispatcher": _ROOT / "dispatcher/requirements.txt",
    "executor": _ROOT / "executor/requirements.txt",
}
_PIN = re.compile(
    r"^(?P<name>[A-Za-z0-9._-]+)(?:\[(?P<extras>[a-z0-9,._-]+)\])?"
    r"==(?P<version>[^\s;\\]+)(?: ;[^\\]*)?\s*\\?$"
)
_GROUPS: dict[str, list[Any]] = tomllib.loads((_ROOT / "pyproject.toml").read_text())[
    "dependency-groups"
]
_EVERY_SET = pytest.mark.parametrize("name", sorted(_SETS))


def asked_for(group: str) -> Iterator[Requirement]:
    for item in _GROUPS[group]:
        if isinstance(item, dict):
            yield from asked_for(item["include-group"])
        else:
            yield Requirement(item)


def pins(name: str) -> dict[str, str]:
    lines = _SETS[name].read_text().splitlines()
    matches = [_PIN.match(line) for line in lines if not line.startswith((" ", "#"))]
    assert all(matches), f"a line of {_SETS[name].name} is no pin"
    return {canonicalize_name(m["name"]): m["version"] for m in matches if m}


@_EVERY_SET
def test_every_requirement_is_pinned_to_a_version_that_satisfies_it(name: str) -> None:
    """This fails when pyproject.toml was changed without `make lock`."""
    pinned = pins(name)

    stale = [
        str(wanted)
        for wanted in asked_for(name)
        if not wanted.specifier.contains(
            pinned.get(canonicalize_name(wanted.name), "0"), prereleases=True
        )
    ]
    assert stale == []


@pytest.mark.parametrize("name", ["bootstrap", "dev", "dispatcher", "executor"])
def test_what_the_requirements_need_in_turn_is_pinned_too(name: str) -> None:
    pinned, wanted, seen = pins(name), list(asked_for(name)), set[str]()
    while wanted:
        requirement = wanted.pop()
        project = canonicalize_name(requirement.name)
        assert project in pinned, f"{project} is missing: run make lock"
        key = f"{project}{sorted(requirement.extras)}"
        if key not in seen:
            seen.add(key)
            wanted += needed_by(project, requirement.extras)


@pytest.mark.parametrize("stage", ["dispatcher", "executor"])
def test_a_pin_has_every_extra_that_another_package_asks_for(stage: str) -> None:
    """Before 23.3.2 pip refuses `name[extra]` beside a pin without it (pypa/pip#9644)."""
    text = _SETS[stage].read_text()
    pinned = {
        str(canonicalize_name(m["name"])): set((m["extras"] or "").split(",")) - {""}
        for line in text.splitlines()
        if (m := _PIN.match(line))
    }
    asked: dict[str, set[str]] = defaultdict(set)
    here = {canonicalize_name(one.name) for one in importlib.metadata.distributions()}
    for project in here & pinned.keys():
        for requirement in needed_by(project, pinned[project]):
            asked[canonicalize_name(requirement.name)] |= requirement.extras

    assert len(here & pinned.keys()) > len(pinned) - 5
    assert {name: extras for name, extras in asked.items() if extras - pinned[name]} == {}


def needed_by(project: str, extras: set[str]) -> Iterator[Requirement]:
    for line in importlib.metadata.requires(project) or ():
        requirement = Requirement(line)
        marker = requirement.marker
        if marker is None or any(marker.evaluate({"extra": e}) for e in ("", *extras)):
            yield requirement


@_EVERY_SET
def test_every_pin_has_a_hash_and_no_index_is_named(name: str) -> None:
    text = _SETS[name].read_text()

    entries = re.split(r"^(?=[A-Za-z0-9])", text, flags=re.MULTILINE)[1:]
    assert [entry.split()[0] for entry in entries if "--hash=sha256:" not in entry] == []
    assert not re.search(r"--(extra-)?index-url|--find-links|https?://", text)


@pytest.mark.parametrize("stage", ["dispatcher", "executor"])
def test_what_is_tested_is_what_is_deployed(stage: str) -> None:
    tested = pins("dev")

    assert {name: (v, tested.get(name)) for name, v in pins(stage).items()} == {
        name: (v, v) for name, v in pins(stage).items()
    }


def test_the_dispatchers_set_has_nothing_of_the_model_stage() -> None:
    heavy = {"google-genai", "google-cloud-storage", "jsonschema", "pydantic", "httpx2"}

    assert heavy & pins("dispatcher").keys() == set()


def test_no_deployable_carries_the_tools_of_development() -> None:
    tools = {"pytest", "mypy", "ruff", "typer", "rich", "mplfinance", "pandas", "uv"}

    for stage in ("dispatcher", "executor"):
        assert tools & pins(stage).keys() == set()


def test_an_installed_command_line_asks_for_what_its_code_needs() -> None:
    project = tomllib.loads((_ROOT / "pyproject.toml").read_text())["project"]
    groups = ("dispatcher", "executor", "local")

    needed = {str(one) for group in groups for one in asked_for(group)}
    assert {str(Requirement(one)) for one in project["dependencies"]} == needed
