"""Which models may be called, and how much output may be asked for."""

from datetime import date, timedelta
from typing import Any

import pytest

from executor.contract.profile import LlmProfile, parse_profile
from executor.contract.tiers import ServiceTier
from executor.inputs.allowlist import WARN_BEFORE, check_api, check_profile, check_tier
from executor.settings import GeminiApi, read_settings
from shared.domain.errors import LlmProfileInvalid
from shared.settings import SettingsInvalid

LAST_DAY = date(2026, 12, 1)
STRUCTURED = {"schemaId": "llm_schema_1m_report_v1_0", "kind": "LLM_REPORT_OUTPUT"}
ENVIRON = {
    "GCP_PROJECT": "p",
    "ARTIFACTS_BUCKET": "reports",
    "DEAD_LETTER_TOPIC": "dead",
    "GEMINI_API_KEY": "canary",
}


def profile(**fields: Any) -> LlmProfile:
    return parse_profile({"modelName": "gemini-a", "structuredOutput": STRUCTURED, **fields})


def retires(today: date, *, last_day: date | None = LAST_DAY) -> date | None:
    return check_profile(
        profile(), allowed={"gemini-a": last_day}, max_output_tokens=None, today=today
    )


def test_an_empty_allowlist_allows_every_model() -> None:
    found = check_profile(profile(), allowed={}, max_output_tokens=None, today=LAST_DAY)

    assert found is None


def test_an_unlisted_model_is_refused_by_name() -> None:
    with pytest.raises(LlmProfileInvalid, match=r"modelName: gemini-a is not in"):
        check_profile(
            profile(), allowed={"gemini-b": None}, max_output_tokens=None, today=LAST_DAY
        )


def test_a_model_without_a_last_day_never_retires() -> None:
    assert retires(date(9999, 1, 1), last_day=None) is None


def test_a_model_works_on_its_last_day_and_not_after() -> None:
    assert retires(LAST_DAY) == LAST_DAY
    with pytest.raises(LlmProfileInvalid, match="was retired after 2026-12-01"):
        retires(LAST_DAY + timedelta(days=1))


def test_the_warning_begins_thirty_days_before_the_last_day() -> None:
    assert timedelta(days=30) == WARN_BEFORE
    assert retires(LAST_DAY - timedelta(days=31)) is None
    assert retires(LAST_DAY - timedelta(days=30)) == LAST_DAY


@pytest.mark.parametrize("asked", [1, 8192])
def test_output_up_to_the_cap_may_be_asked_for(asked: int) -> None:
    check_profile(
        profile(maxOutputTokens=asked), allowed={}, max_output_tokens=8192, today=LAST_DAY
    )


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"maxOutputTokens": 8193}, r"maxOutputTokens: 8193, at most 8192"),
        ({}, r"maxOutputTokens: required, at most 8192"),
    ],
    ids=["above", "unbounded"],
)
def test_more_output_than_the_cap_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(LlmProfileInvalid, match=message):
        check_profile(profile(**fields), allowed={}, max_output_tokens=8192, today=LAST_DAY)


def test_the_allowlist_is_names_each_with_or_without_a_last_day() -> None:
    settings = read_settings({**ENVIRON, "GEMINI_ALLOWED_MODELS": "a-1, b.2:2026-12-01,"})

    assert settings.gemini.allowed_models == {"a-1": None, "b.2": LAST_DAY}


@pytest.mark.parametrize(
    "text", ["a:soon", "a:2026-02-30", "a b", ":2026-12-01", "a:2026-12-1"]
)
def test_a_malformed_allowlist_stops_the_start(text: str) -> None:
    with pytest.raises(SettingsInvalid, match="GEMINI_ALLOWED_MODELS must be name or name:"):
        read_settings({**ENVIRON, "GEMINI_ALLOWED_MODELS": text})


def test_production_does_not_start_without_an_allowlist() -> None:
    with pytest.raises(SettingsInvalid, match="GEMINI_ALLOWED_MODELS is required"):
        read_settings({**ENVIRON, "ENVIRONMENT": "prod"})

    assert read_settings(ENVIRON).gemini.allowed_models == {}


def test_the_caps_come_from_the_environment() -> None:
    caps = {
        "MAX_OUTPUT_TOKENS": "8192",
        "MAX_IMAGES": "3",
        "MAX_TOTAL_IMAGE_BYTES": "1000",
        "MAX_TOTAL_JSON_BYTES": "2000",
    }

    limits = read_settings({**ENVIRON, **caps}).limits

    assert limits.max_output_tokens == 8192
    assert limits.max_images == 3
    assert limits.max_total_image_bytes == 1000
    assert limits.max_total_json_bytes == 2000
    assert read_settings(ENVIRON).limits.max_output_tokens is None


def test_a_setting_that_the_interactions_lack_is_refused_for_them_alone() -> None:
    with_top_k = profile(topK=40)

    check_api(with_top_k, GeminiApi.GENERATE_CONTENT)
    check_api(profile(), GeminiApi.INTERACTIONS)
    with pytest.raises(LlmProfileInvalid, match=r"llmProfile\.topK"):
        check_api(with_top_k, GeminiApi.INTERACTIONS)


def test_nothing_is_stored_at_the_provider_unless_asked_for() -> None:
    assert read_settings(ENVIRON).gemini.api is GeminiApi.GENERATE_CONTENT


def test_calls_in_the_background_are_chosen_with_the_longest_wait_for_them() -> None:
    chosen = {"GEMINI_API": "interactions", "GEMINI_BACKGROUND_TIMEOUT_SECONDS": "90"}

    gemini = read_settings({**ENVIRON, **chosen}).gemini

    assert gemini.api is GeminiApi.INTERACTIONS
    assert gemini.background_timeout == timedelta(seconds=90)


@pytest.mark.parametrize(
    ("name", "value"),
    [("GEMINI_API", "interaction"), ("GEMINI_BACKGROUND_TIMEOUT_SECONDS", "0")],
)
def test_a_bad_choice_of_the_interface_is_named(name: str, value: str) -> None:
    with pytest.raises(SettingsInvalid, match=name):
        read_settings({**ENVIRON, name: value})


@pytest.mark.parametrize(
    ("named", "tiers", "refused"),
    [
        (None, [ServiceTier.STANDARD], False),
        ("standard", [ServiceTier.STANDARD], False),
        ("flex", [ServiceTier.STANDARD], True),
        ("standard", [ServiceTier.FLEX], True),
        ("flex", [ServiceTier.FLEX, ServiceTier.STANDARD], False),
    ],
)
def test_a_profile_narrows_the_tiers_and_adds_none(
    named: str | None, tiers: list[ServiceTier], *, refused: bool
) -> None:
    asked = profile(serviceTier=named) if named else profile()

    if not refused:
        check_tier(asked, tiers)
        return
    with pytest.raises(LlmProfileInvalid, match=r"serviceTier: .* GEMINI_SERVICE_TIERS"):
        check_tier(asked, tiers)


def test_the_resolution_of_images_is_the_profile_s_and_else_the_environment_s() -> None:
    gemini = read_settings({**ENVIRON, "GEMINI_MEDIA_RESOLUTION": "medium"}).gemini

    assert gemini.resolution_of(profile()) == "medium"
    assert gemini.resolution_of(profile(mediaResolution="low")) == "low"
    assert read_settings(ENVIRON).gemini.resolution_of(profile()) is None
    with pytest.raises(SettingsInvalid, match="GEMINI_MEDIA_RESOLUTION must be one of"):
        read_settings({**ENVIRON, "GEMINI_MEDIA_RESOLUTION": "ultra"})
