"""`/api/comfyui/`"""

import asyncio
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, field
from msgspec.structs import asdict
from starlette.requests import Request
from starlette.responses import Response

from dashboard.answers import json_answer, read_body, whole_number
from dashboard.endpoint import Endpoint, Query
from dashboard.live.queue import queue_message
from dashboard.messages import QueueMessage
from dashboard.received import received
from dashboard.runner import Origin, Source, Submission, Wanted, document_of, execute, origin_of
from dashboard.suite import Suite, suite_of
from services.errors import ComfyUIUnavailable, InvalidRequest
from services.health import ComfyUIHealth, log_tail
from services.runs import Run
from services.workflows.document import MAX_JSON_BYTES, read_document_file
from services.workflows.seeds import Seed

MAX_FILE_BYTES = 64 * 1024 * 1024
MAX_COUNT = 100
# ComfyUI's own limit.
HIGHEST_SEED = 2**64 - 1


class Execute(Source, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A workflow and how to run it: `inputs` as `/api/workflows/{name}/inputs` names them; `count` runs, with seeds
    from `seed` on, or each its own where it is `random`."""

    title: Annotated[str, Meta(max_length=200)] | None = None
    inputs: dict[str, Any] = field(default_factory=dict)
    seed: int | Literal["random"] | None = None
    count: Annotated[int, Meta(ge=1, le=MAX_COUNT)] = 1


class Started(Run, frozen=True, kw_only=True):
    """The first run. `batch`: the ids of all; `warnings`: what is worth knowing before they end."""

    batch: tuple[str, ...]
    warnings: tuple[str, ...]


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


async def run(request: Request) -> Response:
    suite = suite_of(request)
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        return _started(await _run_file(request, suite))
    body = await read_body(request, Execute, MAX_JSON_BYTES)
    source = Source(body.workflow, body.prompt, body.output, body.run)
    document = await document_of(suite, source)
    origin = await origin_of(suite, source)
    wanted = Wanted(Origin(body.title or origin.title, origin.workflow), body.inputs, _seed(body.seed), body.count)
    await require_ready(suite)
    return _started(await execute(suite, document, wanted))


async def queue(request: Request) -> Response:
    suite = suite_of(request)
    await require_ready(suite)
    await suite.runs.catch_up()
    return json_answer(queue_message(suite.runs))


async def clear_queue(request: Request) -> Response:
    suite = suite_of(request)
    await require_ready(suite)
    if prompt_id := request.query_params.get("prompt_id"):
        await suite.runs.cancel(prompt_id)
        return json_answer(Cleared(1))
    return json_answer(Cleared(await suite.runs.clear()))


async def require_ready(suite: Suite) -> None:
    """Raises ComfyUIUnavailable."""
    found = (await suite.system.status()).comfyui
    if found.state != "ready":
        raise ComfyUIUnavailable(f"ComfyUI is not ready: {found.message}", {"state": found.state})


async def _run_file(request: Request, suite: Suite) -> Submission:
    """The body is a picture or the like that carries a workflow; the query says how to run it."""
    text = request.query_params.get("seed", "")
    if text and text != "random" and not (text.isascii() and text.isdigit() and len(text) <= 20):
        raise InvalidRequest("'seed' must be a whole number, or 'random'")
    seed = _seed(int(text) if text and text != "random" else text or None)
    count = whole_number(request, "count", 1, 1, MAX_COUNT)
    title = request.query_params.get("title", "")[:200] or "Dropped file"
    async with received(request, MAX_FILE_BYTES) as file:
        document = await suite.workbench.run(read_document_file, file)
    await require_ready(suite)
    return await execute(suite, document, Wanted(Origin(title), {}, seed, count))


def _seed(value: int | str | None) -> Seed:
    """Raises InvalidRequest."""
    if isinstance(value, int) and not 0 <= value <= HIGHEST_SEED:
        raise InvalidRequest(f"'seed' must be from 0 to {HIGHEST_SEED}")
    return value if isinstance(value, int) else "random" if value else None


def _started(submission: Submission) -> Response:
    answer = Started(**asdict(submission.run), batch=submission.batch, warnings=submission.warnings)
    return json_answer(answer, 202)


ENDPOINTS = (
    Endpoint("GET", "/api/comfyui/health", health, "Is ComfyUI there", {200: HealthWithLog}),
    Endpoint(
        "POST",
        "/api/comfyui/execute",
        run,
        "Run a workflow, or the one in a picture or video sent as the body",
        {202: Started},
        body=Execute,
        query=(
            Query("title", str, "Of a file: what its runs are called"),
            Query("seed", str, "Of a file: a whole number, or random"),
            Query("count", int, f"Of a file: so many runs, at most {MAX_COUNT}"),
        ),
        errors=(404, 413, 503),
    ),
    Endpoint("GET", "/api/comfyui/queue", queue, "What runs and waits", {200: QueueMessage}, errors=(503,)),
    Endpoint(
        "DELETE",
        "/api/comfyui/queue",
        clear_queue,
        "Empty the queue, or take one run out of it",
        {200: Cleared},
        query=(Query("prompt_id", str, "Only this one; interrupted if it is the one that runs"),),
        errors=(404, 409, 503),
    ),
)
