"""HTTP connections of a blocking client that another thread can break off.

A thread cannot be interrupted, and a timeout of `requests` bounds each read of a socket and not
the whole answer: a server that sends a byte now and then holds the thread for hours. Shutting
the socket down ends the thread's wait at once.
"""

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from requests import Response
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection

from executor.adapters.bounded_http import BoundedAdapter

_T = TypeVar("_T")
_thread = threading.local()


class BrokenOff(Exception):
    """Nobody waits for this answer any more."""


class AbortableCall:
    """Blocking work of one thread, whose requests another thread can break off."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._aborted = False
        self._socket: socket.socket | None = None
        self._responses: list[Response] = []

    def run(self, work: Callable[[], _T]) -> _T:
        """Do the work in this thread."""
        _thread.call = self
        try:
            return work()
        finally:
            _thread.call = None
            with self._lock:
                # The connection may serve another call from now on.
                self._socket = None
            # The client leaves an answer open whose status it does not like.
            for response in self._responses:
                response.close()

    def abort(self) -> None:
        """Break off the request that is under way, and refuse further ones."""
        with self._lock:
            self._aborted = True
            if self._socket is not None:
                # Shut down and not closed: the number of a closed socket may be another's.
                with suppress(OSError, ValueError):
                    self._socket.shutdown(socket.SHUT_RDWR)

    def uses(self, connection: Any) -> None:
        """A request goes out on this connection.

        Raises:
            BrokenOff: the call was aborted.
        """
        with self._lock:
            if self._aborted:
                raise BrokenOff
            self._socket = connection.sock

    def got(self, response: Response) -> None:
        """A request was answered, at least by its headers."""
        self._responses.append(response)


def _note_use(connection: Any) -> None:
    call = _current()
    if call is not None:
        call.uses(connection)


def _current() -> AbortableCall | None:
    return getattr(_thread, "call", None)


class _Connection(HTTPConnection):
    def connect(self) -> None:
        super().connect()
        _note_use(self)

    def request(self, *given: Any, **named: Any) -> None:
        # A connection that was kept from a former request is not made anew.
        _note_use(self)
        super().request(*given, **named)


class _SecureConnection(HTTPSConnection):
    def connect(self) -> None:
        super().connect()
        _note_use(self)

    def request(self, *given: Any, **named: Any) -> None:
        _note_use(self)
        super().request(*given, **named)


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _SecureConnection


class AbortableAdapter(BoundedAdapter):
    """The transport of a `requests` session whose calls can be aborted."""

    def init_poolmanager(self, *given: Any, **named: Any) -> None:
        """As the base class does, with connections of ours."""
        super().init_poolmanager(*given, **named)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _SecurePool}

    def received(self, response: Response) -> None:
        """Note the answer for the call of this thread."""
        call = _current()
        if call is not None:
            call.got(response)

    def proxy_manager_for(self, proxy: Any, **named: Any) -> Any:
        """As the base class does, with connections of ours."""
        manager = super().proxy_manager_for(proxy, **named)
        manager.pool_classes_by_scheme = {"http": _Pool, "https": _SecurePool}
        return manager
