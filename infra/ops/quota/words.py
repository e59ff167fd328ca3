"""What is said of a quota, on a terminal and in the console. Pure."""

from infra.ops.cli.terminal import count
from infra.ops.quota.view import Quotas, QuotaStanding, QuotaView


def allowed_words(quota: QuotaView) -> str:
    """How many calls a minute are let through, and by what that is known."""
    if quota.allowed is None:
        return "all"
    if quota.configured is not None:
        known = "configured"
    else:
        known = "learned" if quota.learned is not None else "a first guess"
    return f"{quota.allowed:.0f} a minute, {known}"


def standing_words(quota: QuotaView) -> str:
    """How calls are let through now."""
    resumes = f"{quota.resume_at:%H:%M:%S} UTC" if quota.resume_at else ""
    match quota.standing:
        case QuotaStanding.FREE:
            return "Nothing is held back."
        case QuotaStanding.PACED:
            return "Each call has a slot of its own."
        case QuotaStanding.PAUSED:
            return f"No call is made before {resumes}."
        case QuotaStanding.OUTAGE:
            after = f", the next after {resumes}" if resumes else ""
            return (
                f"Refused {quota.strikes} times in a row: single calls look for the end of"
                f" it{after}."
            )


def waiting_words(quota: QuotaView) -> str:
    """How many jobs wait, until when, and how long they are ready to."""
    waiting = quota.waiting
    if waiting is None:
        return "none"
    said = [f"{count(waiting.jobs)}, the last until about {waiting.last_slot_at:%H:%M:%S} UTC"]
    if waiting.patience_until is not None:
        said.append(f"patience until {waiting.patience_until:%Y-%m-%d %H:%M:%S} UTC")
    return "; ".join(said)


def summary(quotas: Quotas) -> str:
    """In a sentence, how many jobs wait."""
    if not quotas.waiting:
        return "No job waits for the provider's quota."
    jobs = "1 job waits" if quotas.waiting == 1 else f"{count(quotas.waiting)} jobs wait"
    return f"{jobs} for the provider's quota."
