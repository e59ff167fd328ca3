"""What a step took: tokens, time and money of all its model calls, failed ones included."""

from datetime import timedelta
from typing import Any

from executor.billing.bills import call_cost
from executor.billing.prices import MicroUsd, PriceTable, usd
from executor.billing.usage import Tokens, usage_tokens
from shared.domain.jobs import JobRecord
from shared.domain.times import milliseconds


def accounting(job: JobRecord, prices: PriceTable) -> dict[str, Any] | None:
    """`outputs.execution.accounting`; None for a step that made no call.

    `costUsd` is there when it is known of every call what it cost: what is unknown is never
    zero. `callsWithoutUsage` are those without a usage that can be read, refused ones included.
    """
    calls = [call for attempt in job.history for call in attempt.calls]
    if not calls:
        return None
    counted = [tokens for call in calls if (tokens := usage_tokens(call.usage))]
    total = sum(counted, Tokens())
    took = sum(
        (call.ended_at - call.started_at for call in calls if call.ended_at), timedelta(0)
    )
    fields: dict[str, Any] = {
        "calls": len(calls),
        "callsWithoutUsage": len(calls) - len(counted),
        "tokens": {
            "input": total.input,
            "cached": total.cached,
            "output": total.output,
            "thought": total.thought,
            **({"unseen": total.unseen} if total.unseen else {}),
        },
        "latencyMs": milliseconds(took),
    }
    versions = sorted({call.model_version for call in calls if call.model_version})
    if versions:
        fields["modelVersions"] = versions
    costs = [call_cost(call, prices) for call in calls]
    known = [cost for cost in costs if cost is not None]
    # Without a price for anything, a sum of nothings would read as if all had been free.
    if counted and len(known) == len(costs):
        fields["costUsd"] = usd(MicroUsd(sum(known)))
    return fields
