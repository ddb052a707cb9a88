"""ComfyUI's HTTP API, as it was measured (0.3.75 and 0.33.0), in the suite's words."""

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any, Literal, TypeVar
from urllib.parse import quote

import msgspec
from msgspec import Struct

from services.errors import ComfyUIUnavailable, WorkflowRefused
from services.lean_imports import without_rich

with without_rich():
    import httpx

T = TypeVar("T")
Prompt = dict[str, dict[str, Any]]
Media = Literal["image", "video", "audio", "other"]

# Of an error's text: a model that does not fit is told with the names of all its tensors.
MAX_REASON_CHARACTERS = 2_000
# The queue holds all that waits; of one node class there is less to say. Custom nodes take part in both.
MAX_ANSWER_BYTES = 256 * 1024 * 1024
MAX_DEFINITION_BYTES = 16 * 1024 * 1024
# However slowly it comes: while it reads a large model, ComfyUI hardly gets to answer.
ANSWER_SECONDS = 60.0

_MEDIA: dict[Media, set[str]] = {
    "image": {".png", ".jpg", ".jpeg", ".webp", ".gif", ".avif", ".bmp"},
    "video": {".mp4", ".webm", ".mov", ".mkv"},
    "audio": {".flac", ".wav", ".mp3", ".ogg", ".opus", ".m4a"},
}


class ComfyUIInfo(Struct, frozen=True):
    version: str
    python_version: str
    torch_version: str


class Submitted(Struct, frozen=True):
    """`refused_outputs` are the nodes that will not run although others do."""

    prompt_id: str
    number: float
    refused_outputs: dict[str, Any] = msgspec.field(default_factory=dict, name="node_errors")


class QueuedPrompt(Struct, frozen=True):
    prompt_id: str
    number: float
    prompt: Prompt
    extra_data: dict[str, Any]


class QueueState(Struct, frozen=True):
    running: tuple[QueuedPrompt, ...]
    pending: tuple[QueuedPrompt, ...]


class OutputFile(Struct, frozen=True):
    """A file that a run made, as ComfyUI names it: in its output or its temp directory."""

    filename: str
    subfolder: str
    in_output: bool

    @property
    def path(self) -> str:
        return f"{self.subfolder}/{self.filename}" if self.subfolder else self.filename


class Ending(Struct, frozen=True):
    """How a prompt ended, from ComfyUI's history. `seconds` from its first node to its last."""

    state: Literal["success", "error", "interrupted"]
    error: str | None
    seconds: float | None
    outputs: tuple[OutputFile, ...]


class _System(Struct):
    comfyui_version: str = "unknown"
    python_version: str = ""
    pytorch_version: str = ""


class _SystemStats(Struct):
    system: _System


class _Row(Struct, array_like=True):
    number: float
    prompt_id: str
    prompt: Prompt
    extra_data: dict[str, Any]


class _Queue(Struct):
    queue_running: list[_Row]
    queue_pending: list[_Row]


class _Status(Struct):
    status_str: str = ""
    messages: list[tuple[str, dict[str, Any]]] = []


class _HistoryEntry(Struct):
    outputs: dict[str, dict[str, Any]] = {}
    status: _Status | None = None


class _Problem(Struct):
    message: str = ""
    details: str = ""


class _NodeProblems(Struct):
    class_type: str = ""
    errors: list[_Problem] = []


class _Refusal(Struct):
    """A few of ComfyUI's checks answer with a bare text, and with an empty list of nodes."""

    error: _Problem | str
    node_errors: dict[str, _NodeProblems] | list[Any] = {}


class ComfyUI:
    """One ComfyUI. Every method raises ComfyUIUnavailable when it does not answer, or something else does for it."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http

    async def info(self) -> ComfyUIInfo:
        system = (await self._ask(_SystemStats, "GET", "/system_stats", timeout=3.0)).system
        return ComfyUIInfo(system.comfyui_version, system.python_version.split(" ")[0], system.pytorch_version)

    async def submit(
        self, prompt: Prompt, *, prompt_id: str, client_id: str, title: str, graph: dict[str, Any] | None = None
    ) -> Submitted:
        """Puts `prompt` (API format) at the queue's end; what it makes carries `graph`, as from the editor.

        Raises WorkflowRefused with ComfyUI's own reasons."""
        extra_data: dict[str, Any] = {"title": title}
        if graph is not None:
            extra_data["extra_pnginfo"] = {"workflow": graph}
        body = {"prompt": prompt, "prompt_id": prompt_id, "client_id": client_id, "extra_data": extra_data}
        answer = await self._send("POST", "/prompt", json=body)
        if answer.is_client_error:
            raise _refusal(answer)
        return _content(answer, Submitted)

    async def queue(self) -> QueueState:
        state = await self._ask(_Queue, "GET", "/queue")
        return QueueState(_queued(state.queue_running), _queued(state.queue_pending))

    async def clear_queue(self) -> None:
        _require_ok(await self._send("POST", "/queue", json={"clear": True}))

    async def remove(self, prompt_id: str) -> None:
        """Takes a waiting prompt out of the queue; nothing happens when it is not waiting."""
        _require_ok(await self._send("POST", "/queue", json={"delete": [prompt_id]}))

    async def interrupt(self, prompt_id: str) -> None:
        """Stops `prompt_id` if it is the one that runs; another one is left alone. Takes until the node notices."""
        _require_ok(await self._send("POST", "/interrupt", json={"prompt_id": prompt_id}))

    async def free(self) -> None:
        """Lets go of every model, as soon as nothing runs."""
        _require_ok(await self._send("POST", "/free", json={"unload_models": True, "free_memory": True}))

    async def ending(self, prompt_id: str) -> Ending | None:
        """How `prompt_id` ended; None while it runs, or when ComfyUI knows nothing of it (its history is in memory)."""
        entry = (await self._ask(dict[str, _HistoryEntry], "GET", f"/history/{_segment(prompt_id)}")).get(prompt_id)
        return None if entry is None else _ending(entry)

    async def node_definition(self, class_type: str) -> dict[str, Any] | None:
        """`/object_info` of one node class; None when ComfyUI has no such node."""
        path = f"/object_info/{_segment(class_type)}"
        answer = await self._send("GET", path, limit_bytes=MAX_DEFINITION_BYTES)
        if answer.status_code == 404:
            return None
        return _content(answer, dict[str, dict[str, Any]]).get(class_type)

    async def _ask(self, shape: type[T], method: str, path: str, **arguments: Any) -> T:
        return _content(await self._send(method, path, **arguments), shape)

    async def _send(
        self, method: str, path: str, limit_bytes: int = MAX_ANSWER_BYTES, **arguments: Any
    ) -> httpx.Response:
        try:
            async with asyncio.timeout(ANSWER_SECONDS), self._http.stream(method, path, **arguments) as answer:
                content = await _read(answer, limit_bytes)
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError) as error:
            raise ComfyUIUnavailable(f"ComfyUI does not answer ({type(error).__name__})") from None
        return httpx.Response(answer.status_code, content=content, request=answer.request)


