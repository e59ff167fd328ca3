"""Publishing with an evaluation: it must be of this content, and without a stated loss."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from infra.ops.registry.documents import Standing, standing
from infra.ops.registry.evidence import EVALUATION_FIELD, with_evidence
from infra.ops.registry.files import Entry, FileInvalid

PROMPT = Entry(
    entry_id="llm_prompt_1d_report_v1_1",
    document={"schemaVersion": 1, "systemInstruction": "s", "userPrompt": "u"},
    sha256="a" * 64,
)


def results(tmp_path: Path, *, sha256: str = PROMPT.sha256, met: bool | None = False) -> Path:
    variants: list[dict[str, Any]] = [
        {"name": "stored", "prompt": None, "schema": None},
        {"name": "new", "prompt": {"id": PROMPT.entry_id, "sha256": sha256}, "schema": None},
    ]
    conditions = [] if met is None else [{"condition": "valid < -1%", "met": met}]
    path = tmp_path / "evaluation.json"
    path.write_text(json.dumps({"variants": variants, "failIf": conditions}))
    return path


def test_the_document_carries_the_digest_of_the_results(tmp_path: Path) -> None:
    path = results(tmp_path)

    [entry] = with_evidence([PROMPT], path)

    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert entry.document == {**PROMPT.document, EVALUATION_FIELD: digest}
    assert with_evidence([PROMPT], results(tmp_path, met=None))


def test_a_published_document_is_the_same_with_and_without_an_evaluation(
    tmp_path: Path,
) -> None:
    [entry] = with_evidence([PROMPT], results(tmp_path))

    assert standing(entry, PROMPT.document) is Standing.UNCHANGED
    assert standing(PROMPT, entry.document) is Standing.UNCHANGED


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"sha256": "b" * 64}, "does not speak of llm_prompt_1d_report_v1_1"),
        ({"met": True}, "a loss that --fail-if states was found"),
    ],
)
def test_an_evaluation_of_another_content_or_with_a_loss_is_refused(
    tmp_path: Path, change: dict[str, Any], why: str
) -> None:
    with pytest.raises(FileInvalid, match=why):
        with_evidence([PROMPT], results(tmp_path, **change))


@pytest.mark.parametrize("text", ["", "[", "[]", "{}", '{"variants": [{"name": "stored"}]}'])
def test_what_is_no_result_of_an_evaluation_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "evaluation.json"
    path.write_text(text)

    with pytest.raises(FileInvalid, match="holds no results of an evaluation"):
        with_evidence([PROMPT], path)
