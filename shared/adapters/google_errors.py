"""What the errors of Google's client libraries mean to a port: refused, or unavailable.

The table names every exception class of the libraries. A class that is missing, as in a newer
version of them, counts as its nearest known ancestor, and in the end as unavailable.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import TypeVar

from google.api_core import exceptions, retry_async
from google.auth import exceptions as auth

from shared.ports import PortFailure, Refused, Unavailable

_T = TypeVar("_T")


class PortOutcome(StrEnum):
    """What an error says of the operation."""

    #: What is written is to blame: another document or message may be taken.
    UNFIT = "unfit"
    REFUSED = "refused"
    UNAVAILABLE = "unavailable"


OUTCOMES: dict[type[BaseException], PortOutcome] = {
    exceptions.GoogleAPIError: PortOutcome.UNAVAILABLE,
    exceptions.DuplicateCredentialArgs: PortOutcome.REFUSED,
    exceptions.RetryError: PortOutcome.UNAVAILABLE,
    exceptions.GoogleAPICallError: PortOutcome.UNAVAILABLE,
    # An HTTP proxy in the way answers these; neither service does.
    exceptions.Redirection: PortOutcome.UNAVAILABLE,
    exceptions.MovedPermanently: PortOutcome.UNAVAILABLE,
    exceptions.NotModified: PortOutcome.UNAVAILABLE,
    exceptions.TemporaryRedirect: PortOutcome.UNAVAILABLE,
    exceptions.ResumeIncomplete: PortOutcome.UNAVAILABLE,
    exceptions.ClientError: PortOutcome.REFUSED,
    exceptions.BadRequest: PortOutcome.UNFIT,
    exceptions.InvalidArgument: PortOutcome.UNFIT,
    exceptions.FailedPrecondition: PortOutcome.REFUSED,
    exceptions.OutOfRange: PortOutcome.UNFIT,
    exceptions.Unauthorized: PortOutcome.REFUSED,
    exceptions.Unauthenticated: PortOutcome.REFUSED,
    exceptions.Forbidden: PortOutcome.REFUSED,
    exceptions.PermissionDenied: PortOutcome.REFUSED,
    exceptions.NotFound: PortOutcome.REFUSED,
    exceptions.MethodNotAllowed: PortOutcome.REFUSED,
    exceptions.Conflict: PortOutcome.UNAVAILABLE,
    exceptions.AlreadyExists: PortOutcome.REFUSED,
    exceptions.Aborted: PortOutcome.UNAVAILABLE,
    exceptions.LengthRequired: PortOutcome.REFUSED,
    exceptions.PreconditionFailed: PortOutcome.REFUSED,
    exceptions.RequestRangeNotSatisfiable: PortOutcome.REFUSED,
    exceptions.TooManyRequests: PortOutcome.UNAVAILABLE,
    exceptions.ResourceExhausted: PortOutcome.UNAVAILABLE,
    exceptions.Cancelled: PortOutcome.UNAVAILABLE,
    exceptions.ServerError: PortOutcome.UNAVAILABLE,
    exceptions.InternalServerError: PortOutcome.UNAVAILABLE,
    exceptions.Unknown: PortOutcome.UNAVAILABLE,
    exceptions.DataLoss: PortOutcome.UNAVAILABLE,
    exceptions.MethodNotImplemented: PortOutcome.REFUSED,
    exceptions.BadGateway: PortOutcome.UNAVAILABLE,
    exceptions.ServiceUnavailable: PortOutcome.UNAVAILABLE,
    exceptions.GatewayTimeout: PortOutcome.UNAVAILABLE,
    exceptions.DeadlineExceeded: PortOutcome.UNAVAILABLE,
    exceptions.ResumableTransferError: PortOutcome.UNAVAILABLE,
    exceptions.TransferStalledError: PortOutcome.UNAVAILABLE,
    exceptions.UploadCancelledError: PortOutcome.UNAVAILABLE,
    exceptions.MissingStatusHeaderError: PortOutcome.UNAVAILABLE,
    exceptions.UnseekableStreamError: PortOutcome.REFUSED,
    # The metadata server, which gives credentials, starts late at times.
    auth.GoogleAuthError: PortOutcome.UNAVAILABLE,
    auth.TransportError: PortOutcome.UNAVAILABLE,
    auth.RefreshError: PortOutcome.UNAVAILABLE,
    auth.TimeoutError: PortOutcome.UNAVAILABLE,
    auth.ResponseError: PortOutcome.UNAVAILABLE,
    auth.UserAccessTokenError: PortOutcome.REFUSED,
    auth.DefaultCredentialsError: PortOutcome.REFUSED,
    auth.MutualTLSChannelError: PortOutcome.REFUSED,
    auth.ClientCertError: PortOutcome.REFUSED,
    auth.OAuthError: PortOutcome.REFUSED,
    auth.ReauthFailError: PortOutcome.REFUSED,
    auth.ReauthSamlChallengeFailError: PortOutcome.REFUSED,
    auth.MalformedError: PortOutcome.REFUSED,
    auth.InvalidResource: PortOutcome.REFUSED,
    auth.InvalidOperation: PortOutcome.REFUSED,
    auth.InvalidValue: PortOutcome.REFUSED,
    auth.InvalidType: PortOutcome.REFUSED,
    auth.OSError: PortOutcome.REFUSED,
}

#: What a service says in its message, and what is said of it: a message itself may quote a
#: document. https://firebase.google.com/docs/firestore/quotas#limits
_REASONS = tuple(
    (re.compile(pattern, re.IGNORECASE), reason)
    for pattern, reason in (
        (r"index entr", "too many index entries, or one of them too long"),
        (r"exceeds the maximum (allowed )?size|too large|too big|larger than", "too large"),
        (r"longer than|1[, ]?500 bytes|too long", "a name or a value is too long"),
        (r"nest|depth", "nested too deeply"),
        (r"resource name|document id|document name|path|reserved", "a name is malformed"),
        (r"requires an index", "an index is missing"),
        (r"billing", "billing is off"),
        (r"datastore mode", "the database is in Datastore mode"),
    )
)
_HINTS: dict[str, str] = {
    "PERMISSION_DENIED": "look at the roles of the function's account",
    "UNAUTHENTICATED": "look at the function's account",
}


def outcome_of(error: BaseException) -> PortOutcome:
    """What the error says of the operation, by its nearest class in the table."""
    known = (OUTCOMES[kind] for kind in type(error).__mro__ if kind in OUTCOMES)
    return next(known, PortOutcome.UNAVAILABLE)


def status_of(error: BaseException) -> str:
    """The status and a short reason, such as `INVALID_ARGUMENT: too large`."""
    if isinstance(error, TimeoutError):
        return "DEADLINE_EXCEEDED"
    status = getattr(getattr(error, "grpc_status_code", None), "name", type(error).__name__)
    if outcome_of(error) is PortOutcome.UNAVAILABLE:
        return status
    text = str(getattr(error, "message", ""))
    known = (reason for pattern, reason in _REASONS if pattern.search(text))
    reason = next(known, _HINTS.get(status))
    return f"{status}: {reason}" if reason else status


async def asked(
    call: Callable[[], Awaitable[_T]],
    timeout_seconds: float,
    *,
    unavailable: type[Unavailable],
    refused: type[Refused],
    again: bool = False,
) -> _T:
    """The answer to the call, within its time.

    Args:
        call: makes the request; called again after a failure if that is safe.
        timeout_seconds: for everything, further tries included.
        unavailable: raised where no usable answer came in time.
        refused: raised where the service refuses for good.
        again: whether the request may be made twice.
    """
    retry = retry_async.AsyncRetry(
        predicate=_may_pass, initial=0.1, maximum=1.0, timeout=timeout_seconds
    )
    try:
        # The library's own timeouts do not bound what lies between them.
        async with asyncio.timeout(timeout_seconds):
            return await (retry(call)() if again else call())
    except PortFailure:
        raise
    except Exception as error:  # noqa: BLE001 -- no library's exception passes a port
        # A retry that gave up says why in what it gave up on.
        first = error.cause if isinstance(error, exceptions.RetryError) else error
        raise failure_of(first or error, unavailable=unavailable, refused=refused) from None


def failure_of(
    error: BaseException, *, unavailable: type[Unavailable], refused: type[Refused]
) -> Unavailable | Refused:
    """The port's own exception for a library's."""
    outcome = outcome_of(error)
    if outcome is PortOutcome.UNAVAILABLE:
        return unavailable(status_of(error))
    return refused(status_of(error), unfit=outcome is PortOutcome.UNFIT)


def _may_pass(error: BaseException) -> bool:
    return type(error) in OUTCOMES and outcome_of(error) is PortOutcome.UNAVAILABLE
