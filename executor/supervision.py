"""Working only as long as the job is held and the instance lives."""

import asyncio
from collections.abc import Coroutine
from datetime import timedelta
from typing import Any

from executor.background import AnswerPending
from executor.lease import HeldJob, LeaseLost
from executor.outcome import Failed, Interrupted, Outcome, Pending, Succeeded
from executor.work import WorkFailed
from shared.domain.defects import place_of
from shared.domain.errors import InternalError


async def supervised(
    work: Coroutine[Any, Any, Succeeded],
    *,
    held: HeldJob,
    renew_every: timedelta,
    draining: asyncio.Event,
) -> Outcome | Interrupted | Pending:
    """What the work comes to while its lease is renewed.

    Losing the lease, or the instance's being stopped, cancels the work at once. A defect of
    the work is a failure like others: it is told at once, and spends the budgets.

    Raises:
        LeaseLost: it is lost, and the work is cancelled.
    """
    working = asyncio.create_task(work)
    keeping = asyncio.create_task(held.keep(renew_every))
    stopping = asyncio.create_task(draining.wait())
    tasks = (working, keeping, stopping)
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        if keeping.done():
            keeping.result()
        return Interrupted()
    except AnswerPending:
        return Pending()
    except WorkFailed as failure:
        return Failed(error=failure.error, answer=failure.answer)
    except LeaseLost:
        raise
    except Exception as defect:  # noqa: BLE001 - unhandled, it would hold the lease to its end
        return Failed(error=InternalError(place_of(defect)))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
