"""One small file on the volume, read again only when it may have changed."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from services.workspace import figures_of

T = TypeVar("T")

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
        """Raises OSError when the file cannot be read, and what `read` raises."""
        figures = figures_of(self.file)
        if figures is None:
            return self._absent
        version = (figures.st_ino, figures.st_mtime_ns, figures.st_size)
        read_as, value = self._known
        if version != read_as:
            value = self._read(self.file.read_bytes())
            is_settled = time.time() - figures.st_mtime_ns / 1e9 > _SETTLED_SECONDS
            self._known = (version if is_settled else None, value)
        return value
