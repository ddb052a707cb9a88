"""One small file on the volume, read again only when it may have changed."""

import os
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from services.workspace import figures_of

T = TypeVar("T")

# What ten thousand models need is a few million. A larger file was not written here.
MAX_BYTES = 64 * 1024 * 1024

# What changed within this time may change again under the same time stamp.
_SETTLED_SECONDS = 2.0


class CachedFile(Generic[T]):
    """What `read` makes of the bytes of `file`; `absent` where there is none.

    Costs one `stat` while nothing changes."""

    def __init__(self, file: Path, read: Callable[[bytes], T], absent: T) -> None:
        self.file = file
        self._read = read
        self._absent = absent
        # One value, because threads share it: inode, mtime in nanoseconds and size, and what was read under them.
        self._known: tuple[tuple[int, int, int] | None, T] = (None, absent)

    def get(self) -> T:
        """Raises OSError when the file cannot be read, ValueError as `read_small` does, and what `read` raises."""
        figures = figures_of(self.file)
        if figures is None:
            return self._absent
        version = (figures.st_ino, figures.st_mtime_ns, figures.st_size)
        read_as, value = self._known
        if version != read_as:
            value = self._read(read_small(self.file))
            is_settled = time.time() - figures.st_mtime_ns / 1e9 > _SETTLED_SECONDS
            self._known = (version if is_settled else None, value)
        return value


def read_small(file: Path) -> bytes:
    """Raises ValueError for what is no file or larger than MAX_BYTES, OSError, as for a folder."""
    # A pipe would be waited for until someone writes, and a device has no end.
    descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
            raise ValueError("it is no file")
        with os.fdopen(descriptor, "rb", closefd=False) as opened:
            data = opened.read(MAX_BYTES + 1)
    finally:
        os.close(descriptor)
    if len(data) > MAX_BYTES:
        raise ValueError(f"it is larger than {MAX_BYTES} bytes")
    return data
