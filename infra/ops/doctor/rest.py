"""Reading Google's APIs over REST with the operator's own credentials; nothing is changed."""

from collections.abc import Callable, Iterator, Mapping
from http import HTTPStatus
from typing import Any

import requests

from executor.adapters.bounded_http import LongBodiesAdapter, bounded
from infra.ops.doctor.calls import SCOPE, ApiCall
from infra.ops.doctor.facts import NotRead
from infra.ops.environment.connection import NotConnected
from infra.ops.environment.stored_documents import at, maps_at, text_at

_CALL_SECONDS = 30.0
_MAX_PAGES = 20
#: Google leaves the conditions out of a policy unless this version is asked for.
_POLICY_VERSION = 3


def google_url(service: str) -> str:
    """Where a service of Google answers."""
    return f"https://{service}.googleapis.com"


def authorized_session() -> requests.Session:
    """A session with the operator's application default credentials.

    They may be a person's, a service account's, or of one account acting as another.

    Raises:
        NotConnected: there are none.
    """
    import google.auth  # noqa: PLC0415 - takes a while to load
    from google.auth.exceptions import DefaultCredentialsError  # noqa: PLC0415
    from google.auth.transport.requests import AuthorizedSession  # noqa: PLC0415

    try:
        credentials, _ = google.auth.default(scopes=[SCOPE])
    except DefaultCredentialsError:
        raise NotConnected(
            "there are no credentials: sign in with `gcloud auth application-default login`"
        ) from None
    session = AuthorizedSession(credentials)  # type: ignore[no-untyped-call]
    return bounded(session, LongBodiesAdapter())


def identity_of(session: requests.Session) -> str:
    """Who the session is, as a member of a policy; user:YOU for a person."""
    email = getattr(getattr(session, "credentials", None), "service_account_email", None)
    return f"serviceAccount:{email}" if email and "@" in str(email) else "user:YOU"


class Rest:
    """Reads resources, and keeps in mind what could not be read."""

    def __init__(
        self, session: requests.Session, base_url: Callable[[str], str] = google_url
    ) -> None:
        self._session = session
        self._base_url = base_url
        #: Subject -> why it could not be read.
        self.unreadable: dict[str, NotRead] = {}

    def get(
        self, subject: str, call: ApiCall, path: str, **params: str
    ) -> Mapping[str, Any] | None:
        """The resource; None where there is none, or where it could not be read."""
        url = f"{self._base_url(call.service)}/{path}"
        return self._read(subject, url, params, call)

    def ask(self, subject: str, host: str, path: str) -> Mapping[str, Any] | None:
        """The same of an API that is no part of the project: the model provider's."""
        return self._read(subject, f"{self._base_url(host)}/{path}", {}, None)

    def policy(self, subject: str, call: ApiCall, path: str) -> Mapping[str, Any] | None:
        """The policy of a resource, with its conditions."""
        version = "optionsRequestedPolicyVersion" if call.service == "storage" else (
            "options.requestedPolicyVersion"
        )  # fmt: skip
        params = {} if call.posts else {version: str(_POLICY_VERSION)}
        url = f"{self._base_url(call.service)}/{path}"
        return self._read(subject, url, params, call)

    def list(
        self, subject: str, call: ApiCall, path: str, items: str, **params: str
    ) -> Iterator[Mapping[str, Any]]:
        """The items of all pages, up to a bound that no project comes near."""
        token: str | None = ""
        for _ in range(_MAX_PAGES):
            page = self.get(subject, call, path, **params, pageToken=token or "")
            yield from maps_at(page, items)
            token = text_at(page, "nextPageToken")
            if not token:
                break

    def _read(
        self, subject: str, url: str, params: Mapping[str, str], call: ApiCall | None
    ) -> Mapping[str, Any] | None:
        try:
            answer = self._answer(url, params, call)
            if answer.status_code == HTTPStatus.NOT_FOUND:
                return None
            if not answer.ok:
                self.unreadable[subject] = _refusal(answer, call, identity_of(self._session))
                return None
            found = answer.json()
        except (requests.RequestException, ValueError) as error:
            self.unreadable[subject] = NotRead(reason=type(error).__name__)
            return None
        except Exception as error:
            from google.auth.exceptions import GoogleAuthError  # noqa: PLC0415 - as above

            if not isinstance(error, GoogleAuthError):
                raise
            raise NotConnected(
                f"the credentials are refused ({type(error).__name__}): sign in again with "
                "`gcloud auth application-default login`"
            ) from None
        return found if isinstance(found, Mapping) else None

    def _answer(
        self, url: str, params: Mapping[str, str], call: ApiCall | None
    ) -> requests.Response:
        if call is not None and call.posts:
            options = {"options": {"requestedPolicyVersion": _POLICY_VERSION}}
            return self._session.post(url, json=options, timeout=_CALL_SECONDS)
        return self._session.get(url, params=params, timeout=_CALL_SECONDS)


def _refusal(answer: requests.Response, call: ApiCall | None, who: str) -> NotRead:
    """Why a call was refused, and what the caller needs, by the error that Google answers."""
    status = f"{answer.status_code} {answer.reason}"
    if call is None:
        return NotRead(reason=status)
    reasons = {text_at(item, "reason") for item in _details(answer)}
    if "SERVICE_DISABLED" in reasons:
        api = f"{call.service}.googleapis.com"
        return NotRead(reason=f"{status}, {api} is not enabled", disabled=api)
    if "ACCESS_TOKEN_SCOPE_INSUFFICIENT" in reasons:
        return NotRead(
            reason=f"{status}, the credentials have not the scope {SCOPE}", scope=SCOPE
        )
    if answer.status_code == HTTPStatus.FORBIDDEN:
        return NotRead(
            reason=f"{status}, {who} has not {call.permission}", member=who, role=call.role
        )
    return NotRead(reason=status)


def _details(answer: requests.Response) -> Iterator[Mapping[str, Any]]:
    try:
        body = answer.json()
    except ValueError:
        return
    for item in maps_at(body, "error", "details") if isinstance(body, Mapping) else ():
        yield item
    legacy = at(body, "error", "errors") if isinstance(body, Mapping) else None
    for item in legacy or ():
        if isinstance(item, Mapping):
            yield item
