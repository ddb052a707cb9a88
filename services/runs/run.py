"""A run: one prompt in ComfyUI's queue, from its submission to its end."""

import math
import time
from typing import Annotated, Literal
from urllib.parse import quote

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from services.comfyui import Ending, Media, OutputFile, QueuedPrompt, media_of

RunState = Literal["pending", "running", "success", "error", "interrupted", "lost"]


class RunOutput(Struct, frozen=True):
    url: str
    filename: str
    media: Media


class Run(Struct, frozen=True):
    """`position` counts from 1 among those that wait; `progress` in percent. `workflow`: the name of the saved one that
    it was made of. `eta_seconds`: by what runs of the same shape took; None without one."""

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
    workflow: str | None = None
    eta_seconds: float | None = None
    can_run_again: bool = True

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


def queue_view(runs: list[Run]) -> QueueView:
    # What ComfyUI has not given a place yet comes last.
    pending = sorted((run for run in runs if run.state == "pending"), key=lambda run: run.position or math.inf)
    return QueueView(
        running=tuple(run for run in runs if run.state == "running"),
        pending=tuple(QueueItem(r.prompt_id, r.title, position) for position, r in enumerate(pending, start=1)),
    )


# No more than every reader of JSON can hold.
_Count = Annotated[float, msgspec.Meta(ge=0, le=2**53)]


class NodeState(Struct):
    state: str = ""
    value: _Count = 0.0
    max: _Count = 0.0
    display_node_id: str | None = None


class Told(Struct):
    """What ComfyUI's messages about a prompt say: each has some of it."""

    prompt_id: str
    node: str | None = None
    nodes: list[str] | dict[str, NodeState] = []
    value: _Count = 0.0
    max: _Count = 0.0

    @property
    def finished(self) -> set[str]:
        if isinstance(self.nodes, list):
            return set(self.nodes)
        return {node_id for node_id, node in self.nodes.items() if node.state == "finished"}

    @property
    def running(self) -> dict[str, NodeState]:
        if isinstance(self.nodes, list):
            return {}
        return {node_id: node for node_id, node in self.nodes.items() if node.state == "running"}


def started(run: Run) -> Run:
    return replace(run, state="running", position=None, started_at=time.time()) if run.state == "pending" else run


def at_node(run: Run, node_id: str, classes: dict[str, str], state: NodeState | None = None) -> Run:
    """`run` at work on `node_id`; the steps of one node are not the next one's."""
    if run.node_id != node_id:
        run = replace(run, node_id=node_id, node_class=classes.get(node_id), step=None, steps=None)
    if state is not None and state.max > 1:
        run = replace(run, step=int(state.value), steps=int(state.max))
    return run


def with_progress(run: Run, done: set[str]) -> Run:
    """`done` are nodes of the prompt. The steps of a node that is done count as the node; a bar that a node starts
    anew holds the progress where it was."""
    share = min(run.step / run.steps, 1.0) if run.step and run.steps and run.node_id not in done else 0.0
    progress = min(100 * (len(done) + share) / max(run.nodes_total, 1), 100.0)
    return replace(run, nodes_done=len(done), progress=max(run.progress, round(progress, 1)))


def ended(run: Run, ending: Ending) -> Run:
    succeeded = ending.state == "success"
    return replace(
        run,
        state=ending.state,
        error=ending.error,
        seconds=ending.seconds,
        position=None,
        preview_url=None,
        eta_seconds=None,
        progress=100.0 if succeeded else run.progress,
        nodes_done=run.nodes_total if succeeded else run.nodes_done,
        outputs=tuple(_output(file) for file in ending.outputs),
    )


def vanished(run: Run, *, restarted: bool) -> Run:
    """`run`, of which ComfyUI knows nothing any more: its queue and its history are in memory."""
    state: RunState = "lost"
    error: str | None = "ComfyUI restarted while this ran"
    if run.state == "pending":
        state, error = ("lost", "ComfyUI restarted before this ran") if restarted else ("interrupted", None)
    elif not restarted:
        error = "ComfyUI's history was emptied before it could be seen how this ended"
    return replace(run, state=state, error=error, position=None, preview_url=None, eta_seconds=None)


def title_of(queued: QueuedPrompt) -> str:
    title = queued.extra_data.get("title")
    return title[:200] if isinstance(title, str) and title else "ComfyUI editor"


def _output(file: OutputFile) -> RunOutput:
    url = output_url(file.path) if file.in_output else "/temp/" + quote(file.path)
    return RunOutput(url, file.filename, media_of(file.filename))


def output_url(path: str) -> str:
    return "/outputs/" + quote(path)
