"""An instance that is to stop: its work learns of SIGTERM."""

import asyncio
import signal
from types import FrameType


def set_on_sigterm(event: asyncio.Event) -> None:
    """Have SIGTERM set the event, beside what the server does about the signal.

    An instance gets 10 seconds from there
    (https://cloud.google.com/run/docs/container-contract#instance-shutdown).
    """
    loop = asyncio.get_running_loop()
    server_handler = signal.getsignal(signal.SIGTERM)

    def stop(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(event.set)
        if callable(server_handler):
            server_handler(number, frame)

    signal.signal(signal.SIGTERM, stop)
