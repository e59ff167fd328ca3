"""Outages of the services around the worker while it works: everything still ends."""

import asyncio
import os
import signal
from pathlib import Path

import pytest

from infra.local.emulators.pubsub import create_topics
from infra.local.gemini.faults import FaultKind, FaultRule
from infra.local.processes.children import ChildProcess
from tests.chaos.site import ChaosSite, chaos_site, run_ids

pytestmark = [pytest.mark.emulators, pytest.mark.timeout(600)]

PATIENCE_SECONDS = 240.0
STEPS = 12


def emulator(site: ChaosSite, name: str) -> ChildProcess:
    """The emulator of this name."""
    return next(each for each in site.instruments.emulators if each.name == name)


async def restart_pubsub(site: ChaosSite) -> None:
    """Restart Pub/Sub, which forgets all, and make the same topics and subscriptions again."""
    await emulator(site, "pubsub-emulator").restart()
    addresses = site.environment.addresses
    await create_topics(
        addresses["Pub/Sub emulator"],
        site.environment.project,
        push_url=addresses["pushes"],
    )


async def test_messages_that_pubsub_forgot_are_published_again(tmp_path: Path) -> None:
    async with chaos_site(tmp_path, latency_seconds=1.0) as site:
        steps = await site.seed(run_ids(STEPS))
        await asyncio.sleep(2)
        await restart_pubsub(site)
        ended = await site.all_ended(steps, within_seconds=PATIENCE_SECONDS)

        assert {each.status for each in ended} == {"SUCCEEDED"}
        assert len(site.artifacts()) == STEPS
        assert site.model_calls <= STEPS + 2, "two pushes can be under way"


async def test_a_database_that_does_not_answer_for_a_while_costs_time_alone(
    tmp_path: Path,
) -> None:
    async with chaos_site(tmp_path) as site:
        process = emulator(site, "firestore-emulator")
        steps = await site.seed(run_ids(STEPS))
        os.killpg(process.pid, signal.SIGSTOP)
        await asyncio.sleep(8)
        os.killpg(process.pid, signal.SIGCONT)
        ended = await site.all_ended(steps, within_seconds=PATIENCE_SECONDS)

        assert {each.status for each in ended} == {"SUCCEEDED"}
        assert len(site.artifacts()) == STEPS


async def test_a_call_that_outlives_the_acknowledgement_deadline_is_made_once(
    tmp_path: Path,
) -> None:
    async with chaos_site(tmp_path, latency_seconds=14.0, ack_deadline_seconds=10) as site:
        steps = await site.seed(run_ids(1))
        [ended] = await site.all_ended(steps, within_seconds=PATIENCE_SECONDS)
        log = (site.environment.log_folder / "executor.log").read_text()

        assert ended.status == "SUCCEEDED"
        assert (site.model_calls, ended.job.attempt) == (1, 1)
        assert '"reason":"lease_held"' in log, "no copy came while the first was at work"
        assert await site.dead_letters() == 0


async def test_a_model_that_hangs_is_given_up_and_asked_again(tmp_path: Path) -> None:
    settings = {
        "GEMINI_TIMEOUT_SECONDS": "3",
        "FINALIZE_BUDGET_SECONDS": "3",
        "INVOCATION_TIMEOUT_SECONDS": "8",
    }
    async with chaos_site(tmp_path, settings=settings) as site:
        site.gemini.state.faults.add([FaultRule(kind=FaultKind.HANG, times=2)])
        steps = await site.seed(run_ids(1))
        [ended] = await site.all_ended(steps, within_seconds=PATIENCE_SECONDS)

        assert ended.status == "SUCCEEDED"
        assert site.model_calls == ended.job.llm_calls == 3
