"""The mutation check's table names things that exist, and gives reasons for what it excuses."""

import pytest

from tests.mutants.__main__ import REPOSITORY, table
from tests.mutants.mutations import mutants_of

_MODULES = table()


@pytest.mark.parametrize("name", _MODULES)
def test_a_module_of_the_table_and_its_tests_are_there(name: str) -> None:
    checked = _MODULES[name]

    assert checked.tests
    assert [
        file for file in [checked.file, *checked.tests] if not (REPOSITORY / file).is_file()
    ] == []


@pytest.mark.parametrize("name", _MODULES)
def test_a_listed_survivor_is_a_mutant_of_today_with_a_reason(name: str) -> None:
    checked = _MODULES[name]
    source = (REPOSITORY / checked.file).read_text(encoding="utf-8")

    assert checked.survivors.keys() <= {mutant.name for mutant in mutants_of(source)}
    assert [why for why in checked.survivors.values() if len(why.split()) < 5] == []
