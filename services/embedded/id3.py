"""MP3: the user's own texts (`TXXX`) and comments of an ID3v2 tag, which stands before the sound."""

from services.embedded.texts import Broken, Part, Texts

ID3_HEAD = b"ID3"

_ENCODINGS = ("latin-1", "utf-16", "utf-16-be", "utf-8")
_UNSYNCHRONISED, _EXTENDED = 0x80, 0x40
_MAX_FRAMES = 1000


def is_mp3(head: bytes) -> bool:
    return head.startswith(ID3_HEAD) or (len(head) > 1 and head[0] == 0xFF and head[1] & 0xE6 == 0xE2)


def read_id3(file: Part, texts: Texts) -> None:
    """Raises Broken."""
    if file.left < 10 or (head := file.read(10))[:3] != ID3_HEAD:
        return
    version, flags = head[3], head[5]
    data = file.read(_safe(head[6:10]))
    if flags & _UNSYNCHRONISED and version < 4:
        data = data.replace(b"\xff\0", b"\xff")
    place = 0
    if flags & _EXTENDED and version >= 3:
        place = _safe(data[:4]) if version == 4 else 4 + int.from_bytes(data[:4], "big")
    _read_frames(data, place, version, texts)


def _read_frames(data: bytes, place: int, version: int, texts: Texts) -> None:
    name_size, head_size = (3, 6) if version == 2 else (4, 10)
    for _ in range(_MAX_FRAMES):
        name = data[place : place + name_size]
        # What fills up the rest.
        if place + head_size > len(data) or not name.strip(b"\0"):
            return
        digits = data[place + name_size : place + 2 * name_size]
        size = _safe(digits) if version == 4 else int.from_bytes(digits, "big")
        frame = data[place + head_size : place + head_size + size]
        if len(frame) < size:
            raise Broken("a frame is longer than its tag")
        if version == 4 and data[place + 9] & 2:
            frame = frame.replace(b"\xff\0", b"\xff")
        if name in {b"TXXX", b"TXX"}:
            _add(frame[:1], frame[1:], "", texts)
        elif name in {b"COMM", b"COM"}:
            # Its language comes first.
            _add(frame[:1], frame[4:], "comment", texts)
        place += head_size + size


def _add(encoding: bytes, data: bytes, key: str, texts: Texts) -> None:
    """A description, which is the key unless there is one, and the text."""
    number = encoding[0] if encoding else 0
    if number >= len(_ENCODINGS):
        return
    description, _, text = data.decode(_ENCODINGS[number], errors="replace").partition("\0")
    # Each of the two may say in which order its bytes come.
    texts.add(key or description, text.removeprefix("\ufeff"))


def _safe(digits: bytes) -> int:
    """A number of seven bits per byte."""
    value = 0
    for digit in digits:
        value = value << 7 | digit & 0x7F
    return value
