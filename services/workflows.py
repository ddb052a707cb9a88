"""Workflows: kept on the volume, checked against what ComfyUI offers before they are queued.

Only the API format runs today: `{node id: {"class_type": …, "inputs": {…}}}`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import Struct

from services.catalogue import Catalogue
from services.comfyui import ComfyUI, Prompt
from services.errors import InvalidRequest, NotFound, WorkflowRefused
from services.model_folders import MODEL_SUFFIXES, folder_of_input
from services.presets import Preset
from services.workspace import Workspace, write_atomic

Source = Literal["user", "templates", "presets"]
SOURCES: tuple[Source, ...] = ("user", "templates", "presets")
MAX_NODES = 5_000
# ComfyUI is asked for each class by an address that holds its name.
MAX_CLASS_CHARACTERS = 200


class WorkflowSummary(Struct, frozen=True):
    name: str
    title: str
    source: Source
    nodes: int


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


class _Counted(Struct, frozen=True):
    """The number of a file's nodes, 0 for what is no workflow, and what told that the file is still the same."""

    stamp: tuple[int, int, int]
    nodes: int


class Workflows:
    """The saved workflows of one workspace. Blocking."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._counted: dict[Path, _Counted] = {}

    def all(self) -> list[WorkflowSummary]:
        """Those that can be read; a user's own hides a preset's of the same name."""
        found: dict[str, WorkflowSummary] = {}
        before, self._counted = self._counted, {}
        for source in reversed(SOURCES):
            for file in sorted((self._workspace.workflows / source).glob("*.json")):
                counted = _count(file, before.get(file))
                if counted is None:
                    continue
                self._counted[file] = counted
                if counted.nodes:
                    found[file.stem] = WorkflowSummary(file.stem, _title(file.stem), source, counted.nodes)
        return sorted(found.values(), key=lambda summary: summary.title.lower())

    def get(self, name: str) -> Prompt:
        """Raises NotFound, InvalidName, InvalidRequest."""
        return parse(self._file(name).read_bytes())

    def save(self, name: str, prompt: Prompt) -> None:
        """Under `workflows/user/`. Raises InvalidName, NotEnoughSpace, OSError."""
        write_atomic(self._workspace.workflow_file("user", name), msgspec.json.format(msgspec.json.encode(prompt)))

    def save_of_preset(self, preset: Preset) -> None:
        """The workflow that `preset` brings, under its id."""
        if preset.workflow is not None:
            file = self._workspace.workflow_file("presets", preset.id)
            write_atomic(file, msgspec.json.format(msgspec.json.encode(preset.workflow)))

    def delete(self, name: str) -> None:
        """Only a user's own. Raises NotFound, InvalidName."""
        try:
            self._workspace.workflow_file("user", name).unlink()
        except FileNotFoundError:
            raise NotFound(f"there is no workflow of yours called '{name[:100]}'") from None

    def delete_of_preset(self, preset: Preset) -> None:
        self._workspace.workflow_file("presets", preset.id).unlink(missing_ok=True)

    def _file(self, name: str) -> Path:
        for source in SOURCES:
            file = self._workspace.workflow_file(source, name)
            if file.is_file():
                return file
        raise NotFound(f"there is no workflow '{name[:100]}'")


def _count(file: Path, before: _Counted | None) -> _Counted | None:
    """Reads only what changed since `before`; None for what cannot be read at all."""
    try:
        figures = file.stat()
        # Saving makes a new file: a coarse clock and an equal size do not hide it.
        stamp = (figures.st_ino, figures.st_mtime_ns, figures.st_size)
        if before is not None and before.stamp == stamp:
            return before
        return _Counted(stamp, len(parse(file.read_bytes())))
    except InvalidRequest:
        return _Counted(stamp, 0)
    except OSError:
        return None


def parse(data: bytes) -> Prompt:
    """A prompt from JSON. Raises InvalidRequest, saying what it is instead."""
    try:
        return check_shape(msgspec.json.decode(data))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRequest(f"the workflow is not JSON: {error}") from None


def check_shape(value: Any) -> Prompt:
    """`value` as a prompt. Raises InvalidRequest."""
    if isinstance(value, Mapping) and isinstance(value.get("nodes"), list):
        raise InvalidRequest(
            "this is a workflow as the editor saves it; export it with 'Export (API)' in ComfyUI and use that file"
        )
    if not isinstance(value, Mapping) or not value:
        raise InvalidRequest("a workflow in API format is an object of nodes, and not an empty one")
    if len(value) > MAX_NODES:
        raise InvalidRequest(f"a workflow of {len(value)} nodes; at most {MAX_NODES} are taken")
    for node_id, node in value.items():
        if not _is_node(node):
            raise InvalidRequest(f"node '{str(node_id)[:40]}': each node needs a 'class_type' and 'inputs'")
    return {str(node_id): dict(node) for node_id, node in value.items()}


def _is_node(value: Any) -> bool:
    if not isinstance(value, Mapping) or not isinstance(value.get("inputs"), Mapping):
        return False
    class_type = value.get("class_type")
    return isinstance(class_type, str) and 0 < len(class_type) <= MAX_CLASS_CHARACTERS


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


def _title(name: str) -> str:
    return name.replace("_", " ").strip()
