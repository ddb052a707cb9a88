"""One file under several names on a volume: made, moved, taken away.

A hard link costs nothing and outlives the name it was made from. Where the volume has none, a symbolic link does.
"""

import contextlib
import errno
import os
import secrets
from collections.abc import Iterable
from pathlib import Path

from services.workspace import figures_of, sync_folder

# What link(2) says on volumes that have no hard links.
_NO_LINKS = {errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.EMLINK}


def link(path: Path, target: Path) -> None:
    """`target` is `path`, too. Raises FileExistsError when something has that name, OSError."""
    source = path.resolve(strict=True)
    try:
        os.link(source, target)
    except FileExistsError:
        raise
    except OSError:
        # From where the folder really is: it may be a link itself.
        target.symlink_to(os.path.relpath(source, target.parent.resolve()))
    sync_folder(target.parent)


def move(path: Path, target: Path) -> None:
    """`path` is called `target` from now on. Raises FileExistsError when something has that name, OSError."""
    if path.is_symlink():
        # From another folder it would lead elsewhere.
        link(path, target)
        path.unlink()
    else:
        _rename(path, target)
    sync_folder(target.parent)
    sync_folder(path.parent)


def _rename(path: Path, target: Path) -> None:
    """Not over what appeared meanwhile, as rename(2) would."""
    try:
        os.link(path, target)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target)) from None
        path.rename(target)
    else:
        path.unlink(missing_ok=True)


def replace_by_link(kept: Path, path: Path) -> int:
    """`path` becomes a link to `kept`, and is never missing meanwhile; the bytes that became free. Raises OSError."""
    if path.exists() and os.path.samefile(kept, path):
        return 0
    figures = path.lstat()
    _link_over(kept, path)
    return figures.st_size if figures.st_nlink == 1 else 0


def remove(path: Path, links: Iterable[Path]) -> int:
    """The bytes that became free. `links`: symbolic ones that lead to `path`: it takes the place of one, for none of
    them may be lost with it. Raises OSError."""
    figures = None if path.is_symlink() else figures_of(path)
    if figures is not None and (heirs := list(links)):
        os.replace(path, heirs[0])
        for other in heirs[1:]:
            _link_over(heirs[0], other)
        return 0
    path.unlink(missing_ok=True)
    return figures.st_size if figures is not None and figures.st_nlink == 1 else 0


def _link_over(kept: Path, path: Path) -> None:
    temporary = path.with_name(f".{secrets.token_hex(8)}.link")
    try:
        link(kept, temporary)
        os.replace(temporary, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
    sync_folder(path.parent)
