"""Which changes are made to a module, and what is made of those that survive."""

import pytest

from tests.mutants.__main__ import Checked, verdict
from tests.mutants.mutations import mutants_of
from tests.mutants.running import Outcome


def bodies(statement: str, *, returns: str = "int") -> list[str]:
    """The function's body in each mutant, on one line."""
    source = f"def f() -> {returns}:\n    {statement}\n"
    mutants = [mutant.source.splitlines()[1:] for mutant in mutants_of(source)]
    return ["; ".join(line.strip() for line in lines) for lines in mutants]


@pytest.mark.parametrize(
    ("statement", "mutants"),
    [
        ("x(a < b)", ["pass", "x((a <= b))", "x((a >= b))"]),
        ("x(a is not b)", ["pass", "x((a is b))"]),
        ("x(a in b)", ["pass", "x((a not in b))"]),
        ("x(a and b)", ["pass", "x((a or b))", "x((not a) and b)", "x(a and (not b))"]),
        ("x(1 if a else b)", ["pass", "x(1 if (not a) else b)", "x((2) if a else b)"]),
        ("x(1 if not a else b)", ["pass", "x(1 if (a) else b)", "x((2) if not a else b)"]),
        ("x(a + b)", ["pass", "x((a - b))"]),
        (
            "x(True, 7, 0.5)",
            ["pass", "x((False), 7, 0.5)", "x(True, (8), 0.5)", "x(True, 7, (1.5))"],
        ),
        ("x('a', b'a', None)", ["pass", "x(('aXX'), b'a', None)", "x('a', (b'aXX'), None)"]),
        ("x(f'{a}b')", ["pass", "x((f'b'))", "x((f'{a}'))"]),
        ("x(a=b, c=d)", ["pass", "(x(c=d))", "(x(a=b))"]),
        ("return a", ["return None"]),
        ("return None", []),
        ("raise a", ["pass"]),
        ("del a", ["pass"]),
        ("a = b", ["pass"]),
        ("a += b", ["pass"]),
        ("if a: x", ["pass", "if (not a): x", "if a: pass"]),
        ("a: int = b", ["pass"]),
        ("[a for a in b if c]", ["pass", "[a for a in b if (not c)]"]),
    ],
)
def test_a_statement_has_these_mutants(statement: str, mutants: list[str]) -> None:
    assert bodies(statement) == mutants


def test_a_yes_or_no_is_turned_round() -> None:
    assert bodies("return any(a)", returns="bool") == ["return (not any(a))", "return None"]


@pytest.mark.parametrize(
    "source",
    [
        "import a",
        "from a import b",
        "A: TypeAlias = 'B'",
        "A = TypeVar('A')",
        "A = NewType('A', int)",
        '"""Text."""',
        '@a(b=True)\ndef f(x: \'A\') -> \'B\':\n    """Text."""\n',
        "class A(B):\n    x: int\n    y = None\n",
    ],
)
def test_what_no_test_could_notice_is_kept(source: str) -> None:
    assert mutants_of(source) == []


def test_a_table_outside_of_functions_has_mutants_too() -> None:
    [mutant] = mutants_of("# é\n_TABLE = {\n    'required': None,  # é\n}\n")

    assert mutant.name == "_TABLE: 'required' -> 'requiredXX'"
    assert mutant.line == 3
    assert mutant.source == "# é\n_TABLE = {\n    ('requiredXX'): None,  # é\n}\n"


def test_a_name_tells_the_place_and_the_change_and_is_given_once() -> None:
    source = "class A:\n    def f(self):\n        x(1, b=2)\n        x(1)\n"

    assert [mutant.name for mutant in mutants_of(source)] == [
        "A.f: x(1, b=2) -> pass",
        "A.f: x(…) without b",
        "A.f: 1 -> 2",
        "A.f: 2 -> 3",
        "A.f: x(1) -> pass",
        "A.f: 1 -> 2 #2",
    ]


def test_every_mutant_is_a_module_of_its_own() -> None:
    source = "def f(a):\n    if a:\n        return [\n            1,\n        ]\n    raise a\n"
    mutants = mutants_of(source)

    for mutant in mutants:
        compile(mutant.source, "mutant", "exec")
    assert len({mutant.source for mutant in mutants} | {source}) == len(mutants) + 1


MUTANTS = mutants_of("def f(a):\n    return a + 1\n")
RETURN, SUM, ONE = [mutant.name for mutant in MUTANTS]


def test_a_survivor_must_be_listed_and_a_listed_one_must_survive() -> None:
    listed = {ONE: "a reason", "f: gone -> pass": "a reason", RETURN: "a reason"}
    checked = Checked(module="m", tests=[], survivors=listed)
    found = {RETURN: Outcome.KILLED, SUM: Outcome.SURVIVED, ONE: Outcome.SURVIVED}

    told = verdict(checked, MUTANTS, found)

    assert [mutant.name for mutant in told.unlisted] == [SUM]
    assert told.stale == sorted([RETURN, "f: gone -> pass"])
    assert not told.good


def test_a_mutant_without_an_end_was_noticed() -> None:
    found = dict.fromkeys([RETURN, SUM, ONE], Outcome.TIMED_OUT)

    assert verdict(Checked(module="m", tests=[], survivors={}), MUTANTS, found).good
