"""Variants: what the options name, and how a variant changes a case."""

import json
from pathlib import Path
from typing import Any

import pytest

from infra.local.scenario.samples import sample_registry, sample_runs
from infra.ops.evaluation.asking.variants import VariantInvalid, asked_by, read_variant
from infra.ops.evaluation.cases.case import Case, prompt_ref, schema_ref
from infra.ops.registry.files import FileInvalid

PROMPT, SCHEMA = "llm_prompt_1d_report_v1_0", "llm_schema_1d_report_technical_v1_0"
NEW_PROMPT = "llm_prompt_1d_report_v2_0"
TEXTS = {"schemaVersion": 1, "systemInstruction": "s", "userPrompt": "u"}


def case() -> Case:
    [sample] = sample_runs(1, drawn=False)
    registry = sample_registry()
    return Case(
        run_id=sample.document["runId"],
        step_id="llm_report_1d",
        run=sample.document,
        prompt=registry[f"llm_prompts/{PROMPT}.json"],
        schema=registry[f"llm_schemas/{SCHEMA}.json"],
        sources=[],
        stored=None,
    )


def llm_of(run: Any) -> dict[str, Any]:
    found: dict[str, Any] = run["steps"]["llm_report_1d"]["inputs"]["llm"]
    return found


def test_current_asks_what_was_asked() -> None:
    asked = asked_by(read_variant("current"), case())

    assert llm_of(asked.run) == case().llm
    assert set(asked.registry) == {prompt_ref(PROMPT), schema_ref(SCHEMA)}


def test_a_prompt_file_replaces_the_prompt_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / f"{NEW_PROMPT}.json"
    path.write_text(json.dumps(TEXTS))

    variant = read_variant(str(path))
    asked = asked_by(variant, case())

    assert variant.name == NEW_PROMPT
    assert llm_of(asked.run) == {**case().llm, "promptId": NEW_PROMPT}
    assert asked.registry[prompt_ref(NEW_PROMPT)] == TEXTS


def test_a_description_changes_fields_of_the_profile_and_takes_fields_away(
    tmp_path: Path,
) -> None:
    path = tmp_path / "cold.json"
    path.write_text('{"llmProfile": {"modelName": "gemini-y", "temperature": null, "topP": 1}}')

    variant = read_variant(f"other={path}")
    profile = llm_of(asked_by(variant, case()).run)["llmProfile"]

    assert variant.name == "other"
    assert (profile["modelName"], profile["topP"]) == ("gemini-y", 1)
    assert "temperature" not in profile
    assert profile["structuredOutput"] == case().llm["llmProfile"]["structuredOutput"]


def test_a_schema_comes_with_its_own_id_and_hash(tmp_path: Path) -> None:
    new = "llm_schema_1d_report_technical_v1_1"
    schema = case().schema
    assert schema is not None
    path = tmp_path / f"{new}.json"
    path.write_text(json.dumps(schema["jsonSchema"]))

    asked = asked_by(read_variant(str(path)), case())
    structured = llm_of(asked.run)["llmProfile"]["structuredOutput"]

    assert structured == {
        "schemaId": new,
        "schemaSha256": schema["sha256"],
        "kind": "LLM_REPORT_OUTPUT",
    }
    assert asked.registry[schema_ref(new)]["jsonSchema"] == schema["jsonSchema"]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[", "JSON"),
        ("[]", "a variant has llmProfile, prompt, schema"),
        ('{"speed": 1}', "a variant has"),
        ('{"llmProfile": 7}', "llmProfile must be an object"),
        ('{"prompt": 7}', "are paths of files"),
    ],
)
def test_another_description_is_refused(tmp_path: Path, text: str, why: str) -> None:
    path = tmp_path / "v.json"
    path.write_text(text)

    with pytest.raises((VariantInvalid, FileInvalid), match=why):
        read_variant(str(path))


def test_what_is_no_file_is_refused_with_the_names_that_are_known() -> None:
    with pytest.raises(VariantInvalid, match="neither stored nor current nor a file"):
        read_variant("staging")
