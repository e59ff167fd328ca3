"""Works only as long as the job is held and the instance is not being stopped."""

import asyncio
from collections.abc import Coroutine
from datetime import timedelta
from typing import Any

from executor.jobs.lease import HeldJob, LeaseLost
from executor.jobs.outcome import (
    AnswerPending,
    Failed,
    Interrupted,
    Outcome,
    Pending,
    Succeeded,
    WorkFailed,
)
from shared.domain.defects import place_of
from shared.domain.errors import InternalError

#: What a stopped instance gives an upload, of the 10 seconds that it has
#: (https://cloud.google.com/run/docs/container-contract#instance-shutdown).
STORING_SECONDS = 5.0


async def supervised(
    work: Coroutine[Any, Any, Succeeded],
    *,
    held: HeldJob,
    renew_every: timedelta,
    draining: asyncio.Event,
) -> Outcome | Interrupted | Pending:
    """Run the work while its lease is renewed, and return its outcome.

    A lost lease, or the stop of the instance, cancels the work at once. An instance that is
    stopped while it stores an answer gets STORING_SECONDS to store it first. An unexpected
    exception becomes a Failed outcome like others, which spends the budgets.

    Raises:
        LeaseLost: it is lost, and the work is cancelled.
    """
    working = asyncio.create_task(work)
    keeping = asyncio.create_task(held.keep(renew_every))
    stopping = asyncio.create_task(draining.wait())
    tasks = (working, keeping, stopping)
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if held.storing and not keeping.done():
            await asyncio.wait(
                (working, keeping),
                timeout=STORING_SECONDS,
                return_when=asyncio.FIRST_COMPLETED,
            )
        if working.done():
            return working.result()
        if keeping.done():
            keeping.result()
        return Interrupted()
    except AnswerPending as pending:
        return Pending(look_at=pending.look_at)
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
