"""Past steps of a running environment: evaluated, and a prompt on trial is watched there."""

import asyncio
import json
import os
import sys
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from infra.local.demo import seed
from infra.local.emulators.finding import Missing, find_emulators
from infra.local.environment import local_environment
from infra.local.gemini import create_app
from infra.local.gemini.effects import Effect
from infra.local.overrides import EnvironmentOverrides
from infra.local.plan import LocalEnvironment
from infra.local.scenario.model import Document, Scenario, SeedObject
from infra.local.scenario.samples import BUCKET, sample_candidate, sample_registry, sample_runs
from infra.local.serving.asgi import serve
from shared.domain.documents import DocumentRef
from tests.support.evaluated import CANDIDATE, PHRASE

#: The fewest steps on which the sequential test can decide, and two more.
RUNS = 20
STEP_ID = "llm_report_1d"
CONTROL, CANARY = "llm_prompt_1d_report_v1_0", "llm_prompt_1d_report_v1_1"
ENDED = {"SUCCEEDED", "FAILED"}
SECONDS = 10.0
PATIENCE_SECONDS = 240.0
pytestmark = [pytest.mark.emulators, pytest.mark.timeout(600)]


def half_on_trial() -> Scenario:
    """Sample runs, every other one with the prompt on trial."""
    runs: dict[str, Document] = {}
    objects: list[SeedObject] = []
    for number, run in enumerate(sample_runs(RUNS, drawn=False)):
        document = deepcopy(dict(run.document))
        document["steps"][STEP_ID]["inputs"]["llm"]["promptId"] = (CONTROL, CANARY)[number % 2]
        runs[document["runId"]] = document
        objects += run.objects
    registry = {Path(path).stem: item for path, item in sample_registry().items()}
    return Scenario(
        objects=objects,
        prompts={CONTROL: registry[CONTROL], CANARY: sample_candidate()[CANDIDATE]},
        schemas={name: item for name, item in registry.items() if "_schema_" in name},
        runs=runs,
        expectations=(),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """An environment in which all steps have ended, and the stand-in that served them."""

    environment: LocalEnvironment
    data_dir: Path
    gemini_url: str

    async def runs(self) -> Mapping[str, Document]:
        """The runs by id, as they are now."""
        return await stored(self.environment)

    async def command(self, *arguments: str) -> tuple[int, Any]:
        """Run `worker-llm eval …`: its exit code, and the JSON that it prints."""
        where = ("--local", "--data-dir", str(self.data_dir))
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "infra.ops.main", "eval", *arguments, *where, "--json"),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "NO_COLOR": "1"},
        )
        output, errors = await process.communicate()
        assert output, errors.decode()
        return process.returncode or 0, json.loads(output)


async def stored(environment: LocalEnvironment) -> Mapping[str, Document]:
    ids = [run.document["runId"] for run in sample_runs(RUNS, drawn=False)]
    refs = [DocumentRef("flow_runs", run_id) for run_id in ids]
    found = await environment.documents.read(refs, timeout_seconds=SECONDS)
    return {run_id: dict(each.data) for run_id, each in zip(ids, found, strict=True) if each}


@asynccontextmanager
async def ended_site(data_dir: Path) -> AsyncIterator[Site]:
    """An ended environment; the candidate's answers break the schema, even when repaired."""
    found = find_emulators(os.environ, Path.home())
    if isinstance(found, Missing) and not os.environ.get("CI"):
        pytest.skip("; ".join(found.reasons))
    app = create_app(latency_seconds=0.0, effects=[Effect(contains=PHRASE, invalid_share=1.0)])
    async with (
        serve(app, name="Gemini stand-in") as url,
        local_environment(
            embedded=False,
            data_dir=data_dir,
            say=print,
            gemini_url=url,
            tuning=EnvironmentOverrides(settings={"CONTEXT_BUCKETS": BUCKET}),
        ) as environment,
    ):
        await seed(environment, half_on_trial())
        async with asyncio.timeout(PATIENCE_SECONDS):
            left = RUNS
            while left:
                await asyncio.sleep(0.5)
                runs = (await stored(environment)).values()
                left = sum(run["steps"][STEP_ID]["status"] not in ENDED for run in runs)
        yield Site(environment=environment, data_dir=data_dir, gemini_url=url)


async def test_past_steps_are_evaluated_and_a_prompt_on_trial_is_stopped(
    tmp_path: Path,
) -> None:
    candidate = tmp_path / f"{CANARY}.json"
    candidate.write_text(json.dumps(sample_candidate()[CANDIDATE]))
    async with ended_site(tmp_path / "data") as site:
        before = await site.runs()
        watched = await site.command("watch", "--control", CONTROL, "--canary", CANARY)
        touched = min(before)
        [candles] = (site.environment.objects.root / BUCKET / touched).rglob("ohlcv*.json")
        candles.write_bytes(candles.read_bytes().replace(b'"volume":', b'"Volume":', 1))
        evaluated = await site.command(
            *("run", "--variant", "stored", "--variant", str(candidate)),
            *("--out", str(tmp_path / "out"), "--sample", "100", "--seed", "3"),
        )
        after = await site.runs()

    assert Counter(
        (run["steps"][STEP_ID]["inputs"]["llm"]["promptId"], run["steps"][STEP_ID]["status"])
        for run in before.values()
    ) == {(CONTROL, "SUCCEEDED"): RUNS // 2, (CANARY, "FAILED"): RUNS // 2}
    code, look = watched
    assert (code, look["decision"]) == (1, "stop")
    assert look["control"] == {"good": RUNS // 2, "ended": RUNS // 2}
    assert look["canary"] == {"good": 0, "ended": RUNS // 2}
    code, summary = evaluated
    assert code == 0, summary
    assert set(summary["excluded"]) == {f"{touched}~{STEP_ID}"}
    assert summary["cases"] == RUNS - 1
    # Nothing of the environment was written.
    assert after == before
