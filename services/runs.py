"""Every prompt that waits, runs or ran since the dashboard started, whoever submitted it."""

import asyncio
import contextlib
import math
import time
import uuid
from collections.abc import Callable
from typing import Annotated, Literal
from urllib.parse import quote

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from services import log
from services.comfyui import ComfyUI, Ending, Media, OutputFile, Prompt, QueuedPrompt, QueueState, media_of
from services.comfyui_socket import Connected, Disconnected, Event, Message, MimeType, Preview
from services.errors import ComfyUIUnavailable, NotFound
from services.named_models import NamedModel, named_models

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


# No more than every reader of JSON can hold.
_Count = Annotated[float, msgspec.Meta(ge=0, le=2**53)]


class _NodeState(Struct):
    state: str = ""


class _Told(Struct):
    """What ComfyUI's messages about a prompt say: each has some of it."""

    prompt_id: str
    node: str | None = None
    nodes: list[str] | dict[str, _NodeState] = []
    value: _Count = 0.0
    max: _Count = 0.0

    @property
    def finished(self) -> set[str]:
        if isinstance(self.nodes, list):
            return set(self.nodes)
        return {node_id for node_id, node in self.nodes.items() if node.state == "finished"}


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
        self._catching_up = asyncio.Lock()
        self._submitting: set[str] = set()
        self._runs: dict[str, Run] = {}
        self._classes: dict[str, dict[str, str]] = {}
        self._models: dict[str, frozenset[NamedModel]] = {}
        self._done: dict[str, set[str]] = {}
        self._previews: dict[str, tuple[MimeType, bytes, float]] = {}

    async def submit(self, prompt: Prompt, title: str) -> Run:
        """The one way in for every run. Raises WorkflowRefused, ComfyUIUnavailable."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._connected.wait(), CONNECT_SECONDS)
        prompt_id = str(uuid.uuid4())
        # Known before it is sent: its first event may be faster than the answer.
        self._add(prompt_id, title, prompt)
        self._submitting.add(prompt_id)
        try:
            await self._comfyui.submit(prompt, prompt_id=prompt_id, client_id=self._client_id, title=title)
        except BaseException:
            self._forget(prompt_id)
            self._on_change("queue", None)
            raise
        finally:
            self._submitting.discard(prompt_id)
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

    def models(self, prompt_id: str) -> frozenset[NamedModel]:
        """The model files that its prompt names; none of a run that is not known."""
        return self._models.get(prompt_id, frozenset())

    def preview(self, prompt_id: str) -> tuple[MimeType, bytes]:
        """(MIME type, picture) of the newest preview. Raises NotFound."""
        if prompt_id not in self._previews:
            raise NotFound(f"run '{prompt_id[:60]}' has no preview")
        mime_type, image, _ = self._previews[prompt_id]
        return mime_type, image

    def recent(self) -> tuple[Run, ...]:
        """Newest first."""
        return tuple(reversed(self._runs.values()))

    def queue(self) -> QueueView:
        waiting = [run for run in self._runs.values() if run.state == "pending"]
        # What ComfyUI has not given a place yet comes last.
        pending = sorted(waiting, key=lambda run: run.position or math.inf)
        return QueueView(
            running=tuple(run for run in self._runs.values() if run.state == "running"),
            pending=tuple(QueueItem(r.prompt_id, r.title, position) for position, r in enumerate(pending, start=1)),
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
            case Message(type="status") | Message(type="executing", data={"node": None}):
                await self.catch_up()
            case Message():
                self._follow(event)

    async def catch_up(self) -> None:
        """Makes this book agree with ComfyUI's queue and history."""
        # One after the other: an older answer must not undo what a newer one said.
        async with self._catching_up:
            try:
                await self._agree()
            except ComfyUIUnavailable as error:
                _log.info("catch_up_postponed", reason=error.message)

    async def _agree(self) -> None:
        """Asks first and changes then, so that a question without an answer leaves the book as it was."""
        # Who must be in the answer: those that ComfyUI had accepted before it was asked.
        expected = [id_ for id_, run in self._runs.items() if not run.is_over and id_ not in self._submitting]
        state = await self._comfyui.queue()
        present = {queued.prompt_id for queued in (*state.running, *state.pending)}
        endings = {id_: await self._comfyui.ending(id_) for id_ in expected if id_ not in present}
        changed = self._take_over(state)
        for id_, ending in endings.items():
            self._finish(self._runs[id_], ending)
        if changed or endings:
            self._on_change("queue", None)

    def _take_over(self, state: QueueState) -> bool:
        """Moves runs forward only: events may have told more than `state` knows."""
        before = dict(self._runs)
        for queued in (*state.running, *state.pending):
            if queued.prompt_id not in self._runs:
                self._add(queued.prompt_id, _title(queued), queued.prompt)
        for queued in state.running:
            self._runs[queued.prompt_id] = _started(self._runs[queued.prompt_id])
        for position, queued in enumerate(state.pending, start=1):
            run = self._runs[queued.prompt_id]
            if run.state == "pending":
                self._runs[run.prompt_id] = replace(run, position=position)
        return before != self._runs

    def _follow(self, message: Message) -> None:
        try:
            told = msgspec.convert(message.data, _Told)
        except msgspec.ValidationError:
            return
        run = self._runs.get(told.prompt_id)
        if run is None or run.is_over:
            return
        run, classes = _started(run), self._classes[run.prompt_id]
        done = self._done.setdefault(run.prompt_id, set())
        match message.type:
            case "execution_cached" | "progress_state":
                done.update(told.finished)
            case "executed" if told.node:
                done.add(told.node)
            case "executing" if told.node:
                if run.node_id not in {None, told.node}:
                    done.add(str(run.node_id))
                run = replace(run, node_id=told.node, node_class=classes.get(told.node), step=None, steps=None)
            case "progress":
                run = replace(run, step=int(told.value), steps=int(told.max))
        self._runs[run.prompt_id] = _with_progress(run, done & classes.keys())
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
        run = self._run_of(preview)
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

    def _run_of(self, preview: Preview) -> Run | None:
        if preview.prompt_id is not None:
            return self._runs.get(preview.prompt_id)
        return next((run for run in self._runs.values() if run.state == "running"), None)

    def _add(self, prompt_id: str, title: str, prompt: Prompt) -> None:
        self._runs[prompt_id] = Run(prompt_id, title, "pending", nodes_total=len(prompt), submitted_at=time.time())
        self._classes[prompt_id] = {node_id: str(node.get("class_type", "")) for node_id, node in prompt.items()}
        self._models[prompt_id] = named_models(prompt)
        over = [run.prompt_id for run in self._runs.values() if run.is_over]
        for old in over[: max(len(self._runs) - KEEP_RUNS, 0)]:
            self._forget(old)

    def _forget(self, prompt_id: str) -> None:
        for known in (self._runs, self._classes, self._models, self._done, self._previews):
            known.pop(prompt_id, None)


def _started(run: Run) -> Run:
    return replace(run, state="running", position=None, started_at=time.time()) if run.state == "pending" else run


def _with_progress(run: Run, done: set[str]) -> Run:
    """`done` are nodes of the prompt. The steps of a node that is done count as the node; a bar that a node starts
    anew holds the progress where it was."""
    share = min(run.step / run.steps, 1.0) if run.step and run.steps and run.node_id not in done else 0.0
    progress = min(100 * (len(done) + share) / max(run.nodes_total, 1), 100.0)
    return replace(run, nodes_done=len(done), progress=max(run.progress, round(progress, 1)))


def _title(queued: QueuedPrompt) -> str:
    title = queued.extra_data.get("title")
    return title if isinstance(title, str) and title else "ComfyUI editor"


def _output(file: OutputFile) -> RunOutput:
    base = "/outputs/" if file.in_output else "/temp/"
    return RunOutput(base + quote(file.path), file.filename, media_of(file.filename))
