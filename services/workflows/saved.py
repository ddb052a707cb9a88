"""The workflows on the volume: a user's own, those of presets, templates. Each is JSON that ComfyUI's editor opens."""

import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

from services.errors import Conflict, InvalidName, InvalidRequest, NotEnoughSpace, NotFound
from services.presets import Preset
from services.workflows.document import MAX_JSON_BYTES, Document, node_count, plain_of, read_document_file
from services.workspace import Workspace, check_name, figures_of, is_out_of_space, sync_folder, write_atomic

Source = Literal["user", "presets", "templates"]
# Where two have the same name, the first one's is meant.
SOURCES: tuple[Source, ...] = ("user", "presets", "templates")
Format = Literal["graph", "prompt"]

# No picture that is made here comes near; what lies beside a workflow may have been put there by anyone.
MAX_PICTURE_BYTES = 4 * 1024 * 1024


class SavedWorkflow(Struct, frozen=True):
    """`modified` in Unix seconds. `picture_modified`: of the picture kept beside it, None where there is none."""

    name: str
    title: str
    source: Source
    format: Format
    nodes: int
    modified: float
    picture_modified: float | None = None


class _Read(Struct, frozen=True):
    """What a file holds, None for what is no workflow; and what told that the file is still the same."""

    stamp: tuple[int, int, int]
    format: Format | None
    nodes: int


class Workflows:
    """The saved workflows of one workspace. Blocking."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._read: dict[Path, _Read] = {}
        # Two who save under the same name, or rename to it: the second hears of the first.
        self._changing = threading.Lock()

    def all(self) -> list[SavedWorkflow]:
        """Those that can be read, by source and title. Raises OSError when the volume does not answer."""
        found: dict[str, SavedWorkflow] = {}
        before, self._read = self._read, {}
        for source in SOURCES:
            pictures, files = _entries(self._workspace.workflows / source)
            for name in files:
                if name in found:
                    continue
                file = self._workspace.workflow_file(source, name)
                if (read := _look(file, before.get(file))) is None:
                    continue
                self._read[file] = read
                if read.format is not None:
                    picture = figures_of(_picture(file)) if name in pictures else None
                    found[name] = SavedWorkflow(
                        name,
                        _title(name),
                        source,
                        read.format,
                        read.nodes,
                        read.stamp[1] / 1e9,
                        picture.st_mtime if picture else None,
                    )
        return sorted(found.values(), key=lambda one: (SOURCES.index(one.source), one.title.lower()))

    def get(self, name: str) -> Document:
        """Raises NotFound, InvalidName, InvalidRequest, OSError."""
        file = self._file(name)
        try:
            return read_document_file(file)
        except InvalidRequest as error:
            raise InvalidRequest(f"'{name[:100]}' cannot be read: {error.message}") from None

    def save(self, name: str, document: Document, *, replace: bool = True, keep_picture: bool = False) -> Format:
        """Under `workflows/user/`, and the graph if there is one: the prompt is made of it again.

        `keep_picture`: it still shows what the workflow makes.
        Raises InvalidName, NotEnoughSpace, OSError; Conflict when there is one and it is not to be replaced.
        """
        file = self._workspace.workflow_file("user", name)
        data = msgspec.json.format(msgspec.json.encode(plain_of(document)))
        with self._changing:
            if not replace and os.path.lexists(file):
                raise Conflict(f"there is a workflow '{name[:100]}' already: choose another name, or replace it")
            write_atomic(file, data)
            if not keep_picture:
                _picture(file).unlink(missing_ok=True)
        return "graph" if document.graph is not None else "prompt"

    def save_picture(self, name: str, picture: Path) -> None:
        """Beside a user's own. Raises InvalidName, NotFound, NotEnoughSpace, OSError."""
        file = self._workspace.workflow_file("user", name)
        data = picture.read_bytes()
        with self._changing:
            if not file.is_file():
                raise _not_yours(name)
            if len(data) <= MAX_PICTURE_BYTES:
                write_atomic(_picture(file), data)

    def picture(self, name: str) -> Path | None:
        """The one beside the workflow. Raises NotFound, InvalidName."""
        picture = _picture(self._file(name))
        figures = None if picture.is_symlink() else figures_of(picture)
        is_shown = figures is not None and stat.S_ISREG(figures.st_mode) and figures.st_size <= MAX_PICTURE_BYTES
        return picture if is_shown else None

    def rename(self, name: str, new: str) -> None:
        """Only a user's own; its picture goes along.

        Raises NotFound, InvalidName, Conflict, NotEnoughSpace, OSError.
        """
        file, target = (self._workspace.workflow_file("user", one) for one in (name, new))
        with self._changing:
            if not file.is_file():
                raise _not_yours(name)
            if name == new:
                return
            if os.path.lexists(target):
                raise Conflict(f"there is a workflow '{new[:100]}' already: choose another name")
            _move(file, target)
            _picture(target).unlink(missing_ok=True)
            if _picture(file).is_file():
                _move(_picture(file), _picture(target))
        sync_folder(file.parent)

    def delete(self, name: str) -> None:
        """Only a user's own. Raises NotFound, InvalidName."""
        file = self._workspace.workflow_file("user", name)
        with self._changing:
            try:
                file.unlink()
            except FileNotFoundError:
                raise _not_yours(name) from None
            _picture(file).unlink(missing_ok=True)

    def save_of_preset(self, preset: Preset) -> None:
        """The workflow that `preset` brings, under its id."""
        if preset.workflow is not None:
            file = self._workspace.workflow_file("presets", preset.id)
            write_atomic(file, msgspec.json.format(msgspec.json.encode(preset.workflow)))

    def delete_of_preset(self, preset: Preset) -> None:
        self._workspace.workflow_file("presets", preset.id).unlink(missing_ok=True)

    def _file(self, name: str) -> Path:
        for source in SOURCES:
            file = self._workspace.workflow_file(source, name)
            if file.is_file():
                return file
        raise NotFound(f"there is no workflow '{name[:100]}'")


