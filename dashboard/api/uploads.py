"""`/api/uploads/`"""

import contextlib

from msgspec import Struct
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from dashboard.answers import json_answer, read_body
from dashboard.endpoint import Endpoint
from dashboard.suite import Suite, suite_of
from services.errors import NotFound
from services.uploads import CHUNK_BYTES, Span, State, Upload, Wish, content_digest


class UploadMessage(Struct, frozen=True):
    """`received`: spans of chunk numbers, each the first and the one behind the last. `bytes_checked`: how far the
    check at the end is. `model_id`: the model that it becomes."""

    id: str
    folder: str
    name: str
    size_bytes: int
    chunk_bytes: int
    chunks: int
    received: tuple[Span, ...]
    state: State
    bytes_done: int
    bytes_checked: int
    error: str | None
    model_id: str


class UploadList(Struct, frozen=True):
    """`folders`: the model folders that a file may go to."""

    uploads: tuple[UploadMessage, ...]
    folders: tuple[str, ...]


class DeletedUpload(Struct, frozen=True):
    removed: str


async def list_uploads(request: Request) -> Response:
    suite = suite_of(request)
    found = tuple(_message(suite, upload) for upload in await suite.uploads.all())
    return json_answer(UploadList(found, await suite.uploads.folders()))


async def begin_upload(request: Request) -> Response:
    suite = suite_of(request)
    wish = await read_body(request, Wish)
    upload, joined = await suite.uploads.begin(wish, suite.library, suite.downloads)
    return json_answer(_message(suite, upload), 200 if joined else 201)


async def get_upload(request: Request) -> Response:
    suite = suite_of(request)
    return json_answer(_message(suite, await suite.uploads.get(request.path_params["id"])))


async def put_chunk(request: Request) -> Response:
    suite, pieces = suite_of(request), request.stream()
    try:
        number = _number(request.path_params["number"])
        length = request.headers.get("content-length", "")
        upload = await suite.uploads.receive(
            request.path_params["id"],
            number,
            content_digest(request.headers.get("content-digest")),
            int(length) if length else None,
            pieces,
        )
    except ClientDisconnect:
        # Nobody is there to hear it.
        return Response(status_code=400)
    finally:
        # A browser that is still sending takes an answer before its end for a broken connection.
        with contextlib.suppress(ClientDisconnect):
            async for _ in pieces:
                pass
    return json_answer(_message(suite, upload))


async def complete_upload(request: Request) -> Response:
    suite = suite_of(request)
    return json_answer(_message(suite, await suite.uploads.complete(request.path_params["id"])), 202)


async def delete_upload(request: Request) -> Response:
    suite, id_ = suite_of(request), request.path_params["id"]
    await suite.uploads.delete(id_)
    return json_answer(DeletedUpload(id_))


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise NotFound(f"'{text[:20]}' is no number of a chunk")
    return int(text)


def _message(suite: Suite, upload: Upload) -> UploadMessage:
    return UploadMessage(
        id=upload.id,
        folder=upload.folder,
        name=upload.name,
        size_bytes=upload.size_bytes,
        chunk_bytes=CHUNK_BYTES,
        chunks=upload.chunks,
        received=upload.received,
        state=upload.state,
        bytes_done=upload.bytes_done,
        bytes_checked=upload.size_bytes if upload.state == "done" else suite.uploads.checked.get(upload.id, 0),
        error=upload.error,
        model_id=upload.model_id,
    )


ENDPOINTS = (
    Endpoint("GET", "/api/uploads/", list_uploads, "Uploads, and where they may go", {200: UploadList}, errors=(503,)),
    Endpoint(
        "POST",
        "/api/uploads/",
        begin_upload,
        "Begin or take up the upload of a model file",
        {200: UploadMessage, 201: UploadMessage},
        body=Wish,
        errors=(409, 503, 507),
    ),
    Endpoint("GET", "/api/uploads/{id}", get_upload, "How far an upload is", {200: UploadMessage}, errors=(404, 503)),
    Endpoint(
        "PUT",
        "/api/uploads/{id}/chunks/{number}",
        put_chunk,
        "Send a chunk, as application/octet-stream",
        {200: UploadMessage},
        errors=(404, 409, 413, 422, 503, 507),
    ),
    Endpoint(
        "POST",
        "/api/uploads/{id}/complete",
        complete_upload,
        "All chunks are sent: check the file",
        {202: UploadMessage},
        errors=(404, 409, 503, 507),
    ),
    Endpoint(
        "DELETE",
        "/api/uploads/{id}",
        delete_upload,
        "Give up an upload",
        {200: DeletedUpload},
        errors=(404, 503),
    ),
)
