"""Free ports on the loopback interface."""

import secrets
import socket

LOOPBACK = "127.0.0.1"
#: Below the range from which Linux (32768 up) and macOS (49152 up) take ports for outgoing
#: connections, the usual thief of a port between its choice and its use.
_CHOICES = range(20_000, 32_000)
_DRAWS = 64


def free_port() -> int:
    """Return a port of the loopback interface that nobody listens on.

    The port is not held: another process can take it before the caller's does. A caller that
    starts a server on it must notice that it is gone and try again (see `emulators.start`). A
    server of this process binds port 0 instead and has no such gap.
    """
    for _ in range(_DRAWS):
        port = _CHOICES[secrets.randbelow(len(_CHOICES))]
        if is_free(port):
            return port
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def is_free(port: int) -> bool:
    """Tell whether a server could listen on this port of the loopback interface now."""
    with socket.socket() as probe:
        # As servers do; otherwise the remains of closed connections count as a listener.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True
