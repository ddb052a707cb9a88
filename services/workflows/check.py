"""What a workflow lacks, by what the running ComfyUI offers."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from services.catalogue import Catalogue
from services.comfyui import ComfyUI, Prompt
from services.errors import WorkflowRefused
from services.model_folders import MODEL_SUFFIXES, folder_of_input


class MissingModel(Struct, frozen=True):
    """A file that the node's input names and ComfyUI does not offer; `presets` bring it."""

    node_id: str
    class_type: str
    input: str
    folder: str | None
    name: str
    presets: tuple[str, ...]


class MissingNode(Struct, frozen=True):
    node_id: str
    class_type: str


async def check(prompt: Prompt, comfyui: ComfyUI, catalogue: Catalogue) -> None:
    """Raises WorkflowRefused, with every missing model and node class in its details; ComfyUIUnavailable."""
    definitions = {
        class_type: await comfyui.node_definition(class_type)
        for class_type in {node["class_type"] for node in prompt.values()}
    }
    missing_nodes = [
        MissingNode(node_id, node["class_type"])
        for node_id, node in prompt.items()
        if definitions[node["class_type"]] is None
    ]
    missing_models = [
        model
        for node_id, node in prompt.items()
        if (definition := definitions[node["class_type"]]) is not None
        for model in _missing_models(node_id, node, definition, catalogue)
    ]
    if not missing_models and not missing_nodes:
        return
    parts = []
    if missing_models:
        parts.append("missing models: " + ", ".join(sorted({f"{m.folder or '?'}/{m.name}" for m in missing_models})))
    if missing_nodes:
        parts.append("missing node classes: " + ", ".join(sorted({node.class_type for node in missing_nodes})))
    details = {"missing_models": missing_models, "missing_nodes": missing_nodes}
    raise WorkflowRefused("; ".join(parts), msgspec.to_builtins(details))


def _missing_models(
    node_id: str, node: dict[str, Any], definition: Mapping[str, Any], catalogue: Catalogue
) -> list[MissingModel]:
    inputs = definition.get("input") or {}
    # Custom nodes leave a part out or set it to None.
    specifications = {**(inputs.get("required") or {}), **(inputs.get("optional") or {})}
    found = []
    for name, value in node["inputs"].items():
        options = _options(specifications.get(name))
        if options is None or not isinstance(value, str) or value in options or not _is_model_name(value):
            continue
        presets = tuple(preset.id for preset in catalogue.presets_with_file_name(value))
        folder = folder_of_input(node["class_type"], name)
        found.append(MissingModel(node_id, node["class_type"], name, folder, value, presets))
    return found


def _options(specification: Any) -> list[Any] | None:
    """The choices of a combo: `[[…], {…}]`, or `["COMBO", {"options": […]}]` of newer nodes; None for other inputs."""
    if not isinstance(specification, list) or not specification:
        return None
    if isinstance(specification[0], list):
        return specification[0]
    if specification[0] == "COMBO" and len(specification) > 1 and isinstance(specification[1], Mapping):
        options = specification[1].get("options")
        return options if isinstance(options, list) else None
    return None


def _is_model_name(value: str) -> bool:
    return Path(value).suffix.lower() in MODEL_SUFFIXES
