"""Who acts: the account behind the credentials, or the name that was given."""

import getpass
import socket
from typing import Any

from infra.failures import CannotBeDone

MAX_AUTHOR_CHARS = 128
_SECONDS = 10.0
#: https://developers.google.com/identity/openid-connect/openid-connect#obtaininguserprofileinformation
_USER_INFO = "https://openidconnect.googleapis.com/v1/userinfo"


class AuthorUnknown(CannotBeDone):
    """Nobody is named as the author of the act: say who you are with --as."""

    exit_code = 2


def author_of(given: str | None, *, local: bool) -> str:
    """The name given, or else the account of the credentials; on this machine, the user's.

    Raises:
        AuthorUnknown: the name is empty or too long, or the credentials do not tell.
    """
    if given is not None:
        return _checked(given)
    return login_name() if local else _account()


def login_name() -> str:
    """The user of this machine, such as `ann@workstation`."""
    try:
        return _checked(f"{getpass.getuser()}@{socket.gethostname()}")
    except (KeyError, OSError):
        return "unknown user"


def _checked(name: str) -> str:
    name = " ".join(name.split())
    if not name or len(name) > MAX_AUTHOR_CHARS or not name.isprintable():
        raise AuthorUnknown(
            f"--as must be a name of 1 to {MAX_AUTHOR_CHARS} printable characters"
        )
    return name


def _account() -> str:
    # Late: only who acts on a real project pays for it.
    import google.auth  # noqa: PLC0415
    from google.auth.exceptions import GoogleAuthError  # noqa: PLC0415
    from google.auth.transport.requests import AuthorizedSession  # noqa: PLC0415
    from requests import RequestException  # noqa: PLC0415

    try:
        credentials, _ = google.auth.default()
        known = _named_by(credentials)
        if known is None:
            answer = _asked(AuthorizedSession, credentials)
            known = answer.json().get("email") if answer.ok else None
    except (GoogleAuthError, RequestException, ValueError):
        known = None
    if not known:
        raise AuthorUnknown(
            "the credentials do not say whose they are: name yourself with --as"
        )
    return _checked(str(known))


def _asked(session: Any, credentials: Any) -> Any:
    """The answer of Google to who the credentials are of."""
    from executor.adapters.bounded_http import BoundedAdapter, bounded  # noqa: PLC0415 - as above

    return bounded(session(credentials), BoundedAdapter()).get(_USER_INFO, timeout=_SECONDS)


def _named_by(credentials: Any) -> str | None:
    """The account that the credentials themselves name, if they do."""
    email = getattr(credentials, "service_account_email", None)
    if email and email != "default":
        return str(email)
    return str(credentials.account) if getattr(credentials, "account", "") else None
