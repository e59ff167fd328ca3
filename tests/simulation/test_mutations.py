"""The simulation catches what it is for: every deliberate breakage, soon."""

import pytest

from tests.simulation.campaign import BREAKAGES, caught


#: The rarest takes more than a minute alone.
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", BREAKAGES)
def test_the_simulation_catches(name: str) -> None:
    assert caught(name).runs is not None, BREAKAGES[name].what
