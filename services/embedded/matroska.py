"""WebM and Matroska: the `SimpleTag`s of EBML's `Tags`. FFmpeg writes their names in capitals."""

from services.embedded.texts import Broken, Part, Texts

MATROSKA_HEAD = b"\x1a\x45\xdf\xa3"

_SEGMENT, _CLUSTER = 0x18538067, 0x1F43B675
_TAGS, _TAG, _SIMPLE_TAG = 0x1254C367, 0x7373, 0x67C8
_TAG_NAME, _TAG_STRING = 0x45A3, 0x4487
_MAX_DEPTH = 4


def read_matroska(file: Part, texts: Texts) -> None:
    """Raises Broken."""
    while file.left >= 2 and not texts.is_complete:
        id_, size = _id(file), _size(file)
        # A segment, and what was cut off or streamed and so has no size, is gone through piece by piece.
        if id_ == _SEGMENT or size is None:
            file.part(0)
            continue
        element = file.part(min(size, file.left))
        if id_ == _TAGS:
            _read_tags(element, texts, 0)


def _read_tags(part: Part, texts: Texts, depth: int) -> None:
    """Of one `Tags`, `Tag` or `SimpleTag`."""
    name, value = b"", None
    while part.left >= 2:
        id_, size = _id(part), _size(part)
        element = part.part(part.left if size is None else size)
        if id_ == _TAG_NAME:
            name = element.rest()
        elif id_ == _TAG_STRING:
            value = element.rest()
        elif id_ in {_TAG, _SIMPLE_TAG} and depth < _MAX_DEPTH:
            _read_tags(element, texts, depth + 1)
    if name and value is not None:
        texts.add(name, value)


def _id(part: Part) -> int:
    """With the bits that tell its length, as the specification writes them."""
    first = part.number(1)
    length = 9 - first.bit_length()
    if length > 4:
        raise Broken("an element has no name")
    return first << 8 * (length - 1) | part.number(length - 1)


def _size(part: Part) -> int | None:
    """None: not known."""
    first = part.number(1)
    length = 9 - first.bit_length()
    if length > 8:
        raise Broken("an element has no size")
    value = (first & (1 << 8 - length) - 1) << 8 * (length - 1) | part.number(length - 1)
    return None if value == (1 << 7 * length) - 1 else value
