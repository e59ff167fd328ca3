"""A judge of reports: asked in both orders, once, within the ceiling; its bias is told."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from infra.local.gemini import create_app
from infra.local.serving.asgi import serve
from infra.ops.evaluation.cost_forecast import NotPriced
from infra.ops.evaluation.evaluating import prepared
from infra.ops.evaluation.findings.document import results_document
from infra.ops.evaluation.findings.results import Results
from infra.ops.evaluation.findings.verdicts import Judgement, MeasureVerdict
from infra.ops.evaluation.judging.asking import JudgeInvalid
from infra.ops.evaluation.page.rendering import evaluation_page
from infra.ops.evaluation.page.words import judge_lines
from tests.support.evaluated import PHRASE, evaluated, evaluation_of_samples, sample_folder

JUDGE, MODEL = "gemma-4-judge", "gemini-3.5-flash"
CASES = 40
#: Half of the candidate's reports have a price that does not fit the candles.
WORSE = {"contains": PHRASE, "outside_share": 0.5}
CANDIDATE = "llm_prompt_1d_report_v1_1"


def planted(tmp_path: Path, *effects: dict[str, Any]) -> Path:
    path = tmp_path / "effects.json"
    path.write_text(json.dumps(effects))
    return path


def preferred(results: Results) -> MeasureVerdict:
    [found] = results.verdicts.values()
    return next(each for each in found if each.measure.name == "preferred")


async def judged(tmp_path: Path, cases: int, *effects: dict[str, Any]) -> Results:
    folder = sample_folder(tmp_path, cases)
    evaluation = evaluation_of_samples(
        folder, tmp_path / "out", judge=JUDGE, effects=planted(tmp_path, *effects)
    )
    return (await evaluated(evaluation)).results


@pytest.mark.timeout(300)
async def test_a_judge_finds_the_worse_reports_and_is_asked_for_each_pair_twice(
    tmp_path: Path,
) -> None:
    folder = sample_folder(tmp_path, CASES)
    evaluation = evaluation_of_samples(
        folder, tmp_path / "out", judge=JUDGE, effects=planted(tmp_path, WORSE)
    )

    first = await evaluated(evaluation)
    again = await evaluated(evaluation)

    assert first.asked == (2 + 2) * CASES
    assert again.asked == 0
    assert again.results.judged == first.results.judged
    verdict = preferred(first.results)
    assert verdict.finding is Judgement.WORSE
    assert verdict.difference.cases == CASES
    assert 0.1 < verdict.candidate < 0.4
    assert verdict.baseline == pytest.approx(1 - verdict.candidate)
    assert verdict.difference.high < 0
    [line] = judge_lines(first.results)
    assert line.startswith(f"judge {JUDGE}, {CANDIDATE}: 40 of 40 pairs; in 0 it went by")


async def test_a_judge_that_goes_by_the_order_alone_prefers_neither_and_is_told(
    tmp_path: Path,
) -> None:
    results = await judged(tmp_path, 5, WORSE, {"contains": JUDGE, "first_share": 1.0})

    verdict = preferred(results)
    assert (verdict.baseline, verdict.candidate) == (0.5, 0.5)
    assert verdict.finding is Judgement.EQUAL
    told = results_document(results)["judge"]
    assert told["candidates"][CANDIDATE] == {
        "pairs": 5,
        "judged": 5,
        "followsOrder": 5,
        "firstShare": 1.0,
    }
    [line] = judge_lines(results)
    assert "in 5 it went by the order, and the first report won 100 %" in line
    page = evaluation_page(results, "0" * 64)
    assert line in page
    assert page.count("undecided: the first report won in both orders") == 5


async def test_nobody_is_judged_unless_a_judge_is_named(tmp_path: Path) -> None:
    folder = sample_folder(tmp_path, 2)

    ended = await evaluated(evaluation_of_samples(folder, tmp_path / "out"))

    assert ended.asked == 4
    assert ended.results.judged is None
    [found] = ended.results.verdicts.values()
    assert "preferred" not in {each.measure.name for each in found}


async def test_a_judge_of_its_own_reports_is_refused_and_one_of_the_family_is_told(
    tmp_path: Path,
) -> None:
    folder = sample_folder(tmp_path, 2)

    with pytest.raises(JudgeInvalid, match="another family"):
        async with prepared(evaluation_of_samples(folder, tmp_path / "out", judge=MODEL)):
            pass
    relative = evaluation_of_samples(folder, tmp_path / "out", judge="gemini-3.5-pro")
    lines = judge_lines((await evaluated(relative)).results)

    assert lines[-1].startswith(f"judge gemini-3.5-pro: of the family of {MODEL}-001;")


async def test_a_judge_that_the_provider_does_not_have_is_told(tmp_path: Path) -> None:
    folder = sample_folder(tmp_path, 2)
    evaluation = evaluation_of_samples(folder, tmp_path / "out", judge="other-model")

    [line] = judge_lines((await evaluated(evaluation)).results)

    assert "0 of 2 pairs; no verdict on others: LLM_PROFILE_INVALID modelName" in line


async def asked_texts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ceiling: str
) -> tuple[Sequence[str], bool]:
    """What the judge was asked under this ceiling, and whether it stopped for lack of money."""
    folder = tmp_path / "samples"
    if not folder.exists():
        sample_folder(tmp_path, 3)
    app = create_app(latency_seconds=0)
    app.state.calls.keep = True
    async with serve(app, name="Gemini stand-in") as url:
        price = [{"from": "2026-01-01", "input": "0.5", "output": "3"}]
        monkeypatch.setenv("GEMINI_API_KEY", "k")
        monkeypatch.setenv("GEMINI_BASE_URL", url)
        monkeypatch.setenv("MODEL_PRICES", json.dumps({MODEL: price, JUDGE: price}))
        ended = await evaluated(
            evaluation_of_samples(
                folder,
                tmp_path / "out",
                judge=JUDGE,
                max_cost=ceiling,
                calls_per_minute=60_000,
            )
        )
    texts = [call.body.decode() for call in app.state.calls.kept if f"/{JUDGE}:" in call.path]
    return texts, ended.ceiling_reached


async def test_its_calls_are_under_the_same_ceiling_and_no_report_says_who_wrote_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few, ended_by_money = await asked_texts(tmp_path, monkeypatch, "0.12")
    rest, _ = await asked_texts(tmp_path, monkeypatch, "10")

    assert ended_by_money
    assert len(few) < 6
    # Nothing that was answered under the first ceiling is asked again.
    assert len(few) + len(rest) == 6
    assert len({*few, *rest}) == 6
    assert not any(CANDIDATE in text or MODEL in text for text in (*few, *rest))


async def test_a_ceiling_wants_the_judge_s_price_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = sample_folder(tmp_path, 1)
    monkeypatch.setenv("GEMINI_API_KEY", "k")
    price = [{"from": "2026-01-01", "input": "0.5", "output": "3"}]
    monkeypatch.setenv("MODEL_PRICES", json.dumps({MODEL: price}))
    evaluation = evaluation_of_samples(folder, tmp_path / "out", max_cost="5", judge=JUDGE)

    with pytest.raises(NotPriced, match="every model"):
        async with prepared(evaluation):
            pass
