"""What ComfyUI, and nodes and programs like it, write into the files they save: texts beside pictures and sounds."""

from collections.abc import Callable, Mapping
from typing import BinaryIO

from msgspec import Struct

from services.embedded.id3 import is_mp3, read_id3
from services.embedded.jpeg import JPEG_HEAD, read_jpeg
from services.embedded.json_heads import GLB_HEAD, is_safetensors, is_svg, read_glb, read_safetensors, read_svg
from services.embedded.matroska import MATROSKA_HEAD, read_matroska
from services.embedded.mp4 import is_mp4, is_still, read_mp4
from services.embedded.png import PNG_HEAD, read_png
from services.embedded.texts import Broken, Part, Texts, whole
from services.embedded.vorbis import FLAC_HEAD, OGG_HEAD, read_flac, read_ogg
from services.embedded.webp import is_webp, read_webp

HEAD_BYTES = 64
PICTURES = {"PNG", "WebP", "JPEG", "AVIF"}


class Embedded(Struct, frozen=True):
    """`kind`: what the file is, for people. `texts`: by key in lower case, `workflow` and `prompt` among them.
    `problem`: why the rest of the file could not be read."""

    kind: str
    texts: Mapping[str, str]
    problem: str | None


_Read = Callable[[Part, Texts], None]


def read(file: BinaryIO) -> Embedded | None:
    """None for a file of no kind that could carry a text. Reads and skips; memory and time have bounds, whatever the
    size. Raises OSError."""
    part = whole(file)
    kind, reader = _kind(part.read(min(HEAD_BYTES, part.left)))
    if not kind:
        return None
    texts, problem = Texts(), None
    try:
        if reader is not None:
            reader(Part(file, 0, part.end), texts)
    except Broken as error:
        problem = str(error)
    return Embedded(kind, texts.found, problem)


def is_picture(file: BinaryIO) -> bool:
    """By its first bytes. Raises OSError."""
    file.seek(0)
    kind, _ = _kind(file.read(HEAD_BYTES))
    return kind in PICTURES


def _kind(head: bytes) -> tuple[str, _Read | None]:
    kinds: tuple[tuple[bool, str, _Read | None], ...] = (
        (head.startswith(PNG_HEAD), "PNG", read_png),
        (is_webp(head), "WebP", read_webp),
        (head.startswith(JPEG_HEAD), "JPEG", read_jpeg),
        (head.startswith(b"GIF8"), "GIF", None),
        (is_still(head), "AVIF", read_mp4),
        (is_mp4(head), "MP4", read_mp4),
        (head.startswith(MATROSKA_HEAD), "WebM", read_matroska),
        (head.startswith(FLAC_HEAD), "FLAC", read_flac),
        (head.startswith(OGG_HEAD), "Ogg", read_ogg),
        (is_mp3(head), "MP3", read_id3),
        (head.startswith(GLB_HEAD), "GLB", read_glb),
        (is_svg(head), "SVG", read_svg),
        (is_safetensors(head), "safetensors", read_safetensors),
    )
    return next(((kind, reader) for is_it, kind, reader in kinds if is_it), ("", None))
