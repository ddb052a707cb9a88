"""Every prompt that waits, runs or ran since the dashboard started, whoever submitted it."""

import asyncio
import contextlib
import time
import uuid
from collections.abc import Callable
from typing import Literal
from urllib.parse import quote

from msgspec import Struct
from msgspec.structs import replace

from services import log
from services.comfyui import ComfyUI, Ending, Media, OutputFile, Prompt, QueuedPrompt, QueueState, media_of
from services.comfyui_socket import Connected, Disconnected, Event, Message, Preview
from services.errors import ComfyUIUnavailable, NotFound

KEEP_RUNS = 100
PREVIEW_SECONDS = 0.25
# How long a run waits for the socket that will tell of its progress, before it goes without.
CONNECT_SECONDS = 3.0

RunState = Literal["pending", "running", "success", "error", "interrupted", "lost"]

_log = log.get("comfyui_bridge")


class RunOutput(Struct, frozen=True):
    url: str
    filename: str
    media: Media


class Run(Struct, frozen=True):
    """`position` counts from 1 among those that wait; `progress` in percent."""

    prompt_id: str
    title: str
    state: RunState
    nodes_total: int
    position: int | None = None
    node_id: str | None = None
    node_class: str | None = None
    step: int | None = None
    steps: int | None = None
    nodes_done: int = 0
    progress: float = 0.0
    submitted_at: float = 0.0
    started_at: float | None = None
    seconds: float | None = None
    error: str | None = None
    preview_url: str | None = None
    outputs: tuple[RunOutput, ...] = ()

    @property
    def is_over(self) -> bool:
        return self.state not in {"pending", "running"}


class QueueItem(Struct, frozen=True):
    prompt_id: str
    title: str
    position: int


class QueueView(Struct, frozen=True):
    running: tuple[Run, ...]
    pending: tuple[QueueItem, ...]


Change = Literal["queue", "progress", "finished"]


