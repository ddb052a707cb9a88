"""The seeds of a prompt: where they are, and the same prompt with others."""

import random
from collections.abc import Mapping
from typing import Any, Literal

from services.comfyui import Prompt
from services.workflows.declared import Declared, declared

SEED_NAMES = frozenset({"seed", "noise_seed"})
# The largest that every reader of JSON can hold; ComfyUI's own end at 2**64 - 1.
MAX_SEED = 2**53 - 1
# A number that may be meant for anything: its one input says nothing, only what it is linked to does.
NUMBER_NODES = frozenset({"PrimitiveInt", "PrimitiveFloat"})

Definitions = Mapping[str, Mapping[str, Any]]
Seed = int | Literal["random"] | None


def is_link(value: Any) -> bool:
    return isinstance(value, list)


def linked_inputs(prompt: Prompt) -> dict[str, list[tuple[str, str]]]:
    """What each node is linked to: (node, its input)."""
    found: dict[str, list[tuple[str, str]]] = {}
    for node_id, node in prompt.items():
        for name, value in node["inputs"].items():
            if is_link(value) and value:
                found.setdefault(str(value[0]), []).append((node_id, name))
    return found


def seed_inputs(prompt: Prompt, definitions: Definitions) -> list[tuple[str, Declared]]:
    """Those that can be set: (node, input)."""
    linked = linked_inputs(prompt)
    return [
        (node_id, found)
        for node_id, node in prompt.items()
        for found in declared(definitions.get(node["class_type"], {}), node["inputs"]).values()
        if found.type == "INT" and found.name in node["inputs"] and not is_link(node["inputs"][found.name])
        if is_seed(node["class_type"], found, linked.get(node_id, []))
    ]


def is_seed(class_type: str, found: Declared, linked: list[tuple[str, str]]) -> bool:
    """`linked`: to which inputs the node's result goes."""
    if found.type != "INT":
        return False
    if class_type in NUMBER_NODES:
        return any(_plain(name) in SEED_NAMES for _, name in linked)
    return _plain(found.name) in SEED_NAMES or bool(found.options.get("control_after_generate"))


def batch(prompt: Prompt, definitions: Definitions, seed: Seed, count: int) -> list[Prompt]:
    """`count` prompts of distinct seeds: from `seed` on, at random each, or from what `prompt` has on."""
    inputs = seed_inputs(prompt, definitions)
    if not inputs or (seed is None and count == 1):
        return [prompt] * count
    if seed == "random":
        highest = min(MAX_SEED, *(_limits(found)[1] for _, found in inputs))
        seeds = random.sample(range(highest + 1), count) if highest >= count else list(range(count))
        return [_with(prompt, inputs, one) for one in seeds]
    first = seed if seed is not None else _present(prompt, inputs[0])
    return [_with(prompt, inputs, first + place) for place in range(count)]


def _with(prompt: Prompt, inputs: list[tuple[str, Declared]], seed: int) -> Prompt:
    """`prompt` with `seed` in each of `inputs`. One that cannot hold it has what is left of it."""
    changed = dict(prompt)
    for node_id, found in inputs:
        low, high = _limits(found)
        node = changed[node_id]
        value = seed if low <= seed <= high else low + seed % (high - low + 1)
        changed[node_id] = {**node, "inputs": {**node["inputs"], found.name: value}}
    return changed


def _present(prompt: Prompt, place: tuple[str, Declared]) -> int:
    value = prompt[place[0]]["inputs"][place[1].name]
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def _limits(found: Declared) -> tuple[int, int]:
    low, high = found.options.get("min"), found.options.get("max")
    least = int(low) if isinstance(low, int | float) and low > 0 else 0
    most = int(high) if isinstance(high, int | float) and abs(high) < 2**65 else 2**64 - 1
    return least, max(most, least)


def _plain(name: str) -> str:
    """`model.seed` of a dynamic input is a seed as well."""
    return name.rpartition(".")[2]
