"""The model files on the volume: found, listed, counted, deleted."""

import os
import stat
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from msgspec import Struct

from services import journal, plain_tree
from services.artifacts import Artifact, model_id
from services.errors import Conflict
from services.model_folders import LEGACY_FOLDERS, is_model
from services.verified import Verified, VerifiedFiles
from services.workspace import Workspace, figures_of

# A folder that did not change is believed for this long, then its files are looked at again one by one.
RESCAN_SECONDS = 60.0
# A file changed less than this before it was looked at may still be growing.
SETTLED_SECONDS = 60.0
# A folder changed within this time may change again under the same time stamp.
FOLDER_SETTLED_SECONDS = 2.0
MAX_DEPTH = 8
# The tree that the suite writes to, relative to the volume.
OURS = "models"


class ModelFile(Struct, frozen=True):
    """A model on disk. `name` is relative to its folder, with `/`; `root`, the tree it lies in, to the volume."""

    id: str
    folder: str
    name: str
    size_bytes: int
    mtime_ns: int
    root: str = OURS


@dataclass(frozen=True)
class _Tree:
    volume: Path
    root: str = OURS

    @property
    def models(self) -> Path:
        return self.volume / self.root

    @property
    def is_ours(self) -> bool:
        return self.root == OURS

    def has_folder(self, name: str) -> bool:
        """In our own, a link to one counts: an operator put it there."""
        figures = figures_of(self.models / name)
        is_folder = figures is not None and stat.S_ISDIR(figures.st_mode)
        return is_folder and (self.is_ours or not (self.models / name).is_symlink())

    def has_file(self, entry: os.DirEntry[str]) -> bool:
        return self.is_ours or not entry.is_symlink() or plain_tree.is_on_volume(self.volume, entry.path)


class _Scanned(Struct):
    mtime_ns: int
    scanned_at: float
    files: tuple[ModelFile, ...]
    subfolders: tuple[str, ...]

    def is_fresh(self, mtime_ns: int) -> bool:
        newest = max((file.mtime_ns for file in self.files), default=0)
        return (
            mtime_ns == self.mtime_ns
            and time.time() - self.scanned_at < RESCAN_SECONDS
            and self.scanned_at - mtime_ns / 1e9 > FOLDER_SETTLED_SECONDS
            and self.scanned_at - newest / 1e9 > SETTLED_SECONDS
        )


class ModelIndex:
    """What lies in `models/`, and in a plain ComfyUI's tree where our own has no file of that name.

    Blocking: a slow volume belongs in a thread. Safe to share between threads.
    """

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._verified = VerifiedFiles(workspace)
        self._folders: dict[Path, _Scanned] = {}
        self._lock = threading.Lock()

    def scan(self) -> dict[str, ModelFile]:
        """Every model file, by id. Raises OSError when the volume does not answer."""
        with self._lock:
            volume = self._workspace.root
            found = self._scan(_Tree(volume))
            if plain_tree.models_of(self._workspace) is None:
                return found
            return {**self._scan(_Tree(volume, plain_tree.ROOT)), **found}

    def _scan(self, tree: _Tree) -> dict[str, ModelFile]:
        try:
            names = sorted(filter(_is_listed, os.listdir(tree.models)))
        except FileNotFoundError:
            return {}
        # Old names first: of two files with one name, that under the new one counts.
        folders = sorted(filter(tree.has_folder, names), key=lambda name: name not in LEGACY_FOLDERS)
        return {file.id: file for folder in folders for file in self._files(tree, folder, "", 0)}

    def verified(self, files: Mapping[str, ModelFile]) -> dict[str, Verified]:
        """The verification records that still hold for `files`."""
        records = self._verified.all()
        return {
            id_: record
            for id_, record in records.items()
            if (file := files.get(id_)) and (file.size_bytes, file.mtime_ns) == (record.size_bytes, record.mtime_ns)
        }

    def delete(self, ids: Iterable[str]) -> tuple[list[ModelFile], list[str]]:
        """(what was removed, the ids that are no model's). A link is removed, never what it points to.

        Raises Conflict, with nothing removed, for files of a plain ComfyUI's tree.
        """
        ids, files = list(dict.fromkeys(ids)), self.scan()
        if foreign := [f"{file.root}/…/{file.name}" for id_ in ids if (file := files.get(id_)) and file.root != OURS]:
            raise Conflict(f"{', '.join(foreign)}: lies in a tree that is used and never changed; delete it there")
        removed, unknown = [], []
        for id_ in ids:
            file = files.get(id_)
            if file is None:
                unknown.append(id_)
                continue
            # As it was found, whatever its name: the search follows no link below a folder.
            (self._workspace.models / file.folder / file.name).unlink(missing_ok=True)
            self._verified.delete(id_)
            removed.append(file)
        return removed, unknown

    def delete_artifact(self, artifact: Artifact) -> int:
        """Removes the artifact's file and partial data; the bytes that became free."""
        target = self._workspace.model_file(artifact.folder, artifact.name)
        freed = 0
        for file in (target, journal.part_file(target)):
            if not file.is_symlink() and (figures := figures_of(file)):
                freed += figures.st_size
        target.unlink(missing_ok=True)
        journal.discard(target)
        self._verified.delete(artifact.id)
        return freed

    def _files(self, tree: _Tree, folder: str, below: str, depth: int) -> Iterator[ModelFile]:
        path = tree.models / folder / below
        try:
            mtime_ns = path.stat().st_mtime_ns
            known = self._folders.get(path)
            if known is None or not known.is_fresh(mtime_ns):
                known = self._folders[path] = _scan_folder(path, tree, folder, below, mtime_ns)
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            return
        yield from known.files
        if depth < MAX_DEPTH:
            for name in known.subfolders:
                yield from self._files(tree, folder, f"{below}{name}/", depth + 1)


def _scan_folder(path: Path, tree: _Tree, folder: str, below: str, mtime_ns: int) -> _Scanned:
    files, subfolders, scanned_at = [], [], time.time()
    known_as = LEGACY_FOLDERS.get(folder, folder)
    root = f"{OURS}/{folder}" if tree.is_ours and known_as != folder else tree.root
    with os.scandir(path) as entries:
        for entry in entries:
            if not _is_listed(entry.name):
                continue
            if entry.is_dir(follow_symlinks=False):
                subfolders.append(entry.name)
            elif (
                is_model(known_as, entry.name)
                and (figures := figures_of(entry.path))
                and stat.S_ISREG(figures.st_mode)
                and tree.has_file(entry)
            ):
                name = below + entry.name
                size, mtime = figures.st_size, figures.st_mtime_ns
                files.append(ModelFile(model_id(known_as, name), known_as, name, size, mtime, root))
    files.sort(key=lambda file: file.name)
    return _Scanned(mtime_ns, scanned_at, tuple(files), tuple(sorted(subfolders)))


def _is_listed(name: str) -> bool:
    """Nothing hidden, and nothing whose name is no text: neither JSON nor a loader could say it."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return not name.startswith(".")


def folder_sizes(files: Iterable[ModelFile]) -> dict[str, tuple[int, int]]:
    """(number of files, bytes) of each folder that holds a model."""
    sizes: dict[str, tuple[int, int]] = {}
    for file in files:
        count, size = sizes.get(file.folder, (0, 0))
        sizes[file.folder] = (count + 1, size + file.size_bytes)
    return sizes
