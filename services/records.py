"""Small records on the volume, one JSON file each: what was asked for, what is held back, what was verified.

Each kind of record has its folder and one kind of writer at a time; files appear by rename, so a reader sees a whole
record or none.
"""

import contextlib
import os
import time
from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import msgspec

from services import log
from services.errors import InvalidName
from services.workspace import check_name, write_atomic

T = TypeVar("T", bound=msgspec.Struct)

# What changed within this time may change again under the same time stamp.
_SETTLED_SECONDS = 2.0

# Inode, mtime in nanoseconds, size. Not the inode alone: the next version may get that of one that is gone.
_Version = tuple[int, int, int]


@dataclass(frozen=True)
class _Read(Generic[T]):
    """A record, and the version it was read from; None while another one might look the same."""

    record: T
    version: _Version | None


class RecordFolder(Generic[T]):
    """The records of one type in one folder, by key. Reading costs one `stat` while nothing changes."""

    def __init__(self, folder: Path, record_type: type[T]) -> None:
        self.folder = folder
        self._decoder = msgspec.json.Decoder(record_type)
        self._encoder = msgspec.json.Encoder()
        # One value, because threads share it: the folder's time stamp, and what was read under it.
        self._known: tuple[int, dict[str, _Read[T]]] = (-1, {})

    def put(self, key: str, record: T) -> None:
        """Raises NotEnoughSpace, OSError."""
        write_atomic(self._file(key), msgspec.json.format(self._encoder.encode(record), indent=1) + b"\n")

    def get(self, key: str) -> T | None:
        return self._read(key, str(self._file(key)))

    def delete(self, key: str) -> bool:
        """Whether there was such a record."""
        try:
            self._file(key).unlink()
        except FileNotFoundError:
            return False
        return True

    def all(self) -> dict[str, T]:
        """Every record, by key. Raises OSError when the volume does not answer."""
        try:
            mtime_ns = self.folder.stat().st_mtime_ns
        except FileNotFoundError:
            return {}
        read_at_mtime_ns, known = self._known
        if mtime_ns != read_at_mtime_ns:
            settled = _is_settled(mtime_ns)
            known = self._read_changed(known)
            self._known = (mtime_ns if settled else -1, known)
        return {key: read.record for key, read in known.items()}

    def _read_changed(self, before: dict[str, _Read[T]]) -> dict[str, _Read[T]]:
        """What is still the version that was read before is not opened again."""
        records = {}
        with os.scandir(self.folder) as entries:
            found = [(key, entry) for entry in entries if (key := _key_of(entry, before))]
        for key, entry in found:
            known, version = before.get(key), _version_of(entry)
            if known is not None and known.version is not None and known.version == version:
                records[key] = known
            elif (record := self._read(key, entry.path)) is not None:
                records[key] = _Read(record, version)
        return records

    def _read(self, key: str, path: str) -> T | None:
        try:
            # There may be ten thousand: a Path and a buffered file cost more than the reading.
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                return self._decoder.decode(_read_all(descriptor))
            finally:
                os.close(descriptor)
        except FileNotFoundError:
            return None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            self._set_aside(key, error)
            return None

    def _file(self, key: str) -> Path:
        return self.folder / f"{check_name(key)}.json"

    def _set_aside(self, key: str, error: Exception) -> None:
        """A record nobody can read must not stop the others, and is kept for whoever looks into it."""
        log.get("records").error("record_unreadable", record=str(self._file(key)), error=str(error))
        # A volume that cannot be written keeps it where it is.
        with contextlib.suppress(OSError):
            self._file(key).rename(self.folder / f"{key}.unreadable")


def _key_of(entry: os.DirEntry[str], before: Container[str]) -> str | None:
    """Of what may be a record of ours: anything else in the folder is someone's own business."""
    key = entry.name.removesuffix(".json")
    if key == entry.name or not entry.is_file(follow_symlinks=False):
        return None
    if key not in before:
        try:
            check_name(key)
        except InvalidName:
            return None
    return key


def _read_all(descriptor: int) -> bytes:
    pieces = []
    while piece := os.read(descriptor, 64 * 1024):
        pieces.append(piece)
    return b"".join(pieces)


def _version_of(entry: os.DirEntry[str]) -> _Version | None:
    try:
        figures = entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        return None
    if not _is_settled(figures.st_mtime_ns):
        return None
    return figures.st_ino, figures.st_mtime_ns, figures.st_size


def _is_settled(mtime_ns: int) -> bool:
    return time.time() - mtime_ns / 1e9 > _SETTLED_SECONDS
