"""The small form of a workflow: the inputs that people change, best first."""

import math
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from msgspec import Struct

from services.comfyui import Prompt
from services.errors import InvalidRequest
from services.model_folders import MODEL_SUFFIXES
from services.workflows.declared import Declared, declared
from services.workflows.seeds import MAX_SEED, NUMBER_NODES, Definitions, is_link, is_seed, linked_inputs

MAX_INPUTS = 40
MAX_CHOICES = 1000
MAX_VALUES = 500
# How far a text is followed to the sampler that it guides.
MAX_STEPS = 40

Kind = Literal["text", "seed", "integer", "number", "choice", "image", "video", "audio", "boolean"]

_PRIMITIVES = NUMBER_NODES | {"PrimitiveString", "PrimitiveStringMultiline", "PrimitiveBoolean"}
_ONE_LINE = frozenset({"text", "prompt", "positive", "negative", "lyrics", "tags"})
# In the order in which they are offered, after texts, files and seeds.
_NUMBERS = (
    *("width", "height", "length", "num_frames", "frames", "frame_count", "duration", "seconds", "batch_size"),
    *("megapixels", "resolution", "scale_by", "upscale_by", "fps", "frame_rate"),
    *("steps", "cfg", "guidance", "denoise", "shift", "strength", "strength_model"),
)
_CHOICES = ("sampler_name", "scheduler", "aspect_ratio", "style", "language")
_FILES: dict[str, Kind] = {"image_upload": "image", "video_upload": "video", "audio_upload": "audio"}
_LABELS = {
    "noise_seed": "Seed",
    "cfg": "CFG",
    "fps": "FPS",
    "sampler_name": "Sampler",
    "batch_size": "Batch size",
    "num_frames": "Frames",
    "ckpt_name": "Checkpoint",
    "unet_name": "Diffusion model",
    "lora_name": "LoRA",
    "vae_name": "VAE",
    "clip_name": "Text encoder",
}
# Ends the way of a text to the sampler: what comes behind it holds nothing of it.
_FORGETFUL = frozenset({"ConditioningZeroOut"})


class FormInput(Struct, frozen=True):
    """`key` is what `inputs` of a run calls it. `title`: of the node; `label`: of the input. `choices`: the first
    thousand."""

    key: str
    node_id: str
    input: str
    title: str
    label: str
    kind: Kind
    value: Any
    minimum: float | None = None
    maximum: float | None = None
    step: float | None = None
    choices: tuple[Any, ...] = ()
    multiline: bool = False


def form(prompt: Prompt, definitions: Definitions) -> tuple[FormInput, ...]:
    """At most MAX_INPUTS. Of nodes whose class is not in `definitions` there is nothing to offer."""
    linked = linked_inputs(prompt)
    found = [
        (rank, place, made)
        for place, (node_id, node) in enumerate(prompt.items())
        for rank, made in _of_node(node_id, prompt, definitions.get(node["class_type"], {}), linked)
    ]
    found.sort(key=lambda one: one[:2])
    return tuple(made for _, _, made in found[:MAX_INPUTS])


def apply(prompt: Prompt, definitions: Definitions, values: Mapping[str, Any]) -> Prompt:
    """`prompt` with `values` (by key) in their inputs. Raises InvalidRequest naming the one that does not fit."""
    if len(values) > MAX_VALUES:
        raise InvalidRequest(f"{len(values)} inputs; at most {MAX_VALUES} are taken")
    changed = dict(prompt)
    for key, value in values.items():
        node_id, name = _place(prompt, key)
        node = changed[node_id]
        known = declared(definitions.get(node["class_type"], {}), node["inputs"])
        if name not in known:
            raise InvalidRequest(f"'{key[:80]}': ComfyUI knows no such input of {node['class_type']}")
        fitting = _fitting(key, value, known[name])
        changed[node_id] = {**node, "inputs": {**node["inputs"], name: fitting}}
    return changed


def _of_node(
    node_id: str, prompt: Prompt, definition: Mapping[str, Any], linked: Mapping[str, list[tuple[str, str]]]
) -> Iterator[tuple[tuple[int, int], FormInput]]:
    node, values = prompt[node_id], prompt[node_id]["inputs"]
    for name, found in declared(definition, values).items():
        if name not in values or is_link(values[name]) or isinstance(values[name], Mapping):
            continue
        meant = _meant(node_id, node["class_type"], name, linked)
        if (kind := _kind(node["class_type"], found, values[name], linked.get(node_id, []))) is None:
            continue
        rank = _rank(kind, meant, found, values[name], node["class_type"])
        if rank is None:
            continue
        label = _label(kind, meant)
        if kind == "text" and (role := _role(node_id, prompt, linked)):
            rank, label = (0, 0 if role == "positive" else 2), "Prompt" if role == "positive" else "Negative prompt"
        yield rank, _made(node_id, node, found, kind, label)


def _kind(class_type: str, found: Declared, value: Any, linked: list[tuple[str, str]]) -> Kind | None:
    for option, kind in _FILES.items():
        if found.options.get(option):
            return kind
    if found.choices is not None:
        return "choice"
    if found.type == "STRING":
        return "text" if isinstance(value, str) else None
    if found.type == "BOOLEAN":
        return "boolean" if isinstance(value, bool) else None
    if found.type not in ("INT", "FLOAT") or isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if is_seed(class_type, found, linked):
        return "seed"
    return "integer" if found.type == "INT" else "number"


