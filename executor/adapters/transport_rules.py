"""The rows of the table of failures that no error answer is behind."""

import google.auth.exceptions
import httpx2
from google.genai import errors

from executor.adapters.bounded_http import MAX_ANSWER_BYTES
from executor.adapters.envelope import AnswerTooLong, EnvelopeBroken
from executor.adapters.error_rule import Rule, is_a, is_bad_certificate, is_unknown_host
from shared.domain.errors import GeminiAccessDenied, GeminiRequestFailed

#: In the order in which they are tried; the last one takes whatever nobody thought of.
TRANSPORT_RULES: tuple[Rule, ...] = (
    Rule(
        when="no whole answer before the call's deadline, cut off by the wall clock",
        matches=is_a(TimeoutError),
        error=GeminiRequestFailed,
        says="no answer in time",
        maybe_billed=True,
    ),
    Rule(
        when="a proxy cannot connect",
        matches=is_a(httpx2.ProxyError),
        error=GeminiRequestFailed,
        says="the proxy that HTTPS_PROXY, HTTP_PROXY or ALL_PROXY names cannot connect",
        refused=True,
    ),
    Rule(
        when="a certificate that is not trusted",
        matches=is_bad_certificate,
        error=GeminiAccessDenied,
        says="the server's certificate is not trusted, see SSL_CERT_FILE and GEMINI_BASE_URL",
    ),
    Rule(
        # Asked again, it gives the same answer. One that cannot say for now answers EAI_AGAIN
        # (https://pubs.opengroup.org/onlinepubs/9799919799/functions/freeaddrinfo.html).
        when="the server's name is not known to the resolver, and that is its final word",
        matches=is_unknown_host,
        error=GeminiAccessDenied,
        says="there is no host of this name, see GEMINI_BASE_URL, GEMINI_LOCATION and the proxy"
        " that HTTPS_PROXY, HTTP_PROXY or ALL_PROXY names",
    ),
    Rule(
        when="no connection: refused, name not resolved for now, TLS failed",
        matches=is_a(httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout),
        error=GeminiRequestFailed,
        says="the provider cannot be reached",
        refused=True,
    ),
    Rule(
        when="the connection reset or lost, or its bytes unreadable",
        matches=is_a(httpx2.HTTPError, httpx2.StreamError),
        error=GeminiRequestFailed,
        says="the transport failed",
        maybe_billed=True,
    ),
    Rule(
        when=f"an answer with status 200 of more than {MAX_ANSWER_BYTES:,} bytes",
        matches=is_a(AnswerTooLong),
        error=GeminiRequestFailed,
        says=f"the provider's answer is longer than {MAX_ANSWER_BYTES:,} bytes",
        maybe_billed=True,
    ),
    Rule(
        when="an answer with status 200 that is not the API's JSON",
        matches=is_a(EnvelopeBroken, errors.UnknownApiResponseError, UnicodeError),
        error=GeminiRequestFailed,
        says="the provider's envelope cannot be read",
        maybe_billed=True,
    ),
    Rule(
        when="no credentials are configured",
        matches=is_a(google.auth.exceptions.DefaultCredentialsError),
        error=GeminiAccessDenied,
        says="there are no application default credentials",
    ),
    Rule(
        # Also what a metadata server that is away for a moment ends in.
        when="no access token from the credentials",
        matches=is_a(google.auth.exceptions.GoogleAuthError),
        error=GeminiRequestFailed,
        says="no access token",
        refused=True,
    ),
    Rule(
        when="anything else that the client library raises",
        matches=is_a(Exception),
        error=GeminiRequestFailed,
        says="unexpected",
        maybe_billed=True,
    ),
)
