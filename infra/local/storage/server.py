"""A small server for the slice of the Cloud Storage JSON API that this project uses.

The official client talks to it through `STORAGE_EMULATOR_HOST`. Unlike the servers in common
use it honors generation preconditions under racing writers, serves pinned generations, and
refuses what it does not know instead of ignoring it. Objects are files, see `ObjectFolder`.
"""

import json
from collections.abc import Iterable
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from infra.local.serving.own_host import OwnHostOnly
from infra.local.storage.faults import StorageFault, StorageFaults, error_answer, fault_rules
from infra.local.storage.messages import (
    API,
    BadRequest,
    bucket_resource,
    json_object,
    media_answer,
    object_resource,
    upload_of,
)
from infra.local.storage.objects import (
    BucketNotFound,
    InvalidName,
    ObjectFolder,
    ObjectFolderError,
    ObjectNotFound,
    PreconditionFailed,
)

_OBJECT = f"{API}/{{bucket}}/o/{{name:path}}"
_UPLOAD = f"/upload{API}/{{bucket}}/o"
_LONGEST_PAGE = 1000
#: Asking for one of these and not getting it could destroy data: they are refused.
_UNSUPPORTED = {
    "ifGenerationNotMatch",
    "ifMetagenerationMatch",
    "ifMetagenerationNotMatch",
    "delimiter",
    "versions",
    "softDeleted",
}


def create_app(folder: ObjectFolder, *, faults: Iterable[StorageFault] = ()) -> Starlette:
    """The server's application; `app.state.faults` is its `StorageFaults`.

    Beside the API: `GET /` answers when it is ready, `POST /control/faults` takes a list of
    `StorageFault`s, `DELETE /control/faults` drops them, `GET /control/requests` gives counts.
    """
    server = _Server(folder, StorageFaults(faults))
    app = Starlette(
        routes=[
            Route("/", server.health),
            Route("/control/faults", server.set_faults, methods=["POST", "DELETE"]),
            Route("/control/requests", server.requests),
            Route(API, server.insert_bucket, methods=["POST"]),
            Route(API, server.list_buckets),
            Route(f"{API}/{{bucket}}", server.get_bucket),
            Route(f"{API}/{{bucket}}/o", server.list_objects),
            Route(_OBJECT, server.get_object),
            Route(f"/download{_OBJECT}", server.get_object),
            Route(_OBJECT, server.delete_object, methods=["DELETE"]),
            Route(_UPLOAD, server.insert_object, methods=["POST"]),
        ],
        middleware=[Middleware(OwnHostOnly)],
        exception_handlers={
            ObjectFolderError: _folder_error,
            HTTPException: _http_error,
            BadRequest: _bad_request,
        },
    )
    # An object's name may end in a slash.
    app.router.redirect_slashes = False
    app.state.faults = server.faults
    return app


