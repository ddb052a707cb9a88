"""`/api/workflows/`"""

import asyncio
from typing import Any, get_args
from urllib.parse import quote

import msgspec
from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response

from dashboard import workflow_shelf
from dashboard.answers import json_answer, read_body, read_bytes, require_json, whole_number, yes_or_no
from dashboard.endpoint import Endpoint, Query
from dashboard.received import received
from dashboard.runner import prompt_of
from dashboard.suite import suite_of
from dashboard.workflow_shelf import Saved, Wanted, WorkflowSummary
from services.errors import InvalidRequest
from services.workflows.document import MAX_JSON_BYTES, read_document

Workflow = dict[str, Any]

# A picture or a short video that carries a workflow; nginx refuses larger ones.
MAX_FILE_BYTES = 64 * 1024 * 1024
MAX_LISTED = 1000


class WorkflowList(Struct, frozen=True):
    """`total`: how many there are, of which these are some."""

    workflows: tuple[WorkflowSummary, ...]
    total: int


class Deleted(Struct, frozen=True):
    name: str


class Rename(Struct, frozen=True):
    name: str


async def list_workflows(request: Request) -> Response:
    limit = whole_number(request, "limit", MAX_LISTED, 1, MAX_LISTED)
    offset = whole_number(request, "offset", 0, 0, 10**6)
    found = await workflow_shelf.find(suite_of(request), _wanted(request), request.query_params.get("search", "")[:200])
    return json_answer(WorkflowList(tuple(found[offset : offset + limit]), len(found)))


async def get_workflow(request: Request) -> Response:
    suite, name = suite_of(request), request.path_params["name"]
    format_ = request.query_params.get("format", "")
    if format_ not in {"", "api"}:
        raise InvalidRequest("'format' must be 'api', or not be given")
    if format_ == "api":
        workflow: Workflow = await prompt_of(suite, await suite.library.document(name))
    else:
        workflow = await suite.library.saved_workflow(name)
    headers = {}
    if yes_or_no(request, "download", default=False):
        headers["Content-Disposition"] = f"attachment; filename*=UTF-8''{quote(name, safe='')}.json"
    body = await asyncio.to_thread(msgspec.json.encode, workflow)
    return Response(body, headers=headers, media_type="application/json")


async def add_workflow(request: Request) -> Response:
    suite, name = suite_of(request), request.query_params.get("name", "")
    replace = yes_or_no(request, "overwrite", default=False)
    async with received(request, MAX_FILE_BYTES) as file:
        saved = await workflow_shelf.keep(suite, name, file, replace=replace)
    return json_answer(saved, 201)


async def save_workflow(request: Request) -> Response:
    require_json(request)
    suite, data = suite_of(request), await read_bytes(request, MAX_JSON_BYTES)
    document = await suite.workbench.run(read_document, data)
    return json_answer(await workflow_shelf.save(suite, request.path_params["name"], document), 201)


async def rename_workflow(request: Request) -> Response:
    wish = await read_body(request, Rename)
    return json_answer(await workflow_shelf.rename(suite_of(request), request.path_params["name"], wish.name))


async def delete_workflow(request: Request) -> Response:
    suite, name = suite_of(request), request.path_params["name"]
    await workflow_shelf.delete(suite, name)
    return json_answer(Deleted(name))


async def get_thumbnail(request: Request) -> Response:
    suite = suite_of(request)
    picture = await workflow_shelf.picture(suite, request.path_params["name"])
    data = await suite.volume.run(picture.read_bytes)
    # Its address names its version.
    headers = {"Cache-Control": "private, max-age=86400" if "v" in request.query_params else "no-cache"}
    return Response(data, headers=headers, media_type="image/webp")


def _wanted(request: Request) -> Wanted:
    text = request.query_params.get("source", "")
    wanted: Wanted | None = next((known for known in get_args(Wanted) if known == text), None)
    if wanted is None:
        raise InvalidRequest("'source' must be user, presets or templates, or not be given")
    return wanted


ENDPOINTS = (
    Endpoint(
        "GET",
        "/api/workflows/",
        list_workflows,
        "Workflows: your own, those of presets, ComfyUI's templates",
        {200: WorkflowList},
        query=(
            Query("source", str, "user, presets or templates; all if it is not given"),
            Query("search", str, "words that title, name or description hold"),
            Query("limit", int, "how many, 1000 at most"),
            Query("offset", int, "how many to leave out at the beginning"),
        ),
        errors=(422,),
    ),
    Endpoint(
        "POST",
        "/api/workflows/",
        add_workflow,
        "Keep the workflow of a file (JSON, or a picture, video or sound that carries one), sent as the body",
        {201: Saved},
        query=(
            Query("name", str, "what it is to be called"),
            Query("overwrite", bool, "replace the one of yours that has the name"),
        ),
        errors=(409, 413, 415, 422, 503, 507),
    ),
    Endpoint(
        "GET",
        "/api/workflows/{name}",
        get_workflow,
        "One workflow, as it was saved",
        {200: Workflow},
        query=(
            Query("format", str, "'api': as ComfyUI runs it, a graph is converted"),
            Query("download", bool, "as a file"),
        ),
        errors=(404, 422, 503),
    ),
    Endpoint(
        "PUT",
        "/api/workflows/{name}",
        save_workflow,
        "Save a workflow, a graph or in API format",
        {201: Saved},
        body=Workflow,
        errors=(413, 503, 507),
    ),
    Endpoint(
        "POST",
        "/api/workflows/{name}/rename",
        rename_workflow,
        "Rename a workflow of yours",
        {200: Saved},
        body=Rename,
        errors=(404, 409, 503, 507),
    ),
    Endpoint(
        "GET",
        "/api/workflows/{name}/thumbnail",
        get_thumbnail,
        "A small picture (WebP) of the file it came from, or of what it made last",
        {200: None},
        errors=(404, 422, 503),
    ),
    Endpoint(
        "DELETE",
        "/api/workflows/{name}",
        delete_workflow,
        "Delete a workflow of yours",
        {200: Deleted},
        errors=(404, 422, 503),
    ),
)
