"""Small changes of a module's source, each of which a test should notice: pure.

A mutant replaces one piece of the source's text and leaves the rest as it is. Annotations,
decorators, docstrings and type aliases say nothing that a test could notice; they are kept.
"""

import ast
import copy
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

_LONGEST_SHOWN = 100

_Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef

_COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
_ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
    ast.BitOr: ast.BitAnd,
    ast.BitAnd: ast.BitOr,
}
_DELETED = (
    ast.Expr,
    ast.Assign,
    ast.AugAssign,
    ast.AnnAssign,
    ast.Raise,
    ast.Delete,
    ast.Continue,
    ast.Break,
)
#: Conditions that their own mutants already negate.
_NEGATED_BY_THEMSELVES = (ast.Compare, ast.BoolOp, ast.Constant)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """One change. `name` is the same as long as the changed piece and its function are."""

    name: str
    line: int
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Change:
    place: str
    node: ast.expr | ast.stmt
    changed: ast.expr | ast.stmt

    @property
    def text(self) -> str:
        return ast.unparse(self.changed)


def mutants_of(source: str) -> Sequence[Mutant]:
    """All mutants of a module, in the order of its lines."""
    lines = source.encode().splitlines(keepends=True)
    seen: Counter[str] = Counter()
    mutants = []
    for change in _changes(ast.parse(source), place="", in_function=False):
        name = f"{change.place}: {_told(change)}"
        seen[name] += 1
        repeated = f" #{seen[name]}" if seen[name] > 1 else ""
        mutants.append(
            Mutant(
                name=name + repeated,
                line=change.node.lineno,
                source=_spliced(lines, change),
            )
        )
    return mutants


def _told(change: _Change) -> str:
    if isinstance(change.node, ast.Call) and isinstance(change.changed, ast.Call):
        kept = [keyword.arg for keyword in change.changed.keywords]
        dropped = [word.arg for word in change.node.keywords if word.arg not in kept]
        if dropped:
            return f"{_shown(ast.unparse(change.node.func))}(…) without {dropped[0]}"
    return f"{_shown(ast.unparse(change.node))} -> {_shown(change.text)}"


def _shown(text: str) -> str:
    first, *more = text.splitlines()
    return first[:_LONGEST_SHOWN] + ("…" if more or len(first) > _LONGEST_SHOWN else "")


def _spliced(lines: Sequence[bytes], change: _Change) -> str:
    node = change.node
    first, last = node.lineno - 1, (node.end_lineno or node.lineno) - 1
    before = b"".join(lines[:first]) + lines[first][: node.col_offset]
    after = lines[last][node.end_col_offset :] + b"".join(lines[last + 1 :])
    text = f"({change.text})" if isinstance(node, ast.expr) else change.text
    return (before + text.encode() + after).decode()


def _changes(node: ast.AST, *, place: str, in_function: bool) -> Iterator[_Change]:
    """The changes of this node and of all nodes below it."""
    if _says_nothing(node):
        return
    inner = place if in_function else _place_in(node, place)
    if isinstance(node, ast.stmt) and in_function:
        for statement in _instead_of_statement(node):
            yield _Change(place=place, node=node, changed=statement)
    for expression, changed in _changed_expressions(node):
        yield _Change(place=inner, node=expression, changed=changed)
    if not isinstance(node, ast.JoinedStr):
        for child in _children(node):
            deeper = in_function or isinstance(node, _Function)
            yield from _changes(child, place=inner, in_function=deeper)


def _place_in(node: ast.AST, place: str) -> str:
    """The name of the place inside this node, for a reader: a class, a function, a constant."""
    match node:
        case ast.ClassDef(name=name) | ast.FunctionDef(name=name):
            inner = name
        case ast.AsyncFunctionDef(name=name) | ast.AnnAssign(target=ast.Name(id=name)):
            inner = name
        case ast.Assign(targets=[ast.Name(id=name)]):
            inner = name
        case _:
            return place
    return f"{place}.{inner}" if place else inner


