"""Everything goes wrong at once, and every step ends as it should, by itself."""

from pathlib import Path

import pytest

from tests.chaos.soak import Trouble, soak


@pytest.mark.emulators
@pytest.mark.timeout(900)
async def test_nothing_is_lost_or_doubled_under_duplicates_kills_and_faults(
    tmp_path: Path,
) -> None:
    toll = await soak(tmp_path, Trouble(steps=60, seed=1), within_seconds=600)

    assert toll.wrong == []
    assert (toll.succeeded, toll.artifacts) == (60, 60)
    assert toll.kills >= 1
    assert toll.model_calls <= toll.allowed_calls
