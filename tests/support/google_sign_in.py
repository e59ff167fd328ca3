"""Credentials of three kinds, and the endpoints that give tokens for them."""

import base64
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from infra.local.serving.free_ports import LOOPBACK
from infra.ops.doctor.calls import SCOPE
from tests.support.google_apis import token_of
from tests.support.google_project import PROJECT

ACCOUNT = f"doctor@{PROJECT}.iam.gserviceaccount.com"
_PERSON = {
    "type": "authorized_user",
    "client_id": "id",
    "client_secret": "none",
    "refresh_token": "none",
    "quota_project_id": PROJECT,
}
_LATER = "2999-01-01T00:00:00Z"


class Credentials(StrEnum):
    """How somebody may be signed in."""

    PERSON = "a person"
    ACCOUNT = "a service account"
    IMPERSONATED = "a person as a service account"


def credentials_file(kind: Credentials, url: str) -> Mapping[str, Any]:
    """What stands in the file of application default credentials."""
    match kind:
        case Credentials.PERSON:
            return _PERSON
        case Credentials.ACCOUNT:
            return {
                "type": "service_account",
                "project_id": PROJECT,
                "client_email": ACCOUNT,
                "private_key": _private_key(),
                "private_key_id": "1",
                "token_uri": f"{url}/token",
            }
        case Credentials.IMPERSONATED:
            path = f"v1/projects/-/serviceAccounts/{ACCOUNT}:generateAccessToken"
            return {
                "type": "impersonated_service_account",
                "service_account_impersonation_url": f"{url}/{path}",
                "source_credentials": _PERSON,
                "quota_project_id": PROJECT,
            }


@contextmanager
def sign_in_served() -> Iterator[str]:
    """Gives a token for exactly the scopes that were asked for; a person's are fixed."""
    with ThreadingHTTPServer((LOOPBACK, 0), _Tokens) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://{LOOPBACK}:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


class _Tokens(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        if self.path.endswith(":generateAccessToken"):
            scopes = json.loads(body)["scope"]
            answer = {"accessToken": token_of(ACCOUNT, scopes), "expireTime": _LATER}
        else:
            answer = {"access_token": _token(parse_qs(body)), "token_type": "Bearer"}
        sent = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(sent)))
        self.end_headers()
        self.wfile.write(sent)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's
        """Say nothing."""


def _token(form: Mapping[str, list[str]]) -> str:
    if "assertion" not in form:
        return token_of("user:somebody@example.com", [SCOPE])
    payload = form["assertion"][0].split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return token_of(ACCOUNT, claims["scope"].split())


def _private_key() -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return pem.decode()
