"""What a partial download remembers: `<name>.part` holds the bytes, `<name>.part.json` which of them are certain.

The journal is never ahead of the data: bytes are synced before it names them.
"""

import contextlib
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from services.workspace import sync_folder, write_atomic

# (first byte, the one behind the last)
Span = tuple[Annotated[int, Meta(ge=0)], Annotated[int, Meta(ge=0)]]


class Journal(Struct, frozen=True):
    """`url` is the address asked for, never a signed one; `etag` the strong validator of the bytes in `spans`.

    `sha256`: what the file is to become, where that is known.
    """

    url: str
    bytes_total: int | None
    etag: str | None
    spans: tuple[Span, ...]
    sha256: str | None = None

    @property
    def bytes_done(self) -> int:
        return sum(end - start for start, end in self.spans)

    @property
    def is_whole(self) -> bool:
        return self.bytes_done == self.bytes_total


_decode = msgspec.json.Decoder(Journal).decode


def part_file(target: Path) -> Path:
    return target.with_name(target.name + ".part")


def lease_file(target: Path) -> Path:
    """Says who writes to the partial file (services/downloads/lease.py)."""
    return target.with_name(target.name + ".part.lease")


def _journal_file(target: Path) -> Path:
    return target.with_name(target.name + ".part.json")


def load(target: Path) -> Journal | None:
    """The journal of the download to `target`, if it makes sense and its bytes are there."""
    try:
        journal = _decode(_journal_file(target).read_bytes())
        length = part_file(target).stat().st_size
    except (FileNotFoundError, msgspec.DecodeError, UnicodeDecodeError):
        return None
    return journal if _is_sound(journal, length) else None


def _is_sound(journal: Journal, length: int) -> bool:
    """Whether its spans are in order, apart, and within the file."""
    position = -1
    for start, end in journal.spans:
        if not position < start < end:
            return False
        position = end
    return position <= min(length, length if journal.bytes_total is None else journal.bytes_total)


def bytes_kept(target: Path, url: str) -> int:
    """How much of `target` a download from `url` would not have to fetch again."""
    journal = load(target)
    return journal.bytes_done if journal and journal.url == url else 0


def save(target: Path, journal: Journal) -> None:
    write_atomic(_journal_file(target), msgspec.json.encode(journal))


def forget(target: Path) -> None:
    """Nothing is certain any more about the partial data, not even after a power cut."""
    with contextlib.suppress(FileNotFoundError):
        _journal_file(target).unlink()
        sync_folder(target.parent)


def discard(target: Path) -> None:
    """Removes the partial data and its journal, in the order that leaves no journal without data."""
    for file in (_journal_file(target), part_file(target)):
        with contextlib.suppress(FileNotFoundError):
            file.unlink()
