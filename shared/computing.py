"""Long work for the processor, beside the event loop: a lease must be renewed meanwhile."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar
from weakref import WeakKeyDictionary

_T = TypeVar("_T")
#: One for the process, as Python runs one thread at a time: with more of them the event loop
#: would wait for a turn as many times longer, and nothing would be done sooner.
_THREAD = ThreadPoolExecutor(max_workers=1, thread_name_prefix="computing")
#: Less than this is done at once in one turn of the loop: the worst of it takes some ten
#: milliseconds, and the usual less than to hand it over (docs/benchmarks-history.md).
AT_ONCE_BYTES = 32_768
#: Loop -> bytes done at once since it last had a turn.
_DONE_AT_ONCE: WeakKeyDictionary[asyncio.AbstractEventLoop, int] = WeakKeyDictionary()


async def computed(work: Callable[[], _T], *, size_bytes: int | None = None) -> _T:
    """What the work gives or raises, done at once if it is small, else in a thread of its own.

    The thread does one thing after the other. What nobody waits for any more it leaves out if
    it has not begun, and finishes if it has.

    Args:
        work: what to do.
        size_bytes: what it goes through, where nothing else decides how long it takes.
    """
    loop = asyncio.get_running_loop()
    if size_bytes is not None and _may_at_once(loop, size_bytes):
        return work()
    return await loop.run_in_executor(_THREAD, work)


def _may_at_once(loop: asyncio.AbstractEventLoop, size_bytes: int) -> bool:
    """Whether this may be done at once, which counts: many small things make a long turn."""
    before = _DONE_AT_ONCE.get(loop, 0)
    after = before + max(1, size_bytes)
    if after >= AT_ONCE_BYTES:
        return False
    if not before:
        loop.call_soon(_DONE_AT_ONCE.pop, loop, None)
    _DONE_AT_ONCE[loop] = after
    return True
