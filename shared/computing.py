"""Long work for the processor, beside the event loop: a lease must be renewed meanwhile."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

_T = TypeVar("_T")
#: One for the process, as Python runs one thread at a time: with more of them the event loop
#: would wait for a turn as many times longer, and nothing would be done sooner.
_THREAD = ThreadPoolExecutor(max_workers=1, thread_name_prefix="computing")
#: Less than this is done at once: the worst of it takes some milliseconds, and the usual less
#: than to hand it over (docs/benchmarks-history.md).
AT_ONCE_BYTES = 32_768


async def computed(work: Callable[[], _T], *, size_bytes: int | None = None) -> _T:
    """What the work gives or raises, done at once if it is small, else in a thread of its own.

    The thread does one thing after the other. What nobody waits for any more it leaves out if
    it has not begun, and finishes if it has.

    Args:
        work: what to do.
        size_bytes: what it goes through, where nothing else decides how long it takes.
    """
    if size_bytes is not None and size_bytes < AT_ONCE_BYTES:
        return work()
    return await asyncio.get_running_loop().run_in_executor(_THREAD, work)
