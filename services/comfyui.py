"""ComfyUI's HTTP API, as it was measured (0.3.75 and 0.33.0), in the suite's words."""

from collections.abc import Mapping
from typing import Any, Literal

import httpx
from msgspec import Struct

from services.errors import ComfyUIUnavailable, WorkflowRefused

Prompt = dict[str, dict[str, Any]]
Media = Literal["image", "video", "audio", "other"]

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
    refused_outputs: dict[str, Any]


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


class ComfyUI:
    """One ComfyUI. Every method raises ComfyUIUnavailable when it does not answer."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http

    async def info(self) -> ComfyUIInfo:
        stats = (await self._request("GET", "/system_stats", timeout=3.0)).json()["system"]
        return ComfyUIInfo(
            version=str(stats.get("comfyui_version", "unknown")),
            python_version=str(stats.get("python_version", "")).split(" ")[0],
            torch_version=str(stats.get("pytorch_version", "")),
        )

    async def submit(self, prompt: Prompt, *, prompt_id: str, client_id: str, title: str) -> Submitted:
        """Puts `prompt` (API format) at the queue's end. Raises WorkflowRefused with ComfyUI's own reasons."""
        body = {"prompt": prompt, "prompt_id": prompt_id, "client_id": client_id, "extra_data": {"title": title}}
        answer = await self._request("POST", "/prompt", json=body)
        if answer.status_code != 200:
            raise _refusal(answer)
        accepted = answer.json()
        return Submitted(str(accepted["prompt_id"]), float(accepted["number"]), dict(accepted.get("node_errors") or {}))

    async def queue(self) -> QueueState:
        state = (await self._request("GET", "/queue")).json()
        return QueueState(_queued(state["queue_running"]), _queued(state["queue_pending"]))

    async def clear_queue(self) -> None:
        await self._request("POST", "/queue", json={"clear": True})

    async def remove(self, prompt_id: str) -> None:
        """Takes a waiting prompt out of the queue; nothing happens when it is not waiting."""
        await self._request("POST", "/queue", json={"delete": [prompt_id]})

    async def interrupt(self, prompt_id: str) -> None:
        """Stops `prompt_id` if it is the one that runs; another one is left alone. Takes until the node notices."""
        await self._request("POST", "/interrupt", json={"prompt_id": prompt_id})

    async def ending(self, prompt_id: str) -> Ending | None:
        """How `prompt_id` ended; None while it runs, or when ComfyUI knows nothing of it (its history is in memory)."""
        entry = (await self._request("GET", f"/history/{prompt_id}")).json().get(prompt_id)
        return None if entry is None else _ending(entry)

    async def node_definition(self, class_type: str) -> dict[str, Any] | None:
        """`/object_info` of one node class; None when ComfyUI has no such node."""
        path = "/object_info/" + str(httpx.URL(path=f"/{class_type}").raw_path, "ascii").lstrip("/")
        found = (await self._request("GET", path)).json().get(class_type)
        return dict(found) if found else None

    async def _request(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        try:
            response = await self._http.request(method, path, **arguments)
        except httpx.HTTPError as error:
            raise ComfyUIUnavailable(f"ComfyUI does not answer ({type(error).__name__})") from None
        if response.status_code >= 500:
            raise ComfyUIUnavailable(
                f"ComfyUI failed at {method} {path} (HTTP {response.status_code}); its log says why"
            )
        return response


def media_of(filename: str) -> Media:
    suffix = "." + filename.rpartition(".")[2].lower()
    for media, suffixes in _MEDIA.items():
        if suffix in suffixes:
            return media
    return "other"


def _queued(rows: list[list[Any]]) -> tuple[QueuedPrompt, ...]:
    return tuple(
        QueuedPrompt(str(row[1]), float(row[0]), row[2], row[3]) for row in sorted(rows, key=lambda row: row[0])
    )


def _refusal(answer: httpx.Response) -> WorkflowRefused:
    try:
        body = answer.json()
        error, node_errors = body["error"], body.get("node_errors") or {}
    except (ValueError, KeyError, TypeError):
        return WorkflowRefused(f"ComfyUI refused the workflow (HTTP {answer.status_code}): {answer.text[:200]}")
    # A few of ComfyUI's checks answer with a bare text.
    message = error.get("message", "") if isinstance(error, Mapping) else str(error)
    details = error.get("details", "") if isinstance(error, Mapping) else ""
    problems = [
        f"node {node_id} ({found.get('class_type')}): {problem.get('message')}: {problem.get('details')}"
        for node_id, found in node_errors.items()
        for problem in found.get("errors", [])
    ]
    text = "; ".join([f"{message} {details}".strip(), *problems[:5]])
    return WorkflowRefused(f"ComfyUI refused the workflow: {text}", {"node_errors": node_errors, "error": error})


def _ending(entry: Mapping[str, Any]) -> Ending:
    status = entry.get("status") or {}
    messages: dict[str, Any] = dict(status.get("messages", []))
    outputs = tuple(
        OutputFile(str(file["filename"]), str(file.get("subfolder", "")), file.get("type") == "output")
        for node in entry.get("outputs", {}).values()
        for files in node.values()
        if isinstance(files, list)
        for file in files
        if isinstance(file, Mapping) and file.get("filename") and file.get("type") in {"output", "temp"}
    )
    if status.get("status_str") == "success":
        return Ending("success", None, _seconds(messages, "execution_success"), outputs)
    if "execution_interrupted" in messages:
        return Ending("interrupted", None, _seconds(messages, "execution_interrupted"), outputs)
    failure = messages.get("execution_error", {})
    reason = str(failure.get("exception_message", "")).strip() or "ComfyUI does not say why"
    where = f"node {failure['node_id']} ({failure.get('node_type')}): " if failure.get("node_id") else ""
    return Ending("error", where + reason, _seconds(messages, "execution_error"), outputs)


def _seconds(messages: Mapping[str, Any], end: str) -> float | None:
    try:
        return round(float(messages[end]["timestamp"] - messages["execution_start"]["timestamp"]) / 1000, 2)
    except (KeyError, TypeError):
        return None
