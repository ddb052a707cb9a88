"""One file under several names: an existing model put where a preset wants it, and duplicates made one.

A hard link costs nothing and outlives the name it was made from. Where the volume has none, a symbolic link within the
models does; it is as good until the file that it points to is deleted.
"""

import contextlib
import os
import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from msgspec.structs import replace

from services import plain_tree
from services.errors import Conflict, InvalidRequest, NotFound
from services.models import OURS, ModelFile
from services.verified import Verified, VerifiedFiles
from services.workspace import Workspace, figures_of, sync_folder

How = Literal["link", "move"]


class Placing:
    """Gives the files of one workspace other names; what was verified of them stays so. Blocking."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._verified = VerifiedFiles(workspace)

    def place(self, source: ModelFile, record: Verified | None, folder: str, name: str, how: How) -> Path:
        """`source`, with its verification `record`, also as `name` of `folder`, or only so (`move`); where it lies now.

        Raises InvalidName, NotFound, Conflict when a file is there already or `source` lies in a tree that is never
        changed, OSError.
        """
        target, path = self._workspace.model_file(folder, name), path_of(self._workspace, source)
        if how == "move" and source.root != OURS:
            raise Conflict(
                f"{source.root}/…/{source.name} is in a tree that is used and never changed: link it instead"
            )
        if figures_of(target) is not None or target.is_symlink():
            raise _is_taken(target)
        target.parent.mkdir(parents=True, exist_ok=True)
        if how == "link":
            _link(path, target)
        else:
            _move(path, target)
            self._verified.delete(source.id)
        if record is not None:
            self._verified.put(replace(record, folder=folder, name=name))
        return target

    def unite(self, files: Iterable[tuple[ModelFile, Verified]]) -> int:
        """Makes files with the same digest one file under all their names; the bytes that became free. What lies in a
        tree that is never changed is left out.

        Raises InvalidRequest when they differ or are too few, Conflict when one changed since it was verified, OSError.
        """
        ours = sorted((pair for pair in files if pair[0].root == OURS), key=lambda pair: pair[0].mtime_ns)
        if len(ours) < 2 or len({record.sha256 for _, record in ours}) != 1:
            raise InvalidRequest("it takes two files with the same sha256 to make them one")
        for file, record in ours:
            figures = figures_of(path_of(self._workspace, file))
            if figures is None or not record.holds_for(figures):
                raise Conflict(f"{file.folder}/{file.name} changed since it was verified: check it again first")
        (kept, kept_record), *others = ours
        freed = 0
        for file, record in others:
            freed += _replace(path_of(self._workspace, kept).resolve(), path_of(self._workspace, file))
            # The one file has one time stamp.
            self._verified.put(replace(record, mtime_ns=kept_record.mtime_ns))
        return freed


def path_of(workspace: Workspace, file: ModelFile) -> Path:
    """Where `file` lies: as it was found, whatever its name. Raises NotFound when it is gone, OSError."""
    if file.root == OURS:
        return workspace.models / file.folder / file.name
    found = plain_tree.find(workspace, file.folder, file.name)
    if found is None:
        raise NotFound(f"{file.root}/…/{file.name} is not there any more")
    return found


def _move(path: Path, target: Path) -> None:
    """Not over what appeared meanwhile. Raises Conflict, OSError."""
    try:
        os.link(path, target, follow_symlinks=False)
        path.unlink()
    except FileExistsError:
        raise _is_taken(target) from None
    except OSError:
        # No hard links here.
        path.rename(target)
    sync_folder(target.parent)
    sync_folder(path.parent)


def _is_taken(target: Path) -> Conflict:
    return Conflict(f"a file named {target.name} lies in {target.parent.name}/ already")


def _link(path: Path, target: Path) -> None:
    source = path.resolve(strict=True)
    try:
        os.link(source, target)
    except OSError:
        target.symlink_to(os.path.relpath(source, target.parent))
    sync_folder(target.parent)


def _replace(kept: Path, path: Path) -> int:
    """`path` becomes a link to `kept`, and is never missing meanwhile; the bytes that became free."""
    if os.path.samefile(kept, path):
        return 0
    figures, temporary = path.lstat(), path.with_name(f".{secrets.token_hex(8)}.link")
    try:
        _link(kept, temporary)
        os.replace(temporary, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
    sync_folder(path.parent)
    return figures.st_size if figures.st_nlink == 1 else 0
