"""What a partial download remembers: `<name>.part` holds the bytes, `<name>.part.json` how many of them are certain.

The journal is never ahead of the data: bytes are synced before it names them.
"""

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from services.errors import DownloadFailed
from services.workspace import sync_folder, write_atomic

# What flock(2) says on file systems that have no locks.
_NO_LOCKS = frozenset({errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP})


class Journal(Struct, frozen=True):
    """`url` is the address asked for, never a signed one; `etag` the validator under which the bytes were sent."""

    url: str
    bytes_done: Annotated[int, Meta(ge=0)]
    bytes_total: int | None
    etag: str | None


_decode = msgspec.json.Decoder(Journal).decode


def part_file(target: Path) -> Path:
    return target.with_name(target.name + ".part")


def _journal_file(target: Path) -> Path:
    return target.with_name(target.name + ".part.json")


@contextlib.contextmanager
def held_part(target: Path) -> Iterator[int]:
    """A descriptor of the partial file, which nobody else writes to meanwhile: no other worker of this pod, and none
    of another pod on the same volume. One that stays empty is removed.

    Raises DownloadFailed when someone else holds it, OSError.
    """
    descriptor = os.open(part_file(target), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o664)
    try:
        if not _lock(descriptor, part_file(target)):
            raise DownloadFailed(f"{target.name} is being downloaded already, by another worker", permanent=False)
        try:
            yield descriptor
        finally:
            if not os.fstat(descriptor).st_size:
                discard(target)
    finally:
        os.close(descriptor)


def _lock(descriptor: int, part: Path) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
    # Whoever held it may have made it the finished file since it was opened.
    with contextlib.suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(descriptor), part.lstat())
    return False


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
