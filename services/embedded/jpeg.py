"""JPEG: EXIF and comments, in the segments before the picture."""

from services.embedded.exif import EXIF_HEAD, read_exif
from services.embedded.texts import Part, Texts

JPEG_HEAD = b"\xff\xd8\xff"

_EXIF, _COMMENT, _SCAN, _END = 0xE1, 0xFE, 0xDA, 0xD9
_ALONE = {0x01, *range(0xD0, 0xD8)}


def read_jpeg(file: Part, texts: Texts) -> None:
    """Raises Broken."""
    file.skip(2)
    while file.left >= 4:
        while (marker := file.number(1)) == 0xFF:
            pass
        if marker in {_SCAN, _END}:
            return
        if marker in _ALONE:
            continue
        segment = file.part(max(file.number(2) - 2, 0))
        if marker == _EXIF:
            data = segment.rest()
            if data.startswith(EXIF_HEAD):
                read_exif(data, texts)
        elif marker == _COMMENT:
            texts.add("comment", segment.rest())
