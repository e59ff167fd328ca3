"""Long work for the processor, beside the event loop: a lease must be renewed meanwhile."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

_T = TypeVar("_T")
#: One for the process, as Python runs one thread at a time: with more of them the event loop
#: would wait for a turn as many times longer, and nothing would be done sooner.
_THREAD = ThreadPoolExecutor(max_workers=1, thread_name_prefix="computing")


async def computed(work: Callable[[], _T]) -> _T:
    """What the work gives or raises, done in a thread of its own, in the order asked for.

    Work that nobody waits for any more is left out if it has not begun, and finished if it has.
    """
    return await asyncio.get_running_loop().run_in_executor(_THREAD, work)
