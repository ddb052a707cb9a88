"""EXIF, which is a TIFF without its picture. ComfyUI's WebP nodes write `prompt:{…}` as the camera's model, and
`workflow:{…}` as its make, and further ones in the tags before that; other nodes write a comment.
"""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from services.embedded.texts import Texts

EXIF_HEAD = b"Exif\0\0"

_MAX_TAGS = 1000
_EXIF_IFD, _USER_COMMENT, _XP_COMMENT = 0x8769, 0x9286, 0x9C9C
_NAMES = {0x010E: "description", 0x9286: "comment", 0x9C9C: "comment"}
_BYTE, _ASCII, _LONG, _UNDEFINED = 1, 2, 4, 7
_TYPES = {_BYTE, _ASCII, _LONG, _UNDEFINED}
# A key as ComfyUI puts it before the JSON.
_KEYED = re.compile(r"([A-Za-z_][\w-]{0,63}):\s*(?=[{\[\"])")


def read_exif(data: bytes, texts: Texts) -> None:
    """`data` begins with its byte order, or with `Exif`. What points outside of it is passed over. Raises Broken."""
    data = data.removeprefix(EXIF_HEAD)
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(data[:4])
    if order is None or len(data) < 8:
        return
    tiff = _Tiff(data, order, len(data), texts)
    for tag, kind, value in tiff.entries(tiff.number(4)):
        if tag == _EXIF_IFD and kind == _LONG:
            for inner, inner_kind, comment in tiff.entries(int.from_bytes(value, tiff.byteorder)):
                _add(inner, inner_kind, comment, order, texts)
        else:
            _add(tag, kind, value, order, texts)


@dataclass
class _Tiff:
    """`room`: how many bytes are still given out, lest a thousand tags say that each is all of it."""

    data: bytes
    order: str
    room: int
    texts: Texts

    @property
    def byteorder(self) -> Literal["little", "big"]:
        return "little" if self.order == "<" else "big"

    def entries(self, start: int) -> Iterator[tuple[int, int, bytes]]:
        """(tag, type, value) of one directory; only of types that can be text or lead to another directory."""
        if start + 2 > len(self.data):
            return
        (count,) = struct.unpack_from(f"{self.order}H", self.data, start)
        for place in range(start + 2, start + 2 + 12 * min(count, _MAX_TAGS), 12):
            if place + 12 > len(self.data) or self.room <= 0:
                return
            self.texts.count_tag()
            tag, kind, length = struct.unpack_from(f"{self.order}HHI", self.data, place)
            size = length * 4 if kind == _LONG else length
            if kind not in _TYPES or (kind == _LONG and (tag != _EXIF_IFD or length != 1)):
                continue
            at = place + 8 if size <= 4 else self.number(place + 8)
            if at + size <= len(self.data):
                self.room -= size
                yield tag, kind, self.data[at : at + size]

    def number(self, at: int) -> int:
        number: int = struct.unpack_from(f"{self.order}I", self.data, at)[0]
        return number


def _add(tag: int, kind: int, value: bytes, order: str, texts: Texts) -> None:
    if tag == _USER_COMMENT:
        text = _comment(value, order)
    elif tag == _XP_COMMENT:
        text = value.decode("utf-16-le", errors="replace")
    elif kind in {_ASCII, _UNDEFINED}:
        text = value.decode(errors="replace")
    else:
        return
    text = text.strip("\0 ")
    if keyed := _KEYED.match(text):
        texts.add(keyed[1], text[keyed.end() :])
    elif tag in _NAMES:
        texts.add(_NAMES[tag], text)


def _comment(value: bytes, order: str) -> str:
    """Its first eight bytes say how the rest is written. Some programs write UTF-16 in the other byte order."""
    if not value.startswith(b"UNICODE\0"):
        known = value.startswith((b"ASCII\0\0\0", b"JIS\0\0\0\0\0", bytes(8)))
        return value[8 if known else 0 :].decode(errors="replace")
    text = value[8:]
    ours, other = ("utf-16-le", "utf-16-be") if order == "<" else ("utf-16-be", "utf-16-le")
    # Of Latin letters, every other byte is nothing.
    head = text[:64].decode(ours, errors="replace")
    is_ours = sum(letter < "\u0100" for letter in head) * 2 >= len(head)
    return text.decode(ours if is_ours else other, errors="replace")
