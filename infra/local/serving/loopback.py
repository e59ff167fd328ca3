"""Keeping what is on this machine away from proxies."""

from collections.abc import MutableMapping

_NAMES = ("no_proxy", "NO_PROXY")
#: gRPC's own variable, which wins over the others where it is set.
_GRPC = "no_grpc_proxy"
_HOSTS = ("127.0.0.1", "localhost", "::1")


def bypass_proxies(environ: MutableMapping[str, str]) -> None:
    """Have no client of this process, and of its children, reach this machine by a proxy.

    gRPC, requests and httpx take a proxy from the environment also for loopback addresses.
    """
    for name in (*_NAMES, *([_GRPC] if _GRPC in environ else [])):
        known = [host.strip() for host in environ.get(name, "").split(",") if host.strip()]
        if "*" not in known:
            environ[name] = ",".join(dict.fromkeys([*known, *_HOSTS]))
