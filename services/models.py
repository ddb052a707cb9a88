"""The model files on the volume: found, listed, counted, deleted."""

import contextlib
import errno
import functools
import operator
import os
import stat
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from msgspec import Struct

from services import journal, links, log, plain_tree
from services.artifacts import Artifact, model_id
from services.errors import Conflict, InvalidName
from services.link_targets import LinkTargets, is_shared
from services.model_folders import LEGACY_FOLDERS, is_model
from services.model_places import OURS, Place, Tree
from services.verified import Verified, VerifiedFiles
from services.verified_summary import VerifiedSummary
from services.workspace import Workspace, figures_of

# Each file is looked at again after this, whatever its folder says.
RESCAN_SECONDS = 60.0
# How many of those one scan looks at again, so that none takes as long as the first did.
RESCAN_FILES = 1000
# A file changed less than this before it was looked at may still be growing.
SETTLED_SECONDS = 60.0
# A folder changed within this time may change again under the same time stamp.
FOLDER_SETTLED_SECONDS = 2.0
MAX_DEPTH = 8
# How often who waits for another's scan shows what that has found.
LOCK_SECONDS = 0.2
# What a folder says of a file's inode where the file system has none to say (FUSE_UNKNOWN_INO).
_NO_INODES = {0, 0xFFFFFFFF}


class ModelFile(Struct, frozen=True, gc=False):
    """A model on disk. `name` is relative to its folder, with `/`; `root`, the tree it lies in, to the volume.

    `lies_in`: the folder, as it is called there, relative to the volume. Hard links to one file share `device` and
    `inode`; `links` counts them. `is_link`: its name is that of a symbolic one.
    """

    id: str
    folder: str
    name: str
    size_bytes: int
    mtime_ns: int
    root: str = OURS
    lies_in: str = ""
    device: int = 0
    inode: int = 0
    links: int = 1
    is_link: bool = False

    @property
    def path(self) -> str:
        """Relative to the volume."""
        return f"{self.lies_in}/{self.name}"

    def is_at(self, figures: os.stat_result) -> bool:
        """Whether it is that file, under this name or another."""
        return (self.device, self.inode) == (figures.st_dev, figures.st_ino)


class _Scanned(Struct):
    """One reading of a folder. `files` by id; `entries`: by name, the inode that the folder names, and the file.

    `looked_at`: when every one of its files was looked at last.
    """

    mtime_ns: int
    scanned_at: float
    looked_at: float
    files: dict[str, ModelFile]
    entries: dict[str, tuple[int, ModelFile]]
    subfolders: tuple[str, ...]
    newest_ns: int

    def is_quiet(self, mtime_ns: int) -> bool:
        """Nothing came or went, and nothing was growing when it was looked at."""
        return (
            mtime_ns == self.mtime_ns
            and self.scanned_at - mtime_ns / 1e9 > FOLDER_SETTLED_SECONDS
            and self.scanned_at - self.newest_ns / 1e9 > SETTLED_SECONDS
        )

    def is_due(self) -> bool:
        return time.time() - self.looked_at >= RESCAN_SECONDS

    def settled(self, entry: os.DirEntry[str]) -> ModelFile | None:
        """What was known of `entry`, if that is the same file still and had stopped changing."""
        inode, file = self.entries.get(entry.name, (0, None))
        if file is None or inode in _NO_INODES or inode != entry.inode():
            return None
        return file if self.scanned_at - file.mtime_ns / 1e9 > SETTLED_SECONDS else None


