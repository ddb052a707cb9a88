"""MP4, MOV and AVIF: boxes in boxes. A video's texts lie in `moov`, before or behind the pictures; a still's EXIF is
one of the items of its `meta`.

With `use_metadata_tags`, as ComfyUI has it, FFmpeg writes `moov/udta/meta` with `keys` and `ilst`; without, the tags
that iTunes knows, of which the comment takes any text.
"""

import struct
from collections.abc import Iterator

from services.embedded.exif import read_exif
from services.embedded.texts import Broken, Part, Texts

_CONTAINERS = {b"moov", b"udta"}
_COMMENTS = {b"\xa9cmt": "comment", b"\xa9des": "description", b"desc": "description", b"ldes": "description"}
_MAX_KEYS = 1000
_MAX_ITEMS = 1000
_MAX_DEPTH = 8


def is_mp4(head: bytes) -> bool:
    return head[4:8] in {b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide"}


def is_still(head: bytes) -> bool:
    return head[4:8] == b"ftyp" and head[8:12] in {b"avif", b"avis", b"mif1", b"heic", b"heix"}


def read_mp4(file: Part, texts: Texts) -> None:
    """Raises Broken."""
    _read_boxes(file, Part(file.file, file.position, file.end, file.budget), texts, 0)


def _read_boxes(file: Part, part: Part, texts: Texts, depth: int) -> None:
    for kind, box in _boxes(part):
        if kind in _CONTAINERS and depth < _MAX_DEPTH:
            _read_boxes(file, box, texts, depth + 1)
        elif kind == b"meta":
            _read_meta(file, box, texts)
        elif kind in _COMMENTS:
            _add_classic(_COMMENTS[kind], box.rest(), texts)


def _boxes(part: Part) -> Iterator[tuple[bytes, Part]]:
    while part.left >= 8:
        size, kind = part.number(4), part.read(4)
        head = 8
        if size == 1:
            size, head = part.number(8), 16
        elif size == 0:
            # To the end.
            size = part.left + head
        if size < head:
            raise Broken("a box is smaller than its own head")
        yield kind, part.part(size - head)


def _read_meta(file: Part, box: Part, texts: Texts) -> None:
    head = box.read(min(8, box.left))
    box.position -= len(head)
    # QuickTime's has no version, and begins with its first box at once.
    if head[4:8] not in {b"hdlr", b"keys"}:
        box.skip(4)
    keys: list[bytes] = []
    exif_ids: set[int] = set()
    places: Part | None = None
    for kind, inner in _boxes(box):
        if kind == b"keys":
            keys = _keys(inner)
        elif kind == b"ilst":
            _read_list(inner, keys, texts)
        elif kind == b"iinf":
            exif_ids = _exif_items(inner)
        elif kind == b"iloc":
            places = inner
    if places is not None and exif_ids:
        _read_items(file, places, exif_ids, texts)


def _keys(box: Part) -> list[bytes]:
    box.skip(4)
    count = min(box.number(4), _MAX_KEYS)
    found = []
    for _, (_namespace, key) in zip(range(count), _boxes(box), strict=False):
        found.append(key.rest())
    return found


def _read_list(box: Part, keys: list[bytes], texts: Texts) -> None:
    for kind, entry in _boxes(box):
        number = int.from_bytes(kind, "big")
        name: bytes | str = _COMMENTS.get(kind, "")
        if 0 < number <= len(keys):
            name = keys[number - 1]
        for inner_kind, inner in _boxes(entry):
            if inner_kind == b"name" and kind == b"----":
                name = inner.rest()[4:]
            elif inner_kind == b"data" and name:
                # What type it is of, and of which country.
                texts.add(name, inner.rest()[8:])


def _add_classic(key: str, data: bytes, texts: Texts) -> None:
    """QuickTime's: a length, a language, the text."""
    if len(data) > 4:
        (length,) = struct.unpack_from(">H", data)
        texts.add(key, data[4 : 4 + length] if length == len(data) - 4 else data[4:])


def _exif_items(box: Part) -> set[int]:
    version = box.number(4) >> 24
    count = min(box.number(2 if version == 0 else 4), _MAX_ITEMS)
    found = set()
    for _, (kind, entry) in zip(range(count), _boxes(box), strict=False):
        entry_version = entry.number(4) >> 24
        if kind != b"infe" or entry_version < 2:
            continue
        id_ = entry.number(2 if entry_version == 2 else 4)
        entry.skip(2)
        if entry.read(4) == b"Exif":
            found.add(id_)
    return found


def _read_items(file: Part, box: Part, ids: set[int], texts: Texts) -> None:
    version, sizes = box.number(4) >> 24, box.number(2)
    offset_size, length_size, base_size = sizes >> 12, sizes >> 8 & 15, sizes >> 4 & 15
    index_size = sizes & 15 if version else 0
    for _ in range(min(box.number(2 if version < 2 else 4), _MAX_ITEMS)):
        id_ = box.number(2 if version < 2 else 4)
        # Of those that lie in another box, the places are not the file's.
        method = box.number(2) & 15 if version else 0
        box.skip(2)
        base = box.number(base_size)
        pieces = []
        for _ in range(min(box.number(2), _MAX_ITEMS)):
            box.skip(index_size)
            pieces.append((base + box.number(offset_size), box.number(length_size)))
        if id_ in ids and method == 0:
            _read_exif(file, pieces, texts)


def _read_exif(file: Part, pieces: list[tuple[int, int]], texts: Texts) -> None:
    data = b"".join(_piece(file, start, size) for start, size in pieces)
    if len(data) > 4:
        read_exif(data[4 + int.from_bytes(data[:4], "big") :], texts)


def _piece(file: Part, start: int, size: int) -> bytes:
    if start + size > file.end:
        raise Broken("an item lies behind the end of the file")
    return Part(file.file, start, start + size, file.budget).rest()
