"""What a step took: tokens, time and money of all its model calls, failed ones included."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from executor.prices import MicroUsd, PriceTable, Tokens, price_on, usage_tokens, usd
from shared.domain.attempts import ModelCall
from shared.domain.jobs import JobRecord
from shared.domain.times import milliseconds


def accounting(job: JobRecord, prices: PriceTable) -> dict[str, Any] | None:
    """`outputs.execution.accounting`; None for a step that made no call.

    `costUsd` is there when every call that counted tokens has a price on its day.
    `callsWithoutUsage` are those of which it is not known what they took.
    """
    calls = [call for attempt in job.history for call in attempt.calls]
    if not calls:
        return None
    counted = [(call, tokens) for call in calls if (tokens := usage_tokens(call.usage))]
    total = sum((tokens for _, tokens in counted), Tokens())
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
        },
        "latencyMs": milliseconds(took),
    }
    versions = sorted({call.model_version for call in calls if call.model_version})
    if versions:
        fields["modelVersions"] = versions
    cost = _cost(counted, prices)
    return fields if cost is None else {**fields, "costUsd": usd(cost)}


def _cost(counted: Sequence[tuple[ModelCall, Tokens]], prices: PriceTable) -> MicroUsd | None:
    total = MicroUsd(0)
    for call, tokens in counted:
        price = price_on(prices, call.model_name or "", call.started_at.date())
        if price is None:
            return None
        total = MicroUsd(total + price.of(tokens))
    return total
