"""Many things go wrong at once, and every step ends as it should, without help."""

from pathlib import Path

import pytest

from tests.chaos.permanent import Refusal
from tests.chaos.soak import Trouble, soak

STEPS = 60


@pytest.mark.emulators
@pytest.mark.timeout(900)
async def test_every_sound_step_succeeds_and_every_other_one_ends_with_its_code(
    tmp_path: Path,
) -> None:
    trouble = Trouble(steps=STEPS, seed=3, refused=0.1)

    toll = await soak(tmp_path, trouble, within_seconds=600)

    sound = STEPS - toll.refused
    assert toll.wrong == []
    assert (toll.succeeded, toll.artifacts) == (sound, sound)
    assert toll.refused >= len(Refusal)
    assert toll.refused == sum(toll.ended_with.values())
    assert toll.foreign_documents == 3
    assert toll.model_faults >= 1
    assert toll.lost_uploads >= 1
    assert toll.kills >= 1
    assert toll.model_calls <= toll.allowed_calls
