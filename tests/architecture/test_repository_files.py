"""Files for the repository's host and contributors' tools exist, are well-formed and true."""

import configparser
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

_ROOT = Path(__file__).parents[2]
_GITHUB = _ROOT / ".github"
_HOOKS = _ROOT / ".pre-commit-config.yaml"
_PROJECT: dict[str, Any] = tomllib.loads((_ROOT / "pyproject.toml").read_text())
_ACTION = re.compile(r"uses: (?P<action>\S+)@(?P<commit>\S+) # v(?P<version>\d+\.\d+\.\d+)$")
#: As code, or on a line of its own; variables may stand before it.
_MAKE = re.compile(r"(?:^|`)(?:[A-Z_]+=\S+ )*make ([a-z][a-z-]+)(?=[` \n])", re.MULTILINE)
_SCHEMAS = {
    "dependabot.yml": "vendor.dependabot",
    "workflows/gate.yml": "vendor.github-workflows",
    "ISSUE_TEMPLATE/config.yml": "vendor.github-issue-config",
    "ISSUE_TEMPLATE/fault.yml": "vendor.github-issue-forms",
    "ISSUE_TEMPLATE/proposal.yml": "vendor.github-issue-forms",
}
_WRITTEN_BY_HAND = {".py", ".md", ".tf", ".hcl", ".toml", ".yml", ".yaml"}


def loaded(name: str) -> Any:
    return yaml.safe_load((_GITHUB / name).read_text(encoding="utf-8"))


def targets() -> set[str]:
    makefile = (_ROOT / "Makefile").read_text(encoding="utf-8")
    return set(re.findall(r"^([a-z-]+):", makefile, flags=re.MULTILINE))


def gate_job() -> dict[str, Any]:
    job: dict[str, Any] = loaded("workflows/gate.yml")["jobs"]["gate"]
    return job


def step_with(key: str) -> dict[str, Any]:
    """The inputs of the only step in the workflow that has this input."""
    (inputs,) = [step["with"] for step in gate_job()["steps"] if key in step.get("with", {})]
    return dict(inputs)


def complaints(*module: str) -> str:
    """What a program of the development set finds wrong with a file; nothing if it is right."""
    command = [sys.executable, "-m", *module]
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    return said.stdout + said.stderr if said.returncode else ""


def test_every_file_of_the_hosts_has_a_schema_here() -> None:
    files = {str(path.relative_to(_GITHUB)) for path in _GITHUB.rglob("*.yml")}

    assert files == set(_SCHEMAS)


@pytest.mark.parametrize("name", sorted(_SCHEMAS))
def test_a_file_of_the_hosts_follows_the_hosts_schema(name: str) -> None:
    checked = ["check_jsonschema", "--builtin-schema", _SCHEMAS[name], str(_GITHUB / name)]

    assert complaints(*checked) == ""


def test_the_gate_runs_on_exactly_the_pythons_of_the_classifiers() -> None:
    prefix = "Programming Language :: Python :: "
    classifiers = [text.removeprefix(prefix) for text in _PROJECT["project"]["classifiers"]]

    assert gate_job()["strategy"]["matrix"]["python"] == classifiers


def test_the_workflow_runs_the_gate_and_nothing_else_of_the_project() -> None:
    commands = [step["run"] for step in gate_job()["steps"] if "run" in step]

    assert commands == [".ci/run"]
    assert (_ROOT / ".ci/run").stat().st_mode & 0o111


def test_the_workflow_may_read_the_sources_and_nothing_more() -> None:
    workflow = loaded("workflows/gate.yml")

    assert workflow["permissions"] == {}
    assert gate_job()["permissions"] == {"contents": "read"}
    assert step_with("persist-credentials")["persist-credentials"] is False
    assert "secrets" not in (_GITHUB / "workflows/gate.yml").read_text()


def test_every_action_is_pinned_to_a_commit_and_says_its_version() -> None:
    lines = [
        line.strip().removeprefix("- ")
        for line in (_GITHUB / "workflows/gate.yml").read_text().splitlines()
        if "uses:" in line
    ]
    pins = [_ACTION.match(line) for line in lines]

    assert all(pins), lines
    assert all(re.fullmatch("[0-9a-f]{40}", pin["commit"]) for pin in pins if pin)


def test_the_workflow_installs_the_emulators_that_the_tests_ask_for() -> None:
    finder = (_ROOT / "infra/local/emulators/finding.py").read_text(encoding="utf-8")
    asked = set(re.findall(r'component="([a-z-]+)"', finder))

    assert set(step_with("install_components")["install_components"].split(",")) == asked