class ModelIndex:
    """What lies in `models/`, and in a plain ComfyUI's tree where our own has no file of that name.

    Blocking: a slow volume belongs in a thread. Safe to share between threads. `closed`: folders that no link in
    `models/` may lead into.
    """

    def __init__(self, workspace: Workspace, closed: Iterable[Path] = ()) -> None:
        self._workspace = workspace
        self._closed = tuple(closed)
        self._verified = VerifiedFiles(workspace)
        self._summary = VerifiedSummary(workspace, self._verified)
        self._folders: dict[str, _Scanned] = {}
        self._parts: list[dict[str, ModelFile]] = []
        self._found: dict[str, ModelFile] = {}
        self._holding: tuple[object, dict[str, Verified], dict[str, Verified]] = (None, {}, {})
        # What could not be read at the last scan.
        self._unreadable: dict[str, OSError] = {}
        self._again = 0
        self._is_closed = False
        self._lock = threading.Lock()

    def scan(self, show: Callable[[], None] | None = None) -> dict[str, ModelFile]:
        """Every model file, by id; the same dictionary as before while nothing changed.

        `show` is called after each folder: what is known by then is `so_far`. Raises OSError when the volume does not
        answer.
        """
        while not self._lock.acquire(timeout=LOCK_SECONDS):
            # Another scan is under way, which shows as well.
            if show is not None:
                show()
        try:
            return self._scan(show)
        finally:
            self._lock.release()

    def prepare(self) -> None:
        """Begins early with what the first scan would have to look at."""
        with contextlib.suppress(OSError), self._lock:
            self._scan(None)

    def so_far(self) -> dict[str, ModelFile]:
        """What the scan that is under way has found, and what the one before knew. Touches no volume."""
        return _merged([scanned.files for scanned in list(self._folders.values())])

    def close(self) -> None:
        """A scan that is under way ends with the folder it is at: nobody waits for it any more."""
        self._is_closed = True

    def _scan(self, show: Callable[[], None] | None) -> dict[str, ModelFile]:
        before, self._again = self._folders, RESCAN_FILES
        parts: list[dict[str, ModelFile]] = []
        self._folders = dict(before)
        seen: dict[str, _Scanned] = {}
        known, self._unreadable = self._unreadable, {}
        for path, scanned in self._walk(before):
            parts.append(scanned.files)
            seen[path] = self._folders[path] = scanned
            if show is not None:
                show()
        self._folders = seen
        for path in self._unreadable.keys() - known.keys():
            log.get("library").warning("model_folder_unreadable", folder=path, error=str(self._unreadable[path]))
        if len(parts) != len(self._parts) or any(map(operator.is_not, parts, self._parts)):
            self._parts, self._found = parts, _merged(parts)
        return self._found

    def _walk(self, before: Mapping[str, _Scanned]) -> Iterator[tuple[str, _Scanned]]:
        """Of two files with one id, the latter counts."""
        volume = self._workspace.root
        targets = LinkTargets.of(self._workspace, self._closed)
        ours, is_any_read = Tree(volume, targets), False
        trees = [ours] if plain_tree.models_of(self._workspace) is None else []
        for tree in trees or [Tree(volume, targets, plain_tree.ROOT), ours]:
            for folder, is_linked in _folders_of(tree):
                if self._is_closed:
                    return
                for found in self._walk_folder(Place(tree, folder, is_linked=is_linked), before, 0):
                    is_any_read = True
                    yield found
        if self._unreadable and not is_any_read:
            # Then it is the volume, although it says what folders there are.
            raise next(iter(self._unreadable.values()))

    def _walk_folder(self, place: Place, before: Mapping[str, _Scanned], depth: int) -> Iterator[tuple[str, _Scanned]]:
        path = place.path
        try:
            scanned = self._look(place, path, before.get(path))
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            return
        except OSError as error:
            # Of this folder alone, if the volume still answers.
            os.listdir(place.tree.models)
            self._unreadable[path] = error
            return
        yield path, scanned
        if depth < MAX_DEPTH:
            for name in scanned.subfolders:
                if self._is_closed:
                    return
                yield from self._walk_folder(place.sub(name), before, depth + 1)

    def _look(self, place: Place, path: str, known: _Scanned | None) -> _Scanned:
        mtime_ns = _changed_at(place)
        if known is None:
            return _scan_folder(place, path, mtime_ns, None)
        is_due = known.is_due() and self._again > 0
        if not is_due and known.is_quiet(mtime_ns):
            return known
        if is_due:
            self._again -= len(known.files)
        scanned = _scan_folder(place, path, mtime_ns, None if is_due else known)
        if scanned.files == known.files:
            # The same object: whoever holds it sees that nothing changed.
            scanned.files = known.files
        return scanned

    def verified(self, files: Mapping[str, ModelFile]) -> dict[str, Verified]:
        """The verification records that still hold for `files`."""
        records = self._summary.all()
        known_files, known_records, holding = self._holding
        if known_files is files and known_records == records:
            return holding
        holding = {
            id_: record
            for id_, record in records.items()
            if (file := files.get(id_)) and (file.size_bytes, file.mtime_ns) == (record.size_bytes, record.mtime_ns)
        }
        self._holding = (files, records, holding)
        return holding

    def keep_summary(self) -> None:
        """So that the next start need not read every verification record. Raises OSError."""
        self._summary.keep()

    def delete(self, ids: Iterable[str]) -> tuple[list[ModelFile], list[str]]:
        """(what was removed, the ids that are no model's). A link is removed, never what it points to; a file that
        others are links to takes the place of one of them.

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
            self._remove(self._workspace.models / file.folder / file.name, files)
            self._verified.delete(id_)
            removed.append(file)
        return removed, unknown

    def delete_artifact(self, artifact: Artifact) -> int:
        """Removes the artifact's file and partial data; the bytes that became free."""
        target = self._workspace.model_file(artifact.folder, artifact.name)
        part = figures_of(journal.part_file(target))
        freed = self._remove(target, self.scan()) + (part.st_size if part is not None else 0)
        journal.discard(target)
        self._verified.delete(artifact.id)
        return freed

    def _remove(self, path: Path, files: Mapping[str, ModelFile]) -> int:
        """The bytes that became free. Raises InvalidName when `path` lies behind a link that is not followed."""
        self._check_way(path)
        figures = figures_of(path)
        same = [] if figures is None else [file for file in files.values() if file.is_at(figures)]
        others = [other for file in same if (other := self._workspace.root / file.path) != path]
        return links.remove(path, [other for other in others if _is_link_to(other, path)])

    def _check_way(self, path: Path) -> None:
        folder = self._workspace.models / path.relative_to(self._workspace.models).parts[0]
        if not folder.exists():
            return
        targets, lies_in = LinkTargets.of(self._workspace, self._closed), path.parent.resolve()
        is_taken = not folder.is_symlink() or targets.takes_folder(str(folder))
        if not is_taken or not lies_in.is_relative_to(folder.resolve()):
            raise InvalidName(f"{path} lies behind a link to {lies_in}, where no models are: nothing was removed")