class _Server:
    def __init__(self, folder: ObjectFolder, faults: StorageFaults) -> None:
        self.folder = folder
        self.faults = faults

    async def health(self, _: Request) -> Response:
        return JSONResponse({"status": "ready"})

    async def set_faults(self, request: Request) -> Response:
        if request.method == "DELETE":
            self.faults.clear()
        else:
            self.faults.add(_rules(await request.body()))
        return JSONResponse({})

    async def requests(self, _: Request) -> Response:
        methods, operations = self.faults.methods, self.faults.operations
        return JSONResponse(
            {"total": methods.total(), "byMethod": methods, "byOperation": operations}
        )

    async def insert_bucket(self, request: Request) -> Response:
        bucket = str(json_object(await request.body()).get("name", ""))

        def work() -> Response:
            if self.folder.has_bucket(bucket):
                return error_answer(409, "conflict", f"The bucket {bucket} exists already.")
            self.folder.create_bucket(bucket)
            return JSONResponse(bucket_resource(bucket))

        return await self.faults.perform(request, "buckets.insert", bucket, work)

    async def list_buckets(self, request: Request) -> Response:
        def work() -> Response:
            items = [bucket_resource(bucket) for bucket in self.folder.buckets()]
            return JSONResponse({"kind": "storage#buckets", "items": items})

        return await self.faults.perform(request, "buckets.list", "", work)

    async def get_bucket(self, request: Request) -> Response:
        bucket = request.path_params["bucket"]

        def work() -> Response:
            if not self.folder.has_bucket(bucket):
                raise BucketNotFound(bucket)
            return JSONResponse(bucket_resource(bucket))

        return await self.faults.perform(request, "buckets.get", bucket, work)

    async def list_objects(self, request: Request) -> Response:
        _refuse_unsupported(request)
        bucket, prefix = request.path_params["bucket"], request.query_params.get("prefix", "")
        after = request.query_params.get("pageToken", "")
        size = min(_number(request, "maxResults") or _LONGEST_PAGE, _LONGEST_PAGE)

        def work() -> Response:
            found = self.folder.list(bucket, prefix, after=after, limit=size + 1)
            page: dict[str, Any] = {"kind": "storage#objects"}
            page["items"] = [object_resource(record, request) for record in found[:size]]
            if len(found) > size:
                page["nextPageToken"] = found[size - 1].name
            return JSONResponse(page)

        return await self.faults.perform(request, "objects.list", prefix, work)

    async def get_object(self, request: Request) -> Response:
        _refuse_unsupported(request)
        bucket, name = request.path_params["bucket"], request.path_params["name"]
        generation, match = (
            _number(request, "generation"),
            _number(request, "ifGenerationMatch"),
        )
        media = request.query_params.get("alt") == "media"

        def work() -> Response:
            record, data = self.folder.read(bucket, name, generation)
            if match not in {None, record.generation}:
                raise PreconditionFailed(required=match or 0, actual=record.generation)
            if media:
                return media_answer(record, data, request.headers.get("range"))
            return JSONResponse(object_resource(record, request))

        operation = "objects.get_media" if media else "objects.get"
        return await self.faults.perform(request, operation, name, work)

    async def delete_object(self, request: Request) -> Response:
        _refuse_unsupported(request)
        bucket, name = request.path_params["bucket"], request.path_params["name"]
        match = _number(request, "ifGenerationMatch")

        def work() -> Response:
            self.folder.delete(bucket, name, match)
            return Response(status_code=204)

        return await self.faults.perform(request, "objects.delete", name, work)

    async def insert_object(self, request: Request) -> Response:
        _refuse_unsupported(request)
        bucket, match = request.path_params["bucket"], _number(request, "ifGenerationMatch")
        upload = upload_of(request, await request.body())

        def work() -> Response:
            record = self.folder.write(
                bucket,
                upload.name,
                upload.data,
                content_type=upload.content_type,
                metadata=upload.metadata,
                if_generation_match=match,
            )
            return JSONResponse(object_resource(record, request))

        return await self.faults.perform(request, "objects.insert", upload.name, work)


def _refuse_unsupported(request: Request) -> None:
    refused = sorted(_UNSUPPORTED & set(request.query_params))
    if refused:
        raise BadRequest(f"not supported by this local server: {', '.join(refused)}")


def _number(request: Request, parameter: str) -> int | None:
    text = request.query_params.get(parameter)
    if text is None:
        return None
    try:
        return int(text)
    except ValueError as error:
        raise BadRequest(f"{parameter} must be a number, not {text!r}") from error


def _rules(body: bytes) -> list[StorageFault]:
    try:
        return fault_rules(json.loads(body))
    except (ValueError, TypeError) as error:
        raise BadRequest(str(error)) from error


async def _folder_error(_: Request, error: Exception) -> Response:
    match error:
        case BucketNotFound():
            return error_answer(404, "notFound", "The specified bucket does not exist.")
        case ObjectNotFound():
            return error_answer(404, "notFound", f"No such object: {error}")
        case PreconditionFailed():
            message = "At least one of the pre-conditions you specified did not hold."
            place = {"locationType": "header", "location": "If-Match"}
            return error_answer(412, "conditionNotMet", message, **place)
        case InvalidName():
            return error_answer(400, "invalid", str(error))
    raise error


async def _http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101  # registered for this type alone
    return error_answer(error.status_code, "invalid", error.detail)


async def _bad_request(_: Request, error: Exception) -> Response:
    return error_answer(400, "invalid", str(error))
