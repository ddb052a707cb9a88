"""`/api/runs/`, `/api/outputs/`"""

from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response

from dashboard.answers import json_answer, whole_number
from dashboard.endpoint import Endpoint, Query
from dashboard.gallery import Output
from dashboard.suite import suite_of
from services.runs import Run


class RunList(Struct, frozen=True):
    runs: tuple[Run, ...]


class OutputList(Struct, frozen=True):
    outputs: tuple[Output, ...]


async def list_runs(request: Request) -> Response:
    return json_answer(RunList(suite_of(request).runs.recent()))


async def get_run(request: Request) -> Response:
    return json_answer(suite_of(request).runs.get(request.path_params["prompt_id"]))


async def preview(request: Request) -> Response:
    mime_type, image = suite_of(request).runs.preview(request.path_params["prompt_id"])
    return Response(image, media_type=mime_type)


async def list_outputs(request: Request) -> Response:
    limit = whole_number(request, "limit", 60, 1, 1000)
    return json_answer(OutputList(tuple(await suite_of(request).gallery.newest(limit))))


ENDPOINTS = (
    Endpoint("GET", "/api/runs/", list_runs, "Runs since the dashboard started", {200: RunList}),
    Endpoint("GET", "/api/runs/{prompt_id}", get_run, "One run", {200: Run}, errors=(404,)),
    Endpoint("GET", "/api/runs/{prompt_id}/preview", preview, "The newest preview picture", {200: None}, errors=(404,)),
    Endpoint(
        "GET",
        "/api/outputs/",
        list_outputs,
        "Newest outputs",
        {200: OutputList},
        query=(Query("limit", int, "At most 1000"),),
        errors=(422,),
    ),
)
