"""`worker-llm run`: what was paid for is kept, never overwritten, and never paid again."""

import asyncio
import json
import os
import stat
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from infra.local.gemini import create_app
from infra.local.gemini.faults import FaultKind, FaultRule
from infra.local.scenario import prompt_documents, prompt_id, schema_documents
from infra.local.scenario.single import single_report_run
from infra.local.serving.asgi import serve
from infra.ops.evaluation.trial import ReportThere, Trial, Tried, tried

RUN_ID, STEP = "20260105-090000_ETHUSD_try", "llm_report_1d"
REPORT = f"{RUN_ID}/1d/{STEP}.json"


class Model:
    """A stand-in that counts its requests, and is asked as the real model is."""

    def __init__(self, app: Any) -> None:
        self.app = app

    @property
    def asked(self) -> int:
        """How many requests there were so far."""
        return int(self.app.state.calls.received.total())

    async def asked_times(self, times: int) -> None:
        """Wait until this many requests have come."""
        async with asyncio.timeout(60):
            while self.asked < times:  # noqa: ASYNC110 - another task's counter
                await asyncio.sleep(0.02)


@pytest_asyncio.fixture
async def model(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Model]:
    app = create_app(latency_seconds=0)
    async with serve(app, name="Gemini stand-in") as url:
        monkeypatch.setenv("GEMINI_API_KEY", "k")
        monkeypatch.setenv("GEMINI_BASE_URL", url)
        yield Model(app)


def laid_out(tmp_path: Path, *, bucket: str = "inputs", steps: int = 1) -> Path:
    """A folder with a run of this many reports, each of which builds on the one before."""
    document, objects = single_report_run(bucket=bucket, run_id=RUN_ID)
    for number in range(2, steps + 1):
        before = STEP if number == 2 else f"{STEP}_{number - 1}"
        step = json.loads(json.dumps(document["steps"][STEP]))
        step["dependsOn"].append(before)
        step["inputs"]["previousReportStepIds"] = [before]
        document["steps"][f"{STEP}_{number}"] = step
    folder = tmp_path / "trial"
    files: dict[str, bytes] = {"run.json": json.dumps(document).encode()}
    for kind, documents in (
        ("llm_prompts", prompt_documents()),
        ("llm_schemas", schema_documents()),
    ):
        files |= {f"{kind}/{n}.json": json.dumps(d).encode() for n, d in documents.items()}
    files |= {f"objects/{item.bucket}/{item.name}": item.data for item in objects}
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


async def run_in(folder: Path, out: Path) -> Tried:
    return await tried(
        Trial(
            flow_run=folder / "run.json",
            registry=folder,
            objects=folder / "objects",
            out=out,
            backend=None,
        )
    )


def content(folder: Path) -> Mapping[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


async def test_the_same_inputs_are_answered_once_and_the_second_try_says_so(
    tmp_path: Path, model: Model
) -> None:
    folder, out = laid_out(tmp_path), tmp_path / "reports"

    first = await run_in(folder, out)
    report = (out / REPORT).read_bytes()
    second = await run_in(folder, out)

    assert model.asked == 1
    assert [each.reused for each in (*first.ends, *second.ends)] == [False, True]
    assert (out / REPORT).read_bytes() == report
    assert second.ends[0].report == out / REPORT


async def test_a_changed_prompt_is_refused_before_it_is_asked_and_the_report_stays(
    tmp_path: Path, model: Model
) -> None:
    folder, out = laid_out(tmp_path), tmp_path / "reports"
    await run_in(folder, out)
    report = (out / REPORT).read_bytes()
    prompt = folder / f"llm_prompts/{prompt_id('1d')}.json"
    changed = {**json.loads(prompt.read_text()), "userPrompt": "Be brief."}
    prompt.write_text(json.dumps(changed))

    with pytest.raises(ReportThere, match="is not overwritten: give another --out"):
        await run_in(folder, out)
    assert model.asked == 1
    assert (out / REPORT).read_bytes() == report

    elsewhere = await run_in(folder, tmp_path / "other")
    assert model.asked == 2
    assert elsewhere.ends[0].report is not None


async def test_a_report_among_the_sources_is_neither_taken_nor_touched_nor_copied(
    tmp_path: Path, model: Model
) -> None:
    folder, out = laid_out(tmp_path, bucket="local-artifacts"), tmp_path / "reports"
    sources = folder / "objects/local-artifacts"
    for name in (REPORT, "20250101-000000_OTHER_run/1d/llm_report_1d.json"):
        (sources / name).parent.mkdir(parents=True, exist_ok=True)
        (sources / name).write_text('{"an": "earlier report"}')
    before = content(folder)

    came = await run_in(folder, out)

    assert model.asked == 1
    assert not came.ends[0].reused
    assert content(folder) == before
    visible = {name for name in content(out) if not name.startswith(".")}
    assert visible == {REPORT}


async def test_a_folder_that_cannot_be_written_is_found_before_anything_is_asked(
    tmp_path: Path, model: Model
) -> None:
    folder, out = laid_out(tmp_path), tmp_path / "reports"
    out.touch()

    with pytest.raises(OSError, match="reports"):
        await run_in(folder, out)
    out.unlink()
    # A folder stands in the report's own place: that is not writable either, but lies deeper.
    (out / RUN_ID).mkdir(parents=True)
    (out / RUN_ID / "1d").touch()
    with pytest.raises(OSError, match="1d"):
        await run_in(folder, out)
    if os.geteuid():
        (out / RUN_ID / "1d").unlink()
        (out / RUN_ID).chmod(stat.S_IRUSR | stat.S_IXUSR)
        with pytest.raises(PermissionError):
            await run_in(folder, out)
    assert model.asked == 0


async def test_of_three_steps_two_reports_stand_when_the_third_is_broken_off(
    tmp_path: Path, model: Model
) -> None:
    folder, out = laid_out(tmp_path, steps=3), tmp_path / "reports"
    model.app.state.faults.add(
        [
            FaultRule(kind=FaultKind.NONE),
            FaultRule(kind=FaultKind.NONE),
            FaultRule(kind=FaultKind.HANG),
        ]
    )
    running = asyncio.create_task(run_in(folder, out))
    await model.asked_times(3)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    written = {name for name in content(out) if not name.startswith(".")}
    assert written == {REPORT, REPORT.replace(STEP, f"{STEP}_2")}

    # Nothing is paid twice: the third call may have been paid, so its author decides.
    again = await run_in(folder, out)
    assert [each.reused for each in again.ends] == [True, True, False]
    assert again.ends[2].answer is not None
    assert again.ends[2].answer.error_code == "CALL_OUTCOME_UNKNOWN"
    assert model.asked == 3


async def test_a_later_step_is_given_the_report_of_the_one_before(
    tmp_path: Path, model: Model
) -> None:
    folder, out = laid_out(tmp_path, steps=2), tmp_path / "reports"
    model.app.state.calls.keep = True

    came = await run_in(folder, out)

    assert [each.report is not None for each in came.ends] == [True, True]
    second = json.loads(model.app.state.calls.kept[-1].body)
    text = json.dumps(second)
    assert f"Previous Report ({STEP}" in text
    assert f"gs://local-artifacts/{REPORT}" in text
