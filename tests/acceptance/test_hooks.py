"""Hooks with the real processes: the provider's webhook ends a step that nobody waits for."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from infra.local.gemini.faults import Asked, FaultKind, FaultRule
from shared.domain.jobs import JobState
from tests.chaos.site import ChaosSite, chaos_site, run_ids

pytestmark = pytest.mark.emulators

#: The sweep would wake the job as well, so no sweep comes while a test runs.
NEVER_SECONDS = 3_600.0
PATIENCE_SECONDS = 90.0
#: The way in which each step's hook comes.
HOOKS = {
    "sound": FaultKind.NONE,
    "doubled": FaultKind.HOOK_DOUBLED,
    "late": FaultKind.HOOK_LATE,
}


def entries(site: ChaosSite, function: str) -> Sequence[dict[str, Any]]:
    text = (site.environment.log_folder / f"{function}.log").read_text()
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


async def test_a_step_ends_by_its_hook_in_two_invocations_without_any_sweep(
    tmp_path: Path,
) -> None:
    async with chaos_site(
        tmp_path, announced=True, sweep_every_seconds=NEVER_SECONDS, latency_seconds=3.0
    ) as site:
        site.gemini.state.faults.add(
            FaultRule(kind=kind, at=Asked.HOOK) for kind in HOOKS.values()
        )
        steps = await site.seed(run_ids(len(HOOKS)))
        ended = await site.all_ended(steps, within_seconds=PATIENCE_SECONDS)
        leases = Counter(
            entry["runId"]
            for entry in entries(site, "executor")
            if entry["event"] == "lease_acquired"
        )
        hooks = Counter(entry["event"] for entry in entries(site, "notify"))
        reads = site.instruments.firestore["notify"].total_calls
        answered = site.gemini.state.calls.answered.total()

    assert {each.status for each in ended} == {"SUCCEEDED"}
    assert {each.job.state for each in ended} == {JobState.SUCCEEDED}
    assert answered == len(HOOKS)
    assert leases == dict.fromkeys(run_ids(len(HOOKS)), 2)
    # A hook that comes twice may find the work of its first copy done, or in progress.
    assert hooks["hook_received"] in {len(HOOKS), len(HOOKS) + 1}
    assert hooks["hook_rejected"] == 0
    assert reads == 0
