"""Standard Webhooks: whether a request was signed by one of the provider's keys. Pure.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md

Two schemes: `v1` is an HMAC-SHA256 by a shared secret (`whsec_…`), `v1a` an Ed25519 signature
that a public key (`whpk_…`) checks. What is signed is the message's id, the time of the
delivery, and the body exactly as it came.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TypeAlias

SECRET_PREFIX, PUBLIC_KEY_PREFIX = "whsec_", "whpk_"
#: A key as it is written: a secret of 24 bytes at least, or a public key of 32, in base64.
KEY_PATTERN = (
    rf"(?:{SECRET_PREFIX}(?:[A-Za-z0-9+/]{{4}}){{8,}}"
    r"(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?"
    rf"|{PUBLIC_KEY_PREFIX}[A-Za-z0-9+/]{{43}}=)"
)
ID, TIMESTAMP, SIGNATURE = "webhook-id", "webhook-timestamp", "webhook-signature"
#: How far the time of a delivery may be from ours; each further delivery is signed anew. The
#: specification names no number; its reference libraries take five minutes.
TOLERANCE = timedelta(minutes=5)
#: More than any sender has keys at a time.
MAX_SIGNATURES = 10
#: As many digits as seconds have until the year 2286.
_MAX_TIMESTAMP_DIGITS = 10
_MAX_ID_CHARS = 256
_MAX_SIGNATURE_CHARS = 2_048

#: Whether a signature in the scheme that it names is one of these bytes.
Verifier: TypeAlias = Callable[[str, bytes, bytes], bool]


def verifiers(keys: Sequence[str]) -> Sequence[Verifier]:
    """What checks signatures by these keys, which have the form that the settings ask for.

    Raises:
        ValueError: a key is none.
    """
    return [_verifier(key) for key in keys]


def is_signed(
    headers: Mapping[str, str], body: bytes, checks: Sequence[Verifier], now: datetime
) -> bool:
    """Whether one of the signatures in the headers was made by one of the keys, and lately.

    Args:
        headers: of the request, their names in lower case.
        body: exactly as it came.
        checks: one for each key; all of them are asked, whichever says yes.
        now: the time of day.
    """
    message_id, timestamp = headers.get(ID, ""), headers.get(TIMESTAMP, "")
    shown = headers.get(SIGNATURE, "")
    if not 0 < len(message_id) <= _MAX_ID_CHARS or len(shown) > _MAX_SIGNATURE_CHARS:
        return False
    if not _is_recent(timestamp, now):
        return False
    signed = f"{message_id}.{timestamp}.".encode("utf-8", "surrogatepass") + body
    pairs = [each.partition(",") for each in shown.split(" ")[:MAX_SIGNATURES]]
    found = [
        check(scheme, signature, signed)
        for scheme, _, text in pairs
        if (signature := _unbase64(text)) is not None
        for check in checks
    ]
    return any(found)


def _is_recent(timestamp: str, now: datetime) -> bool:
    if not (timestamp.isascii() and timestamp.isdecimal()):
        return False
    if len(timestamp) > _MAX_TIMESTAMP_DIGITS:
        return False
    return abs(now.timestamp() - int(timestamp)) <= TOLERANCE.total_seconds()


def _verifier(key: str) -> Verifier:
    if key.startswith(PUBLIC_KEY_PREFIX):
        return _by_public_key(base64.b64decode(key.removeprefix(PUBLIC_KEY_PREFIX)))
    secret = base64.b64decode(key.removeprefix(SECRET_PREFIX))

    def check(scheme: str, signature: bytes, signed: bytes) -> bool:
        expected = hmac.new(secret, signed, hashlib.sha256).digest()
        return hmac.compare_digest(expected, signature) and scheme == "v1"

    return check


def _by_public_key(raw: bytes) -> Verifier:
    # Loaded only where such a key is set: nobody else pays for it at the start.
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (  # noqa: PLC0415
        Ed25519PublicKey,
    )

    public = Ed25519PublicKey.from_public_bytes(raw)

    def check(scheme: str, signature: bytes, signed: bytes) -> bool:
        if scheme != "v1a":
            return False
        try:
            public.verify(signature, signed)
        except InvalidSignature:
            return False
        return True

    return check


def _unbase64(text: str) -> bytes | None:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