class RunBook:
    """Follows ComfyUI's events and makes up for the missed ones.

    `on_change` hears of every change: `queue` (who waits and runs; no run given), `progress`, `finished`.
    """

    def __init__(self, comfyui: ComfyUI, on_change: Callable[[Change, Run | None], None]) -> None:
        self._comfyui = comfyui
        self._on_change = on_change
        self._client_id = ""
        self._connected = asyncio.Event()
        self._runs: dict[str, Run] = {}
        self._classes: dict[str, dict[str, str]] = {}
        self._done: dict[str, set[str]] = {}
        self._previews: dict[str, tuple[str, bytes, float]] = {}

    async def submit(self, prompt: Prompt, title: str) -> Run:
        """The one way in for every run. Raises WorkflowRefused, ComfyUIUnavailable."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._connected.wait(), CONNECT_SECONDS)
        prompt_id = str(uuid.uuid4())
        # Known before it is sent: its first event may be faster than the answer.
        self._add(prompt_id, title, prompt)
        try:
            await self._comfyui.submit(prompt, prompt_id=prompt_id, client_id=self._client_id, title=title)
        except BaseException:
            self._forget(prompt_id)
            raise
        _log.info("run_submitted", prompt_id=prompt_id, title=title, nodes=len(prompt))
        await self.catch_up()
        return self.get(prompt_id)

    async def cancel(self, prompt_id: str) -> None:
        """Takes it out of the queue, or interrupts it if it is the one that runs. Raises NotFound."""
        run = self.get(prompt_id)
        if run.is_over:
            return
        await self._comfyui.remove(prompt_id)
        await self._comfyui.interrupt(prompt_id)
        await self.catch_up()

    async def clear(self) -> int:
        """Empties the queue of what waits; how many that were."""
        waiting = len((await self._comfyui.queue()).pending)
        await self._comfyui.clear_queue()
        await self.catch_up()
        return waiting

    def get(self, prompt_id: str) -> Run:
        """Raises NotFound."""
        try:
            return self._runs[prompt_id]
        except KeyError:
            raise NotFound(f"there is no run '{prompt_id[:60]}'") from None

    def preview(self, prompt_id: str) -> tuple[str, bytes]:
        """(MIME type, picture) of the newest preview. Raises NotFound."""
        if prompt_id not in self._previews:
            raise NotFound(f"run '{prompt_id[:60]}' has no preview")
        mime_type, image, _ = self._previews[prompt_id]
        return mime_type, image

    def recent(self) -> tuple[Run, ...]:
        """Newest first."""
        return tuple(sorted(self._runs.values(), key=lambda run: run.submitted_at, reverse=True))

    def queue(self) -> QueueView:
        pending = sorted((r for r in self._runs.values() if r.state == "pending"), key=lambda run: run.position or 0)
        return QueueView(
            running=tuple(run for run in self._runs.values() if run.state == "running"),
            pending=tuple(QueueItem(r.prompt_id, r.title, r.position or n) for n, r in enumerate(pending, start=1)),
        )

    async def handle(self, event: Event) -> None:
        match event:
            case Connected(client_id):
                self._client_id = client_id
                self._connected.set()
                await self.catch_up()
            case Disconnected():
                self._client_id = ""
                self._connected.clear()
            case Preview():
                self._show_preview(event)
            case Message(type="status"):
                await self.catch_up()
            case Message():
                self._follow(event)

    async def catch_up(self) -> None:
        """Makes this book agree with ComfyUI's queue and history."""
        try:
            state = await self._comfyui.queue()
            changed = self._take_over(state)
            present = {queued.prompt_id for queued in (*state.running, *state.pending)}
            for run in [run for run in self._runs.values() if not run.is_over and run.prompt_id not in present]:
                changed = True
                self._finish(run, await self._comfyui.ending(run.prompt_id))
        except ComfyUIUnavailable as error:
            _log.info("catch_up_postponed", reason=error.message)
            return
        if changed:
            self._on_change("queue", None)

    def _take_over(self, state: QueueState) -> bool:
        before = dict(self._runs)
        for queued in (*state.running, *state.pending):
            if queued.prompt_id not in self._runs:
                self._add(queued.prompt_id, _title(queued), queued.prompt)
        for queued in state.running:
            run = self._runs[queued.prompt_id]
            if run.state == "pending":
                self._runs[run.prompt_id] = replace(run, state="running", position=None, started_at=time.time())
        for position, queued in enumerate(state.pending, start=1):
            self._runs[queued.prompt_id] = replace(self._runs[queued.prompt_id], state="pending", position=position)
        return before != self._runs

    def _follow(self, message: Message) -> None:
        run = self._runs.get(str(message.data.get("prompt_id", "")))
        if run is None or run.is_over:
            return
        done = self._done.setdefault(run.prompt_id, set())
        if run.state == "pending":
            run = replace(run, state="running", position=None, started_at=time.time())
        match message.type:
            case "execution_cached":
                done.update(map(str, message.data.get("nodes", [])))
            case "executing" if message.data.get("node"):
                node_id = str(message.data["node"])
                if run.node_id not in {None, node_id}:
                    done.add(str(run.node_id))
                run = replace(
                    run, node_id=node_id, node_class=self._classes[run.prompt_id].get(node_id), step=None, steps=None
                )
            case "executed":
                done.add(str(message.data.get("node")))
            case "progress":
                run = replace(run, step=int(message.data["value"]), steps=int(message.data["max"]))
            case "progress_state":
                nodes = message.data.get("nodes", {})
                done.update(node_id for node_id, node in nodes.items() if node.get("state") == "finished")
        self._runs[run.prompt_id] = _with_progress(run, len(done))
        self._on_change("progress", self._runs[run.prompt_id])

    def _finish(self, run: Run, ending: Ending | None) -> None:
        if ending is None:
            # ComfyUI keeps its history in memory: it restarted, or someone took the prompt out of the queue.
            state: RunState = "interrupted" if run.state == "pending" else "lost"
            error = None if state == "interrupted" else "ComfyUI restarted while this ran"
            finished = replace(run, state=state, error=error, position=None, preview_url=None)
        else:
            finished = replace(
                run,
                state=ending.state,
                error=ending.error,
                seconds=ending.seconds,
                position=None,
                preview_url=None,
                progress=100.0 if ending.state == "success" else run.progress,
                nodes_done=run.nodes_total if ending.state == "success" else run.nodes_done,
                outputs=tuple(_output(file) for file in ending.outputs),
            )
        self._runs[run.prompt_id] = finished
        self._previews.pop(run.prompt_id, None)
        self._done.pop(run.prompt_id, None)
        _log.info(
            "run_finished",
            prompt_id=run.prompt_id,
            state=finished.state,
            error=finished.error,
            seconds=finished.seconds,
        )
        self._on_change("finished", finished)

    def _show_preview(self, preview: Preview) -> None:
        running = [run for run in self._runs.values() if run.state == "running"]
        run = self._runs.get(preview.prompt_id or "") or (running[0] if running else None)
        if run is None or run.is_over:
            return
        now = time.monotonic()
        known = self._previews.get(run.prompt_id)
        if known and now - known[2] < PREVIEW_SECONDS:
            return
        self._previews[run.prompt_id] = (preview.mime_type, preview.image, now)
        shown = replace(run, preview_url=f"/api/runs/{run.prompt_id}/preview?at={int(now * 1000)}")
        self._runs[run.prompt_id] = shown
        self._on_change("progress", shown)

    def _add(self, prompt_id: str, title: str, prompt: Prompt) -> None:
        self._runs[prompt_id] = Run(prompt_id, title, "pending", nodes_total=len(prompt), submitted_at=time.time())
        self._classes[prompt_id] = {node_id: str(node.get("class_type", "")) for node_id, node in prompt.items()}
        over = [run.prompt_id for run in self._runs.values() if run.is_over]
        for old in over[: max(len(self._runs) - KEEP_RUNS, 0)]:
            self._forget(old)

    def _forget(self, prompt_id: str) -> None:
        for known in (self._runs, self._classes, self._done, self._previews):
            known.pop(prompt_id, None)


def _with_progress(run: Run, done: int) -> Run:
    total = max(run.nodes_total, 1)
    share = (run.step or 0) / run.steps if run.steps and done < total else 0.0
    return replace(
        run, nodes_done=min(done, run.nodes_total), progress=round(min(100 * (done + share) / total, 100.0), 1)
    )


def _title(queued: QueuedPrompt) -> str:
    title = queued.extra_data.get("title")
    return title if isinstance(title, str) and title else "ComfyUI editor"


def _output(file: OutputFile) -> RunOutput:
    base = "/outputs/" if file.in_output else "/temp/"
    return RunOutput(base + quote(file.path), file.filename, media_of(file.filename))
