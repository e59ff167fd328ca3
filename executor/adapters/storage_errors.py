"""What the errors of the Cloud Storage client mean to the port: refused, or unavailable.

The table names what may come at all: of the client itself, of its transport, and of the
libraries beneath. A class that is missing counts as its nearest known ancestor.
"""

from http import HTTPStatus

import requests
from google.cloud.storage.exceptions import (
    DataCorruptionDynamicParent,
    InvalidPathError,
    InvalidResponseDynamicParent,
)
from urllib3 import exceptions as urllib3

from executor.adapters.abortable_http import BrokenOff
from executor.ports import ObjectsRefused, ObjectsUnavailable
from shared.adapters.google_errors import OUTCOMES as GOOGLE
from shared.adapters.google_errors import PortOutcome

#: Whatever a transport meets may be another the next time.
_TRANSPORT: tuple[type[Exception], ...] = (
    requests.RequestException,
    urllib3.HTTPError,
    # Ancestors of the client's own, and what the library beneath it raises.
    DataCorruptionDynamicParent,
    InvalidResponseDynamicParent,
    BrokenOff,
    OSError,
)
#: Refused before anything is sent: a malformed address, header or proxy.
_MALFORMED: tuple[type[Exception], ...] = (
    InvalidPathError,
    requests.exceptions.MissingSchema,
    requests.exceptions.InvalidSchema,
    requests.exceptions.InvalidURL,
    requests.exceptions.InvalidHeader,
    urllib3.LocationValueError,
)
OUTCOMES: dict[type[BaseException], PortOutcome] = {
    **GOOGLE,
    **dict.fromkeys(_TRANSPORT, PortOutcome.UNAVAILABLE),
    **dict.fromkeys(_MALFORMED, PortOutcome.REFUSED),
}
_LOOK_AT = {
    HTTPStatus.BAD_REQUEST: "look at the project's billing and the bucket's encryption key",
    HTTPStatus.UNAUTHORIZED: "look at the function's account",
    HTTPStatus.FORBIDDEN: "look at the roles of the function's account on the bucket, "
    "the project's billing and the bucket's encryption key",
    HTTPStatus.NOT_FOUND: "there is no such bucket",
}


def failure_of(error: BaseException) -> ObjectsUnavailable | ObjectsRefused:
    """The port's own exception for a library's."""
    known = (OUTCOMES[kind] for kind in type(error).__mro__ if kind in OUTCOMES)
    outcome = next(known, PortOutcome.UNAVAILABLE)
    if outcome is PortOutcome.UNAVAILABLE:
        return ObjectsUnavailable(status_of(error))
    return ObjectsRefused(status_of(error), unfit=outcome is PortOutcome.UNFIT)


def status_of(error: BaseException) -> str:
    """The status and what to look at, such as `403 Forbidden: look at …`; never the message."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    try:
        status = HTTPStatus(int(str(getattr(error, "code", None))))
    except ValueError:
        return type(error).__name__
    look_at = _LOOK_AT.get(status)
    said = f"{status.value} {status.phrase}"
    return f"{said}: {look_at}" if look_at else said