def test_the_workflows_terraform_is_one_that_the_module_takes() -> None:
    versions = (_ROOT / "infra/terraform/modules/worker/versions.tf").read_text()
    needed = re.search(r'required_version = ">= (\d+)\.(\d+)', versions)
    used = [
        int(part) for part in step_with("terraform_version")["terraform_version"].split(".")
    ]

    assert needed is not None
    assert used[:2] >= [int(needed[1]), int(needed[2])]


def test_pre_commit_understands_its_hooks() -> None:
    assert complaints("pre_commit", "validate-config", str(_HOOKS)) == ""


def test_every_hook_of_pre_commit_calls_a_target_that_exists() -> None:
    config = yaml.safe_load(_HOOKS.read_text(encoding="utf-8"))
    hooks = [
        (repo["repo"], hook["entry"]) for repo in config["repos"] for hook in repo["hooks"]
    ]
    called = [re.fullmatch(r"make (\S+)", entry) for _, entry in hooks]

    assert {repo for repo, _ in hooks} == {"local"}
    assert {call[1] if call else "no target" for call in called} <= targets()


def watched_folders(ecosystem: str) -> set[Path]:
    """The folders in which the host looks for newer versions of dependencies."""
    (update,) = [
        update
        for update in loaded("dependabot.yml")["updates"]
        if update["package-ecosystem"] == ecosystem
    ]
    patterns = update.get("directories") or [update["directory"]]
    return {
        folder
        for pattern in patterns
        for folder in (_ROOT.glob(pattern.strip("/")) if pattern != "/" else [_ROOT])
    }


def test_every_compiled_set_is_watched_for_newer_versions() -> None:
    sets = [*_ROOT.glob("*/requirements.txt"), *_ROOT.glob("infra/requirements/*.txt")]

    assert watched_folders("pip") == {path.parent for path in sets}


def test_every_terraform_folder_is_watched_for_newer_providers() -> None:
    versions = (_ROOT / "infra/terraform").glob("*/*/versions.tf")

    assert watched_folders("terraform") == {path.parent for path in versions}


def test_the_actions_are_watched_for_newer_versions() -> None:
    assert watched_folders("github-actions") == {_ROOT}


def test_the_changelogs_newest_version_is_the_projects() -> None:
    changelog = (_ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## (.+)$", changelog, flags=re.MULTILINE)
    released = [
        re.fullmatch(r"\[(\d+\.\d+\.\d+)\] - \d{4}-\d{2}-\d{2}", h) for h in headings[1:]
    ]

    assert headings[0] == "[Unreleased]"
    assert all(released), headings
    assert released[0]
    assert released[0][1] == _PROJECT["project"]["version"]


@pytest.mark.parametrize("name", ["SECURITY.md", "CODE_OF_CONDUCT.md"])
def test_a_report_needs_no_address_that_somebody_invented(name: str) -> None:
    text = (_ROOT / name).read_text(encoding="utf-8")

    assert "private" in text
    assert not re.search(r"\S+@\S+\.\w+|mailto:", text)


def editor_settings() -> configparser.ConfigParser:
    settings = configparser.ConfigParser()
    settings.read_string("[file]\n" + (_ROOT / ".editorconfig").read_text(encoding="utf-8"))
    return settings


def test_editors_break_lines_where_the_formatter_does() -> None:
    python = editor_settings()["*.py"]

    assert python.getint("max_line_length") == _PROJECT["tool"]["ruff"]["line-length"]
    assert python["indent_size"] == "4"


def written_by_hand() -> Iterator[Path]:
    for path in _ROOT.rglob("*"):
        folders = path.relative_to(_ROOT).parts
        ours = folders[0] != "build" and not any(
            name.startswith(".") and name != ".github" for name in folders
        )
        if ours and path.suffix in _WRITTEN_BY_HAND:
            yield path


def test_every_file_is_as_the_editors_are_told() -> None:
    every = editor_settings()["*"]
    odd = []
    for path in written_by_hand():
        content = path.read_bytes()
        content.decode(every["charset"])
        lines = content.split(b"\n")
        if b"\r" in content or lines[-1] or any(line.endswith((b" ", b"\t")) for line in lines):
            odd.append(str(path.relative_to(_ROOT)))

    assert odd == []


def test_every_target_that_a_text_names_exists() -> None:
    named = {
        (path.relative_to(_ROOT).as_posix(), target)
        for path in written_by_hand()
        for target in _MAKE.findall(path.read_text(encoding="utf-8"))
    }

    assert len(named) > len(targets())
    assert {each for each in named if each[1] not in targets()} == set()
