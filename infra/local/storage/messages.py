"""Requests and answers of the Cloud Storage JSON API, as bytes and JSON."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from email.message import Message
from typing import Any
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response

from infra.local.storage.records import ObjectRecord, crc32c_of

#: Where the API's buckets begin.
API = "/storage/v1/b"
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


class BadRequest(Exception):
    """The request cannot be understood, or is not supported here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """An object to be stored."""

    name: str
    data: bytes
    content_type: str | None
    metadata: Mapping[str, str]


def json_object(body: bytes) -> dict[str, Any]:
    """The body as a JSON object.

    Raises:
        BadRequest: it is something else.
    """
    try:
        document = json.loads(body)
    except ValueError as error:
        raise BadRequest("the body is not JSON") from error
    if not isinstance(document, dict):
        raise BadRequest("the body is not a JSON object")
    return document


def upload_of(request: Request, body: bytes) -> Upload:
    """What the request wants stored.

    Raises:
        BadRequest: it cannot be understood, or its checksum does not fit its bytes.
    """
    name = request.query_params.get("name", "")
    content_type = request.headers.get("content-type")
    match request.query_params.get("uploadType"):
        case "media":
            return Upload(name=name, data=body, content_type=content_type, metadata={})
        case "multipart":
            return _multipart(name, content_type or "", body)
        case other:
            raise BadRequest(f"uploadType {other} is not supported by this local server")


def _multipart(name: str, content_type: str, body: bytes) -> Upload:
    boundary = _headers(f"content-type: {content_type}".encode()).get_boundary()
    if not boundary:
        raise BadRequest("a multipart upload needs a boundary")
    parts = (b"\r\n" + body).split(f"\r\n--{boundary}".encode())
    # Nothing before the first delimiter, the two parts, and the dashes that end the last one.
    if len(parts) != 4:  # noqa: PLR2004  # counted in the line above
        raise BadRequest("a multipart upload has two parts")
    (_, described), (headers, data) = (
        part.removeprefix(b"\r\n").partition(b"\r\n\r\n")[::2] for part in parts[1:3]
    )
    resource = json_object(described)
    _check_crc32c(resource, data)
    return Upload(
        name=str(resource.get("name", name)),
        data=data,
        content_type=resource.get("contentType") or _headers(headers)["content-type"],
        metadata=resource.get("metadata") or {},
    )


def _headers(lines: bytes) -> Message:
    message = Message()
    for line in lines.split(b"\r\n"):
        name, _, value = line.decode("latin-1").partition(":")
        message[name] = value.strip()
    return message


def _check_crc32c(resource: Mapping[str, Any], data: bytes) -> None:
    if resource.get("crc32c", crc32c_of(data)) != crc32c_of(data):
        raise BadRequest("the bytes do not match their crc32c")


def media_answer(record: ObjectRecord, data: bytes, wanted: str | None) -> Response:
    """The object's bytes, or those of the `Range` header `wanted`; 416 without any."""
    headers = {
        "ETag": _etag(record),
        "X-Goog-Generation": str(record.generation),
        "X-Goog-Metageneration": "1",
        "X-Goog-Hash": f"crc32c={record.crc32c},md5={record.md5}",
        "X-Goog-Storage-Class": "STANDARD",
        "X-Goog-Stored-Content-Encoding": "identity",
        "X-Goog-Stored-Content-Length": str(record.size),
        "Accept-Ranges": "bytes",
        # Set here, because the framework would add a charset to a text type.
        "Content-Type": record.content_type,
    }
    span = _span(wanted, record.size)
    if span is None:
        return Response(data, headers=headers)
    if not span:
        unsatisfied = {"Content-Range": f"bytes */{record.size}"}
        return Response(status_code=416, headers=unsatisfied)
    headers["Content-Range"] = f"bytes {span.start}-{span.stop - 1}/{record.size}"
    return Response(data[span.start : span.stop], status_code=206, headers=headers)


def _span(wanted: str | None, size: int) -> range | None:
    """The bytes asked for: None for all, an empty range when there are none such."""
    match = _RANGE.fullmatch(wanted or "")
    if match is None or match.group(0) == "bytes=-":
        return None
    first, last = match.groups()
    if not first:
        return range(max(0, size - int(last)), size)
    return range(int(first), min(size, int(last) + 1) if last else size)


def bucket_resource(bucket: str) -> dict[str, str]:
    """The bucket as the API describes it."""
    return {
        "kind": "storage#bucket",
        "id": bucket,
        "name": bucket,
        "location": "LOCAL",
        "storageClass": "STANDARD",
        "metageneration": "1",
        "etag": "local",
    }


def object_resource(record: ObjectRecord, request: Request) -> dict[str, Any]:
    """The object as the API describes it, with links to where the request came in."""
    base = str(request.base_url).rstrip("/")
    path = f"{API}/{record.bucket}/o/{quote(record.name, safe='')}"
    written = _rfc3339(record.created_at)
    resource = {
        "kind": "storage#object",
        "id": f"{record.bucket}/{record.name}/{record.generation}",
        "selfLink": f"{base}{path}",
        "mediaLink": f"{base}/download{path}?generation={record.generation}&alt=media",
        "name": record.name,
        "bucket": record.bucket,
        "generation": str(record.generation),
        "metageneration": "1",
        "contentType": record.content_type,
        "storageClass": "STANDARD",
        "size": str(record.size),
        "md5Hash": record.md5,
        "crc32c": record.crc32c,
        "etag": _etag(record),
        "timeCreated": written,
        "updated": written,
        "timeStorageClassUpdated": written,
    }
    return {**resource, "metadata": dict(record.metadata)} if record.metadata else resource


def _etag(record: ObjectRecord) -> str:
    return f"{record.generation:x}/1"


def _rfc3339(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
