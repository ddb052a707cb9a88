"""Small records on the volume, one JSON file each: what was asked for, what is held back, what was verified.

Each kind of record has its folder and one kind of writer at a time; files appear by rename, so a reader sees a whole
record or none.
"""

import contextlib
import os
import time
from pathlib import Path
from typing import Generic, TypeVar

import msgspec

from services import log
from services.workspace import check_name, write_atomic

T = TypeVar("T", bound=msgspec.Struct)

# A folder changed within this time may change again under the same time stamp.
_SETTLED_SECONDS = 2.0


class RecordFolder(Generic[T]):
    """The records of one type in one folder, by key. Reading costs one `stat` while nothing changes."""

    def __init__(self, folder: Path, record_type: type[T]) -> None:
        self.folder = folder
        self._decoder = msgspec.json.Decoder(record_type)
        self._encoder = msgspec.json.Encoder()
        self._read_at_mtime_ns = -1
        self._records: dict[str, tuple[int, T]] = {}

    def put(self, key: str, record: T) -> None:
        """Raises NotEnoughSpace, OSError."""
        write_atomic(self._file(key), msgspec.json.format(self._encoder.encode(record), indent=1) + b"\n")

    def get(self, key: str) -> T | None:
        try:
            return self._decoder.decode(self._file(key).read_bytes())
        except FileNotFoundError:
            return None
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            self._set_aside(key, error)
            return None

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
        if mtime_ns != self._read_at_mtime_ns:
            self._records = self._read_changed()
            settled = time.time() - mtime_ns / 1e9 > _SETTLED_SECONDS
            self._read_at_mtime_ns = mtime_ns if settled else -1
        return {key: record for key, (_inode, record) in self._records.items()}

    def _read_changed(self) -> dict[str, tuple[int, T]]:
        """Rename gives every version of a record an inode of its own, so an unchanged inode needs no reading."""
        records = {}
        with os.scandir(self.folder) as entries:
            found = [(entry.name.removesuffix(".json"), entry.inode()) for entry in entries if _is_record(entry.name)]
        for key, inode in found:
            known = self._records.get(key)
            if known is not None and known[0] == inode:
                records[key] = known
            elif (record := self.get(key)) is not None:
                records[key] = (inode, record)
        return records

    def _file(self, key: str) -> Path:
        return self.folder / f"{check_name(key)}.json"

    def _set_aside(self, key: str, error: Exception) -> None:
        """A record nobody can read must not stop the others, and is kept for whoever looks into it."""
        log.get("records").error("record_unreadable", record=str(self._file(key)), error=str(error))
        with contextlib.suppress(FileNotFoundError):
            self._file(key).rename(self.folder / f"{key}.unreadable")


def _is_record(name: str) -> bool:
    return name.endswith(".json") and not name.startswith(".")
