"""The profile is closed: what it may hold, and how it reports what it may not hold."""

from typing import Any

import pytest

from executor.contract.profile import ThinkingLevel, parse_profile
from shared.domain.errors import ErrorCode, LlmProfileInvalid

STRUCTURED = {"schemaId": "llm_schema_1m_report_v1_0", "kind": "LLM_REPORT_OUTPUT"}
LEAST = {"modelName": "gemini-a", "structuredOutput": STRUCTURED}


def test_every_field_of_the_contract_is_taken() -> None:
    parsed = parse_profile(
        {
            "modelName": "gemini-a",
            "temperature": 0,
            "topP": 0.95,
            "topK": 40,
            "maxOutputTokens": 8192,
            "stopSequences": ["END"],
            "candidateCount": 1,
            "responseMimeType": "application/json",
            "structuredOutput": {**STRUCTURED, "schemaSha256": "0" * 64},
            "thinkingConfig": {"includeThoughts": False, "thinkingLevel": "HIGH"},
        }
    )

    assert parsed.model_name == "gemini-a"
    assert parsed.thinking_config is not None
    assert parsed.thinking_config.thinking_level is ThinkingLevel.HIGH


def test_a_thinking_level_may_be_written_as_the_documentation_does() -> None:
    parsed = parse_profile({**LEAST, "thinkingConfig": {"thinkingLevel": "low"}})

    assert parsed.thinking_config is not None
    assert parsed.thinking_config.thinking_level is ThinkingLevel.LOW


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"seed": 1}, "llmProfile.seed: Extra inputs"),
        ({"model_name": "x"}, "llmProfile.model_name: Extra inputs"),
        ({"inline_schema": {}}, "llmProfile.inline_schema: Extra inputs"),
        ({"thinkingConfig": {"thinkingBudget": 1}}, "thinkingConfig.thinkingBudget: Extra"),
        ({"thinkingConfig": {"thinkingLevel": "LOUD"}}, "thinkingConfig.thinkingLevel: "),
        ({"temperature": 2.5}, "llmProfile.temperature: "),
        ({"temperature": float("nan")}, "llmProfile.temperature: "),
        ({"temperature": True}, "llmProfile.temperature: "),
        ({"topK": 10**400}, "llmProfile.topK: "),
        ({"maxOutputTokens": "8192"}, "llmProfile.maxOutputTokens: "),
        ({"maxOutputTokens": 2**31}, "llmProfile.maxOutputTokens: "),
        ({"candidateCount": 2}, "llmProfile.candidateCount: "),
        ({"stopSequences": ["x"] * 6}, "llmProfile.stopSequences: "),
        ({"stopSequences": [""]}, "llmProfile.stopSequences.0: "),
        ({"responseMimeType": "text/plain"}, "llmProfile.responseMimeType: "),
        ({"structuredOutput": {**STRUCTURED, "kind": "OTHER"}}, "structuredOutput.kind: "),
        ({"structuredOutput": {**STRUCTURED, "schemaId": "x"}}, "structuredOutput.schemaId: "),
        (
            {"structuredOutput": {**STRUCTURED, "schemaSha256": "A" * 64}},
            "structuredOutput.schemaSha256: ",
        ),
        ({"jsonSchema": {}}, "and not both"),
        ({"structuredOutput": None}, "give structuredOutput"),
        ({"model": "gemini-b"}, "model and modelName differ"),
    ],
    ids=lambda value: str(value)[:40] if isinstance(value, str) else "",
)
def test_anything_else_is_refused_with_its_path(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(LlmProfileInvalid) as caught:
        parse_profile({**LEAST, **fields})

    assert caught.value.code is ErrorCode.LLM_PROFILE_INVALID
    assert message in caught.value.message


@pytest.mark.parametrize("data", [None, [], "gemini-a", 1])
def test_a_profile_that_is_no_object_is_refused(data: object) -> None:
    with pytest.raises(LlmProfileInvalid, match=r"inputs\.llm\.llmProfile"):
        parse_profile(data)


def test_the_deprecated_names_mean_the_same() -> None:
    inline = {"type": "object"}

    old = parse_profile({"model": "gemini-a", "responseSchema": inline})

    assert old == parse_profile({"modelName": "gemini-a", "jsonSchema": inline})


def test_a_refusal_never_quotes_a_value() -> None:
    with pytest.raises(LlmProfileInvalid) as caught:
        parse_profile({**LEAST, "modelName": "canary of the user", "stopSequences": "canary"})

    assert "canary" not in caught.value.message
