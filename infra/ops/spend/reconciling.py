"""Matching a billing export against job records, by the labels of the calls: pure."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import TypeAlias

from executor.billing.bills import asked_tier
from executor.billing.labels import CALL, label_value
from executor.billing.usage import usage_tokens
from executor.contract.tiers import served_tier
from infra.ops.spend.export import BilledLine
from shared.domain.attempts import ModelCall
from shared.domain.jobs import JobRecord

#: The labels of run, step and claim.
Claim: TypeAlias = tuple[str, str, str]


class DisagreementKind(StrEnum):
    """What does not agree."""

    BILLED_UNKNOWN = "billed_unknown"  #: A line of a claim that no job record knows.
    BILLED_MORE = "billed_more"  #: A line of a call that its job record does not know.
    NOT_BILLED = "not_billed"  #: A call that took tokens, and no line is of it.
    DOUBLED = "doubled"  #: The same line twice.
    OTHER_TIER = "other_tier"  #: Billed at another service tier than the answer said.


@dataclass(frozen=True, slots=True, kw_only=True)
class Disagreement:
    """One thing that does not agree."""

    kind: DisagreementKind
    run: str
    step: str
    claim: str
    call: str | None = None
    #: The number of the line in the export; None where there is none.
    line: int | None = None
    cost: Decimal | None = None
    says: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconciliation:
    """The export beside the job records."""

    findings: Sequence[Disagreement]
    lines: int
    #: Lines without the worker's labels: other programs' calls, and other products.
    others: int
    calls: int
    billed: Decimal


def reconcile(
    lines: Iterable[BilledLine],
    records: Iterable[JobRecord],
    *,
    since: datetime,
    until: datetime,
) -> Reconciliation:
    """What does not agree; calls count that began from `since` on, and before `until`."""
    known = _known_calls(records)
    seen: Counter[str] = Counter()
    found: list[Disagreement] = []
    matched: set[tuple[Claim, str]] = set()
    total, others, billed = 0, 0, Decimal(0)
    for line in lines:
        total += 1
        if not line.ours:
            others += 1
            continue
        billed += line.cost
        seen[line.identity] += 1
        if seen[line.identity] > 1:
            found.append(_of_line(DisagreementKind.DOUBLED, line))
            continue
        found += _judged(line, known, matched)
    found += _not_billed(known, matched, since, until)
    calls = sum(len(calls) for calls in known.values())
    return Reconciliation(
        findings=found, lines=total, others=others, calls=calls, billed=billed
    )


def _known_calls(records: Iterable[JobRecord]) -> Mapping[Claim, Mapping[str, ModelCall]]:
    return {
        (label_value(job.run_id), label_value(job.step_id), label_value(job.claim_id)): {
            str(call.number): call for attempt in job.history for call in attempt.calls
        }
        for job in records
    }


def _judged(
    line: BilledLine,
    known: Mapping[Claim, Mapping[str, ModelCall]],
    matched: set[tuple[Claim, str]],
) -> Sequence[Disagreement]:
    calls, number = known.get(line.claim), line.labels.get(CALL)
    if calls is None:
        return [_of_line(DisagreementKind.BILLED_UNKNOWN, line)]
    # A call that was begun by a version without this label is one of the claim's.
    matched.update((line.claim, each) for each in ([number] if number else calls))
    if number is None:
        return []
    call = calls.get(number)
    if call is None:
        return [_of_line(DisagreementKind.BILLED_MORE, line)]
    served = _tier(call)
    if served != line.tier:
        says = f"billed as {line.tier}, served as {served}"
        return [_of_line(DisagreementKind.OTHER_TIER, line, says=says)]
    return []


def _tier(call: ModelCall) -> str:
    tier = served_tier(call.service_tier, asked_tier(call))
    return str(tier or call.service_tier or asked_tier(call)).lower()


def _not_billed(
    known: Mapping[Claim, Mapping[str, ModelCall]],
    matched: set[tuple[Claim, str]],
    since: datetime,
    until: datetime,
) -> Iterable[Disagreement]:
    for claim, calls in known.items():
        for number, call in calls.items():
            took = usage_tokens(call.usage) is not None
            counts = since <= call.started_at < until
            if took and counts and (claim, number) not in matched:
                run, step, name = claim
                yield Disagreement(
                    kind=DisagreementKind.NOT_BILLED,
                    run=run,
                    step=step,
                    claim=name,
                    call=number,
                )


def _of_line(kind: DisagreementKind, line: BilledLine, says: str = "") -> Disagreement:
    run, step, claim = line.claim
    return Disagreement(
        kind=kind,
        run=run,
        step=step,
        claim=claim,
        call=line.labels.get(CALL),
        line=line.number,
        cost=line.cost,
        says=says,
    )
