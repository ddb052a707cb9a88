"""Folders that root makes for other users, never through a link: whoever may rename entries on the way could have
planted one that leads to a folder of someone else's."""

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path, PurePath

from bootstrap.users import User


def make_folder(base: Path, path: str, owner: User | None, mode: int) -> None:
    """`path` below `base`, with its owner and mode; its parent must be there. "." is `base` itself.

    A link in its place is left alone, and so is where it leads. Raises OSError, also for a link on the way.
    """
    *parents, name = PurePath(path).parts or (".",)
    with contextlib.ExitStack() as opened:
        # The operator chose `base`: it may be a link.
        folder = opened.enter_context(_opened(base, os.O_DIRECTORY))
        for parent in parents:
            folder = opened.enter_context(_opened(parent, os.O_DIRECTORY | os.O_NOFOLLOW, folder))
        with contextlib.suppress(FileExistsError):
            os.mkdir(name, mode & 0o777, dir_fd=folder)
        if not stat.S_ISLNK(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
            _hand_over(opened.enter_context(_opened(name, os.O_DIRECTORY | os.O_NOFOLLOW, folder)), owner, mode)


def _hand_over(folder: int, owner: User | None, mode: int) -> None:
    figures = os.fstat(folder)
    if owner is not None and (figures.st_uid, figures.st_gid) != (owner.uid, owner.gid):
        os.fchown(folder, owner.uid, owner.gid)
    if figures.st_mode & 0o7777 != mode:
        os.fchmod(folder, mode)


@contextlib.contextmanager
def _opened(path: Path | str, flags: int, folder: int | None = None) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY | flags, dir_fd=folder)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
