"""Telling the log which operator's act a job stands by."""

from shared.domain.attempts import OperatorAct
from shared.domain.jobs import JobRecord
from shared.domain.times import rfc3339
from shared.log import EventLogger, LogEvent


def act_behind(job: JobRecord) -> OperatorAct | None:
    """The last act since the former claim: it ended this claim, or led to it; None without."""
    since = job.former_claims[-1].claimed_at if job.former_claims else job.claimed_at
    acts = [act for act in job.operator_acts if act.at >= since]
    return acts[-1] if acts else None


def tell_act(job: JobRecord | None, log: EventLogger) -> None:
    """Log who did what to the step, where from and why, if somebody did."""
    act = act_behind(job) if job is not None else None
    if act is None:
        return
    log.info(
        LogEvent.OPERATOR_ACT,
        act=act.act,
        at=rfc3339(act.at),
        by=act.by,
        via=act.via,
        reason=act.reason,
        claimId=act.claim_id,
    )
