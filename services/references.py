"""Which saved workflows name which model files: those in `workflows/user/`, and those that ComfyUI's editor saved."""

import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from msgspec import Struct

from services.named_models import NamedModel, read_named_models
from services.workspace import Workspace, figures_of

# No editor saves larger ones; a picture inside one can be large.
MAX_BYTES = 32 * 1024 * 1024
MAX_DEPTH = 6


class _Read(Struct, frozen=True):
    """What a file names, and what told that it is still the same."""

    stamp: tuple[int, int, int]
    models: frozenset[NamedModel]


class References:
    """By the name of a model file, the workflows that name it."""

    def __init__(self, workflows: Mapping[str, frozenset[NamedModel]] | None = None) -> None:
        self._by_name: dict[str, list[tuple[str | None, str]]] = {}
        for workflow, models in sorted((workflows or {}).items()):
            for model in models:
                self._by_name.setdefault(model.name, []).append((model.folder, workflow))

    def of(self, folder: str, name: str) -> tuple[str, ...]:
        """Names of the workflows that name the file. One that does not say the folder may mean it."""
        found = self._by_name.get(name, ())
        return tuple(dict.fromkeys(workflow for where, workflow in found if where in {None, folder}))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, References) and self._by_name == other._by_name

    __hash__ = None  # type: ignore[assignment]


class SavedWorkflows:
    """Reads the workflows of one workspace again when they change. Blocking."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._read: dict[Path, _Read] = {}
        self._references = References()

    def references(self) -> References:
        """The same object as before while nothing changed. Raises OSError when the volume does not answer."""
        before, self._read = self._read, {}
        names: dict[str, frozenset[NamedModel]] = {}
        for name, file in self._files():
            if (read := _read_file(file, before.get(file))) is not None:
                self._read[file] = read
                names[name] = names.get(name, frozenset()) | read.models
        if self._read != before:
            self._references = References(names)
        return self._references

    def _files(self) -> Iterator[tuple[str, Path]]:
        """(what people call it, the file)."""
        own = self._workspace.workflows / "user"
        for file in _json_files(own, 0):
            yield _shown(file.stem), file
        # ComfyUI has a folder per user: `user/default/workflows/`.
        for user in _folders(self._workspace.user):
            saved = user / "workflows"
            for file in _json_files(saved, 0):
                yield _shown(file.relative_to(saved).with_suffix("").as_posix()), file


def _shown(name: str) -> str:
    """Custom nodes choose these names: what JSON cannot say, or a terminal would obey, is not handed on."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in name)


def _json_files(folder: Path, depth: int) -> Iterator[Path]:
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if entry.is_dir(follow_symlinks=False):
            if depth < MAX_DEPTH:
                yield from _json_files(folder / entry.name, depth + 1)
        elif entry.name.endswith(".json"):
            yield folder / entry.name


def _folders(folder: Path) -> Iterable[Path]:
    try:
        return sorted(folder / entry.name for entry in os.scandir(folder) if entry.is_dir(follow_symlinks=False))
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return ()


def _read_file(file: Path, before: _Read | None) -> _Read | None:
    """Reads only what changed since `before`; None for what cannot be read. Raises OSError when the volume does not
    answer."""
    figures = figures_of(file)
    # Custom nodes write to the editor's folder: a pipe or a device there never ends.
    if figures is None or not stat.S_ISREG(figures.st_mode):
        return None
    stamp = (figures.st_ino, figures.st_mtime_ns, figures.st_size)
    if before is not None and before.stamp == stamp:
        return before
    try:
        return _Read(stamp, read_named_models(_data_of(file)))
    except (FileNotFoundError, PermissionError):
        return None


def _data_of(file: Path) -> bytes:
    """Nothing of what is too large. Raises OSError."""
    descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        # It may have become another since.
        is_file = stat.S_ISREG(os.fstat(descriptor).st_mode)
        with os.fdopen(descriptor, "rb", closefd=False) as opened:
            data = opened.read(MAX_BYTES + 1) if is_file else b""
    finally:
        os.close(descriptor)
    return data if len(data) <= MAX_BYTES else b""
