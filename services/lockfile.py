"""What hosts said of files: one JSON file on the volume, `config/presets.lock.json`, that people can read.

It is why a second pod installs the same bytes, and why a pod without a network knows how large they are.
"""

import contextlib
import threading
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from msgspec import Struct

from services import log
from services.cached_file import CachedFile
from services.errors import NotEnoughSpace
from services.file_lock import held
from services.log import redact
from services.workspace import Workspace, write_atomic

# Some ten thousand files. What is larger was not written here.
MAX_BYTES = 16 * 1024 * 1024


class Fact(Struct, frozen=True):
    """What the host of `url` said of its file; None where it said nothing.

    `url`: as the preset names it. `commit`: the version of the repository, on Hugging Face. `etag`: the host's own
    word for these very bytes. `at`: Unix seconds.
    """

    url: str
    size_bytes: int | None = None
    sha256: str | None = None
    commit: str | None = None
    etag: str | None = None
    at: float = 0.0


class _Entry(Struct, frozen=True):
    """A Fact without its address, which is the key."""

    size_bytes: int | None = None
    sha256: str | None = None
    commit: str | None = None
    etag: str | None = None
    at: float = 0.0


class _Document(Struct, frozen=True):
    files: dict[str, _Entry] = {}


_decode = msgspec.json.Decoder(_Document).decode


class LockFile:
    """Facts by address. Blocking; never raises: what cannot be kept is known as long as this process runs."""

    def __init__(self, workspace: Workspace) -> None:
        self._file = CachedFile[dict[str, Fact]](workspace.config / "presets.lock.json", _read, {})
        self._writing = threading.Lock()
        # What no file holds: signed addresses, and what a volume did not take.
        self._unwritten: dict[str, Fact] = {}
        self._is_full = False

    def all(self) -> Mapping[str, Fact]:
        """Costs one `stat` while nothing changes."""
        written = self._written() or {}
        return {**written, **self._unwritten} if self._unwritten else written

    def put(self, facts: Iterable[Fact], *, renew: bool = False) -> None:
        """Adds `facts` to what is there now, which another pod may have added to. What was locked before stays, unless
        it is to be renewed."""
        with self._writing, held(self._file.file):
            found = {**self._unwritten, **{fact.url: fact for fact in facts}}
            written = self._written()
            new = {url: fact for url, fact in found.items() if renew or url not in (written or {})}
            # A signed address opens the file to whoever reads it.
            told = {url: fact for url, fact in new.items() if redact(url) == url}
            kept = self._write(written, told) if told and written is not None else {}
            self._unwritten = {url: fact for url, fact in new.items() if url not in kept}

    def _written(self) -> dict[str, Fact] | None:
        """What is on the volume; None: it cannot be read."""
        try:
            return self._file.get()
        except (ValueError, RecursionError) as error:
            self._set_aside(error)
            return {}
        except OSError as error:
            log.get("lockfile").warning("lock_unreadable", file=str(self._file.file), error=str(error))
            return None

    def _write(self, written: Mapping[str, Fact], told: Mapping[str, Fact]) -> Mapping[str, Fact]:
        """What of `told` is on the volume now, beside `written`."""
        document = _document({**written, **told})
        if len(document) > MAX_BYTES:
            # The next to read it would set it aside, with all that is in it.
            if not self._is_full:
                log.get("lockfile").warning("lock_full", file=str(self._file.file), max_bytes=MAX_BYTES)
            self._is_full = True
            told = _fitting(written, told)
            if not told:
                return {}
            document = _document({**written, **told})
        try:
            write_atomic(self._file.file, document)
        except (OSError, NotEnoughSpace) as error:
            log.get("lockfile").warning("lock_not_written", file=str(self._file.file), error=str(error))
            return {}
        return told

    def _set_aside(self, error: Exception) -> None:
        """Kept for whoever looks into it. A volume that cannot be written keeps it where it is."""
        file = self._file.file
        log.get("lockfile").error("lock_unreadable", file=str(file), error=str(error))
        with contextlib.suppress(OSError):
            file.rename(file.with_name(f"{file.name}.unreadable"))


def _read(data: bytes) -> dict[str, Fact]:
    """Raises ValueError, RecursionError."""
    if len(data) > MAX_BYTES:
        raise ValueError(f"it is larger than {MAX_BYTES} bytes")
    entries = _decode(data).files.items()
    return {url: Fact(url, said.size_bytes, said.sha256, said.commit, said.etag, said.at) for url, said in entries}


def _fitting(written: Mapping[str, Fact], told: Mapping[str, Fact]) -> dict[str, Fact]:
    """What of `told` there is room for beside `written`."""
    room, fitting = MAX_BYTES - len(_document(written)), {}
    for url, fact in told.items():
        # A little more than it adds.
        if (size := len(_document({url: fact}))) <= room:
            fitting[url], room = fact, room - size
    return fitting


def _document(facts: Mapping[str, Fact]) -> bytes:
    """Sorted, so that two versions of it can be compared line by line."""
    files: dict[str, Any] = {}
    for url in sorted(facts):
        said = msgspec.to_builtins(facts[url])
        files[url] = {name: said[name] for name in _Entry.__struct_fields__ if said[name] is not None}
    return msgspec.json.format(msgspec.json.encode({"files": files}), indent=1) + b"\n"
