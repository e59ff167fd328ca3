"""Checks as an author declares them beside a schema: in JSON, or as Python functions."""

import importlib.util
import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from executor.validation.strict_json import NotJson, parse_strict_json
from infra.failures import CannotBeDone
from infra.files import read_bounded
from infra.ops.checks.library import LIBRARY, Check
from infra.ops.checks.subject import Subject

_PYTHON_PREFIX = "check_"


class ChecksInvalid(CannotBeDone):
    """A file declares no checks; the message names it and says why."""


def read_checks(path: Path) -> Mapping[str, Check]:
    """The checks in a file, by name.

    A JSON file maps names to `{"check": <name in the library>, <its arguments>}`. A Python
    file, which is run, has functions named `check_<name>` that take a `Subject` and return
    the problems, as a list of sentences.

    Raises:
        ChecksInvalid: it declares none, or one that the library does not have.
        OSError: it cannot be read.
    """
    return _from_python(path) if path.suffix == ".py" else _from_json(path)


def problems_of(checks: Mapping[str, Check], subject: Subject) -> Mapping[str, Sequence[str]]:
    """What each check finds.

    A Python check that raises is a problem of the check: it is told by its type and name.
    """
    return {name: _problems(check, subject) for name, check in checks.items()}


def _problems(check: Check, subject: Subject) -> Sequence[str]:
    try:
        return [str(each) for each in check(subject)]
    except Exception as defect:  # noqa: BLE001 - an author's own code may raise anything
        return [f"the check itself failed with {type(defect).__name__}"]


_MAX_FILE_BYTES = 1_048_576


def _from_json(path: Path) -> Mapping[str, Check]:
    try:
        document = parse_strict_json(read_bounded(path, _MAX_FILE_BYTES))
    except NotJson as problem:
        raise ChecksInvalid(f"{path}: {problem}") from None
    if not isinstance(document, dict) or not document:
        raise ChecksInvalid(f"{path}: must map names to checks")
    return {name: _declared(path, name, item) for name, item in document.items()}


def _declared(path: Path, name: str, item: Any) -> Check:
    where = f"{path}: {name}"
    if not isinstance(item, dict) or item.get("check") not in LIBRARY:
        raise ChecksInvalid(f"{where}: check must be one of {', '.join(sorted(LIBRARY))}")
    make = LIBRARY[item["check"]]
    arguments = {key: value for key, value in item.items() if key != "check"}
    try:
        inspect.signature(make).bind(**arguments)
    except TypeError as problem:
        raise ChecksInvalid(f"{where}: {item['check']}: {problem}") from None
    check = make(**arguments)
    # Arguments of a wrong type would fail on every report: find them on an empty one.
    try:
        check(Subject(output={}, symbol="", timeframe=""))
    except (TypeError, AttributeError, ValueError) as problem:
        raise ChecksInvalid(f"{where}: {item['check']}: {problem}") from None
    return check


def _from_python(path: Path) -> Mapping[str, Check]:
    spec = importlib.util.spec_from_file_location(f"checks_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ChecksInvalid(f"{path}: is no Python file")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except (SyntaxError, ImportError, NameError) as problem:
        raise ChecksInvalid(f"{path}: {type(problem).__name__}: {problem}") from None
    found = {
        name.removeprefix(_PYTHON_PREFIX): value
        for name, value in vars(module).items()
        if name.startswith(_PYTHON_PREFIX) and callable(value)
    }
    if not found:
        raise ChecksInvalid(f"{path}: has no function named {_PYTHON_PREFIX}<name>")
    return found
