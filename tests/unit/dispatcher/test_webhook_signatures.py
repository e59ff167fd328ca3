"""Standard Webhooks: what the provider signed is taken, and nothing else is."""

import base64
import sys
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.settings import read_settings
from dispatcher.webhook_signatures import (
    ID,
    MAX_SIGNATURES,
    SIGNATURE,
    TIMESTAMP,
    TOLERANCE,
    is_signed,
    verifiers,
)
from shared.settings import SettingsInvalid

#: The example by which the reference libraries are tested.
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
BODY = b'{"test": 2432232314}'
NOW = datetime.fromtimestamp(1_614_265_330, UTC)
BY_SECRET = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
HEADERS = {
    ID: "msg_p5jXN8AQM9LWM0D4loKWxJek",
    TIMESTAMP: str(int(NOW.timestamp())),
    SIGNATURE: BY_SECRET,
}
PRIVATE = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = "whpk_" + base64.b64encode(PRIVATE.public_key().public_bytes_raw()).decode()
SIGNED = f"{HEADERS[ID]}.{HEADERS[TIMESTAMP]}.".encode() + BODY
BY_KEY = "v1a," + base64.b64encode(PRIVATE.sign(SIGNED)).decode()
OTHER_SECRET = "whsec_" + base64.b64encode(b"o" * 24).decode()
OTHER_KEY = "whpk_" + base64.b64encode(b"o" * 32).decode()


def taken(*keys: str, body: bytes = BODY, now: datetime = NOW, **headers: str) -> bool:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return is_signed({**HEADERS, **named}, body, verifiers(keys), now)


def test_the_reference_libraries_own_example_is_taken() -> None:
    assert taken(SECRET)


def test_an_ed25519_signature_is_taken() -> None:
    assert taken(PUBLIC, webhook_signature=BY_KEY)


@pytest.mark.parametrize(
    "keys", [[OTHER_SECRET, SECRET], [OTHER_KEY, PUBLIC], [PUBLIC, SECRET]]
)
def test_one_key_of_several_is_enough(keys: list[str]) -> None:
    both = f"v1,{'A' * 43}= {BY_SECRET} {BY_KEY}"

    assert taken(*keys, webhook_signature=both)


@pytest.mark.parametrize("keys", [[OTHER_SECRET], [OTHER_KEY], [OTHER_SECRET, OTHER_KEY], []])
def test_another_key_takes_nothing(keys: list[str]) -> None:
    assert not taken(*keys, webhook_signature=f"{BY_SECRET} {BY_KEY}")


@pytest.mark.parametrize("seconds", [-301, 301, 86_400])
def test_what_was_signed_at_another_time_is_not_taken(seconds: int) -> None:
    assert not taken(SECRET, now=NOW + timedelta(seconds=seconds))


@pytest.mark.parametrize("away", [-TOLERANCE, TOLERANCE])
def test_clocks_may_differ_a_little(away: timedelta) -> None:
    assert taken(SECRET, now=NOW + away)


@pytest.mark.parametrize(
    "timestamp", ["", "now", "-1614265330", "1614265330.0", " 1614265330", "1" * 5_000, "١٢٣"]
)
def test_a_time_that_is_none_is_not_taken(timestamp: str) -> None:
    assert not taken(SECRET, webhook_timestamp=timestamp)


@pytest.mark.parametrize(
    "shown",
    [
        "",
        "v1",
        "v1,",
        "v1,!",
        "v1,g0hM",
        BY_SECRET.replace("v1,", "v1a,"),
        BY_SECRET.replace("v1,", "v2,"),
        BY_SECRET.replace("v1,", ""),
        BY_KEY.replace("v1a,", "v1,"),
        BY_SECRET[:-2] + "A=",
        "v1," + "A" * 3_000,
        " ".join(["v1,AAAA"] * MAX_SIGNATURES + [BY_SECRET]),
    ],
)
def test_a_signature_that_is_none_is_not_taken(shown: str) -> None:
    assert not taken(SECRET, PUBLIC, webhook_signature=shown)


@pytest.mark.parametrize("message_id", ["", "msg_other", "m" * 300])
def test_the_message_is_part_of_what_was_signed(message_id: str) -> None:
    assert not taken(SECRET, webhook_id=message_id)


@given(st.binary(max_size=200))
def test_another_body_is_not_taken(body: bytes) -> None:
    shown = f"{BY_SECRET} {BY_KEY}"

    assert taken(SECRET, PUBLIC, body=body, webhook_signature=shown) == (body == BODY)


@given(st.dictionaries(st.sampled_from([ID, TIMESTAMP, SIGNATURE]), st.text()), st.binary())
def test_no_header_breaks_it(headers: dict[str, str], body: bytes) -> None:
    assert not is_signed(headers, body, verifiers([SECRET, PUBLIC]), NOW)


ENVIRON = {"GCP_PROJECT": "p", "JOBS_TOPIC": "jobs"}


@pytest.mark.parametrize("keys", [(SECRET,), (PUBLIC,), (SECRET, PUBLIC)])
def test_keys_are_read_from_the_environment(keys: tuple[str, ...]) -> None:
    environ = {**ENVIRON, "WEBHOOK_SIGNING_KEYS": ",".join(keys)}

    settings = read_settings(environ)

    assert settings.signing_keys == keys
    assert not any(key in repr(settings) for key in keys)
    assert len(verifiers(settings.signing_keys)) == len(keys)


@pytest.mark.parametrize(
    "bad", ["nonsense", "whsec_ab", "whsec_c2hvcnQ=", "whpk_QUFB", f"{SECRET},"]
)
def test_a_key_that_is_none_stops_the_function_and_is_not_repeated(bad: str) -> None:
    with pytest.raises(SettingsInvalid) as caught:
        read_settings({**ENVIRON, "WEBHOOK_SIGNING_KEYS": bad})

    assert "WEBHOOK_SIGNING_KEYS must be keys of Standard Webhooks" in str(caught.value)
    assert bad not in str(caught.value)


def test_without_a_public_key_the_library_of_public_keys_is_not_loaded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    name = "cryptography.hazmat.primitives.asymmetric.ed25519"
    monkeypatch.setitem(sys.modules, name, None)

    assert len(verifiers([SECRET])) == 1
    with pytest.raises(ImportError):
        verifiers([PUBLIC])
