"""`python -m dashboard.thumbnailer`: makes small pictures, one after the other, as it is told on its input.

A process of its own, because pictures come from anywhere: one that takes too much memory or time, or breaks the
decoder, ends this process and nothing else. It lives while there is something to do, and nothing else loads Pillow.
"""

import contextlib
import io
import os
import resource
import stat
import string
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct
from PIL import Image, ImageOps

from services.errors import NotEnoughSpace
from services.workspace import write_atomic

SIDE_PIXELS = 320
QUALITY = 78
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "AVIF")
# A picture of 8k by 8k and twice that; each pixel takes up to four bytes, and once more while it is made smaller.
MAX_PIXELS = 128 * 1024 * 1024
MAX_MEMORY_BYTES = 1536 * 1024 * 1024
MAX_FILE_BYTES = 16 * 1024 * 1024
CPU_SECONDS = 15
# What is kept, and how much of it is left when it was too much.
KEEP_FILES = 20_000
KEEP_BYTES = 500 * 1024 * 1024
KEEP_SHARE = 0.9
# As dashboard/thumbnails.py names them.
FOLDER_LETTERS = 2
# So few cannot be too large in all.
FEW_FILES = 4_000


class Task(Struct, frozen=True):
    """`source` must be a file of this size and time; the picture goes to the first of `targets` that can be written.
    Without a source: the oldest pictures below the targets are removed if there are too many."""

    source: str
    size_bytes: int
    mtime_ns: int
    targets: tuple[str, ...]


class Result(Struct, frozen=True):
    """`state`: `bad` says that this file is no picture that can be shown, `not_kept` that there was no place for it."""

    state: Literal["made", "bad", "changed", "not_kept", "pruned"]
    target: str = ""
    reason: str = ""


def make(task: Task) -> Result:
    """Raises whatever the decoders raise for what is no proper picture."""
    if not task.source:
        removed = sum(prune(Path(folder)) for folder in task.targets)
        return Result("pruned", reason=f"{removed} removed")
    try:
        picture = _small(task)
    except FileNotFoundError:
        return Result("changed")
    return Result("changed") if picture is None else _kept(picture, task)


def _small(task: Task) -> bytes | None:
    """None when the file is another one by now."""
    descriptor = os.open(task.source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        figures = os.fstat(descriptor)
        is_same = (figures.st_size, figures.st_mtime_ns) == (task.size_bytes, task.mtime_ns)
        if not is_same or not stat.S_ISREG(figures.st_mode):
            return None
        with Image.open(file, formats=FORMATS) as opened:
            return _encoded(opened)


def _encoded(opened: Image.Image) -> bytes:
    if opened.width * opened.height > MAX_PIXELS:
        raise ValueError(f"{opened.width} by {opened.height} pixels are too many")
    # A JPEG can be read smaller than it is.
    opened.draft("RGB", (2 * SIDE_PIXELS, 2 * SIDE_PIXELS))
    picture = _in_colour(opened)
    picture.thumbnail((SIDE_PIXELS, SIDE_PIXELS), Image.Resampling.LANCZOS, reducing_gap=2.0)
    # What turns it stands in the file's EXIF.
    picture = ImageOps.exif_transpose(picture)
    made = io.BytesIO()
    picture.save(made, "WEBP", quality=QUALITY, method=2, exif=b"", icc_profile=b"")
    return made.getvalue()


def _in_colour(opened: Image.Image) -> Image.Image:
    """The first frame, as RGB or RGBA."""
    if opened.mode in {"RGB", "RGBA"}:
        opened.load()
        return opened
    if opened.mode.startswith("I"):
        # Sixteen bits of grey.
        grey = opened.convert("I").point(lambda value: value * (1 / 256))
        return _with_exif(grey.convert("L").convert("RGB"), opened)
    has_alpha = opened.mode in {"LA", "PA", "La", "RGBa"} or "transparency" in opened.info
    return _with_exif(opened.convert("RGBA" if has_alpha else "RGB"), opened)


def _with_exif(picture: Image.Image, opened: Image.Image) -> Image.Image:
    picture.info["exif"] = opened.getexif().tobytes()
    return picture


def _kept(picture: bytes, task: Task) -> Result:
    reason = ""
    for target in map(Path, task.targets):
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(target, picture)
        except (NotEnoughSpace, OSError) as error:
            reason = str(error)
            continue
        return Result("made", str(target))
    return Result("not_kept", reason=reason)


def prune(folder: Path) -> int:
    """Removes the oldest pictures below `folder` where there are too many; how many went. Raises OSError.

    Never through a link: `folder` lies in one that ComfyUI's user may change, and what it leads to is not its own."""
    if not folder.is_dir():
        return 0
    with contextlib.ExitStack() as opened:
        known = sorted((one for below in _folders(folder, opened) for one in _pictures(below)), reverse=True)
        if len(known) <= FEW_FILES:
            return 0
        if len(known) <= KEEP_FILES and sum(size for _, size, *_ in known) <= KEEP_BYTES:
            return 0
        kept_files, kept_bytes = KEEP_FILES * KEEP_SHARE, KEEP_BYTES * KEEP_SHARE
        removed, total = 0, 0
        for number, (_, size, name, below) in enumerate(known, start=1):
            total += size
            if number > kept_files or total > kept_bytes:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(name, dir_fd=below)
                    removed += 1
        return removed


def _folders(folder: Path, opened: contextlib.ExitStack) -> Iterator[int]:
    """Those of pictures, open."""
    for name in os.listdir(folder):
        if len(name) == FOLDER_LETTERS and set(name) <= set(string.hexdigits):
            with contextlib.suppress(NotADirectoryError, FileNotFoundError):
                below = os.open(folder / name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
                opened.callback(os.close, below)
                yield below


def _pictures(below: int) -> Iterator[tuple[int, int, str, int]]:
    """When each was made, its size, its name, and the folder again. What was begun and never ended is one too."""
    for name in os.listdir(below):
        if name.endswith((".webp", ".tmp")):
            with contextlib.suppress(FileNotFoundError):
                figures = os.stat(name, dir_fd=below, follow_symlinks=False)
                yield figures.st_mtime_ns, figures.st_size, name, below


def _limit() -> None:
    """What holds for all of it. The time starts anew with each picture."""
    for kind, limit in (
        (resource.RLIMIT_AS, MAX_MEMORY_BYTES),
        (resource.RLIMIT_FSIZE, MAX_FILE_BYTES),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(kind, (limit, limit))
    # ComfyUI and the downloads come first.
    os.nice(10)
    Image.MAX_IMAGE_PIXELS = MAX_PIXELS


def _limit_time() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (int(time.process_time()) + CPU_SECONDS, hard))


def main() -> int:
    _limit()
    decode = msgspec.json.Decoder(Task).decode
    for line in sys.stdin.buffer:
        _limit_time()
        try:
            result = make(decode(line))
        except Exception as error:  # noqa: BLE001 (an outer loop)
            result = Result("bad", reason=f"{type(error).__name__}: {error}"[:300])
        sys.stdout.buffer.write(msgspec.json.encode(result) + b"\n")
        sys.stdout.buffer.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
