"""The client of both APIs: its connections, its credentials, and how answers are taken in."""

import asyncio
import ssl
import threading
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any, TypeVar

import google.auth
import httpx2
import requests
from google.auth.credentials import Credentials
from google.auth.transport.requests import Request as TokenRequest
from google.genai import Client, types

from executor.adapters.bounded_http import (
    MAX_ANSWER_BYTES,
    MAX_SMALL_BODY_BYTES,
    BoundedAdapter,
    body_within,
    bounded,
)
from executor.adapters.envelope import AnswerTooLong, EnvelopeBroken
from executor.adapters.error_answer import AnsweredWithError, read_error
from executor.contract.tiers import ServiceTier
from executor.settings import Backend, GeminiSettings
from shared.settings import http_host

_API_VERSION = {Backend.AI_STUDIO: "v1", Backend.VERTEX: "v1beta1"}
_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_EXPIRED = "ACCESS_TOKEN_EXPIRED"
#: What a server that is not Google's gets in the place of a token.
_LOCAL_TOKEN = "local"  # noqa: S105

_T = TypeVar("_T")


class AccessToken(Credentials):
    """Application default credentials, looked for when they are first needed."""

    def __init__(self, *, local: bool) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._local = local
        self._source: Credentials | None = None
        self._lock = threading.Lock()

    def refresh(self, request: Any) -> None:
        """Get a token.

        Raises:
            google.auth.exceptions.GoogleAuthError: there is none to be had.
        """
        if self._local:
            self.token = _LOCAL_TOKEN
            return
        with self._lock:
            if self._source is None:
                self._source, _ = google.auth.default(scopes=[_SCOPE])
            source = self._source
            source.refresh(request)  # type: ignore[no-untyped-call]
            self.token, self.expiry = source.token, source.expiry
            # The library shows it in a header of each request.
            self._quota_project_id = source.quota_project_id

    def drop(self) -> None:
        """Have the next request get another token."""
        self.token = None


class ProviderClient(Client):
    """Google's client, with the access token that it shows; None where it shows a key."""

    def __init__(self, access_token: AccessToken | None, **options: Any) -> None:
        super().__init__(credentials=access_token, **options)
        self.access_token = access_token


def tier_headers(tier: ServiceTier, *, vertex: bool) -> Mapping[str, str]:
    """The header by which Vertex is asked for a tier; others are named in the request's body.

    https://docs.cloud.google.com/vertex-ai/generative-ai/docs/flex-paygo
    """
    by_header = vertex and tier in {ServiceTier.FLEX, ServiceTier.PRIORITY}
    return {"X-Vertex-AI-LLM-Shared-Request-Type": str(tier)} if by_header else {}


def make_client(settings: GeminiSettings, project: str) -> ProviderClient:
    """The client, without retries and redirects: both would send a request again unseen."""
    # A server on this machine is reached without any proxy of its environment.
    environment = {"trust_env": not _is_local(settings.base_url)}
    http_options = types.HttpOptions(
        base_url=settings.base_url,
        api_version=_API_VERSION[settings.backend],
        retry_options=types.HttpRetryOptions(attempts=1),
        client_args=environment,
        async_client_args={
            **environment,
            "event_hooks": {"response": [_take_in]},
            # For websockets, which nobody opens: another one that trusts every authority takes
            # 20 ms to load.
            "ssl": ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
            "follow_redirects": False,
        },
    )
    if settings.backend is Backend.AI_STUDIO:
        key = settings.api_key.get_secret_value() if settings.api_key else None
        return ProviderClient(None, vertexai=False, api_key=key, http_options=http_options)
    return ProviderClient(
        # Another server than Google's gets no real credentials.
        AccessToken(local=settings.base_url is not None),
        vertexai=True,
        project=project,
        location=settings.location,
        http_options=http_options,
    )


def _is_local(base_url: str | None) -> bool:
    return base_url is not None and http_host(base_url) in {"localhost", "127.0.0.1", "::1"}


async def with_fresh_token(client: ProviderClient, send: Callable[[], Awaitable[_T]]) -> _T:
    """What sending gives; sent once more, with another token, where the token has expired."""
    await _refreshed(client.access_token)
    try:
        return await send()
    except AnsweredWithError as refused:
        token, expired = client.access_token, _EXPIRED in refused.answer.details.reasons
        if token is None or not expired:
            raise
        token.drop()
    await _refreshed(token)
    return await send()


async def _refreshed(token: AccessToken | None) -> None:
    # One half of the library would wait for it in the event loop.
    if token is not None and (token.expired or not token.token):
        session = bounded(requests.Session(), BoundedAdapter())
        await asyncio.to_thread(token.refresh, TokenRequest(session))


async def _take_in(response: httpx2.Response) -> None:
    """Read an answer before the library does, which hides what it cannot read.

    It decodes by whatever character set the answer claims, and puts replacement characters
    where that fails. JSON is UTF-8 (https://www.rfc-editor.org/rfc/rfc8259#section-8.1).

    Raises:
        AnsweredWithError: any status but success.
        AnswerTooLong: a success with more bytes than are read.
        EnvelopeBroken: a success whose bytes are no UTF-8.
    """
    if response.status_code >= HTTPStatus.MULTIPLE_CHOICES:
        # Of an error that is longer, the status says enough.
        body = await body_within(response, MAX_SMALL_BODY_BYTES)
        retry_after = response.headers.get("retry-after")
        raise AnsweredWithError(read_error(response.status_code, body, retry_after=retry_after))
    body = await body_within(response, MAX_ANSWER_BYTES)
    if body is None:
        raise AnswerTooLong(f"more than {MAX_ANSWER_BYTES} bytes")
    response._content = body  # noqa: SLF001 - where the library itself keeps what was read
    response.encoding = "utf-8"
    try:
        body.decode()
    except UnicodeDecodeError:
        raise EnvelopeBroken("not UTF-8") from None
