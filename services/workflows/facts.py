"""What a prompt says about the picture that it made: seed, steps, models, texts, in words."""

from collections.abc import Iterator, Mapping
from typing import Any

from msgspec import Struct

from services.comfyui import Prompt
from services.named_models import named_models

MAX_FACTS = 60
MAX_CHARACTERS = 4_000
# How far from a sampler its text is looked for.
MAX_STEPS = 64

_LABELS = {
    "seed": "Seed",
    "noise_seed": "Seed",
    "steps": "Steps",
    "cfg": "CFG",
    "guidance": "Guidance",
    "sampler_name": "Sampler",
    "scheduler": "Scheduler",
    "denoise": "Denoise",
    "width": "Width",
    "height": "Height",
    "length": "Frames",
    "fps": "Frames per second",
    "frame_rate": "Frames per second",
}
_FOLDER_LABELS = {
    "checkpoints": "Checkpoint",
    "diffusion_models": "Model",
    "loras": "LoRA",
    "vae": "VAE",
    "text_encoders": "Text encoder",
    "controlnet": "ControlNet",
    "upscale_models": "Upscaler",
}
# What nodes call a text that a picture is made from.
_TEXT_INPUTS = ("text", "prompt", "text_g", "text_l", "clip_l", "t5xxl", "positive_prompt", "value", "string")
_NEGATIVE = "negative"


class Fact(Struct, frozen=True):
    label: str
    value: str


def facts_of(prompt: Prompt) -> tuple[Fact, ...]:
    """The texts first, then numbers in the order of the nodes, then models; each once."""
    found: dict[Fact, None] = {}
    for fact in (*_texts(prompt), *_numbers(prompt), *_models(prompt)):
        found[fact] = None
        if len(found) >= MAX_FACTS:
            break
    return tuple(found)


def _texts(prompt: Prompt) -> Iterator[Fact]:
    told: set[str] = set()
    for _, inputs in _nodes(prompt):
        for name in ("positive", "conditioning", _NEGATIVE):
            for text in _texts_behind(prompt, inputs.get(name)):
                # The same text may be behind both, where a node makes nothing of it.
                if text not in told:
                    told.add(text)
                    yield _fact("Negative prompt" if name == _NEGATIVE else "Prompt", text)
    if not told:
        for class_type, inputs in _nodes(prompt):
            if "encode" in class_type.lower() and "text" in class_type.lower():
                yield from (_fact("Prompt", text) for text in _texts_in(prompt, inputs))


def _texts_behind(prompt: Prompt, link: Any) -> Iterator[str]:
    """Those of the nearest nodes behind `link` that hold a text."""
    waiting, seen = [_node_of(link)], set[str]()
    while waiting and len(seen) < MAX_STEPS:
        node_id = waiting.pop(0)
        if node_id is None or node_id in seen:
            continue
        seen.add(node_id)
        inputs = _inputs_of(prompt, node_id)
        texts = list(_texts_in(prompt, inputs))
        yield from texts
        if not texts:
            waiting += [_node_of(value) for name, value in inputs.items() if name not in {"model", "clip", "vae"}]


def _texts_in(prompt: Prompt, inputs: Mapping[str, Any]) -> Iterator[str]:
    for name in _TEXT_INPUTS:
        value = inputs.get(name)
        if isinstance(value, str) and value.strip():
            yield value.strip()
        elif (node_id := _node_of(value)) is not None:
            # A text that another node holds.
            behind = _inputs_of(prompt, node_id)
            texts = [text for inner in _TEXT_INPUTS if isinstance(text := behind.get(inner), str) and text.strip()]
            yield from (text.strip() for text in texts[:1])


def _numbers(prompt: Prompt) -> Iterator[Fact]:
    for _, inputs in _nodes(prompt):
        for name, label in _LABELS.items():
            if isinstance(value := inputs.get(name), str | int | float) and not isinstance(value, bool):
                yield _fact(label, str(value))


def _models(prompt: Prompt) -> Iterator[Fact]:
    for model in sorted(named_models(prompt), key=lambda model: (model.folder or "", model.name)):
        yield _fact(_FOLDER_LABELS.get(model.folder or "", "Model"), model.name)


def _nodes(prompt: Prompt) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for node_id, node in prompt.items():
        yield str(node.get("class_type", "")), _inputs_of(prompt, node_id)


def _inputs_of(prompt: Prompt, node_id: str) -> Mapping[str, Any]:
    inputs = prompt.get(node_id, {}).get("inputs")
    return inputs if isinstance(inputs, Mapping) else {}


def _node_of(value: Any) -> str | None:
    is_link = isinstance(value, list) and len(value) == 2 and isinstance(value[0], str | int)
    return str(value[0]) if is_link else None


def _fact(label: str, text: str) -> Fact:
    return Fact(label, text if len(text) <= MAX_CHARACTERS else f"{text[: MAX_CHARACTERS - 1]}…")
