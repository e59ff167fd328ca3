"""How often the functions call Firestore, counted on the wire."""

import asyncio
import tempfile
from collections.abc import Mapping
from pathlib import Path

from infra.local.environment import local_environment
from infra.local.gemini import create_app as create_gemini
from infra.local.local_functions import BUCKET
from infra.local.scenario.prompts import prompt_documents
from infra.local.scenario.schemas import schema_documents
from infra.local.scenario.single import single_report_run
from infra.local.serve import serve
from infra.local.tuning import Instruments, Tuning
from shared.domain.documents import Create, DocumentRef
from shared.ports import DocumentStore

_SECONDS = 120.0
_RUNS = 10
_STEPS = 5


def measure_calls() -> Mapping[str, float]:
    """Calls a step by what they are for; runs of one step first, then of several at once."""
    with tempfile.TemporaryDirectory() as root:
        return asyncio.run(_measured(Path(root)))


async def _measured(root: Path) -> Mapping[str, float]:
    # Longer than any step here takes: renewals are left aside.
    tuning = Tuning(settings={"LEASE_SECONDS": "600"})
    async with (
        serve(create_gemini(latency_seconds=0.05), name="stand-in") as url,
        local_environment(
            embedded=False, data_dir=root, say=print, gemini_url=url, tuning=tuning
        ) as environment,
    ):
        documents, instruments = environment.documents, environment.instruments
        assert instruments is not None
        registry = [("llm_prompts", prompt_documents()), ("llm_schemas", schema_documents())]
        writes = [
            Create(ref=DocumentRef(collection, name), data=data)
            for collection, found in registry
            for name, data in found.items()
        ]
        await documents.commit(writes, timeout_seconds=_SECONDS)

        async def run(number: int, steps: int) -> None:
            run_id = f"20260105-090000_BTCUSD_{number:06x}"
            document, objects = single_report_run(bucket=BUCKET, run_id=run_id)
            for item in objects:
                environment.objects.write(item.bucket, item.name, item.data)
            report = document["steps"].pop("llm_report_1d")
            document["steps"].update({f"report_{n}": report for n in range(steps)})
            ref = DocumentRef("flow_runs", run_id)
            await documents.commit([Create(ref=ref, data=document)], timeout_seconds=_SECONDS)
            await _ended(documents, ref, steps)
            # What our own last write causes is delivered too.
            await instruments.relay.idle()

        before = _counts(instruments)
        for number in range(_RUNS):
            await run(number, 1)
        single = _counts(instruments)
        for number in range(_RUNS, 2 * _RUNS):
            await run(number, _STEPS)
        several = _counts(instruments)
    one = {name: (single[name] - before.get(name, 0)) / _RUNS for name in single}
    many = {name: (several[name] - single[name]) / (_RUNS * _STEPS) for name in several}
    return {
        "step": sum(one.values()),
        "own event": one["dispatcher"] - 1,
        "dispatcher, a step alone in its run": one["dispatcher"],
        "executor, a step alone in its run": one["executor"],
        f"dispatcher, a step of {_STEPS} at once": many["dispatcher"],
        f"executor, a step of {_STEPS} at once": many["executor"],
    }


def _counts(instruments: Instruments) -> dict[str, int]:
    return {name: proxy.total_calls for name, proxy in instruments.firestore.items()}


async def _ended(documents: DocumentStore, ref: DocumentRef, steps: int) -> None:
    async with asyncio.timeout(_SECONDS):
        while True:
            [found] = await documents.read([ref], timeout_seconds=_SECONDS)
            reports = [
                step
                for name, step in (found.data if found else {})["steps"].items()
                if name.startswith("report_")
            ]
            if sum(step["status"] == "SUCCEEDED" for step in reports) == steps:
                return
            await asyncio.sleep(0.05)
