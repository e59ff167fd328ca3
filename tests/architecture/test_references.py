"""Whatever a docstring or a comment names in backticks can be found."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

_ROOT = Path(__file__).parents[2]
_CODE = ("dispatcher", "executor", "shared", "infra", "tests")
#: `name`, `name()` or `module.name`, as code is quoted.
_REFERENCE = re.compile(r"`([a-z_]\w*(?:\.\w+)*)(?:\(\))?`")
#: A string that follows one of these tokens is a docstring.
_BEGINS_A_STATEMENT = {tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT}
#: Names of other people's programs.
_PROGRAMS = {"grep"}


def test_every_name_in_backticks_is_there() -> None:
    files = {
        path: path.read_text(encoding="utf-8")
        for folder in _CODE
        for path in (_ROOT / folder).rglob("*.py")
    }
    known = set(_PROGRAMS) | words_of_other_files()
    for path, text in files.items():
        known.update(path.relative_to(_ROOT).with_suffix("").parts)
        known.update(words_of_code(text))

    stale = [
        f"{path.relative_to(_ROOT)}: {name}"
        for path, text in files.items()
        for prose in prose_of(text)
        for name in _REFERENCE.findall(prose)
        if not known.issuperset(name.split("."))
    ]

    assert stale == []


def words_of_code(text: str) -> Iterator[str]:
    """Names, and the words of strings that are not docstrings."""
    before = tokenize.NEWLINE
    for token in tokens(text):
        if token.type == tokenize.NAME:
            yield token.string
        elif token.type == tokenize.STRING and before not in _BEGINS_A_STATEMENT:
            yield from re.findall(r"\w+", token.string)
        if token.type not in {tokenize.NL, tokenize.COMMENT}:
            before = token.type


def words_of_other_files() -> set[str]:
    """The names of make targets, and of the resources in Terraform."""
    others = [_ROOT / "Makefile", *(_ROOT / "infra/terraform").rglob("*.tf")]
    return set(re.findall(r"\w+", "".join(path.read_text(encoding="utf-8") for path in others)))


def prose_of(text: str) -> Iterator[str]:
    """Docstrings and comments."""
    owners = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, owners) and (docstring := ast.get_docstring(node, clean=False)):
            yield docstring
    yield from (token.string for token in tokens(text) if token.type == tokenize.COMMENT)


def tokens(text: str) -> Iterator[tokenize.TokenInfo]:
    """The tokens of a module."""
    return tokenize.generate_tokens(io.StringIO(text).readline)
