"""Runs tests against mutants: each in a process of its own, in a copy of the sources.

A process is forked from one that has loaded all libraries already, so that a mutant costs
its tests' time and little more. The sources in the repository are never touched.
"""

import contextlib
import importlib
import multiprocessing
import os
import resource
import shutil
import signal
import sys
import time
import warnings
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from multiprocessing.connection import wait
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import TypeAlias

import pytest

from tests.mutants.mutations import Mutant

PROCESSES = 2
#: The files that the tests may read; everything else is left behind.
_COPIED = ("dispatcher", "docs", "executor", "infra", "shared", "tests", "pyproject.toml")
#: A mutant may be this many times as slow as the module itself, and at least this slow: what
#: is only slowed down by others on the machine must not count as noticed.
_PATIENCE = 10.0
_LEAST_SECONDS = 60.0
#: The module itself may take this long, in seconds.
_BASE_SECONDS = 600.0
_SHOWN_CHARS = 2000
#: A mutant that allocates without end stops at this size.
_MEMORY_BYTES = 8 * 1024**3
_FORK = multiprocessing.get_context("fork")


class Outcome(StrEnum):
    """What the tests found about a mutant."""

    KILLED = "killed"
    SURVIVED = "survived"
    TIMED_OUT = "timed out"


class TestsFail(Exception):
    """The tests fail on the module as it is, so they say nothing of its mutants."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A module below `root`, and the test files that are asked about it."""

    root: Path
    file: str
    tests: Sequence[str]

    @property
    def source(self) -> str:
        """The module's text."""
        return (self.root / self.file).read_text(encoding="utf-8")


Results: TypeAlias = Iterator[tuple[Mutant, Outcome]]


def outcomes(subject: Subject, mutants: Iterable[Mutant], folder: Path) -> Results:
    """Try every mutant; the copies of the sources are laid below `folder`, and removed.

    Raises:
        TestsFail: before any mutant is tried.
    """
    trees = [folder / f"tree-{number}" for number in range(PROCESSES)]
    try:
        for tree in trees:
            _copy(subject.root, tree)
        seconds = _prepare(subject, trees)
        yield from _tried(subject, mutants, trees, max(_LEAST_SECONDS, _PATIENCE * seconds))
    finally:
        for tree in trees:
            shutil.rmtree(tree, ignore_errors=True)


def _copy(root: Path, tree: Path) -> None:
    shutil.rmtree(tree, ignore_errors=True)
    tree.mkdir(parents=True)
    for name in _COPIED:
        if (root / name).is_dir():
            ignored = shutil.ignore_patterns("__pycache__", ".terraform")
            shutil.copytree(root / name, tree / name, ignore=ignored)
        elif (root / name).exists():
            shutil.copyfile(root / name, tree / name)


def _prepare(subject: Subject, trees: Sequence[Path]) -> float:
    """Load what the tests load from outside; return how many seconds they take after that."""
    loaded = trees[0] / "loaded.txt"
    _must_pass(subject, trees[0], loaded=loaded)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in loaded.read_text().split():
            with contextlib.suppress(Exception):
                importlib.import_module(name)
    began = time.monotonic()
    # Run once more, in every tree and with all loaded: from here on, only a mutant may fail
    # them.
    for tree in trees:
        _must_pass(subject, tree)
    return (time.monotonic() - began) / len(trees)


def _must_pass(subject: Subject, tree: Path, *, loaded: Path | None = None) -> None:
    run = _Run.start(subject, tree, time.monotonic() + _BASE_SECONDS, loaded=loaded)
    while not run.ended:
        _wait_for_one([run])
    if run.end() is not Outcome.SURVIVED:
        raise TestsFail((tree / "output.txt").read_text(errors="replace")[-_SHOWN_CHARS:])


def _tried(
    subject: Subject, mutants: Iterable[Mutant], trees: Sequence[Path], limit_seconds: float
) -> Results:
    waiting, free = deque(mutants), list(trees)
    running: list[tuple[Mutant, _Run]] = []
    try:
        while waiting or running:
            while waiting and free:
                mutant, tree = waiting.popleft(), free.pop()
                (tree / subject.file).write_text(mutant.source, encoding="utf-8")
                deadline = time.monotonic() + limit_seconds
                running.append((mutant, _Run.start(subject, tree, deadline)))
            _wait_for_one([run for _, run in running])
            for mutant, run in [pair for pair in running if pair[1].ended]:
                running.remove((mutant, run))
                free.append(run.tree)
                yield mutant, run.end()
    finally:
        for _, run in running:
            run.end()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """The tests, running in one tree."""

    process: ForkProcess
    tree: Path
    deadline: float

    @classmethod
    def start(
        cls, subject: Subject, tree: Path, deadline: float, *, loaded: Path | None = None
    ) -> "_Run":
        seconds = deadline - time.monotonic()
        arguments = (subject, tree, seconds, loaded)
        process = _FORK.Process(target=_run_tests, args=arguments, daemon=True)
        process.start()
        return cls(process=process, tree=tree, deadline=deadline)

    @property
    def ended(self) -> bool:
        return not self.process.is_alive() or time.monotonic() >= self.deadline

    def end(self) -> Outcome:
        """End all that it started, and return what it found."""
        alive = self.process.is_alive()
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid or 0, signal.SIGKILL)
        self.process.kill()
        self.process.join()
        if alive:
            return Outcome.TIMED_OUT
        return Outcome.KILLED if self.process.exitcode else Outcome.SURVIVED


def _wait_for_one(runs: Sequence[_Run]) -> None:
    first = min(run.deadline for run in runs)
    wait([run.process.sentinel for run in runs], max(0.0, first - time.monotonic()))


def _run_tests(subject: Subject, tree: Path, seconds: float, loaded: Path | None) -> None:
    """In the forked process: become one that knows only the tree, and run the tests there."""
    os.setsid()
    # If the process that started this one is killed, this one still ends.
    resource.setrlimit(resource.RLIMIT_CPU, (int(seconds) + 1, int(seconds) + 2))
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    os.chdir(tree)
    output = os.open("output.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    _forget(subject.root, tree)
    code = pytest.main(
        [
            *("-x", "-q", "-p", "no:cacheprovider"),
            *("-W", "ignore::pytest.PytestAssertRewriteWarning"),  # plugins were loaded before
            *("-o", f"timeout={seconds:.0f}", "--hypothesis-seed=0"),
            *subject.tests,
        ]
    )
    if loaded is not None:
        loaded.write_text("\n".join(_from_outside(tree)))
    sys.stdout.flush()
    os._exit(code)


def _forget(root: Path, tree: Path) -> None:
    """Make imports find the tree's modules, and none of the repository's."""
    others = [place for place in sys.path if Path(place).resolve() != root.resolve()]
    sys.path[:] = [str(tree), *others]
    ours = {name.removesuffix(".py") for name in _COPIED}
    for name in [name for name in sys.modules if name.partition(".")[0] in ours]:
        del sys.modules[name]
    importlib.invalidate_caches()
    # A module that is written again within a second may look unchanged to its compiled file.
    sys.dont_write_bytecode = True


def _from_outside(tree: Path) -> Iterator[str]:
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if file and not Path(file).is_relative_to(tree) and not name.startswith("__"):
            yield name
