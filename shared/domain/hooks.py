"""The address to which the provider announces the end of a call: the call, signed. Pure.

A hook is a hint. What its address says was said by us, since nobody else can sign it; what its
body says may be anybody's, and is believed by nobody: see `executor.model_calls`.
"""

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from shared.domain.identifiers import ClaimId, RunId, StepId, is_run_id, is_step_id

#: A longer path was not made here: both ids of a job, escaped and in base64, take less.
MAX_PATH_CHARS = 8_192
#: What a secret must have at least, in characters: as many bytes as the signature.
MIN_SECRET_CHARS = 32
_MAC = hashlib.sha256
_PARTS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class HookAddress:
    """Which call is announced, and until when its address is good."""

    run_id: RunId
    step_id: StepId
    claim_id: ClaimId
    #: The call's number under the claim, from 1.
    call: int
    expires_at: datetime


def hook_path(address: HookAddress, secret: str) -> str:
    """The address as one segment of a path, signed."""
    parts = [
        address.run_id,
        address.step_id,
        address.claim_id,
        address.call,
        int(address.expires_at.timestamp()),
    ]
    text = _encoded(json.dumps(parts, ensure_ascii=False, separators=(",", ":")).encode())
    return f"{text}.{_signature(text, secret)}"


def read_hook_path(path: str, secrets: Sequence[str], now: datetime) -> HookAddress | None:
    """The address in a segment that one of the secrets signed; None where none did.

    It takes the same time whatever is wrong with the signature, and nothing that is not signed
    is read further.
    """
    if len(path) > MAX_PATH_CHARS:
        return None
    text, _, signature = path.rpartition(".")
    shown = signature.encode("utf-8", "surrogatepass")
    # Each is tried: which of them signed is nobody's business.
    signed = [hmac.compare_digest(_signature(text, each).encode(), shown) for each in secrets]
    return _address(text, now) if any(signed) else None


def _address(text: str, now: datetime) -> HookAddress | None:
    """What was signed, unless it has expired, or another version of this worker signed it."""
    try:
        parts = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except (binascii.Error, ValueError):
        return None
    if not isinstance(parts, list) or len(parts) != _PARTS:
        return None
    run_id, step_id, claim_id, call, expires = parts
    if not (is_run_id(run_id) and is_step_id(step_id) and isinstance(claim_id, str)):
        return None
    if not (isinstance(call, int) and isinstance(expires, int)) or now.timestamp() >= expires:
        return None
    return HookAddress(
        run_id=run_id,
        step_id=step_id,
        claim_id=ClaimId(claim_id),
        call=call,
        expires_at=datetime.fromtimestamp(expires, now.tzinfo),
    )


def _signature(text: str, secret: str) -> str:
    mac = hmac.new(secret.encode(), text.encode("utf-8", "surrogatepass"), _MAC)
    return _encoded(mac.digest())


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")
