"""Variables of the environment that the libraries read by themselves: certificates and proxies.

A mistake in one of them shows as a missing file, an import error or a refused connection,
anywhere. It is named here, at start-up.
"""

import ssl
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

_PROXIES = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY")


def network_problems(environ: Mapping[str, str]) -> Iterator[str]:
    """One line for each variable that no connection could be made with; never its value."""
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        if (path := environ.get(name)) and not _holds_certificates(name, path):
            yield f"{name} must name certificates that can be read"
    for proxy in _PROXIES:
        # The lower-case name comes first, as everywhere (urllib.request.getproxies).
        name = proxy.lower() if environ.get(proxy.lower()) else proxy
        if (url := environ.get(name, "").strip()) and not _is_proxy(url):
            yield f"{name} must be an http or https URL, as a SOCKS proxy is not supported"


def _holds_certificates(name: str, path: str) -> bool:
    if name == "SSL_CERT_DIR":
        return Path(path).is_dir()
    try:
        ssl.create_default_context(cafile=path)
    except (OSError, ValueError):
        return False
    return True


def _is_proxy(url: str) -> bool:
    try:
        # Without a scheme, it is taken for an http URL.
        parts = urlsplit(url if "://" in url else f"http://{url}")
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