def _is_link_to(link: Path, path: Path) -> bool:
    """Whether it is a symbolic one, in a folder where `path` itself could lie."""
    is_near = link.is_symlink() and link.lstat().st_dev == path.lstat().st_dev
    return is_near and os.path.realpath(link) == os.path.realpath(path)


def _folders_of(tree: Tree) -> list[tuple[str, bool]]:
    """The name of each, and whether it is a link. Old names first: of two files with one name, that under the new one
    counts."""
    try:
        with os.scandir(tree.models) as entries:
            found = [
                (entry.name, entry.is_symlink())
                for entry in entries
                if _is_listed(entry.name) and tree.has_folder(entry)
            ]
    except FileNotFoundError:
        return []
    return sorted(found, key=lambda folder: (folder[0] not in LEGACY_FOLDERS, folder[0]))


def _changed_at(place: Place) -> int:
    """Nanoseconds. Raises NotADirectoryError for what has become a link since the folder it lies in was read."""
    figures = os.stat(place.path.rstrip("/"), follow_symlinks=not place.below)
    if not stat.S_ISDIR(figures.st_mode):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), place.path)
    return figures.st_mtime_ns


def _scan_folder(place: Place, path: str, mtime_ns: int, known: _Scanned | None) -> _Scanned:
    """What `known` settled of files that are still the same is not asked again: each costs a way to the volume."""
    scanned_at, folder = time.time(), place.known_as
    found: list[tuple[str, int, ModelFile]] = []
    subfolders = []
    with os.scandir(path) as entries:
        for entry in entries:
            if not _is_listed(entry.name):
                continue
            file = known.settled(entry) if known is not None else None
            if file is None and entry.is_dir(follow_symlinks=False):
                subfolders.append(entry.name)
                continue
            if (
                file is None
                and _is_model(folder, os.path.splitext(entry.name)[1])
                and (figures := _figures_of(place, entry))
            ):
                file = _model(place, place.below + entry.name, figures, is_link=entry.is_symlink())
            if file is not None:
                found.append((entry.name, entry.inode(), file))
    found.sort()
    return _Scanned(
        mtime_ns=mtime_ns,
        scanned_at=scanned_at,
        looked_at=known.looked_at if known is not None else scanned_at,
        files={file.id: file for _, _, file in found},
        entries={name: (inode, file) for name, inode, file in found},
        subfolders=tuple(sorted(subfolders)),
        newest_ns=max((file.mtime_ns for _, _, file in found), default=0),
    )


def _figures_of(place: Place, entry: os.DirEntry[str]) -> os.stat_result | None:
    figures = place.tree.linked_file(entry.path) if entry.is_symlink() else figures_of(entry.path)
    if figures is None or not stat.S_ISREG(figures.st_mode):
        return None
    return figures if not place.is_linked or is_shared(figures) else None


def _model(place: Place, name: str, figures: os.stat_result, *, is_link: bool) -> ModelFile:
    return ModelFile(
        id=model_id(place.known_as, name),
        folder=place.known_as,
        name=name,
        size_bytes=figures.st_size,
        mtime_ns=figures.st_mtime_ns,
        root=place.root,
        lies_in=place.lies_in,
        device=figures.st_dev,
        inode=figures.st_ino,
        links=figures.st_nlink,
        is_link=is_link,
    )


def _merged(parts: Iterable[dict[str, ModelFile]]) -> dict[str, ModelFile]:
    found: dict[str, ModelFile] = {}
    for part in parts:
        found.update(part)
    return found


@functools.lru_cache(1024)
def _is_model(folder: str, suffix: str) -> bool:
    """Asked once of each suffix, and not of each of ten thousand files."""
    return is_model(folder, f"model{suffix}")


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
