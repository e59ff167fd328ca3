"""Whole texts are matched with `fullmatch`, past which no line break can slip."""

import ast
from collections.abc import Iterator, Mapping

import pytest

from tests.architecture.test_house import PRODUCT, modules

#: Functions that find a part of a text. Python's `$` also matches before a line break at the
#: end (https://docs.python.org/3/library/re.html#regular-expression-syntax).
_PARTIAL = frozenset({"match", "search", "findall", "finditer", "split", "sub", "subn"})
_BY_LINE = ("MULTILINE", "re.M")


def anchored_in_part(tree: ast.Module) -> Iterator[int]:
    """The lines where a pattern with a `$` is not matched against the whole text."""
    anchored = {name for name, value in _assigned(tree).items() if _has_an_end(value)}
    for call in ast.walk(tree):
        if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute)):
            continue
        if call.func.attr not in _PARTIAL:
            continue
        asked = call.func.value
        if isinstance(asked, ast.Name) and asked.id == "re":
            if _has_an_end(call):
                yield call.lineno
        elif (isinstance(asked, ast.Name) and asked.id in anchored) or (
            isinstance(asked, ast.Call) and _has_an_end(asked)
        ):
            yield call.lineno


def _assigned(tree: ast.Module) -> Mapping[str, ast.expr]:
    """The patterns that are compiled once, by name."""
    return {
        target.id: node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and "re.compile" in ast.unparse(node.value)
        for target in node.targets
        if isinstance(target, ast.Name)
    }


def _has_an_end(made: ast.AST) -> bool:
    """Whether the pattern in this expression has a `$` that is not a literal character."""
    if any(flag in ast.unparse(made) for flag in _BY_LINE):
        return False
    texts = [
        node.value
        for node in ast.walk(made)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    named = [
        node.id
        for node in ast.walk(made)
        if isinstance(node, ast.Name) and node.id.endswith("_PATTERN")
    ]
    return bool(named) or any("$" in text.replace("\\$", "") for text in texts)


@pytest.mark.parametrize(
    "text",
    [
        "_A = re.compile(r'^a$')\nif _A.match(x): pass",
        "_A = re.compile(r'a$')\nif _A.search(x): pass",
        "_A = re.compile(RUN_ID_PATTERN)\nif _A.match(x): pass",
        "ok = re.match(r'^a$', x)",
        "ok = re.compile('a$').search(x)",
    ],
)
def test_a_pattern_that_a_line_break_slips_past_is_noticed(text: str) -> None:
    assert list(anchored_in_part(ast.parse(text)))


@pytest.mark.parametrize(
    "text",
    [
        "_A = re.compile(r'^a$')\nif _A.fullmatch(x): pass",
        "_A = re.compile(r'^a$', re.MULTILINE)\nfound = _A.findall(x)",
        "found = re.search(r'\\$', x)",
        "found = 'a$'.split('$')",
    ],
)
def test_other_patterns_are_let_be(text: str) -> None:
    assert not list(anchored_in_part(ast.parse(text)))


def test_no_text_is_held_against_a_part_of_an_anchored_pattern() -> None:
    found = [
        f"{name}:{line}"
        for name, tree, _ in modules(*PRODUCT, "worker_llm")
        for line in anchored_in_part(tree)
    ]

    assert found == []
