"""Width and height of a picture, from the first bytes of its file."""

import struct
from typing import BinaryIO

# A JPEG has its size behind what cameras and editors wrote about it.
MAX_SEGMENTS = 200

_NOT_FRAMES = {0xC4, 0xC8, 0xCC}


def picture_size(file: BinaryIO) -> tuple[int, int] | None:
    """Of a PNG, JPEG, GIF, WebP or BMP, as it is stored; None for what is none of these. Raises OSError."""
    head = file.read(32)
    try:
        if head.startswith(b"\x89PNG\r\n\x1a\n"):
            return struct.unpack(">II", head[16:24])
        if head[:6] in {b"GIF87a", b"GIF89a"}:
            return struct.unpack("<HH", head[6:10])
        if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
            return _of_webp(head)
        if head[:2] == b"BM":
            width, height = struct.unpack("<ii", head[18:26])
            return width, abs(height)
        if head[:2] == b"\xff\xd8":
            return _of_jpeg(file)
    except (struct.error, IndexError):
        # It ends before it says so.
        return None
    return None


def _of_webp(head: bytes) -> tuple[int, int] | None:
    """https://developers.google.com/speed/webp/docs/riff_container"""
    kind = head[12:16]
    if kind == b"VP8X":
        return 1 + int.from_bytes(head[24:27], "little"), 1 + int.from_bytes(head[27:30], "little")
    if kind == b"VP8 ":
        width, height = struct.unpack("<HH", head[26:30])
        return width & 0x3FFF, height & 0x3FFF
    if kind == b"VP8L":
        (bits,) = struct.unpack("<I", head[21:25])
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    return None


def _of_jpeg(file: BinaryIO) -> tuple[int, int] | None:
    file.seek(2)
    for _ in range(MAX_SEGMENTS):
        start, marker, length = struct.unpack(">BBH", file.read(4))
        if start != 0xFF:
            return None
        if 0xC0 <= marker <= 0xCF and marker not in _NOT_FRAMES:
            height, width = struct.unpack(">xHH", file.read(5))
            return width, height
        file.seek(length - 2, 1)
    return None
