"""What is known of a run while it is not over, by ComfyUI's events."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from msgspec.structs import replace

from services.comfyui import Prompt
from services.comfyui_socket import MimeType, Preview
from services.named_models import NamedModel, named_models
from services.runs.expected import MIN_NODE_SECONDS, Done, shape_of
from services.runs.run import NodeState, Run, Told, at_node, started, with_progress

PREVIEW_SECONDS = 0.25


@dataclass
class Following:
    """`comfyui`: which ComfyUI had it last; `client_id`: whose socket its events go to; `preview`: with the time."""

    classes: dict[str, str]
    models: frozenset[NamedModel]
    shape: str
    comfyui: float
    client_id: str
    done: set[str] = field(default_factory=set)
    seconds: dict[str, float] = field(default_factory=dict)
    node_since: float = 0.0
    preview: tuple[MimeType, bytes, float] | None = None

    @classmethod
    def of(cls, prompt: Prompt, client_id: str, comfyui: float) -> "Following":
        classes = {node_id: str(node.get("class_type", "")) for node_id, node in prompt.items()}
        return cls(classes, named_models(prompt), shape_of(prompt), comfyui, client_id)

    def told(self, run: Run, event: str, told: Told) -> Run:
        """`run` after the message `told` of the type `event`."""
        run, now = started(run), time.monotonic()
        match event:
            case "execution_cached":
                self.done.update(told.finished)
            case "progress_state":
                self.done.update(told.finished)
                run = self._at(run, told.running, now)
            case "executed" if told.node:
                self.done.add(told.node)
                self._measure(run, told.node, now)
            case "executing" if told.node:
                if run.node_id not in {None, told.node}:
                    self.done.add(str(run.node_id))
                run = self._moved(run, told.node, now)
            case "progress":
                run = replace(run, step=int(told.value), steps=int(told.max))
        return with_progress(run, self.done & self.classes.keys())

    def shown(self, run: Run, preview: Preview) -> str | None:
        """Where `preview` is to be had; None when the one before it is too young."""
        now = time.monotonic()
        if self.preview and now - self.preview[2] < PREVIEW_SECONDS:
            return None
        self.preview = (preview.mime_type, preview.image, now)
        return f"/api/runs/{run.prompt_id}/preview?at={int(now * 1000)}"

    def over(self, run: Run) -> None:
        if run.node_id is not None:
            self._measure(run, run.node_id, time.monotonic())

    def so_far(self, run: Run) -> Done:
        elapsed = time.monotonic() - self.node_since if self.node_since else 0.0
        return Done(self.seconds, frozenset(self.done), run.node_id, elapsed, run.step, run.steps)

    def _at(self, run: Run, running: Mapping[str, NodeState], now: float) -> Run:
        """At the node that works, by its name in the prompt: those that nodes make of themselves have others."""
        for node_id, state in running.items():
            shown = state.display_node_id if state.display_node_id in self.classes else node_id
            if shown in self.classes:
                return at_node(self._moved(run, shown, now), shown, self.classes, state)
        return run

    def _moved(self, run: Run, node_id: str, now: float) -> Run:
        if run.node_id != node_id:
            if run.node_id is not None:
                self._measure(run, run.node_id, now)
            self.node_since = now
        return at_node(run, node_id, self.classes)

    def _measure(self, run: Run, node_id: str, now: float) -> None:
        """What `node_id` took, which `run` was at."""
        if run.node_id != node_id or not self.node_since or node_id in self.seconds:
            return
        if now - self.node_since >= MIN_NODE_SECONDS:
            self.seconds[node_id] = round(now - self.node_since, 2)
