"""Where a link among the models may lead. ComfyUI's user writes there, and so do its custom nodes: a link could have
the suite list, hash or delete what is nobody's model.
"""

import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from services import plain_tree
from services.workspace import Workspace

# Made by the kernel: a look at one of them may fail in any way, and never ends.
_KERNEL = ("/proc", "/sys", "/dev")
# Who else than its owner may read a file, and enter a folder.
_FILE_READERS = 0o044
_FOLDER_READERS = 0o055


@dataclass(frozen=True)
class LinkTargets:
    """Of one volume. Paths are real ones: no link in them. `closed`: folders that no link may lead into; on the volume,
    those that the suite alone writes to."""

    volume: str
    models: str
    plain: str
    closed: tuple[str, ...] = ()

    @classmethod
    def of(cls, workspace: Workspace, closed: Iterable[Path] = ()) -> "LinkTargets":
        """Blocking."""
        volume = os.path.realpath(workspace.root)
        return cls(
            volume,
            models=os.path.realpath(workspace.models),
            # Not through a link: that could lead anywhere itself.
            plain=f"{volume}/{plain_tree.ROOT}",
            closed=tuple(map(os.path.realpath, (workspace.config, workspace.logs, workspace.workflows, *closed))),
        )

    def takes_folder(self, link: str) -> bool:
        """Whether the model folder that is a link to one is taken. Raises OSError."""
        figures, target = os.stat(link), os.path.realpath(link)
        place = os.path.realpath(os.path.dirname(link))
        return (
            stat.S_ISDIR(figures.st_mode)
            and bool(figures.st_mode & _FOLDER_READERS)
            and not _is_in(self.volume, target)
            and not _is_in(place, target)
            and self._is_open(target)
        )

    def takes_file(self, figures: os.stat_result, target: str, *, is_plain: bool = False) -> bool:
        """Whether the file with these `figures` and the real path `target` is taken, reached through a link.

        `is_plain`: one in a plain ComfyUI's tree, which may lead anywhere in that ComfyUI, and not out of the volume.
        """
        if not is_shared(figures):
            return False
        if is_plain and not _is_in(target, self.models):
            return _is_in(target, os.path.dirname(self.plain))
        return self._is_open(target)

    def takes_opened(self, descriptor: int, path: str) -> bool:
        """The same of what was opened as `path`, relative to the volume, whatever has become of that name since; also
        True of what lies there itself. Raises OSError."""
        target, is_plain = os.readlink(f"/proc/self/fd/{descriptor}"), path.startswith(f"{plain_tree.ROOT}/")
        # `models` may be a link itself, which is an operator's: no one else may write where it lies.
        at = f"{self.volume}/{path}" if is_plain else f"{self.models}/{path.partition('/')[2]}"
        return target == at or self.takes_file(os.fstat(descriptor), target, is_plain=is_plain)

    def _is_open(self, target: str) -> bool:
        return not any(_is_in(target, folder) for folder in (*_KERNEL, *self.closed))


def is_shared(figures: os.stat_result) -> bool:
    """Whether anyone but its owner may read the file: one that nobody else may read is no model, but may be a
    secret."""
    return bool(figures.st_mode & _FILE_READERS)


def _is_in(path: str, folder: str) -> bool:
    """Whether `path` is `folder` or lies below it."""
    return path == folder or path.startswith(folder.rstrip("/") + "/")
