"""Reading Google's APIs over REST with the operator's own credentials; only GET is there."""

from collections.abc import Callable, Iterator, Mapping
from http import HTTPStatus
from typing import Any

import requests

from infra.ops.connection import NotConnected
from infra.ops.lenient import maps_at, text_at

_CALL_SECONDS = 30.0
_MAX_PAGES = 20
_SCOPE = "https://www.googleapis.com/auth/cloud-platform.read-only"


def google_url(service: str) -> str:
    """Where a service of Google answers."""
    return f"https://{service}.googleapis.com"


def authorized_session() -> requests.Session:
    """A session with the operator's application default credentials.

    Raises:
        NotConnected: there are none.
    """
    import google.auth  # noqa: PLC0415 - takes a while to load
    from google.auth.exceptions import DefaultCredentialsError  # noqa: PLC0415
    from google.auth.transport.requests import AuthorizedSession  # noqa: PLC0415

    try:
        credentials, _ = google.auth.default(scopes=[_SCOPE])
    except DefaultCredentialsError:
        raise NotConnected(
            "there are no credentials: sign in with `gcloud auth application-default login`"
        ) from None
    session: requests.Session = AuthorizedSession(credentials)  # type: ignore[no-untyped-call]
    return session


class Rest:
    """Reads resources, and keeps in mind what could not be read."""

    def __init__(
        self, session: requests.Session, base_url: Callable[[str], str] = google_url
    ) -> None:
        self._session = session
        self._base_url = base_url
        #: Subject -> why it could not be read.
        self.unreadable: dict[str, str] = {}

    def get(
        self, subject: str, service: str, path: str, **params: str
    ) -> Mapping[str, Any] | None:
        """The resource; None where there is none, or where it could not be read."""
        try:
            answer = self._session.get(
                f"{self._base_url(service)}/{path}", params=params, timeout=_CALL_SECONDS
            )
            if answer.status_code == HTTPStatus.NOT_FOUND:
                return None
            answer.raise_for_status()
            found = answer.json()
        except requests.HTTPError as error:
            # Its text has the status and the URL.
            self.unreadable[subject] = str(error)
        except (requests.RequestException, ValueError) as error:
            self.unreadable[subject] = type(error).__name__
        else:
            return found if isinstance(found, Mapping) else None
        return None

    def list(
        self, subject: str, service: str, path: str, items: str, **params: str
    ) -> Iterator[Mapping[str, Any]]:
        """The items of all pages, up to a bound that no project comes near."""
        token: str | None = ""
        for _ in range(_MAX_PAGES):
            page = self.get(subject, service, path, **params, pageToken=token or "")
            yield from maps_at(page, items)
            token = text_at(page, "nextPageToken")
            if not token:
                break