def _rank(kind: Kind, meant: str, found: Declared, value: Any, class_type: str) -> tuple[int, int] | None:
    """The lower the earlier; None for what is left out."""
    if kind == "text":
        if found.options.get("multiline") or class_type in _PRIMITIVES or meant in _ONE_LINE:
            return (0, 1)
        return None
    if kind in ("image", "video", "audio"):
        return (1, 0)
    if kind == "seed":
        return (2, 0)
    if kind == "choice":
        if _is_model(value):
            return (6, 0)
        return (5, _CHOICES.index(meant)) if meant in _CHOICES else None
    if meant in _NUMBERS:
        return (3, _NUMBERS.index(meant))
    return (4, 0) if class_type in _PRIMITIVES else None


def _meant(node_id: str, class_type: str, name: str, linked: Mapping[str, list[tuple[str, str]]]) -> str:
    """What the input is for: of a node that only holds a value, the input that it is linked to."""
    if class_type in _PRIMITIVES and linked.get(node_id):
        name = linked[node_id][0][1]
    return name.rpartition(".")[2]


def _role(
    node_id: str, prompt: Prompt, linked: Mapping[str, list[tuple[str, str]]]
) -> Literal["positive", "negative"] | None:
    """By the inputs that the node's result reaches; by its title where that does not tell."""
    reached: set[str] = set()
    seen, ahead = {node_id}, [(node_id, 0)]
    while ahead:
        current, steps = ahead.pop()
        for following, name in linked.get(current, []):
            if name in ("positive", "negative"):
                reached.add(name)
            elif following not in seen and steps < MAX_STEPS and prompt[following]["class_type"] not in _FORGETFUL:
                seen.add(following)
                ahead.append((following, steps + 1))
    if reached == {"positive"}:
        return "positive"
    if reached == {"negative"}:
        return "negative"
    return "negative" if "negative" in _title(prompt[node_id]).lower() else None


def _made(node_id: str, node: Mapping[str, Any], found: Declared, kind: Kind, label: str) -> FormInput:
    value, options = node["inputs"][found.name], found.options
    is_number = kind in ("seed", "integer", "number")
    choices = found.choices or []
    return FormInput(
        key=f"{node_id}.{found.name}",
        node_id=node_id,
        input=found.name,
        title=_title(node),
        label=label,
        kind=kind,
        value=value,
        minimum=_number(options.get("min")) if is_number else None,
        maximum=_number(options.get("max")) if is_number else None,
        step=_number(options.get("step")) if is_number else None,
        choices=tuple(choices[:MAX_CHOICES]),
        multiline=kind == "text" and bool(options.get("multiline")),
    )


def _title(node: Mapping[str, Any]) -> str:
    meta = node.get("_meta")
    title = meta.get("title") if isinstance(meta, Mapping) else None
    return title[:200] if isinstance(title, str) and title else str(node["class_type"])


def _label(kind: Kind, meant: str) -> str:
    if kind == "seed":
        return "Seed"
    return _LABELS.get(meant) or meant.replace("_", " ").strip().capitalize()


def _number(value: Any) -> float | None:
    """As every reader of JSON can hold it."""
    return max(min(value, MAX_SEED), -MAX_SEED) if _is_number(value) else None


def _is_number(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    # That no float holds it is no reason: the limits of the input are.
    return isinstance(value, int) and not isinstance(value, bool)


def _is_model(value: Any) -> bool:
    return isinstance(value, str) and value.lower().endswith(tuple(MODEL_SUFFIXES))


def _place(prompt: Prompt, key: str) -> tuple[str, str]:
    """(node, input) of a key. Raises InvalidRequest."""
    for dot, letter in enumerate(key[:1000]):
        node_id, name = key[:dot], key[dot + 1 :]
        if letter == "." and name in prompt.get(node_id, {}).get("inputs", {}):
            if is_link(prompt[node_id]["inputs"][name]):
                raise InvalidRequest(f"'{key[:80]}' is linked to another node; set that one's input")
            return node_id, name
    raise InvalidRequest(f"the workflow has no input '{key[:80]}'; ask for its inputs to see which it has")


def _fitting(key: str, value: Any, found: Declared) -> Any:
    """`value` as ComfyUI takes it. Raises InvalidRequest."""
    if found.is_file or found.type == "STRING":
        return _checked(key, value, isinstance(value, str), "a text")
    if (choices := found.choices) is not None:
        some = ", ".join(str(choice)[:60] for choice in choices[:5]) + (", …" if len(choices) > 5 else "")
        return _checked(key, value, any(value == one and type(value) is type(one) for one in choices), f"one of {some}")
    if found.type == "BOOLEAN":
        return _checked(key, value, isinstance(value, bool), "true or false")
    if found.type not in ("INT", "FLOAT"):
        return _checked(key, value, isinstance(value, str | int | float), "a text or a number")
    _checked(key, value, _is_number(value), "a number")
    if found.type == "INT":
        _checked(key, value, value == int(value), "a whole number")
        value = int(value)
    low, high = found.options.get("min"), found.options.get("max")
    if isinstance(low, int | float):
        _checked(key, value, value >= low, f"{low} or more")
    if isinstance(high, int | float):
        _checked(key, value, value <= high, f"{high} or less")
    return value


def _checked(key: str, value: Any, is_good: bool, wanted: str) -> Any:
    if not is_good:
        raise InvalidRequest(f"'{key[:80]}' must be {wanted}, not {str(value)[:60]!r}")
    return value
