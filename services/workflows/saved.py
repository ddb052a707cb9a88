"""The workflows on the volume: a user's own, those of presets, templates."""

from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

from services.comfyui import Prompt
from services.errors import InvalidRequest, NotFound
from services.presets import Preset
from services.workflows.shape import parse
from services.workspace import Workspace, write_atomic

Source = Literal["user", "templates", "presets"]
SOURCES: tuple[Source, ...] = ("user", "templates", "presets")


class WorkflowSummary(Struct, frozen=True):
    name: str
    title: str
    source: Source
    nodes: int


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


def _title(name: str) -> str:
    return name.replace("_", " ").strip()
