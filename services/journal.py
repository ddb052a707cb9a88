"""What a partial download remembers: `<name>.part` holds the bytes, `<name>.part.json` how many of them are certain.

The journal is never ahead of the data: bytes are synced before it names them.
"""

import contextlib
from pathlib import Path

import msgspec
from msgspec import Struct

from services.workspace import write_atomic


class Journal(Struct, frozen=True):
    """`url` is the address asked for, never a signed one; `etag` the validator under which the bytes were sent."""

    url: str
    bytes_done: int
    bytes_total: int | None
    etag: str | None


_decode = msgspec.json.Decoder(Journal).decode


def part_file(target: Path) -> Path:
    return target.with_name(target.name + ".part")


def _journal_file(target: Path) -> Path:
    return target.with_name(target.name + ".part.json")


def load(target: Path, url: str) -> Journal | None:
    """The journal of the download to `target`, if its bytes are there and came from `url`."""
    try:
        journal = _decode(_journal_file(target).read_bytes())
        enough = part_file(target).stat().st_size >= journal.bytes_done
    except (FileNotFoundError, msgspec.DecodeError, UnicodeDecodeError):
        return None
    return journal if journal.url == url and enough else None


def bytes_kept(target: Path, url: str) -> int:
    """How much of `target` a download from `url` would not have to fetch again."""
    journal = load(target, url)
    return journal.bytes_done if journal else 0


def save(target: Path, journal: Journal) -> None:
    write_atomic(_journal_file(target), msgspec.json.encode(journal))


def discard(target: Path) -> None:
    """Removes the partial data and its journal, in the order that leaves no journal without data."""
    for file in (_journal_file(target), part_file(target)):
        with contextlib.suppress(FileNotFoundError):
            file.unlink()
