"""How long a run will still take, by what the nodes of earlier runs of the same shape took."""

import hashlib
from collections import OrderedDict
from collections.abc import Mapping
from statistics import median

import msgspec
from msgspec import Struct

from services.comfyui import Prompt

# Workflows that are remembered, and runs of each.
MAX_SHAPES = 200
RUNS_PER_SHAPE = 3
# What is quicker does not matter, and there may be many of it.
MIN_NODE_SECONDS = 0.05
# A run that is under way is not shown as over.
MIN_REST_SECONDS = 1.0

# Inputs that the time depends on.
_SIZES = frozenset({"steps", "width", "height", "length", "batch_size", "frames", "num_frames", "video_length"})

NodeSeconds = Mapping[str, float]


class Done(Struct, frozen=True):
    """Of a run that is under way: what its finished nodes took, which were not measured (ComfyUI had them in its
    cache), and how far the present one is."""

    seconds: NodeSeconds
    nodes: frozenset[str]
    node_id: str | None
    node_elapsed: float
    step: int | None
    steps: int | None


def shape_of(prompt: Prompt) -> str:
    """The same for prompts whose nodes, links and sizes are."""
    nodes = []
    for node_id in sorted(prompt):
        inputs = prompt[node_id].get("inputs") or {}
        counted = [
            (name, value)
            for name, value in sorted(inputs.items())
            if isinstance(value, list) or (name in _SIZES and isinstance(value, int | float))
        ]
        nodes.append((node_id, prompt[node_id].get("class_type"), counted))
    return hashlib.sha256(msgspec.json.encode(nodes)).hexdigest()[:32]


class Expected:
    """What the newest runs of each shape took."""

    def __init__(self) -> None:
        self._past: OrderedDict[str, list[NodeSeconds]] = OrderedDict()

    def learn(self, shape: str, seconds: NodeSeconds) -> None:
        """Of a run that succeeded; the newest comes last."""
        if not seconds:
            return
        past = self._past.setdefault(shape, [])
        past.append(dict(seconds))
        del past[:-RUNS_PER_SHAPE]
        self._past.move_to_end(shape)
        while len(self._past) > MAX_SHAPES:
            self._past.popitem(last=False)

    def rest(self, shape: str, done: Done) -> float | None:
        """Seconds; None without a past run."""
        past = self._past.get(shape)
        if not past:
            return None
        usual = {node: median(run[node] for run in past if node in run) for node in set().union(*past)}
        slower = _slower(usual, done)
        later = sum(seconds for node, seconds in usual.items() if node not in done.nodes and node != done.node_id)
        return round(
            max(_rest_of_node(usual.get(done.node_id or "", 0.0), done, slower) + later * slower, MIN_REST_SECONDS), 1
        )


def _slower(usual: NodeSeconds, done: Done) -> float:
    """How many times as long as usual this run takes so far; 1 for one that is quicker."""
    measured = {node: seconds for node, seconds in done.seconds.items() if node in usual}
    took, expected = sum(measured.values()), sum(usual[node] for node in measured)
    now = usual.get(done.node_id or "")
    if now is not None and done.node_elapsed > now:
        took, expected = took + done.node_elapsed, expected + now
    # What takes no second says nothing of how quick the machine is.
    return max(took / expected, 1.0) if expected > 0 and took > 1.0 else 1.0


def _rest_of_node(usual: float, done: Done, slower: float) -> float:
    if done.node_id is None or done.node_id in done.nodes:
        return 0.0
    if done.step and done.steps and done.node_elapsed:
        by_steps = done.node_elapsed / done.step * max(done.steps - done.step, 0)
        # The first steps have the loading of the model in them.
        return by_steps if done.node_elapsed > usual else min(by_steps, usual * slower)
    # Past its time, a node may end any moment, or take as long again.
    return max(usual * slower - done.node_elapsed, done.node_elapsed * 0.1 if done.node_elapsed > usual else 0.0)
