"""The simulation catches what it is for: every deliberate breakage, soon."""

import pytest

from tests.simulation.campaign import caught
from tests.simulation.mutations import MUTATIONS


@pytest.mark.parametrize("name", MUTATIONS)
def test_the_simulation_catches(name: str) -> None:
    assert caught(name).runs is not None, MUTATIONS[name].what
