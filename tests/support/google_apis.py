"""Google's APIs as their discovery documents describe them, in the place of the network.

A call is refused as Google does: a method that is not in the document or with another verb, a
parameter that the method does not have, a scope that it does not take, a permission that the
caller has not, an API that is not enabled. Lists come a page of one item at a time.
"""

import base64
import functools
import io
import json
import re
from collections.abc import Collection, Mapping, Sequence
from importlib.resources import files
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import requests
from requests.adapters import BaseAdapter

from infra.ops.doctor.calls import CALLS, ApiCall

_DOCUMENTS = files("googleapiclient.discovery_cache.documents")
_SUFFIX = ".googleapis.com"
EVERY_PERMISSION = frozenset(call.permission for call in CALLS)


@functools.cache
def document(call: ApiCall) -> Mapping[str, Any]:
    """The discovery document of a call's API."""
    text = (_DOCUMENTS / f"{call.service}.{call.version}.json").read_text(encoding="utf-8")
    found: Mapping[str, Any] = json.loads(text)
    return found


def described(call: ApiCall) -> Mapping[str, Any]:
    """The method as its document describes it.

    Raises:
        KeyError: there is no such method.
    """
    found: Any = document(call)
    *resources, name = call.method.split(".")[1:]
    for resource in resources:
        found = found["resources"][resource]
    method: Mapping[str, Any] = found["methods"][name]
    assert method["id"] == call.method
    return method


def token_of(member: str, scopes: Collection[str]) -> str:
    """An access token that says what it is good for."""
    told = json.dumps({"member": member, "scopes": sorted(scopes)})
    return base64.urlsafe_b64encode(told.encode()).decode()


class GoogleApis(BaseAdapter):
    """Answers a session's requests from a project; see the module."""

    def __init__(
        self,
        project: Mapping[str, Any],
        permissions: Collection[str] = EVERY_PERMISSION,
        *,
        disabled: Collection[str] = (),
    ) -> None:
        super().__init__()
        self._project = project
        self._permissions = permissions
        self._disabled = disabled
        self._routes = _routes()
        #: The methods that were called, in order.
        self.called: list[str] = []

    def close(self) -> None:
        """Nothing is held."""

    def send(
        self, request: requests.PreparedRequest, *_: object, **__: object
    ) -> requests.Response:
        """One answer."""
        parts = urlsplit(request.url or "")
        service = (parts.hostname or "").removesuffix(_SUFFIX)
        path = unquote(parts.path).lstrip("/")
        status, body = self._answer(service, path, parse_qs(parts.query), request)
        response = requests.Response()
        response.status_code, response.request, response.url = status, request, str(request.url)
        response.reason = {403: "Forbidden", 400: "Bad Request"}.get(status, "")
        response.raw = io.BytesIO(json.dumps(body).encode())
        return response

    def _answer(
        self,
        service: str,
        path: str,
        query: Mapping[str, list[str]],
        request: requests.PreparedRequest,
    ) -> tuple[int, Any]:
        if service == "generativelanguage" or "aiplatform" in service:
            found = self._project.get(f"{service}/{path}")
            return (404, _error(404, "NOT_FOUND")) if found is None else (200, found)
        known = self._method(service, path, str(request.method))
        if known is None:
            return 404, _error(404, "no such method")
        call, method, names = known
        self.called.append(call.method)
        if unknown := query.keys() - names:
            return 400, _error(400, "INVALID_ARGUMENT", f"Unknown name {sorted(unknown)}")
        refusal = self._refusal(call, method, request)
        return refusal or self._resource(f"{service}/{path}", query)

    def _method(
        self, service: str, path: str, verb: str
    ) -> tuple[ApiCall, Mapping[str, Any], set[str]] | None:
        for call, method, names, pattern in self._routes:
            right = call.service == service and method["httpMethod"] == verb
            if right and pattern.fullmatch(path):
                return call, method, names
        return None

    def _refusal(
        self, call: ApiCall, method: Mapping[str, Any], request: requests.PreparedRequest
    ) -> tuple[int, Any] | None:
        _, _, token = str(request.headers.get("authorization", "")).partition(" ")
        told = json.loads(base64.urlsafe_b64decode(token))
        if not set(told["scopes"]) & set(method["scopes"]):
            reason = "ACCESS_TOKEN_SCOPE_INSUFFICIENT"
            return 403, _error(403, "PERMISSION_DENIED", "insufficient scopes", reason)
        api = f"{call.service}{_SUFFIX}"
        if api in self._disabled:
            text = (
                f"{call.service} API has not been used in project 1 before or it is disabled."
            )
            return 403, _error(403, "PERMISSION_DENIED", text, "SERVICE_DISABLED")
        if call.permission not in self._permissions:
            text = f"Permission '{call.permission}' denied on resource"
            return 403, _error(403, "PERMISSION_DENIED", text, "IAM_PERMISSION_DENIED")
        return None

    def _resource(self, name: str, query: Mapping[str, list[str]]) -> tuple[int, Any]:
        found = self._project.get(name)
        if found is None:
            return 404, _error(404, "NOT_FOUND")
        if isinstance(found, int):
            return found, _error(found, "UNKNOWN")
        lists = [key for key, value in found.items() if isinstance(value, list)]
        if lists in (["services"], ["functions"], ["locations"]):
            return 200, _page(found, lists[0], int(query.get("pageToken", ["0"])[0] or 0))
        return 200, found


@functools.cache
def _routes() -> Sequence[tuple[ApiCall, Mapping[str, Any], set[str], re.Pattern[str]]]:
    return tuple(map(_route, CALLS))


def _route(
    call: ApiCall,
) -> tuple[ApiCall, Mapping[str, Any], set[str], re.Pattern[str]]:
    whole, method = document(call), described(call)
    path = whole.get("servicePath", "") + method.get("flatPath", method["path"])
    pattern = re.sub(r"\\\{\w+\\\}", "[^/:]+", re.escape(path))
    names = {*method.get("parameters", {}), *whole.get("parameters", {})}
    return call, method, names, re.compile(pattern)


def _page(found: Mapping[str, Any], items: str, start: int) -> Mapping[str, Any]:
    page = {**found, items: found[items][start : start + 1]}
    return page if start + 1 >= len(found[items]) else {**page, "nextPageToken": str(start + 1)}


def _error(code: int, status: str, message: str = "", reason: str = "") -> Mapping[str, Any]:
    detail = {
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": reason,
        "domain": "googleapis.com",
    }
    error: dict[str, Any] = {"code": code, "message": message or status, "status": status}
    return {"error": error | ({"details": [detail]} if reason else {})}
