"""A zip archive as a stream: its length is known before its first byte, and no more than a piece of it is in memory.

Files are stored as they are, because pictures and videos do not become smaller. What the archive's directory needs
comes behind each file (APPNOTE.TXT 4.3.9, https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT), so each is read
once. A file that became shorter, or vanished, leaves a gap: readers find every file through the directory at the end.
"""

import contextlib
import struct
import time
import zlib
from collections.abc import Callable, Generator, Sequence
from typing import BinaryIO

from msgspec import Struct

PIECE_BYTES = 1024 * 1024
# From here on a size or a place needs eight bytes; and so many files another directory.
WIDE = 0xFFFFFFFF
MANY = 0xFFFF

# Version 4.5 for wide sizes, 2.0 otherwise; made on a Unix; sizes behind the data, names in UTF-8.
_WIDE_VERSION, _VERSION = 45, 20
_MADE_ON_UNIX = 3 << 8
_FLAGS = 0x0008 | 0x0800
_MODE = 0o100644 << 16


class Member(Struct, frozen=True):
    """A file that is to go in. `modified`: Unix seconds."""

    name: str
    size_bytes: int
    modified: float

    @property
    def is_wide(self) -> bool:
        return self.size_bytes >= WIDE


class _Written(Struct, frozen=True):
    member: Member
    offset: int
    size_bytes: int
    crc: int


def length(members: Sequence[Member]) -> int:
    """Bytes of the whole archive."""
    data, directory = _extent(members)
    return data + directory + len(_end(len(members), directory, data, is_wide=_is_wide(members)))


def pieces(members: Sequence[Member], open_: Callable[[Member], BinaryIO | None]) -> Generator[bytes, None, None]:
    """The archive, `length(members)` bytes in all. `open_` gives None for a file that is gone; one that grew is cut off
    where it ended when it became a member. Raises OSError."""
    written: list[_Written] = []
    offset = 0
    for member in members:
        if (file := open_(member)) is None:
            continue
        header, size, crc = _header(member), 0, 0
        with contextlib.closing(file):
            yield header
            while piece := file.read(min(PIECE_BYTES, member.size_bytes - size)):
                size, crc = size + len(piece), zlib.crc32(piece, crc)
                yield piece
        yield (descriptor := _descriptor(member, size, crc))
        written.append(_Written(member, offset, size, crc))
        offset += len(header) + size + len(descriptor)
    directory = b"".join(map(_directory_entry, written))
    is_wide = _is_wide(members)
    place = length(members) - len(directory) - len(_end(0, 0, 0, is_wide=is_wide))
    for start in range(offset, place, PIECE_BYTES):
        yield bytes(min(PIECE_BYTES, place - start))
    yield directory + _end(len(written), len(directory), place, is_wide=is_wide)


def _extent(members: Sequence[Member]) -> tuple[int, int]:
    """Bytes of the files with what stands around them, and of the directory."""
    data, directory = 0, 0
    for member in members:
        directory += len(_directory_entry(_Written(member, data, member.size_bytes, 0)))
        data += len(_header(member)) + member.size_bytes + len(_descriptor(member, 0, 0))
    return data, directory


def _is_wide(members: Sequence[Member]) -> bool:
    return len(members) >= MANY or sum(_extent(members)) >= WIDE


def _header(member: Member) -> bytes:
    name, extra = member.name.encode(), struct.pack("<HHQQ", 1, 16, 0, 0) if member.is_wide else b""
    version, size = (_WIDE_VERSION, WIDE) if member.is_wide else (_VERSION, 0)
    fields = (0x04034B50, version, _FLAGS, 0, *_moment(member.modified), 0, size, size, len(name), len(extra))
    return struct.pack("<IHHHHHIIIHH", *fields) + name + extra


def _descriptor(member: Member, size_bytes: int, crc: int) -> bytes:
    return struct.pack("<IIQQ" if member.is_wide else "<IIII", 0x08074B50, crc, size_bytes, size_bytes)


def _directory_entry(written: _Written) -> bytes:
    member, name = written.member, written.member.name.encode()
    # By what was announced, so that the directory has the length that was announced.
    wide = [written.size_bytes] * 2 if member.is_wide else []
    size = WIDE if member.is_wide else written.size_bytes
    is_far = written.offset >= WIDE
    wide += [written.offset] if is_far else []
    extra = struct.pack(f"<HH{len(wide)}Q", 1, 8 * len(wide), *wide) if wide else b""
    version = _WIDE_VERSION if wide else _VERSION
    fields = (0x02014B50, version | _MADE_ON_UNIX, version, _FLAGS, 0, *_moment(member.modified))
    figures = (written.crc, size, size)
    places = (len(name), len(extra), 0, 0, 0, _MODE, WIDE if is_far else written.offset)
    return struct.pack("<IHHHHHHIIIHHHHHII", *fields, *figures, *places) + name + extra


def _end(count: int, directory_bytes: int, place: int, *, is_wide: bool) -> bytes:
    """`place`: where the directory begins."""
    if not is_wide:
        return struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, count, count, directory_bytes, place, 0)
    fields = (44, _WIDE_VERSION | _MADE_ON_UNIX, _WIDE_VERSION, 0, 0, count, count, directory_bytes, place)
    end = struct.pack("<IQHHIIQQQQ", 0x06064B50, *fields)
    locator = struct.pack("<IIQI", 0x07064B50, 0, place + directory_bytes, 1)
    return end + locator + struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, MANY, MANY, WIDE, WIDE, 0)


def _moment(modified: float) -> tuple[int, int]:
    """The time and the day, in UTC; zip knows none before 1980 and none after 2107."""
    at = time.gmtime(min(max(modified, 315_532_800.0), 4_354_819_198.0))
    return at.tm_hour << 11 | at.tm_min << 5 | at.tm_sec // 2, at.tm_year - 1980 << 9 | at.tm_mon << 5 | at.tm_mday
