"""`/api/outputs/`"""

import contextlib
import functools
import time
from typing import Annotated, get_args
from urllib.parse import parse_qsl

from msgspec import Meta, Struct
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from dashboard.answers import json_answer, read_body, read_bytes, whole_number
from dashboard.endpoint import Endpoint, Query
from dashboard.gallery import Order, Output, OutputQuery
from dashboard.output_desk import Deleted
from dashboard.suite import suite_of
from dashboard.thumbnails import ThumbnailFailed
from services.comfyui import Media
from services.errors import InvalidRequest, NotFound
from services.workflows.document import Graph, node_count, plain_of
from services.workflows.facts import Fact, facts_of
from services.workflows.saved import Format

PAGE = 60
PAGE_MAX = 1000
OFFSET_MAX = 10**9
DELETE_MAX = 1000
ZIP_MAX = 5000
SEARCH_MAX = 200

_SHOWN = tuple(media for media in get_args(Media) if media != "other")
_FORM = "application/x-www-form-urlencoded"

Path = Annotated[str, Meta(min_length=1, max_length=2000)]


class OutputList(Struct, frozen=True):
    outputs: tuple[Output, ...]
    total: int
    total_bytes: int


class OutputMetadata(Struct, frozen=True):
    """`run`: the id of the run that made it, where that is known."""

    path: str
    width: int | None
    height: int | None
    has_workflow: bool
    run: str | None
    facts: tuple[Fact, ...]


class OutputsToDelete(Struct, frozen=True, forbid_unknown_fields=True):
    paths: Annotated[tuple[Path, ...], Meta(min_length=1, max_length=DELETE_MAX)]


class OutputsToTake(Struct, frozen=True, forbid_unknown_fields=True):
    paths: Annotated[tuple[Path, ...], Meta(min_length=1, max_length=ZIP_MAX)]


class OutputToKeep(Struct, frozen=True, forbid_unknown_fields=True):
    """`name`: of the workflow that is to be."""

    path: Path
    name: str


class KeptWorkflow(Struct, frozen=True):
    name: str
    format: Format
    nodes: int


async def list_outputs(request: Request) -> Response:
    suite = suite_of(request)
    limit = whole_number(request, "limit", PAGE, 1, PAGE_MAX)
    offset = whole_number(request, "offset", 0, 0, OFFSET_MAX)
    query = output_query(request)
    collection = await suite.gallery.collection()
    found = await collection.find(query)
    return suite.answers.outputs.answer(
        request,
        (collection.version, query, limit, offset),
        lambda: OutputList(found.page(offset, limit), len(found.files), found.total_bytes),
    )


def output_query(request: Request) -> OutputQuery:
    """Raises InvalidRequest."""
    given = request.query_params
    media, order = given.get("media", ""), given.get("order", "newest")
    if media and media not in _SHOWN:
        raise InvalidRequest(f"'media' must be one of {', '.join(_SHOWN)}")
    if order not in get_args(Order):
        raise InvalidRequest(f"'order' must be one of {', '.join(get_args(Order))}")
    return OutputQuery(media, given.get("search", "")[:SEARCH_MAX], "oldest" if order == "oldest" else "newest")


async def get_metadata(request: Request) -> Response:
    suite, path = suite_of(request), _path(request)
    look, run = await suite.outputs.look(path), suite.runs.of_output(path)
    facts = facts_of(look.document.prompt) if look.document and look.document.prompt else ()
    run_id = run.prompt_id if run else None
    return json_answer(OutputMetadata(path, look.width, look.height, look.document is not None, run_id, facts))


async def get_workflow(request: Request) -> Response:
    return json_answer(plain_of(await suite_of(request).outputs.document(_path(request))))


def _path(request: Request) -> str:
    """Raises InvalidRequest."""
    if not (path := request.query_params.get("path", "")):
        raise InvalidRequest("say which output: ?path=")
    return path


async def delete_outputs(request: Request) -> Response:
    suite = suite_of(request)
    asked = await read_body(request, OutputsToDelete)
    deleted = await suite.outputs.delete(asked.paths)
    suite.output_feed.touch()
    return json_answer(deleted)


async def zip_outputs(request: Request) -> Response:
    archive = await suite_of(request).outputs.archive(await _paths(request))
    name = time.strftime("outputs-%Y-%m-%d-%H%M%S.zip", time.gmtime())
    headers = {
        "Content-Length": str(archive.length),
        "Content-Disposition": f'attachment; filename="{name}"',
        # nginx would put a gigabyte of it into a file, for a client that is slower than the volume.
        "X-Accel-Buffering": "no",
    }
    return StreamingResponse(archive.pieces, headers=headers, media_type="application/zip")


async def _paths(request: Request) -> tuple[str, ...]:
    """As JSON, or as a page's form sends them, whose answer a browser saves without holding it in memory.

    Raises WrongMediaType, TooLarge, NotJson, InvalidRequest."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _FORM:
        return (await read_body(request, OutputsToTake)).paths
    try:
        fields = parse_qsl((await read_bytes(request)).decode(), max_num_fields=ZIP_MAX)
    except ValueError:
        raise InvalidRequest(f"send at most {ZIP_MAX} fields 'path'") from None
    if not (paths := tuple(value for name, value in fields if name == "path")):
        raise InvalidRequest("send at least one field 'path'")
    return paths


async def keep_workflow(request: Request) -> Response:
    suite = suite_of(request)
    asked = await read_body(request, OutputToKeep)
    document = await suite.outputs.document(asked.path)
    workflows = suite.library.workflows
    format_ = await suite.volume.write(functools.partial(workflows.save, asked.name, document, replace=False))
    with contextlib.suppress(NotFound, ThumbnailFailed):
        picture, _ = await suite.outputs.small_picture(asked.path)
        await suite.volume.write(workflows.save_picture, asked.name, picture)
    suite.library.forget()
    return json_answer(KeptWorkflow(asked.name, format_, node_count(document)), 201)


_PATH = (Query("path", str, "Below the output folder, as `path` of an Output"),)

ENDPOINTS = (
    Endpoint(
        "GET",
        "/api/outputs/",
        list_outputs,
        "What ComfyUI made",
        {200: OutputList},
        query=(
            Query("media", str, ", ".join(_SHOWN)),
            Query("search", str, "Words, each of which the path holds"),
            Query("order", str, ", ".join(get_args(Order))),
            Query("limit", int, f"At most {PAGE_MAX}"),
            Query("offset", int, "How many to skip"),
        ),
        errors=(422,),
    ),
    Endpoint(
        "GET",
        "/api/outputs/metadata",
        get_metadata,
        "What one file is and how it was made",
        {200: OutputMetadata},
        query=_PATH,
        errors=(404, 422, 503),
    ),
    Endpoint(
        "GET",
        "/api/outputs/workflow",
        get_workflow,
        "The workflow that made it",
        {200: Graph},
        query=_PATH,
        errors=(404, 422, 503),
    ),
    Endpoint(
        "DELETE", "/api/outputs/", delete_outputs, "Delete outputs", {200: Deleted}, body=OutputsToDelete, errors=(503,)
    ),
    Endpoint(
        "POST",
        "/api/outputs/zip",
        zip_outputs,
        "Outputs as one zip, also asked for by a form with fields `path`",
        {200: None},
        body=OutputsToTake,
        errors=(404, 413, 503),
    ),
    Endpoint(
        "POST",
        "/api/outputs/keep",
        keep_workflow,
        "Keep the workflow that made it as one of yours",
        {201: KeptWorkflow},
        body=OutputToKeep,
        errors=(404, 409, 503, 507),
    ),
)