def _entries(folder: Path) -> tuple[set[str], list[str]]:
    """Names of the pictures and of the workflows in `folder`, of those that can be asked for by name."""
    try:
        names = sorted(entry.name for entry in os.scandir(folder))
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return set(), []
    return set(_named(names, _PICTURE)), list(_named(names, ".json"))


def _named(names: list[str], suffix: str) -> Iterator[str]:
    for name in (name.removesuffix(suffix) for name in names if name.endswith(suffix)):
        try:
            yield check_name(name)
        except InvalidName:
            continue


_PICTURE = ".webp"


def _picture(file: Path) -> Path:
    return file.with_name(file.name.removesuffix(".json") + _PICTURE)


def _look(file: Path, before: _Read | None) -> _Read | None:
    """Reads only what changed since `before`; None for what cannot be read at all. Raises OSError when the volume does
    not answer."""
    figures = figures_of(file)
    if figures is None or not stat.S_ISREG(figures.st_mode):
        return None
    # Saving makes a new file: a coarse clock and an equal size do not hide it.
    stamp = (figures.st_ino, figures.st_mtime_ns, figures.st_size)
    if before is not None and before.stamp == stamp:
        return before
    if figures.st_size > MAX_JSON_BYTES:
        return _Read(stamp, None, 0)
    try:
        document = read_document_file(file)
    except InvalidRequest:
        return _Read(stamp, None, 0)
    except (FileNotFoundError, PermissionError):
        return None
    return _Read(stamp, "graph" if document.graph is not None else "prompt", node_count(document))


def _move(source: Path, target: Path) -> None:
    try:
        os.rename(source, target)
    except FileNotFoundError:
        raise NotFound(f"'{source.stem[:100]}' is gone") from None
    except OSError as error:
        if is_out_of_space(error):
            raise NotEnoughSpace(f"no space left on {target.parent}: free some and try again") from error
        raise


def _not_yours(name: str) -> NotFound:
    return NotFound(f"there is no workflow of yours called '{name[:100]}'")


def _title(name: str) -> str:
    return name.replace("_", " ").strip()
