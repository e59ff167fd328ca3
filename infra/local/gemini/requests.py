"""Reading a generateContent request as strictly as the provider does."""

import base64
import binascii
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from executor.inputs.images import ImageUnusable, checked_image_type
from infra.local.gemini.provider_errors import status_error, word_error

_MIN_SERVER_TIMEOUT_SECONDS = 10
#: Of the models that the provider serves by this method.
_FAMILIES = ("gemini-", "gemma-")
#: The words of a schema are the caller's own.
_SCHEMAS = frozenset({"responseJsonSchema", "responseSchema"})


class RequestRefused(Exception):
    """The request is one that the provider answers with an error."""

    def __init__(self, code: HTTPStatus, status: str, message: str) -> None:
        super().__init__(message)
        self.code, self.status, self.message = code, status, message

    def response(self) -> Response:
        """The error as generateContent words it."""
        return status_error(self.code, status=self.status, quoting=self.message)

    def word_response(self) -> Response:
        """The error as Interactions word it."""
        known = {"INVALID_ARGUMENT": "invalid_request", "UNAUTHENTICATED": "authentication"}
        word = known.get(self.status, self.status.lower())
        return word_error(self.code, word=word, quoting=self.message)


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerateRequest:
    """One call of a model. `body` has camelCase keys, whatever the wire mixed."""

    model: str
    #: The key or token that was shown.
    credential: str
    body: Mapping[str, Any]

    @property
    def config(self) -> Mapping[str, Any]:
        """The generation config; empty when there is none."""
        return self.body.get("generationConfig") or {}

    @property
    def schema(self) -> Mapping[str, Any]:
        """The schema that the answer must satisfy; empty when there is none."""
        return self.config.get("responseJsonSchema") or self.config.get("responseSchema") or {}

    @property
    def text(self) -> str:
        """What the user's text parts say, a line for each."""
        return "\n".join(part["text"] for part in self._parts if "text" in part)

    @property
    def images(self) -> Sequence[Mapping[str, Any]]:
        """The inline images."""
        return [part["inlineData"] for part in self._parts if "inlineData" in part]

    @property
    def _parts(self) -> Sequence[Mapping[str, Any]]:
        return [part for content in self.body["contents"] for part in content.get("parts", [])]


def named_model(request: Request) -> str:
    """The model in the request's path, known or not."""
    return str(request.path_params["call"].partition(":")[0])


async def read_request(request: Request) -> GenerateRequest:
    """The call, its credentials and its images checked.

    Raises:
        RequestRefused: as the provider would.
    """
    credential = shown_credential(request)
    model, method = named_model(request), request.path_params["call"].partition(":")[2]
    if method != "generateContent" or not model.startswith(_FAMILIES):
        raise RequestRefused(HTTPStatus.NOT_FOUND, "NOT_FOUND", "no such model or method")
    body = _body(await request.body())
    read = GenerateRequest(model=model, credential=credential, body=body)
    for image in read.images:
        check_image(image)
    return read


def shown_credential(request: Request) -> str:
    """The key or token that the request shows.

    Raises:
        RequestRefused: none, or a deadline that the Developer API refuses.
    """
    if "project" in request.path_params:
        token = request.headers.get("authorization", "")
        if not token.startswith("Bearer "):
            raise RequestRefused(HTTPStatus.UNAUTHORIZED, "UNAUTHENTICATED", "no bearer token")
        return token
    key = request.headers.get("x-goog-api-key", "")
    if not key:
        raise RequestRefused(HTTPStatus.FORBIDDEN, "PERMISSION_DENIED", "no API key")
    timeout = request.headers.get("x-server-timeout")
    if timeout is not None and float(timeout) < _MIN_SERVER_TIMEOUT_SECONDS:
        raise RequestRefused(HTTPStatus.BAD_REQUEST, "INVALID_ARGUMENT", "deadline below 10 s")
    return key


def _body(data: bytes) -> Mapping[str, Any]:
    try:
        body = _camel(json.loads(data))
    except ValueError:
        raise RequestRefused(HTTPStatus.BAD_REQUEST, "INVALID_ARGUMENT", "not JSON") from None
    if not isinstance(body, dict) or not body.get("contents"):
        raise RequestRefused(HTTPStatus.BAD_REQUEST, "INVALID_ARGUMENT", "no contents")
    return body


def _camel(value: Any) -> Any:
    if isinstance(value, list):
        return [_camel(item) for item in value]
    if not isinstance(value, dict):
        return value
    renamed = {re.sub(r"_([a-z])", lambda m: m[1].upper(), key): key for key in value}
    return {
        name: value[key] if name in _SCHEMAS else _camel(value[key])
        for name, key in renamed.items()
    }


def check_image(image: Mapping[str, Any]) -> None:
    """See that an inline image is what it says.

    Raises:
        RequestRefused: its base64 is none, or its bytes are another type's.
    """
    encoded = str(image.get("data", "")).replace("-", "+").replace("_", "/")
    try:
        data = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except binascii.Error:
        raise RequestRefused(HTTPStatus.BAD_REQUEST, "INVALID_ARGUMENT", "bad base64") from None
    try:
        kind = checked_image_type(data)
    except ImageUnusable:
        kind = None
    if kind != image.get("mimeType"):
        message = "Unable to process input image. Please retry or report"
        raise RequestRefused(HTTPStatus.BAD_REQUEST, "INVALID_ARGUMENT", message)
