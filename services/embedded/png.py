"""PNG and APNG: text chunks; ComfyUI's animated ones write theirs as `comf`, behind the picture."""

import zlib

from services.embedded.exif import read_exif
from services.embedded.texts import Broken, Part, Texts

PNG_HEAD = b"\x89PNG\r\n\x1a\n"


def read_png(file: Part, texts: Texts) -> None:
    """Raises Broken."""
    file.skip(len(PNG_HEAD))
    while file.left >= 12 and not texts.is_complete:
        length, kind = file.number(4), file.read(4)
        chunk = file.part(length)
        if kind in {b"tEXt", b"comf"}:
            key, _, text = chunk.rest().partition(b"\0")
            texts.add(key, text)
        elif kind == b"zTXt":
            key, _, packed = chunk.rest().partition(b"\0")
            texts.add(key, _unpacked(packed[1:], texts.room))
        elif kind == b"iTXt":
            _add_international(chunk.rest(), texts)
        elif kind == b"eXIf":
            read_exif(chunk.rest(), texts)
        elif kind == b"IEND":
            return
        # The checksum, which a text that was read need not fit.
        file.skip(4)


def _add_international(data: bytes, texts: Texts) -> None:
    key, _, rest = data.partition(b"\0")
    is_packed, rest = rest[:1] == b"\1", rest[2:]
    _language, _, rest = rest.partition(b"\0")
    _translated, _, text = rest.partition(b"\0")
    texts.add(key, _unpacked(text, texts.room) if is_packed else text)


def _unpacked(data: bytes, limit: int) -> bytes:
    unpacking = zlib.decompressobj()
    try:
        # 0 would be no limit.
        text = unpacking.decompress(data, max(limit, 1))
    except zlib.error as error:
        raise Broken(f"a text cannot be unpacked: {error}") from None
    if unpacking.unconsumed_tail:
        raise Broken(f"a text is larger than {limit} bytes when unpacked")
    return text
