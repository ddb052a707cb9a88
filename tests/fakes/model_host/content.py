"""The bytes behind a path: in memory, or a file on disk that is never held as a whole."""

import hashlib
import os
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from types import TracebackType

_FLIPPED = bytes(255 - value for value in range(256))
GARBAGE_BYTES = 16


@dataclass(frozen=True)
class Content:
    source: bytes | Path
    size: int
    etag: str
    modified: float = 0.0

    @classmethod
    def of(cls, source: bytes | Path) -> "Content":
        if isinstance(source, bytes):
            return cls(source, len(source), f'"{hashlib.sha256(source).hexdigest()[:16]}"')
        figures = source.stat()
        return cls(source, figures.st_size, f'"{figures.st_mtime_ns:x}-{figures.st_size:x}"', int(figures.st_mtime))


class Reader:
    """The content as one answer shows it. `is_changed`: every byte is another. `garbage_at`: where a few are wrong."""

    def __init__(self, content: Content, *, is_changed: bool, garbage_at: int | None) -> None:
        self._source = content.source
        self._is_changed = is_changed
        self._garbage_at = garbage_at
        self._file = FileIO(content.source) if isinstance(content.source, Path) else None

    def __enter__(self) -> "Reader":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file:
            self._file.close()

    def file_to_send(self, start: int, count: int) -> FileIO | None:
        """The file, when the kernel may send these bytes from it just as they are."""
        return None if self._is_changed or self._garbage(start, count) else self._file

    def read(self, start: int, count: int) -> bytes | memoryview:
        found: bytes | memoryview
        if isinstance(self._source, bytes):
            found = memoryview(self._source)[start : start + count]
        else:
            assert self._file is not None
            found = os.pread(self._file.fileno(), count, start)
        if self._is_changed:
            found = bytes(found).translate(_FLIPPED)
        if wrong := self._garbage(start, count):
            damaged = bytearray(found)
            for place in wrong:
                damaged[place - start] ^= 0xFF
            found = bytes(damaged)
        return found

    def _garbage(self, start: int, count: int) -> range:
        if self._garbage_at is None:
            return range(0)
        return range(max(start, self._garbage_at), min(start + count, self._garbage_at + GARBAGE_BYTES))
