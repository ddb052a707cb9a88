"""An existing model put where a preset wants it, and duplicates made one."""

import errno
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from msgspec.structs import replace

from services import links, plain_tree
from services.errors import Conflict, InvalidRequest, NotFound
from services.model_places import OURS
from services.models import ModelFile
from services.verified import Verified, VerifiedFiles
from services.workspace import Workspace, figures_of

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
        target, path = self._workspace.new_model_file(folder, name), path_of(self._workspace, source)
        if how == "move" and source.root != OURS:
            raise Conflict(
                f"{source.root}/…/{source.name} is in a tree that is used and never changed: link it instead"
            )
        if figures_of(target) is not None or target.is_symlink():
            raise _is_taken(target)
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            (links.link if how == "link" else links.move)(path, target)
        except FileExistsError:
            raise _is_taken(target) from None
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            reason = f"{folder}/ is on another disk than {source.folder}/{source.name}"
            raise Conflict(f"{reason}: link it instead") from None
        if how == "move":
            self._verified.delete(source.id)
        if record is not None:
            self._verified.put(replace(record, folder=folder, name=name))
        return target

    def unite(self, files: Iterable[tuple[ModelFile, Verified]]) -> int:
        """Makes files with the same digest one file under all their names; the bytes that became free. Left out is what
        lies in a tree that is never changed, or on another disk, and what is a link already: it may lead anywhere.

        Raises InvalidRequest when they differ or are too few, Conflict when one changed since it was verified, OSError.
        """
        ours = sorted((pair for pair in files if self._is_own(pair[0])), key=lambda pair: pair[0].mtime_ns)
        disks: dict[int, list[tuple[ModelFile, Verified]]] = defaultdict(list)
        for file, record in ours:
            disks[file.device].append((file, record))
        if len(disks) == len(ours) or len({record.sha256 for _, record in ours}) != 1:
            raise InvalidRequest("it takes two files with the same sha256 on one disk to make them one")
        for file, record in ours:
            figures = figures_of(path_of(self._workspace, file))
            if figures is None or not record.holds_for(figures):
                raise Conflict(f"{file.folder}/{file.name} changed since it was verified: check it again first")
        return sum(self._unite(same) for same in disks.values())

    def _is_own(self, file: ModelFile) -> bool:
        return file.root == OURS and not path_of(self._workspace, file).is_symlink()

    def _unite(self, same: list[tuple[ModelFile, Verified]]) -> int:
        (kept, kept_record), *others = same
        freed = 0
        for file, record in others:
            freed += links.replace_by_link(path_of(self._workspace, kept), path_of(self._workspace, file))
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


def _is_taken(target: Path) -> Conflict:
    return Conflict(f"a file named {target.name} lies in {target.parent.name}/ already")
