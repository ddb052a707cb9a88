"""What a file says in words beside its pictures and sounds, and the bounded way through the file to find it."""

from dataclasses import dataclass, field
from typing import BinaryIO

# A workflow with pictures in it; the same as services/workflows/document.py takes of plain JSON.
MAX_TEXT_BYTES = 32 * 1024 * 1024
MAX_TEXTS = 500
# A PNG of a gigabyte has some 100,000 chunks; what is skipped costs a few microseconds each.
MAX_PARTS = 200_000
# Each costs a microsecond or two, also one of no byte: boxes of a few bytes can ask for millions.
MAX_READS = 1_000_000
# Of EXIF, in all of a file: pictures have some fifty.
MAX_TAGS = 20_000
# Of one file, whatever its size: everything that is not a text is skipped. As they stand in the file, and unpacked.
MAX_READ_BYTES = 128 * 1024 * 1024
MAX_KEPT_BYTES = 64 * 1024 * 1024


class Broken(Exception):
    """The file ends where it says it goes on, or is made to be read for ever."""


class Texts:
    """By key, in lower case. The first of a key stays: what is appended to a file does not replace what it had."""

    def __init__(self) -> None:
        self.found: dict[str, str] = {}
        self._kept_bytes = 0
        self._tags = 0

    @property
    def room(self) -> int:
        """How large the next may be."""
        return min(MAX_TEXT_BYTES, MAX_KEPT_BYTES - self._kept_bytes)

    @property
    def is_complete(self) -> bool:
        """Nothing that comes later is asked for."""
        return {"workflow", "prompt"} <= self.found.keys()

    def count_tag(self) -> None:
        """Raises Broken after more than any picture has."""
        self._tags += 1
        if self._tags > MAX_TAGS:
            raise Broken("it has more tags than any picture")

    def add(self, key: str | bytes, value: str | bytes) -> None:
        """Raises Broken when it holds more than any workflow."""
        self._kept_bytes += len(value)
        if self._kept_bytes > MAX_KEPT_BYTES:
            raise Broken("it holds more text than any workflow")
        name, text = _text(key).strip().lower(), _text(value)
        if len(self.found) < MAX_TEXTS and text:
            self.found.setdefault(name[:200], text.rstrip("\0"))


def _text(value: str | bytes) -> str:
    """The formats say Latin-1 or ASCII, the programs write UTF-8."""
    if isinstance(value, str):
        return value
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


@dataclass
class _Budget:
    parts: int = MAX_PARTS
    reads: int = MAX_READS
    bytes: int = MAX_READ_BYTES


@dataclass
class Part:
    """A stretch of a file. Whatever goes beyond its end raises Broken."""

    file: BinaryIO
    position: int
    end: int
    budget: _Budget = field(default_factory=_Budget)

    @property
    def left(self) -> int:
        return self.end - self.position

    def read(self, size: int) -> bytes:
        if size > min(self.left, MAX_TEXT_BYTES):
            raise Broken(f"{size} bytes are said to follow where {self.left} do")
        self.budget.bytes -= size
        self.budget.reads -= 1
        if self.budget.bytes < 0:
            raise Broken("it holds more text than any workflow")
        if self.budget.reads < 0:
            raise Broken("it is made of more parts than any picture or video")
        self.file.seek(self.position)
        data = self.file.read(size)
        if len(data) < size:
            raise Broken("it became shorter while it was read")
        self.position += size
        return data

    def number(self, size: int, byteorder: str = "big") -> int:
        return int.from_bytes(self.read(size), "little" if byteorder == "little" else "big")

    def rest(self) -> bytes:
        return self.read(self.left)

    def skip(self, size: int) -> None:
        if size > self.left:
            raise Broken(f"{size} bytes are said to follow where {self.left} do")
        self.position += size

    def part(self, size: int) -> "Part":
        """The next `size` bytes, which are skipped here."""
        self.budget.parts -= 1
        if self.budget.parts < 0:
            raise Broken("it is made of more parts than any picture or video")
        start = self.position
        self.skip(size)
        return Part(self.file, start, start + size, self.budget)


def whole(file: BinaryIO) -> Part:
    return Part(file, 0, file.seek(0, 2))
