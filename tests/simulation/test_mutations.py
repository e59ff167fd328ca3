"""The simulation catches what it is made for: every deliberate breakage, and soon."""

import pytest

from tests.simulation.campaign import BREAKAGES, caught


#: The rarest breakage alone takes more than a minute.
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", BREAKAGES)
def test_the_simulation_catches(name: str) -> None:
    assert caught(name).runs is not None, BREAKAGES[name].what
