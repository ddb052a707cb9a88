"""ComfyUI's HTTP interface as 0.33.0 has it, without the work: prompts wait, run and end when a test says so."""

import asyncio
import json
from typing import Any
from urllib.parse import unquote

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from services.comfyui import ComfyUI

Row = list[Any]


class FakeComfyUI:
    """`running`, `pending` and `history` are what its routes of these names answer with."""

    def __init__(self) -> None:
        self.running: list[Row] = []
        self.pending: list[Row] = []
        self.history: dict[str, dict[str, Any]] = {}
        self.object_info: dict[str, dict[str, Any]] = {}
        self.submitted: list[dict[str, Any]] = []
        self.interrupted: list[str] = []
        self.freed = 0
        # Answered instead of what the routes have to say.
        self.instead: Response | None = None
        self._number = 0

    def enqueue(self, prompt_id: str, prompt: dict[str, Any], **extra_data: Any) -> None:
        self._number += 1
        self.pending.append([self._number, prompt_id, prompt, extra_data, []])

    def start(self, prompt_id: str) -> None:
        self.running += [row for row in self.pending if row[1] == prompt_id]
        self.pending = [row for row in self.pending if row[1] != prompt_id]

    def end(
        self, prompt_id: str, *messages: Row, status: str = "success", outputs: dict[str, Any] | None = None
    ) -> None:
        self.running = [row for row in self.running if row[1] != prompt_id]
        self.history[prompt_id] = {
            "prompt": [],
            "outputs": outputs or {},
            "status": {"status_str": status, "completed": status == "success", "messages": list(messages)},
        }

    def restart(self) -> None:
        """Everything it knew was in memory."""
        self.running, self.pending, self.history = [], [], {}

    def client(self) -> httpx.AsyncClient:
        routes = [
            Route("/prompt", self._prompt, methods=["POST"]),
            Route("/queue", self._queue, methods=["GET", "POST"]),
            Route("/interrupt", self._interrupt, methods=["POST"]),
            Route("/free", self._free, methods=["POST"]),
            Route("/history/{rest:path}", self._history),
            Route("/object_info/{rest:path}", self._object_info),
            Route("/system_stats", self._system_stats),
        ]
        transport = httpx.ASGITransport(app=Starlette(routes=routes))
        return httpx.AsyncClient(transport=transport, base_url="http://comfyui")

    def comfyui(self) -> ComfyUI:
        return ComfyUI(self.client())

    async def _prompt(self, request: Request) -> Response:
        body = await request.json()
        self.submitted.append(body)
        if self.instead is not None:
            return self.instead
        self.enqueue(body["prompt_id"], body["prompt"], client_id=body["client_id"], **body["extra_data"])
        return JSONResponse({"prompt_id": body["prompt_id"], "number": self._number, "node_errors": {}})

    async def _queue(self, request: Request) -> Response:
        if self.instead is not None:
            return self.instead
        if request.method == "GET":
            return JSONResponse({"queue_running": self.running, "queue_pending": self.pending})
        body = await request.json()
        gone = {row[1] for row in self.pending} if body.get("clear") else set(body.get("delete", []))
        self.pending = [row for row in self.pending if row[1] not in gone]
        return Response()

    async def _interrupt(self, request: Request) -> Response:
        if self.instead is not None:
            return self.instead
        prompt_id = (await request.json())["prompt_id"]
        self.interrupted.append(prompt_id)
        if any(row[1] == prompt_id for row in self.running):
            self.end(prompt_id, ["execution_interrupted", {"prompt_id": prompt_id}], status="error")
        return Response()

    async def _free(self, _request: Request) -> Response:
        if self.instead is not None:
            return self.instead
        self.freed += 1
        return Response()

    async def _history(self, request: Request) -> Response:
        # As over a network: others get their turn meanwhile.
        await asyncio.sleep(0)
        if self.instead is not None:
            return self.instead
        return _looked_up(request, self.history)

    async def _object_info(self, request: Request) -> Response:
        if self.instead is not None:
            return self.instead
        return _looked_up(request, self.object_info)

    async def _system_stats(self, _request: Request) -> Response:
        if self.instead is not None:
            return self.instead
        system = {"comfyui_version": "0.33.0", "python_version": "3.11.7 (main)", "pytorch_version": "2.13.0+cpu"}
        return JSONResponse({"system": system, "devices": []})


def _looked_up(request: Request, known: dict[str, dict[str, Any]]) -> Response:
    # aiohttp matches `{name}` against the path as it was sent, one segment of it that is not empty.
    raw_path: bytes = request.scope["raw_path"]
    _, _, rest = raw_path.decode().removeprefix("/").partition("/")
    if not rest or "/" in rest:
        return PlainTextResponse("404: Not Found", 404)
    name = unquote(rest)
    content = {name: known[name]} if name in known else {}
    # As aiohttp: what JSON does not know, Python writes all the same.
    return Response(json.dumps(content), media_type="application/json")
