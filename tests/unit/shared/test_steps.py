"""The moves of a step, all of them."""

import pytest

from shared.domain.steps import TRANSITIONS, IllegalMove, StepMove, StepStatus, advance_step

LEGAL = {
    (StepStatus.READY, StepMove.CLAIM): StepStatus.RUNNING,
    (StepStatus.RUNNING, StepMove.SUCCEED): StepStatus.SUCCEEDED,
    (StepStatus.RUNNING, StepMove.FAIL): StepStatus.FAILED,
}


@pytest.mark.parametrize("status", list(StepStatus))
@pytest.mark.parametrize("move", list(StepMove))
def test_the_worker_moves_ready_to_running_to_an_end_and_nothing_else(
    status: StepStatus, move: StepMove
) -> None:
    if (status, move) in LEGAL:
        assert advance_step(status, move) is LEGAL[status, move]
    else:
        with pytest.raises(IllegalMove, match=f"a {status} step cannot {move}"):
            advance_step(status, move)


def test_every_status_has_its_row() -> None:
    assert set(TRANSITIONS) == set(StepStatus)
