"""`/api/workflows/`"""

from typing import Any

from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response

from dashboard.answers import json_answer, read_body
from dashboard.endpoint import Endpoint
from dashboard.suite import suite_of
from services.workflows import WorkflowSummary, check_shape

Prompt = dict[str, Any]


class WorkflowList(Struct, frozen=True):
    workflows: tuple[WorkflowSummary, ...]


class Saved(Struct, frozen=True):
    name: str


async def list_workflows(request: Request) -> Response:
    return json_answer(WorkflowList((await suite_of(request).library.shelf()).workflows))


async def get_workflow(request: Request) -> Response:
    return json_answer(await suite_of(request).library.saved_workflow(request.path_params["name"]))


async def save_workflow(request: Request) -> Response:
    suite, name = suite_of(request), request.path_params["name"]
    prompt = check_shape(await read_body(request, Prompt))
    await suite.volume.write(suite.library.workflows.save, name, prompt)
    suite.library.forget()
    return json_answer(Saved(name), 201)


async def delete_workflow(request: Request) -> Response:
    suite, name = suite_of(request), request.path_params["name"]
    await suite.volume.run(suite.library.workflows.delete, name)
    suite.library.forget()
    return json_answer(Saved(name))


ENDPOINTS = (
    Endpoint("GET", "/api/workflows/", list_workflows, "Saved workflows", {200: WorkflowList}),
    Endpoint("GET", "/api/workflows/{name}", get_workflow, "One workflow", {200: Prompt}, errors=(404, 422, 503)),
    Endpoint(
        "PUT", "/api/workflows/{name}", save_workflow, "Save a workflow", {201: Saved}, body=Prompt, errors=(503, 507)
    ),
    Endpoint(
        "DELETE",
        "/api/workflows/{name}",
        delete_workflow,
        "Delete a workflow of yours",
        {200: Saved},
        errors=(404, 422, 503),
    ),
)
