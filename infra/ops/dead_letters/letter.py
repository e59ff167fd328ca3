"""A dead letter, and what its replay would do: pure decisions over the records as they stand.

Two kinds arrive. The executor forwards what it cannot read, with the reason. Pub/Sub forwards
what was delivered in vain as often as the subscription allows: its executor crashed, or
answered with an error, every time.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from infra.ops.steps.acts import ActRefused, StepRecords, plan_act
from shared.domain.attempts import OperatorAct
from shared.domain.documents import Write
from shared.domain.finalize import step_status
from shared.domain.job_documents import JobRecordInvalid, parse_job_record, update_job
from shared.domain.jobs import JobRecord, JobState
from shared.domain.messages import (
    DEAD_LETTER_REASON,
    REPLAY_OF,
    JobMessage,
    MessageUnreadable,
    OutgoingMessage,
    decode_job_message,
)
from shared.domain.steps import OperatorMove, StepStatus

#: Set by Pub/Sub: https://cloud.google.com/pubsub/docs/handling-failures#dead_letter_topic
_FORWARDED = "CloudPubSubDeadLetterSource"
_DELIVERIES = "CloudPubSubDeadLetterSourceDeliveryCount"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A message on the dead-letter subscription."""

    message_id: str
    published_at: datetime
    data: bytes
    attributes: Mapping[str, str]

    @property
    def job(self) -> JobMessage | None:
        """The job message in it; None when it cannot be read."""
        try:
            return decode_job_message(self.data)
        except MessageUnreadable:
            return None

    @property
    def reason(self) -> str:
        """Why it is here."""
        if reason := self.attributes.get(DEAD_LETTER_REASON):
            return f"unreadable: {reason}"
        if count := self.attributes.get(_DELIVERIES):
            return f"undeliverable: refused {count} times"
        return "unknown: it was not forwarded, but published here"

    def replayed(self) -> OutgoingMessage:
        """The message as it is published again: without what only a dead letter has."""
        kept = {
            name: value
            for name, value in self.attributes.items()
            if not name.startswith(_FORWARDED) and name != DEAD_LETTER_REASON
        }
        return OutgoingMessage(data=self.data, attributes={**kept, REPLAY_OF: self.message_id})


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which dead letters are meant; what is None does not restrict."""

    run_id: str | None = None
    reason: str | None = None
    older_than: timedelta | None = None
    message_ids: frozenset[str] = frozenset()

    def takes(self, letter: DeadLetter, now: datetime) -> bool:
        """Whether the letter is meant."""
        run_id = letter.job.run_id if letter.job else letter.attributes.get("runId")
        return (
            (self.run_id is None or run_id == self.run_id)
            and (self.reason is None or self.reason.lower() in letter.reason.lower())
            and (self.older_than is None or now - letter.published_at >= self.older_than)
            and (not self.message_ids or letter.message_id in self.message_ids)
        )


class Verdict(StrEnum):
    """What a replay does with a letter."""

    REPLAY = "replay"  #: Its job gets a fresh attempt budget, and its message goes out again.
    RERUN = "rerun"  #: Its failed step is made READY again; the dispatcher does the rest.
    ACKNOWLEDGE = "settle"  #: Nothing is left to do for it: it is acknowledged.
    KEEP = "keep"  #: It stays where it is.


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayPlan:
    """What a replay does with one letter, and why."""

    verdict: Verdict
    why: str
    #: One commit, made before the message is published.
    writes: tuple[Write, ...] = ()
    #: Paid model calls that may follow, and those that will unless the inputs are refused.
    calls_at_most: int = 0
    calls_at_least: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayRules:
    """How to replay."""

    #: Reopen steps that have FAILED.
    rerun: bool
    #: The executor's MAX_LLM_CALLS.
    call_budget: int
    #: When the sweep looks at a job whose message had no effect.
    wake_after: timedelta


def plan_replay(  # noqa: PLR0911 -- one return per row of the decision
    letter: DeadLetter, records: StepRecords | None, rules: ReplayRules, act: OperatorAct
) -> ReplayPlan:
    """What to do with the letter; `records` is None when its run is gone or was never named."""
    if letter.job is None:
        return _keep("it cannot be read: mend the reader, or discard it")
    if records is None:
        return _acknowledge("its run is gone")
    if records.job is None:
        return _acknowledge("its job was closed long ago, or never claimed")
    try:
        job = parse_job_record(records.job.data)
    except JobRecordInvalid as problem:
        return _keep(f"its job record is none that this worker wrote: {problem}")
    if job.claim_id != letter.job.claim_id:
        return _acknowledge("a newer claim took its place")
    status = step_status(records.run.data, job.step_id)
    if job.state is JobState.FAILED and status == StepStatus.FAILED:
        return _reopening(records, job, rules, act)
    if job.closed or status != StepStatus.RUNNING:
        return _acknowledge(f"its step is {status or 'gone'}")
    if job.leased_at(act.at):
        return _keep("an executor works on it")
    revived = job.with_fresh_attempts(wake_at=act.at + rules.wake_after).with_act(act)
    at_most = max(0, rules.call_budget - job.llm_calls)
    return ReplayPlan(
        verdict=Verdict.REPLAY,
        why=f"its job is {job.state} after {job.attempt} attempts",
        writes=(update_job(revived, records.job.version),),
        calls_at_most=at_most,
        calls_at_least=0 if _may_have_report(job) else min(1, at_most),
    )


def _reopening(
    records: StepRecords, job: JobRecord, rules: ReplayRules, act: OperatorAct
) -> ReplayPlan:
    code = job.last_error.code if job.last_error else "no code"
    if not rules.rerun:
        return _keep(f"its step has FAILED ({code}): --rerun reopens it")
    try:
        rerun = replace(act, act=str(OperatorMove.RERUN))
        writes = plan_act(OperatorMove.RERUN, records, rerun)
    except ActRefused as problem:
        return _keep(str(problem))
    return ReplayPlan(
        verdict=Verdict.RERUN,
        why=f"its step has FAILED ({code})",
        writes=writes,
        calls_at_most=rules.call_budget,
        calls_at_least=0 if _may_have_report(job) else min(1, rules.call_budget),
    )


def _may_have_report(job: JobRecord) -> bool:
    """Whether a report, or an answer, may be there already: then no call is needed."""
    return job.attempt > 0 or job.may_have_artifact or job.interaction is not None


def _acknowledge(why: str) -> ReplayPlan:
    return ReplayPlan(verdict=Verdict.ACKNOWLEDGE, why=why)


def _keep(why: str) -> ReplayPlan:
    return ReplayPlan(verdict=Verdict.KEEP, why=why)
