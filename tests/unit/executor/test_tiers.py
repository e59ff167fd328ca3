"""At which service tier a call is asked for, and what the settings allow."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.contract.profile import parse_profile
from executor.contract.tiers import ServiceTier, served_tier
from executor.jobs.invocation import Invocation
from executor.model_calls.tiers import (
    LIKELY,
    NEVER,
    WAKING,
    TierChoice,
    TierPolicy,
    TierRefusals,
    choose_tier,
    request_bytes,
)
from executor.ports import Image, ModelRequest
from executor.settings import ExecutorSettings, read_settings
from shared.domain.attempts import Attempt, CallPurpose, ModelCall
from shared.domain.documents import DocumentRef, Snapshot, Version
from shared.domain.errors import (
    GeminiAccessDenied,
    GeminiRequestFailed,
    LlmProfileInvalid,
    RateLimited,
    StepError,
)
from shared.domain.jobs import JobRecord
from shared.domain.times import rfc3339
from shared.settings import SettingsInvalid
from tests.support.held_job import (
    RUN_ID,
    START,
    STEP_ID,
    Documents,
    held,
    invocation,
    queued,
    virtually,
)

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
APART = timedelta(minutes=10)
DEFERRED, FLEX, STANDARD, PRIORITY = ServiceTier
ENVIRON = {
    "GCP_PROJECT": "p",
    "ARTIFACTS_BUCKET": "reports",
    "DEAD_LETTER_TOPIC": "dead",
    "GEMINI_API_KEY": "canary",
}
BACKGROUND = {"GEMINI_API": "interactions"}
VERTEX = {**BACKGROUND, "GEMINI_BACKEND": "vertex", "GEMINI_LOCATION": "global"}
DAY = {"GEMINI_BACKGROUND_TIMEOUT_SECONDS": "86400"}
PRICE = {"from": "2026-01-01", "input": 1, "output": 1}


def chosen(minutes_left: float, *tiers: ServiceTier, **more: Any) -> TierChoice:
    until = NOW + timedelta(minutes=minutes_left)
    return choose_tier(tiers, now=NOW, until=until, apart=APART, **more)


@pytest.mark.parametrize(
    ("minutes_left", "tiers", "expected"),
    [
        (60, (STANDARD,), STANDARD),
        (-5, (STANDARD,), STANDARD),
        (60, (FLEX, STANDARD), FLEX),
        # Flex is left three minutes, and each tier after it is left ten.
        (13.1, (FLEX, STANDARD), FLEX),
        (13, (FLEX, STANDARD), STANDARD),
        (-5, (FLEX, STANDARD), STANDARD),
        (23.1, (FLEX, STANDARD, PRIORITY), FLEX),
        (22, (FLEX, STANDARD, PRIORITY), STANDARD),
        (10, (FLEX, STANDARD, PRIORITY), PRIORITY),
        (60, (DEFERRED, FLEX, STANDARD), FLEX),
        (24 * 60 + 21, (DEFERRED, FLEX, STANDARD), DEFERRED),
        # No tier comes after the only one.
        (1, (FLEX,), FLEX),
    ],
)
def test_the_cheapest_tier_for_which_time_is_left_is_asked(
    minutes_left: float, tiers: tuple[ServiceTier, ...], expected: ServiceTier
) -> None:
    assert chosen(minutes_left, *tiers).tier is expected


def test_a_tier_that_takes_nothing_in_time_is_passed_over() -> None:
    tiers = (FLEX, STANDARD)

    def after(minutes: float) -> ServiceTier:
        refused = {FLEX: NOW + timedelta(minutes=minutes)}
        return chosen(60, *tiers, refused_until=refused).tier

    assert after(46) is FLEX
    assert after(47) is STANDARD
    assert chosen(60, *tiers, refused_until={FLEX: NEVER}).tier is STANDARD
    # The last tier is asked, whatever it has answered before.
    assert chosen(60, *tiers, refused_until=dict.fromkeys(tiers, NEVER)).tier is STANDARD


def test_a_slow_call_is_stopped_in_time_for_a_dearer_one_and_no_other_is() -> None:
    flex = chosen(60, FLEX, STANDARD, PRIORITY)
    standard = chosen(22, FLEX, STANDARD, PRIORITY)

    assert flex.dearer_at == NOW + timedelta(minutes=37)
    assert flex.stop_at == NOW + timedelta(minutes=40)
    assert standard.dearer_at == NOW + timedelta(minutes=12)
    assert standard.stop_at is None
    assert chosen(5, FLEX, STANDARD).stop_at is None
    assert chosen(60, FLEX).stop_at is None


@given(
    tiers=st.lists(st.sampled_from(ServiceTier), min_size=1, unique=True).map(sorted),
    minutes=st.lists(st.floats(-100, 5_000), min_size=2, max_size=2).map(sorted),
    refused=st.dictionaries(st.sampled_from(ServiceTier), st.floats(-100, 5_000)),
)
def test_with_less_time_left_the_tier_is_never_cheaper(
    tiers: list[ServiceTier], minutes: list[float], refused: dict[ServiceTier, float]
) -> None:
    tiers = [tier for tier in ServiceTier if tier in tiers]
    until = {tier: NOW + timedelta(minutes=late) for tier, late in refused.items()}
    late, early = (chosen(left, *tiers, refused_until=until) for left in minutes)

    assert not early.tier.is_dearer(late.tier)
    for choice, left in zip((late, early), minutes, strict=True):
        ends = NOW + timedelta(minutes=left)
        assert choice.tier in tiers
        if choice.dearer_at is not None:
            assert NOW < choice.dearer_at <= ends - APART
        if choice.stop_at is not None and choice.dearer_at is not None:
            assert choice.stop_at - choice.dearer_at == LIKELY[choice.tier]


def configured(**environ: str) -> ExecutorSettings:
    return read_settings({**ENVIRON, **environ})


def work(job: JobRecord | None = None, **llm: Any) -> Invocation:
    run = {"steps": {STEP_ID: {"inputs": {"llm": llm}}}}
    found: list[Invocation] = []

    async def scene() -> None:
        snapshot = Snapshot(ref=DocumentRef("flow_runs", RUN_ID), data=run, version=Version(0))
        found.append(invocation(await held(Documents(), job), run=snapshot))

    virtually(scene())
    return found[0]


def policy(tiers: str = "flex,standard", **environ: str) -> TierPolicy:
    settings = configured(**{**BACKGROUND, "GEMINI_SERVICE_TIERS": tiers, **environ})
    return TierPolicy(gemini=settings.gemini, call_policy=settings.call_policy)


def asked(model: str = "gemini-3.5-flash", image_bytes: int = 0) -> ModelRequest:
    return ModelRequest(
        profile=parse_profile({"modelName": model, "jsonSchema": {}}),
        system_instruction="",
        user_text="",
        images=[Image(data=b"x" * image_bytes, mime_type="image/png")],
        json_schema={},
    )


def test_time_is_left_until_the_step_is_due_or_its_patience_ends() -> None:
    six_hours = START + timedelta(hours=6)
    due = START + timedelta(hours=1)
    kept = timedelta(seconds=480) + WAKING

    assert policy().choice(work(), START).stop_at == six_hours - kept
    assert policy().choice(work(dueAt=rfc3339(due)), START).stop_at == due - kept
    # A step that is run again after it was due may use its patience.
    late = work(dueAt=rfc3339(START - timedelta(hours=1)))
    assert policy().choice(late, START).stop_at == six_hours - kept


def test_a_profile_narrows_the_tiers_to_one() -> None:
    named = work(llmProfile={"serviceTier": "standard"})

    choice = policy().choice(named, START)

    assert (choice.tier, choice.may_reach) == (STANDARD, [STANDARD])
    assert policy().choice(work(), START).may_reach == (FLEX, STANDARD)


def test_a_repair_is_asked_where_it_is_not_lightly_refused() -> None:
    repair = CallPurpose.REPAIR

    assert policy().choice(work(), START, purpose=repair).tier is STANDARD
    assert policy("flex").choice(work(), START, purpose=repair).tier is FLEX


def test_a_slot_of_a_dearer_tier_is_used_there() -> None:
    assert policy().choice(work(), START, at_least=STANDARD).tier is STANDARD
    assert policy().choice(work(), START, at_least=FLEX).tier is FLEX


def test_under_at_most_once_nothing_is_stopped_that_may_be_billed() -> None:
    choice = policy(CALL_POLICY="at_most_once").choice(work(), START)

    assert choice.tier is FLEX
    assert choice.stop_at is None


@pytest.mark.parametrize(("times", "expected"), [(0, FLEX), (1, FLEX), (2, STANDARD)])
def test_a_tier_that_breaks_calls_off_and_bills_them_is_left(
    times: int, expected: ServiceTier
) -> None:
    broken = ModelCall(
        number=1,
        purpose=CallPurpose.REPORT,
        started_at=START,
        code="GEMINI_REQUEST_FAILED",
        asked_tier="flex",
    )
    calls = tuple(replace(broken, number=number) for number in range(1, times + 1))
    history = (Attempt(number=1, started_at=START, calls=calls),)

    assert policy().choice(work(replace(queued(), history=history)), START).tier is expected


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (RateLimited("429"), FLEX),
        (RateLimited("429", retry_after=timedelta(minutes=1)), FLEX),
        (RateLimited("429", retry_after=timedelta(hours=24)), STANDARD),
        (GeminiRequestFailed("503", refused=True), FLEX),
        (GeminiRequestFailed("cut off", maybe_billed=True), FLEX),
        # The project, or the model, has no such tier.
        (GeminiAccessDenied("limit: 0"), STANDARD),
        (LlmProfileInvalid("400"), STANDARD),
    ],
    ids=repr,
)
def test_how_a_call_fails_says_whether_its_tier_is_asked_again(
    error: StepError, expected: ServiceTier
) -> None:
    refusals = TierRefusals()
    refusals.learn(FLEX, error, START)

    assert policy().choice(work(), START, refusals=refusals).tier is expected


@pytest.mark.parametrize(
    ("model", "image_bytes", "expected"),
    [
        ("gemini-3.5-flash", 12_000_000, FLEX),
        ("gemini-3.5-flash", 15_000_000, STANDARD),
        ("gemini-4-flash", 0, STANDARD),
    ],
)
def test_vertex_takes_no_large_request_and_not_every_model_at_flex(
    model: str, image_bytes: int, expected: ServiceTier
) -> None:
    request = asked(model, image_bytes)

    assert policy(**VERTEX).choice(work(), START, request=request).tier is expected
    # The Developer API names no such limits.
    assert policy().choice(work(), START, request=request).tier is FLEX


def test_where_no_tier_takes_the_request_the_step_says_so() -> None:
    with pytest.raises(LlmProfileInvalid, match="flex does not take gemini-4-flash"):
        policy("flex", **VERTEX).choice(work(), START, request=asked("gemini-4-flash"))


def test_images_count_as_they_are_sent() -> None:
    without, with_one = request_bytes(asked()), request_bytes(asked(image_bytes=3_000))

    assert with_one - without == 4_000


@pytest.mark.parametrize(
    ("environ", "tiers"),
    [
        ({}, (STANDARD,)),
        ({"GEMINI_SERVICE_TIERS": "standard,priority"}, (STANDARD, PRIORITY)),
        ({**BACKGROUND, "GEMINI_SERVICE_TIERS": " flex , standard "}, (FLEX, STANDARD)),
        ({**VERTEX, "GEMINI_SERVICE_TIERS": "flex"}, (FLEX,)),
        (
            {**VERTEX, **DAY, "GEMINI_SERVICE_TIERS": "deferred,flex,standard,priority"},
            tuple(ServiceTier),
        ),
    ],
)
def test_the_tiers_are_a_list_from_the_cheapest_to_the_dearest(
    environ: dict[str, str], tiers: Sequence[ServiceTier]
) -> None:
    assert configured(**environ).gemini.service_tiers == tiers


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"GEMINI_SERVICE_TIERS": "cheap"}, "must be one or several of deferred, flex"),
        ({"GEMINI_SERVICE_TIERS": "standard,"}, "must be one or several of"),
        ({**BACKGROUND, "GEMINI_SERVICE_TIERS": "standard,flex"}, "from the cheapest"),
        ({"GEMINI_SERVICE_TIERS": "standard,standard"}, "name each tier once"),
        (
            {"GEMINI_SERVICE_TIERS": "flex,standard"},
            "flex needs GEMINI_API=interactions: an instance that waits minutes",
        ),
        (
            {**VERTEX, "GEMINI_API": "generate_content", "GEMINI_SERVICE_TIERS": "deferred"},
            "deferred needs GEMINI_API=interactions",
        ),
        (
            {**VERTEX, "GEMINI_LOCATION": "europe-west4", "GEMINI_SERVICE_TIERS": "flex"},
            "flex is served at GEMINI_LOCATION=global alone",
        ),
        (
            {**BACKGROUND, **DAY, "GEMINI_SERVICE_TIERS": "deferred"},
            "deferred exists with GEMINI_BACKEND=vertex alone",
        ),
        (
            {**VERTEX, "GEMINI_SERVICE_TIERS": "deferred"},
            "needs GEMINI_BACKGROUND_TIMEOUT_SECONDS=86400",
        ),
    ],
)
def test_what_cannot_work_is_said_at_the_start(environ: dict[str, str], message: str) -> None:
    with pytest.raises(SettingsInvalid, match=message):
        configured(**environ)


def test_with_a_ceiling_every_tier_needs_a_price_of_every_model() -> None:
    def settings(tiers: str) -> ExecutorSettings:
        price = f'{{"from": "2026-01-01", "input": 1, "output": 1, "tiers": {tiers}}}'
        return configured(
            **BACKGROUND,
            GEMINI_SERVICE_TIERS="flex,standard",
            GEMINI_ALLOWED_MODELS="gemini-a",
            MAX_RUN_COST_USD="1",
            MODEL_PRICES=f'{{"gemini-a": [{price}]}}',
        )

    assert settings('{"flex": {"input": 0.5, "output": 0.5}}').ceilings
    with pytest.raises(SettingsInvalid, match=r"must have every tier .*: gemini-a at flex"):
        settings("{}")


@pytest.mark.parametrize(
    ("word", "tier"),
    [
        ("flex", FLEX),
        ("FLEX", FLEX),
        ("ON_DEMAND", STANDARD),
        ("ON_DEMAND_FLEX", FLEX),
        ("ON_DEMAND_PRIORITY", PRIORITY),
        ("ON_DEMAND_OFFPEAK", DEFERRED),
        ("batch", None),
        ("PROVISIONED_THROUGHPUT", None),
    ],
)
def test_both_backends_words_mean_the_same_tiers(word: str, tier: ServiceTier | None) -> None:
    assert served_tier(word, STANDARD) is tier


def test_silence_means_the_usual_tier_only_where_nothing_else_was_asked() -> None:
    assert served_tier(None, STANDARD) is STANDARD
    assert [served_tier(None, tier) for tier in (DEFERRED, FLEX, PRIORITY)] == [None] * 3