async def _read(answer: httpx.Response, limit_bytes: int) -> bytes:
    """Raises ComfyUIUnavailable for more than `limit_bytes`."""
    pieces, size = [], 0
    async for piece in answer.aiter_bytes():
        size += len(piece)
        if size > limit_bytes:
            raise ComfyUIUnavailable(f"ComfyUI answers {_asked(answer)} with more than {limit_bytes // 1024**2} MiB")
        pieces.append(piece)
    return b"".join(pieces)


def _segment(name: str) -> str:
    """One segment of a path, whatever `name` holds. Dots too: clients take `..` for a step up."""
    return quote(name, safe="").replace(".", "%2E")


def _require_ok(answer: httpx.Response) -> None:
    if answer.status_code != 200:
        raise ComfyUIUnavailable(
            f"ComfyUI failed at {_asked(answer)} (HTTP {answer.status_code}); its log says why",
            {"status": answer.status_code},
        )


def _content(answer: httpx.Response, shape: type[T]) -> T:
    _require_ok(answer)
    try:
        # Not msgspec's decoder: ComfyUI writes NaN and Infinity, as Python does, and JSON has neither.
        return msgspec.convert(answer.json(), shape)
    except (ValueError, RecursionError):
        raise ComfyUIUnavailable(f"what answers {_asked(answer)} does not talk like ComfyUI") from None


def _asked(answer: httpx.Response) -> str:
    return f"{answer.request.method} {answer.request.url.path}"


def media_of(filename: str) -> Media:
    suffix = "." + filename.rpartition(".")[2].lower()
    for media, suffixes in _MEDIA.items():
        if suffix in suffixes:
            return media
    return "other"


def _queued(rows: list[_Row]) -> tuple[QueuedPrompt, ...]:
    ordered = sorted(rows, key=lambda row: row.number)
    return tuple(QueuedPrompt(row.prompt_id, row.number, row.prompt, row.extra_data) for row in ordered)


def _refusal(answer: httpx.Response) -> WorkflowRefused:
    try:
        body = answer.json()
        refusal = msgspec.convert(body, _Refusal)
    except (ValueError, RecursionError):
        return WorkflowRefused(f"ComfyUI refused the workflow (HTTP {answer.status_code}): {answer.text[:200]}")
    error = _Problem(refusal.error) if isinstance(refusal.error, str) else refusal.error
    nodes = refusal.node_errors if isinstance(refusal.node_errors, dict) else {}
    problems = [
        f"node {node_id} ({found.class_type}): {problem.message}: {problem.details}"
        for node_id, found in nodes.items()
        for problem in found.errors
    ]
    text = "; ".join([f"{error.message} {error.details}".strip(), *problems[:5]])
    return WorkflowRefused(
        f"ComfyUI refused the workflow: {text}",
        {"node_errors": body.get("node_errors") or {}, "error": body["error"]},
    )


def _ending(entry: _HistoryEntry) -> Ending:
    status = entry.status or _Status()
    messages = dict(status.messages)
    outputs = _output_files(entry.outputs.values())
    if status.status_str == "success":
        return Ending("success", None, _seconds(messages, "execution_success"), outputs)
    if "execution_interrupted" in messages:
        return Ending("interrupted", None, _seconds(messages, "execution_interrupted"), outputs)
    failure = messages.get("execution_error", {})
    reason = str(failure.get("exception_message", "")).strip() or "ComfyUI does not say why"
    where = f"node {failure['node_id']} ({failure.get('node_type')}): " if failure.get("node_id") else ""
    return Ending("error", where + reason[:MAX_REASON_CHARACTERS], _seconds(messages, "execution_error"), outputs)


def _output_files(nodes: Iterable[Mapping[str, Any]]) -> tuple[OutputFile, ...]:
    """Nodes put what they like beside their files: texts, numbers, settings."""
    return tuple(
        OutputFile(str(file["filename"]), str(file.get("subfolder") or ""), file.get("type") == "output")
        for node in nodes
        for files in node.values()
        if isinstance(files, list)
        for file in files
        if isinstance(file, Mapping) and file.get("filename") and file.get("type") in ("output", "temp")
    )


def _seconds(messages: Mapping[str, Any], end: str) -> float | None:
    try:
        return round(float(messages[end]["timestamp"] - messages["execution_start"]["timestamp"]) / 1000, 2)
    except (KeyError, TypeError):
        return None
