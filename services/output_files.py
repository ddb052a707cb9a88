"""The files that ComfyUI made, opened and removed without following a link: custom nodes may put links there."""

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from services.errors import NotFound, WorkspaceUnavailable
from services.workspace import check_relative_path

# A link, a missing name, a file in the place of a folder, a socket.
_NOT_THERE = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO}


class OutputFiles:
    """Those below `base`, each by its path as ComfyUI names it (`images/a_00001_.png`). Blocking.

    Every method raises InvalidName for what can be no path, NotFound where no file is, WorkspaceUnavailable
    where `base` is not, and OSError."""

    def __init__(self, base: Path) -> None:
        self._base = base

    def figures(self, path: str) -> os.stat_result:
        with _in_words(path), self._folder_of(path) as (folder, name):
            figures = os.stat(name, dir_fd=folder, follow_symlinks=False)
            if not stat.S_ISREG(figures.st_mode):
                raise _not_there(path)
            return figures

    def open(self, path: str) -> BinaryIO:
        with _in_words(path), self._folder_of(path) as (folder, name):
            # A pipe would be waited for until someone writes.
            descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise _not_there(path)
        return os.fdopen(descriptor, "rb", buffering=0)

    def remove(self, path: str) -> int:
        """The bytes that became free: none while the file has another name."""
        figures = self.figures(path)
        with _in_words(path), self._folder_of(path) as (folder, name):
            os.unlink(name, dir_fd=folder)
        return figures.st_size if figures.st_nlink == 1 else 0

    @contextlib.contextmanager
    def _folder_of(self, path: str) -> Iterator[tuple[int, str]]:
        """The open folder that it lies in, and its name there. `base` itself may be a link: an operator's choice."""
        *parents, name = check_relative_path(path)
        with contextlib.ExitStack() as opened:
            try:
                folder = opened.enter_context(_opened(str(self._base), None))
            except OSError as error:
                # Not one file is missing, but all of them.
                raise WorkspaceUnavailable(f"{self._base}: {error.strerror}") from None
            for parent in parents:
                folder = opened.enter_context(_opened(parent, folder))
            yield folder, name


@contextlib.contextmanager
def _opened(name: str, folder: int | None) -> Iterator[int]:
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | (0 if folder is None else os.O_NOFOLLOW)
    descriptor = os.open(name, flags, dir_fd=folder)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _in_words(path: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in _NOT_THERE:
            raise _not_there(path) from None
        raise


def _not_there(path: str) -> NotFound:
    return NotFound(f"there is no output '{path[:200]}'")
