"""The app: its routes, what stands before them, and what happens to errors."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from redis.exceptions import RedisError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route, WebSocketRoute

from dashboard import gate, openapi, output_pages, outputs, pages, received, sign_in, workflow_pages
from dashboard.answers import error_answer, error_body, json_answer, status_of
from dashboard.api import ENDPOINTS
from dashboard.endpoint import routes
from dashboard.gate import Gate
from dashboard.sign_in import Tickets
from dashboard.socket import live
from dashboard.suite import State, open_suite, suite_of
from services import log
from services.errors import SuiteError
from services.settings import Settings

_log = log.get("dashboard")


def create_app(settings: Settings) -> Starlette:
    @contextlib.asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[State]:
        await asyncio.to_thread(received.sweep, received.folder_of(settings))
        async with open_suite(settings) as suite:
            yield {"suite": suite}

    middleware = [Middleware(Gate)]
    if settings.cors_origins:
        cors = Middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["*"],
            allow_headers=["authorization", "content-digest", "content-type"],
        )
        middleware.insert(0, cors)
    app = Starlette(
        routes=_routes(),
        middleware=middleware,
        exception_handlers={SuiteError: _suite_error, HTTPException: _http_error, Exception: _unexpected},
        lifespan=lifespan,
    )
    app.state.tickets = Tickets()
    return app


def _routes() -> list[BaseRoute]:
    return [
        Route("/", pages.home),
        Route("/presets", pages.presets),
        Route("/presets/{preset_id}", pages.presets),
        Route("/models", pages.models_page),
        Route("/workflows", workflow_pages.workflows),
        Route("/workflows/{name}", workflow_pages.workflow),
        Route("/outputs", output_pages.outputs),
        Route("/settings", pages.settings_page),
        Route("/login", sign_in.show_login),
        Route("/login", sign_in.login, methods=["POST"]),
        Route("/logout", sign_in.logout, methods=["POST"]),
        Route("/enter", sign_in.enter),
        Route("/open-comfyui", sign_in.open_comfyui),
        Route("/open/{name}", sign_in.open_dev_tool),
        Route("/internal/auth", sign_in.judge_for_nginx),
        Route("/healthz", healthz),
        Route("/readyz", readyz),
        Route("/outputs/{path:path}", outputs.output_file),
        Route("/temp/{path:path}", outputs.temp_file),
        Route("/thumbnails/{path:path}", outputs.thumbnail),
        Route("/api/openapi.json", openapi_document),
        *routes(ENDPOINTS),
        WebSocketRoute("/ws", live),
    ]


async def healthz(_request: Request) -> Response:
    """The dashboard answers: all that whoever restarts containers needs to know."""
    return PlainTextResponse("ok\n")


async def readyz(request: Request) -> Response:
    """Every part answers. One word, because it is said to anyone; `/api/system/status` says which does not."""
    suite = suite_of(request)
    status = await suite.system.status()
    workers = [process for process in status.processes if process.name.startswith("worker")]
    ready = (
        status.comfyui.state == "ready"
        and status.workspace.state == "ok"
        and bool(workers)
        and all(process.state == "running" for process in workers)
        and await _redis_answers(request)
    )
    return PlainTextResponse("ready\n" if ready else "not ready\n", 200 if ready else 503)


async def openapi_document(request: Request) -> Response:
    return suite_of(request).answers.openapi.answer(
        request, pages.VERSION, lambda: openapi.document(ENDPOINTS, pages.VERSION)
    )


async def _redis_answers(request: Request) -> bool:
    try:
        return bool(await suite_of(request).redis.ping())
    except RedisError:
        return False


def _wants_page(request: Request) -> bool:
    return gate.wants_page(request.headers) and not request.url.path.startswith("/api/")


async def _error_page(request: Request, message: str, status: int) -> Response:
    # The open paths are reached by anyone, and the dashboard's own frame shows the machine.
    if gate.judge(suite_of(request), request.headers, request.method) != "pass":
        return pages.bare_error(request, message, status)
    return await pages.error(request, message, status)


async def _suite_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, SuiteError)  # noqa: S101 (Starlette's handlers are typed for any exception)
    if not _wants_page(request):
        return error_answer(error)
    return await _error_page(request, error.message, status_of(error))


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101
    known = {404: ("not_found", "there is no such address"), 405: ("wrong_method", "this address knows other methods")}
    type_, message = known.get(error.status_code, ("error", error.detail))
    if not _wants_page(request):
        return json_answer(error_body(type_, message), error.status_code, dict(error.headers or {}))
    answer = await _error_page(request, message, error.status_code)
    answer.headers.update(error.headers or {})
    return answer


async def _unexpected(request: Request, error: Exception) -> Response:
    _log.error("request_failed", path=request.url.path, method=request.method, exc_info=error)
    message = "something went wrong here; logs/dashboard.log says what"
    if not _wants_page(request):
        return json_answer(error_body("internal", message), 500)
    # Bare, because what went wrong may be what the dashboard's own frame is made of.
    return pages.bare_error(request, message, 500)
