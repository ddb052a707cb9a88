"""`/api/runs/`"""

from typing import Any

from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response

from dashboard.answers import json_answer, whole_number
from dashboard.endpoint import Endpoint, Query
from dashboard.suite import suite_of
from services.comfyui import Prompt
from services.errors import NotFound
from services.runs import KEEP_RUNS, Run

PAGE = 100


class RunList(Struct, frozen=True):
    """`total`: of all that match."""

    runs: tuple[Run, ...]
    total: int


class Forgotten(Struct, frozen=True):
    prompt_id: str


async def list_runs(request: Request) -> Response:
    limit = whole_number(request, "limit", PAGE, 1, KEEP_RUNS)
    offset = whole_number(request, "offset", 0, 0, 1_000_000)
    found, workflow = suite_of(request).runs.recent(), request.query_params.get("workflow")
    if workflow is not None:
        found = tuple(run for run in found if run.workflow == workflow)
    return json_answer(RunList(found[offset : offset + limit], len(found)))


async def get_run(request: Request) -> Response:
    return json_answer(suite_of(request).runs.get(request.path_params["prompt_id"]))


async def preview(request: Request) -> Response:
    mime_type, image = suite_of(request).runs.preview(request.path_params["prompt_id"])
    return Response(image, media_type=mime_type)


async def prompt(request: Request) -> Response:
    id_ = request.path_params["prompt_id"]
    document = await suite_of(request).runs.document(id_)
    if document.prompt is None:
        raise NotFound(f"the prompt of run '{id_[:60]}' was not kept")
    return json_answer(document.prompt)


async def workflow(request: Request) -> Response:
    document = await suite_of(request).runs.document(request.path_params["prompt_id"])
    return json_answer(document.graph or document.prompt)


async def forget(request: Request) -> Response:
    id_ = request.path_params["prompt_id"]
    suite_of(request).runs.forget(id_)
    return json_answer(Forgotten(id_))


ENDPOINTS = (
    Endpoint(
        "GET",
        "/api/runs/",
        list_runs,
        "Runs, the newest first",
        {200: RunList},
        query=(
            Query("limit", int, f"At most {KEEP_RUNS}"),
            Query("offset", int, "How many to skip"),
            Query("workflow", str, "Only those of this saved workflow"),
        ),
        errors=(422,),
    ),
    Endpoint("GET", "/api/runs/{prompt_id}", get_run, "One run", {200: Run}, errors=(404,)),
    Endpoint("GET", "/api/runs/{prompt_id}/preview", preview, "The newest preview picture", {200: None}, errors=(404,)),
    Endpoint("GET", "/api/runs/{prompt_id}/prompt", prompt, "What it ran", {200: Prompt}, errors=(404, 503)),
    Endpoint(
        "GET",
        "/api/runs/{prompt_id}/workflow",
        workflow,
        "The graph that it was made of, else the prompt",
        {200: dict[str, Any]},
        errors=(404, 503),
    ),
    Endpoint(
        "DELETE", "/api/runs/{prompt_id}", forget, "Forget a run that is over", {200: Forgotten}, errors=(404, 409)
    ),
)
