"""`/api/comfyui/`"""

import asyncio
from typing import Any

from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response

from dashboard.answers import json_answer, read_body
from dashboard.endpoint import Endpoint, Query
from dashboard.live.queue import queue_message
from dashboard.messages import QueueMessage
from dashboard.suite import Suite, suite_of
from services import workflows
from services.errors import ComfyUIUnavailable, InvalidRequest
from services.health import ComfyUIHealth, log_tail
from services.runs import Run


class Execute(Struct, frozen=True, forbid_unknown_fields=True):
    """A workflow in API format, or the name of a saved one."""

    prompt: dict[str, Any] | None = None
    workflow: str | None = None
    title: str | None = None


class HealthWithLog(ComfyUIHealth, frozen=True, kw_only=True):
    log_tail: list[str]


class Cleared(Struct, frozen=True):
    removed: int


async def health(request: Request) -> Response:
    suite = suite_of(request)
    found = (await suite.system.status()).comfyui
    lines = await asyncio.to_thread(log_tail, suite.settings.state_dir / "logs" / "comfyui.log")
    fields = {name: getattr(found, name) for name in found.__struct_fields__}
    return json_answer(HealthWithLog(**fields, log_tail=lines))


async def execute(request: Request) -> Response:
    suite = suite_of(request)
    prompt, title = await _prompt(suite, await read_body(request, Execute))
    await _require_ready(suite)
    await workflows.check(prompt, suite.comfyui, (await suite.library.shelf()).catalogue)
    return json_answer(await suite.runs.submit(prompt, title), 202)


async def queue(request: Request) -> Response:
    suite = suite_of(request)
    await _require_ready(suite)
    await suite.runs.catch_up()
    return json_answer(queue_message(suite.runs))


async def clear_queue(request: Request) -> Response:
    suite = suite_of(request)
    await _require_ready(suite)
    if prompt_id := request.query_params.get("prompt_id"):
        await suite.runs.cancel(prompt_id)
        return json_answer(Cleared(1))
    return json_answer(Cleared(await suite.runs.clear()))


async def _prompt(suite: Suite, body: Execute) -> tuple[dict[str, dict[str, Any]], str]:
    """(prompt, title). Raises InvalidRequest, NotFound."""
    if (body.prompt is None) == (body.workflow is None):
        raise InvalidRequest("send either 'prompt' (a workflow in API format) or 'workflow' (the name of a saved one)")
    if body.workflow is not None:
        prompt = await suite.library.workflow(body.workflow)
        return prompt, body.title or await suite.library.workflow_title(body.workflow)
    return workflows.check_shape(body.prompt), body.title or "API"


async def _require_ready(suite: Suite) -> None:
    found = (await suite.system.status()).comfyui
    if found.state != "ready":
        raise ComfyUIUnavailable(f"ComfyUI is not ready: {found.message}", {"state": found.state})


ENDPOINTS = (
    Endpoint("GET", "/api/comfyui/health", health, "Is ComfyUI there", {200: HealthWithLog}),
    Endpoint("POST", "/api/comfyui/execute", execute, "Run a workflow", {202: Run}, body=Execute, errors=(404, 503)),
    Endpoint("GET", "/api/comfyui/queue", queue, "What runs and waits", {200: QueueMessage}, errors=(503,)),
    Endpoint(
        "DELETE",
        "/api/comfyui/queue",
        clear_queue,
        "Empty the queue, or take one run out of it",
        {200: Cleared},
        query=(Query("prompt_id", str, "Only this one; interrupted if it is the one that runs"),),
        errors=(404, 503),
    ),
)