def _says_nothing(node: ast.AST) -> bool:
    match node:
        case ast.Import() | ast.ImportFrom():
            return True
        case ast.AnnAssign(annotation=ast.Name(id="TypeAlias")):
            return True
        case ast.Assign(value=ast.Call(func=ast.Name(id="TypeVar" | "NewType"))):
            return True
        case ast.Expr(value=ast.Constant()):  # a docstring
            return True
    return False


def _children(node: ast.AST) -> Iterator[ast.AST]:
    for name, value in ast.iter_fields(node):
        if name in {"annotation", "returns", "decorator_list", "bases"}:
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield child


def _instead_of_statement(node: ast.stmt) -> Iterator[ast.stmt]:
    if isinstance(node, _DELETED) or (isinstance(node, ast.If) and not node.orelse):
        yield ast.Pass()
    if isinstance(node, ast.Return) and node.value and not _is_none(node.value):
        yield ast.Return(ast.Constant(None))


def _changed_expressions(node: ast.AST) -> Iterator[tuple[ast.expr, ast.expr]]:
    """The parts of this node that are replaced, and by what."""
    if isinstance(node, ast.expr):
        for changed in _instead_of(node):
            yield node, changed
    if isinstance(node, _Function):
        yield from ((answer, _not(answer)) for answer in _answers(node))
    for condition in _conditions(node):
        if not isinstance(condition, _NEGATED_BY_THEMSELVES):
            yield condition, _not(condition)


def _answers(function: _Function) -> Iterator[ast.expr]:
    """The values that a function returns if it says yes or no."""
    if isinstance(function.returns, ast.Name) and function.returns.id == "bool":
        for node in ast.walk(function):
            value = node.value if isinstance(node, ast.Return) else None
            if value is not None and not isinstance(value, ast.Compare | ast.Constant):
                yield value


def _conditions(node: ast.AST) -> Iterable[ast.expr]:
    match node:
        case ast.If(test=test) | ast.While(test=test) | ast.IfExp(test=test):
            return [test]
        case ast.comprehension(ifs=conditions):
            return conditions
        case ast.BoolOp(values=values):
            return values
    return []


def _instead_of(node: ast.expr) -> Iterator[ast.expr]:
    match node:
        case ast.Constant(value=value) if not _is_none(node) and value is not ...:
            yield ast.Constant(_other(value))
        case ast.JoinedStr():
            yield from _without_each(node, "values")
        case ast.Compare(ops=ops):
            for index, operator in enumerate(ops):
                for other in _COMPARISONS[type(operator)]:
                    changed = copy.deepcopy(node)
                    changed.ops[index] = other()
                    yield changed
        case ast.BoolOp(op=operator, values=values):
            other_op = ast.Or() if isinstance(operator, ast.And) else ast.And()
            yield ast.BoolOp(op=other_op, values=values)
        case ast.BinOp(op=arithmetic) if type(arithmetic) in _ARITHMETIC:
            yield ast.BinOp(node.left, _ARITHMETIC[type(arithmetic)](), node.right)
        case ast.Call():
            yield from _without_each(node, "keywords")


def _without_each(node: ast.JoinedStr | ast.Call, field: str) -> Iterator[ast.expr]:
    """The node without one of its parts: a piece of an f-string, a keyword argument."""
    for index in range(len(getattr(node, field))):
        changed = copy.deepcopy(node)
        del getattr(changed, field)[index]
        yield changed


def _other(value: object) -> bool | str | bytes | float:
    match value:
        case bool():
            return not value
        case str():
            return value + "XX"
        case bytes():
            return value + b"XX"
        case int() | float():
            return value + 1
    raise TypeError(f"a constant of the type {type(value).__name__}")


def _not(node: ast.expr) -> ast.expr:
    match node:
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return operand
    return ast.UnaryOp(ast.Not(), node)


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None
