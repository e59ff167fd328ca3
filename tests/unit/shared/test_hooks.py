"""Addresses of hooks: what we signed is read back, and nothing else is."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.hooks import MAX_PATH_CHARS, HookAddress, hook_path, read_hook_path
from shared.domain.identifiers import MAX_STEP_ID_BYTES, ClaimId, RunId, StepId

NOW = datetime(2026, 1, 5, 9, tzinfo=UTC)
NEW, OLD, OTHER = ("n" * 32, "o" * 32, "x" * 32)
ADDRESS = HookAddress(
    run_id=RunId("20260105-090000_BTCUSD_hook"),
    step_id=StepId("1d:llm_report/ü".replace("/", "-")),
    claim_id=ClaimId("c1"),
    call=2,
    expires_at=NOW + timedelta(hours=1),
)
PATH = hook_path(ADDRESS, NEW)


@pytest.mark.parametrize("secret", [NEW, OLD], ids=["newest", "rotated"])
def test_what_one_of_the_secrets_signed_is_read_back(secret: str) -> None:
    assert read_hook_path(hook_path(ADDRESS, secret), [NEW, OLD], NOW) == ADDRESS


@pytest.mark.parametrize(
    ("path", "secrets", "now"),
    [
        (PATH, [OTHER], NOW),
        (PATH, [], NOW),
        (PATH, [NEW], NOW + timedelta(hours=1)),
        (PATH.partition(".")[0], [NEW], NOW),
        (PATH.partition(".")[0] + ".", [NEW], NOW),
        ("." + PATH.partition(".")[2], [NEW], NOW),
        (PATH + "=", [NEW], NOW),
        (" " + PATH, [NEW], NOW),
        ("", [NEW], NOW),
        (".", [NEW], NOW),
        ("\ud800." * 9, [NEW], NOW),
        ("é.é", [NEW], NOW),
        (PATH + "a" * MAX_PATH_CHARS, [NEW], NOW),
    ],
)
def test_anything_else_is_nobody_s(path: str, secrets: list[str], now: datetime) -> None:
    assert read_hook_path(path, secrets, now) is None


def test_the_signature_of_another_address_is_no_good() -> None:
    other = hook_path(replace(ADDRESS, call=3), NEW)

    swapped = f"{PATH.partition('.')[0]}.{other.partition('.')[2]}"

    assert read_hook_path(swapped, [NEW], NOW) is None


@given(st.integers(0, len(PATH) - 1), st.characters(codec="utf-8"))
def test_no_changed_character_is_let_through(position: int, character: str) -> None:
    changed = PATH[:position] + character + PATH[position + 1 :]

    assert (read_hook_path(changed, [NEW], NOW) is not None) == (changed == PATH)


@given(st.text(max_size=300))
def test_no_text_breaks_it(text: str) -> None:
    assert read_hook_path(text, [NEW], NOW) is None


def test_the_longest_ids_fit() -> None:
    longest = replace(ADDRESS, step_id=StepId("ü" * (MAX_STEP_ID_BYTES // 2)))

    path = hook_path(longest, NEW)

    assert len(path) <= MAX_PATH_CHARS
    assert read_hook_path(path, [NEW], NOW) == longest
