"""Nothing is raised in a handler of exception groups."""

import ast
from collections.abc import Iterator
from pathlib import Path

_ROOT = Path(__file__).parents[2]
_PACKAGES = ("dispatcher", "executor", "shared", "infra")


def _handlers(tree: ast.Module) -> Iterator[ast.ExceptHandler]:
    for node in ast.walk(tree):
        if isinstance(node, ast.TryStar):
            yield from node.handlers


def test_nothing_is_raised_where_a_group_is_caught() -> None:
    """Python 3.11.2 of Debian 12 wraps an exception that is raised there in a group again.

    Seen there and not in 3.11.7: a step's error was then no StepError, and never written.
    """
    raised = [
        f"{path.relative_to(_ROOT)}, line {inner.lineno}"
        for package in _PACKAGES
        for path in (_ROOT / package).rglob("*.py")
        for handler in _handlers(ast.parse(path.read_text(encoding="utf-8")))
        for inner in ast.walk(handler)
        if isinstance(inner, ast.Raise)
    ]

    assert raised == []
