"""Whether configured limits are those that the provider has shown, and who waits long."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from executor.billing.limits import CallLimit, CallLimits
from executor.settings import ExecutorSettings
from infra.ops.doctor.facts import CheckLevel, CheckResult
from infra.ops.environment.connection import Connection
from infra.ops.quota.view import Quotas
from shared.domain.pace_documents import pace_place, pace_ref, parse_pace
from shared.domain.pacing import MINUTES_KEPT, Pace

#: Where the limit is right, fewer calls are refused: `make storm` has 0.02 refusals a step.
_REFUSED_SHARE = 0.05
#: As `alerts.patience_share` of the Terraform module.
_LONG_WAIT = 0.5
_CALL_SECONDS = 15.0
_REMEDY = "see the provider's quota page, set GEMINI_LIMITS to what it says, and apply"


async def read_paces(
    connection: Connection, settings: ExecutorSettings
) -> Sequence[tuple[str, Pace]]:
    """What was learned of each allowed model, by its name.

    Raises:
        StoreUnavailable: Firestore did not answer.
    """
    places = {
        pace_ref(pace_place(model, settings.gemini.endpoint)): model
        for model in settings.gemini.allowed_models
    }
    stored = await connection.documents.read(list(places), timeout_seconds=_CALL_SECONDS)
    paces = (
        (places[each.ref], parse_pace(each.ref.document_id, each.data))
        for each in stored
        if each
    )
    return [(model, pace) for model, pace in paces if pace is not None]


def quota_findings(
    paces: Sequence[tuple[str, Pace]], limits: CallLimits, now: datetime
) -> Iterator[CheckResult]:
    """Limits that the provider refused calls below, and those that nobody configured. Pure."""
    for model, pace in paces:
        limit = limits.get(model, CallLimit())
        problem = _problem(pace, limit, now)
        if problem:
            yield CheckResult(
                subject=model, problem=problem, remedy=_REMEDY, level=CheckLevel.WARNING
            )


def wait_findings(quotas: Quotas) -> Iterator[CheckResult]:
    """Queues whose jobs have waited for much of their patience. Pure."""
    for quota in quotas.quotas:
        waiting = quota.waiting
        if waiting is None or waiting.patience_until is None or waiting.patience_used is None:
            continue
        if waiting.patience_used >= _LONG_WAIT:
            jobs = "1 job waits" if waiting.jobs == 1 else f"{waiting.jobs} jobs wait"
            yield CheckResult(
                subject=quota.model,
                problem=f"{jobs} for the provider at {quota.tier}, and one has used"
                f" {waiting.patience_used:.0%} of its patience: steps fail from"
                f" {waiting.patience_until:%Y-%m-%d %H:%M:%S} UTC on",
                remedy="see docs/how-to/runbooks/long-waits.md",
                level=CheckLevel.WARNING,
            )


def _problem(pace: Pace, limit: CallLimit, now: datetime) -> str:
    late = [m for m in pace.minutes if now - m.at <= timedelta(minutes=MINUTES_KEPT)]
    granted, refused = sum(m.granted for m in late), sum(m.refused for m in late)
    if not refused:
        return ""
    if limit == CallLimit():
        if not (pace.steady and pace.in_force(now)):
            return ""
        return (
            f"calls were refused at about {pace.peak:.0f} a minute,"
            " and GEMINI_LIMITS has no limit for it"
        )
    if refused <= _REFUSED_SHARE * granted:
        return ""
    most = max(0, *(m.granted - m.refused for m in late))
    told = " and ".join(
        f"{count} {what}"
        for count, what in ((limit.requests, "requests"), (limit.tokens, "tokens"))
        if count is not None
    )
    return (
        f"GEMINI_LIMITS has {told} a minute for it, and of {granted} calls in the last"
        f" {MINUTES_KEPT} minutes {refused} were refused: in no minute more than {most} were"
        " taken"
    )
