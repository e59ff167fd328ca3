"""Hooks: where the end of a call is to be announced, and whose call one of them names. Pure.

A hook is a hint. The provider, asked with our own credentials, says with which labels the call
was begun that it names: only a call with the labels of the job is taken for the job's.
"""

import base64
import binascii
from collections.abc import Mapping
from datetime import datetime, timedelta

from executor.billing.labels import call_labels
from executor.ports import KeptCall
from executor.settings import HookSettings
from shared.domain.hooks import HookAddress, hook_path
from shared.domain.jobs import BackgroundCall, JobRecord

#: For so long the provider tries to deliver a hook that was not taken
#: (https://ai.google.dev/gemini-api/docs/webhooks).
HOOKS_COME_FOR = timedelta(hours=24)
#: The label that says what a call was made from: a label's value is too short for a digest in
#: hexadecimal digits.
INPUTS = "inputs"


def hook_url(hooks: HookSettings, job: JobRecord, ends_by: datetime) -> str:
    """The address for the call that the job booked last, which has ended by then."""
    address = HookAddress(
        run_id=job.run_id,
        step_id=job.step_id,
        claim_id=job.claim_id,
        call=job.llm_calls,
        expires_at=ends_by + HOOKS_COME_FOR,
    )
    return f"{hooks.url}/{hook_path(address, hooks.secret.get_secret_value())}"


def announced_labels(labels: Mapping[str, str], job: JobRecord) -> Mapping[str, str]:
    """The labels of a call whose end is announced: they say what it was made from, too."""
    if job.input_digest is None:
        return labels
    encoded = base64.b32encode(bytes.fromhex(job.input_digest))
    return {**labels, INPUTS: encoded.rstrip(b"=").decode("ascii").lower()}


def own_call(
    call_id: str, kept: KeptCall | None, job: JobRecord, now: datetime
) -> BackgroundCall | None:
    """The call that the job booked last, if the provider keeps that very call under the id."""
    if kept is None:
        return None
    ours = call_labels(job.run_id, job.step_id, job.claim_id, job.llm_calls)
    if any(kept.labels.get(name) != value for name, value in ours.items()):
        return None
    return BackgroundCall(
        id=call_id,
        begun_at=min(kept.created or now, now),
        input_digest=_input_digest(kept.labels.get(INPUTS, "")),
    )


def _input_digest(label: str) -> str:
    """The digest in a label; empty, which is no digest, where there is none."""
    try:
        return base64.b32decode(label.upper() + "=" * (-len(label) % 8)).hex()
    except (binascii.Error, ValueError):
        return ""
