"""The mutation check: `python -m tests.mutants [MODULE…]`, or `make mutants MODULES="…"`.

Every mutant of the modules must make one of their tests fail, or stand in `survivors.toml`
with the reason why no test can tell it from the module. What was tried is kept in
`build/mutants`, so that a run that was stopped goes on where it was, until a source changes.
"""

import hashlib
import json
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.mutants.mutations import Mutant, mutants_of
from tests.mutants.running import Outcome, Subject, TestsFail, outcomes

REPOSITORY = Path(__file__).parents[2]
_TABLE = Path("tests/mutants/survivors.toml")
_SOURCES = ("dispatcher", "executor", "infra", "shared", "tests/mutants", "tests/support")


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """A module of the table: its tests, and its listed survivors with their reasons."""

    module: str
    tests: Sequence[str]
    survivors: Mapping[str, str]

    @property
    def file(self) -> str:
        """The module's file, below the repository."""
        return self.module.replace(".", "/") + ".py"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The result of a module's mutants."""

    tried: int
    unlisted: Sequence[Mutant]
    #: Listed as survivors, but killed, or no longer mutants of the module.
    stale: Sequence[str]

    @property
    def good(self) -> bool:
        """Whether the table tells the truth."""
        return not self.unlisted and not self.stale


def table(repository: Path = REPOSITORY) -> Mapping[str, Checked]:
    """The modules that are checked, by their names."""
    modules = tomllib.loads((repository / _TABLE).read_text(encoding="utf-8"))
    return {
        name: Checked(module=name, tests=entry["tests"], survivors=entry.get("survivors", {}))
        for name, entry in modules.items()
    }


def verdict(
    checked: Checked, mutants: Sequence[Mutant], found: Mapping[str, Outcome]
) -> Verdict:
    """Compare what survived with what is listed."""
    survived = {name for name, outcome in found.items() if outcome is Outcome.SURVIVED}
    return Verdict(
        tried=len(mutants),
        unlisted=[m for m in mutants if m.name in survived - checked.survivors.keys()],
        stale=sorted(checked.survivors.keys() - survived),
    )


def check(checked: Checked, repository: Path) -> Verdict:
    """Try the module's mutants, except those that were already tried on these same sources.

    Raises:
        TestsFail: the tests fail on the module as it is.
    """
    folder = repository / "build/mutants"
    folder.mkdir(parents=True, exist_ok=True)
    subject = Subject(root=repository, file=checked.file, tests=checked.tests)
    mutants = mutants_of(subject.source)
    record = _Record.of(folder / f"{checked.module}.jsonl", _digest(repository, checked))
    found = dict(record.read())
    untried = [mutant for mutant in mutants if mutant.name not in found]
    if untried:
        for mutant, outcome in outcomes(subject, untried, folder):
            found[mutant.name] = outcome
            record.add(mutant.name, outcome)
    return verdict(checked, mutants, found)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Record:
    """The results so far, one a line; the first line names the sources they are from."""

    path: Path

    @classmethod
    def of(cls, path: Path, digest: str) -> "_Record":
        first = path.open(encoding="utf-8").readline() if path.exists() else ""
        if first.strip() != digest:
            path.write_text(digest + "\n", encoding="utf-8")
        return cls(path=path)

    def read(self) -> Iterator[tuple[str, Outcome]]:
        for line in self.path.read_text(encoding="utf-8").splitlines()[1:]:
            try:
                name, outcome = json.loads(line)
            except ValueError:  # the line that was being written when the run was stopped
                continue
            yield name, Outcome(outcome)

    def add(self, name: str, outcome: Outcome) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps([name, outcome]) + "\n")


def _digest(repository: Path, checked: Checked) -> str:
    folders = [path for name in _SOURCES for path in (repository / name).rglob("*.py")]
    digest = hashlib.sha256()
    for path in sorted([*folders, *(repository / test for test in checked.tests)]):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def main(names: Sequence[str], repository: Path = REPOSITORY) -> int:
    """Check the modules named, or all.

    Returns:
        0 if the table tells the truth, 1 when a survivor is not listed or a listing is stale,
        2 when a module is not in the table or its tests fail without any mutation.
    """
    modules = table(repository)
    unknown = set(names) - modules.keys()
    if unknown:
        _say(f"{_TABLE.name} has {', '.join(modules)}, but not {', '.join(sorted(unknown))}")
        return 2
    good = True
    for name in names or modules:
        try:
            found = check(modules[name], repository)
        except TestsFail as problem:
            _say(f"{name}: its tests fail on the module as it is\n{problem}")
            return 2
        good = good and found.good
        _say("\n".join(_lines(modules[name], found)))
    return 0 if good else 1


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _lines(checked: Checked, found: Verdict) -> Iterator[str]:
    listed = len(checked.survivors) - len(found.stale)
    killed = found.tried - listed - len(found.unlisted)
    yield f"{checked.module}: {found.tried} mutants, {killed} killed, {listed} listed survive"
    for mutant in found.unlisted:
        yield f"  survives: {checked.file}:{mutant.line}\n    {_quoted(mutant.name)}"
    for name in found.stale:
        yield f"  listed, does not survive:\n    {_quoted(name)}"


def _quoted(name: str) -> str:
    """The name as it is written in the table."""
    return json.dumps(name, ensure_ascii=False)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
