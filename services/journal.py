"""What a partial download remembers: `<name>.part` holds the bytes, `<name>.part.json` which of them are certain.

The journal is never ahead of the data: bytes are synced before it names them as certain. What was only written it
names apart: that outlives the process, but not the machine.
"""

import contextlib
import os
from collections.abc import Collection
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from services.pod import boot_id
from services.workspace import sync_folder, write_atomic

# (first byte, the one behind the last)
Span = tuple[Annotated[int, Meta(ge=0)], Annotated[int, Meta(ge=0)]]


class Journal(Struct, frozen=True):
    """`url` is the address asked for, never a signed one; `etag` the strong validator of the bytes in `spans`.

    `sha256`: what the file is to become, where that is known. `written`: `spans` and what was only written so far,
    which lasts as long as the machine runs whose boot is `boot` (services/pod.py).
    """

    url: str
    bytes_total: Annotated[int, Meta(ge=0, le=2**53)] | None
    etag: str | None
    spans: tuple[Span, ...]
    sha256: str | None = None
    written: tuple[Span, ...] = ()
    boot: str = ""

    @property
    def usable_spans(self) -> tuple[Span, ...]:
        """What can be built upon: what was only written, too, if the machine has not gone down since, and a digest will
        tell should it have lost some of it all the same."""
        is_written = self.sha256 is not None and self.boot != "" and self.boot == boot_id()
        return self.written if is_written and self.written else self.spans

    @property
    def bytes_done(self) -> int:
        return sum(end - start for start, end in self.usable_spans)

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


def _new_journal_file(target: Path) -> Path:
    return target.with_name(target.name + ".part.json.tmp")


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
    for spans in (journal.spans, journal.written):
        position = -1
        for start, end in spans:
            if not position < start < end:
                return False
            position = end
        if position > min(length, length if journal.bytes_total is None else journal.bytes_total):
            return False
    return True


def bytes_kept(target: Path, urls: Collection[str], sha256: str | None = None) -> int:
    """How much of `target` a download from one of `urls`, or of the file with this digest, would not fetch again."""
    journal = load(target)
    if journal is None or not (journal.url in urls or (sha256 is not None and journal.sha256 == sha256)):
        return 0
    return journal.bytes_done


def save(target: Path, journal: Journal) -> None:
    write_atomic(_journal_file(target), msgspec.json.encode(journal))


def note(target: Path, journal: Journal) -> None:
    """As `save`, for as long as the machine runs: nothing is waited for. Raises OSError."""
    # A name of its own, so that what a kill leaves of it is gone with the rest.
    temporary = _new_journal_file(target)
    temporary.write_bytes(msgspec.json.encode(journal))
    os.replace(temporary, _journal_file(target))


def sync(target: Path) -> None:
    """What was noted last outlives the machine, too. Raises OSError."""
    with contextlib.suppress(FileNotFoundError), _journal_file(target).open("rb") as file:
        os.fsync(file.fileno())
    sync_folder(target.parent)


def forget(target: Path) -> None:
    """Nothing is certain any more about the partial data, not even after a power cut."""
    with contextlib.suppress(FileNotFoundError):
        _journal_file(target).unlink()
        sync_folder(target.parent)


def discard(target: Path) -> None:
    """Removes the partial data and its journal, in the order that leaves no journal without data."""
    for file in (_new_journal_file(target), _journal_file(target), part_file(target)):
        with contextlib.suppress(FileNotFoundError):
            file.unlink()
