"""WebP: a RIFF file, with EXIF in a chunk of its own."""

from services.embedded.exif import read_exif
from services.embedded.texts import Part, Texts


def is_webp(head: bytes) -> bool:
    return head[:4] == b"RIFF" and head[8:12] == b"WEBP"


def read_webp(file: Part, texts: Texts) -> None:
    """Raises Broken."""
    file.skip(12)
    while file.left >= 8:
        kind, size = file.read(4), file.number(4, "little")
        chunk = file.part(size)
        if kind == b"EXIF":
            read_exif(chunk.rest(), texts)
        # Chunks begin at even places; the last one's filling may be missing.
        file.skip(min(size % 2, file.left))
