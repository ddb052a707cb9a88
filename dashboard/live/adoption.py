"""Hashes files that were copied in by hand, one after the other, in a thread of its own, and says how far it is."""

import asyncio
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from msgspec import Struct

from dashboard.live.downloads import DownloadsFeed
from dashboard.live.hub import Hub, message
from dashboard.volume import Volume
from services import log
from services.adoptions import Adoptions, StillChanging, digests_named, hash_file
from services.downloads.pace import Speed
from services.errors import NotEnoughSpace, NotFound, WorkspaceUnavailable
from services.models import ModelFile
from services.settings import Settings
from services.verified import Verified, VerifiedFiles
from services.workspace import Workspace

if TYPE_CHECKING:
    from dashboard.library import Library

# At most this often; the last word is never held back.
TICK_SECONDS = 0.25
# Presets are told of what was found this often: ten thousand small files would have the volume read as often.
SHOW_SECONDS = 2.0
RETRY_SECONDS = 5.0
# How many of those that were given up are told of.
FAILED_KEPT = 100
# Of the files that were asked for, so many are named in the log: there may be ten thousand.
IDS_LOGGED = 20

_log = log.get("adoption")


class AdoptedFile(Struct, frozen=True):
    id: str
    folder: str
    name: str
    state: Literal["waiting", "hashing"]
    bytes_done: int
    bytes_total: int


class GivenUp(Struct, frozen=True):
    id: str
    folder: str
    name: str
    reason: str


class AdoptionStatus(Struct, frozen=True):
    """Bytes of all that was asked for since nothing was left. `failed`: the last of those that were given up."""

    files: tuple[AdoptedFile, ...]
    bytes_done: int
    bytes_total: int
    bytes_per_second: float
    failed: tuple[GivenUp, ...]


class AdoptionMessage(Struct, frozen=True):
    """`file`: the one that is being hashed; None when nothing is left."""

    file: AdoptedFile | None
    files_left: int
    bytes_done: int
    bytes_total: int
    bytes_per_second: float
    failed: tuple[GivenUp, ...]


class Stopped(Exception):
    """Nobody wants the file's digest any more."""


@dataclass
class _Work:
    """The file that is being hashed. The thread writes `bytes_done` and ends when `is_over` is set."""

    file: ModelFile
    bytes_done: int = 0
    is_over: bool = False

    def progress(self, bytes_done: int) -> None:
        if self.is_over:
            raise Stopped
        self.bytes_done = bytes_done


class AdoptionFeed:
    def __init__(self, settings: Settings, volume: Volume, hub: Hub) -> None:
        self._workspace = Workspace(settings.workspace)
        self._volume = volume
        self._hub = hub
        self._records = Adoptions(self._workspace)
        self._verified = VerifiedFiles(self._workspace)
        self._thread = ThreadPoolExecutor(1, "adoption")
        self._lock = asyncio.Lock()
        self._news = asyncio.Event()
        self._is_loaded = False
        # The one that is being hashed is among them until it is done.
        self._waiting: dict[str, ModelFile] = {}
        self._work: _Work | None = None
        self._finished_bytes = 0
        self._speed = Speed()
        self._failed: list[GivenUp] = []
        self._found: set[str] = set()
        self._told_at = self._shown_at = 0.0

    async def ask(self, files: Iterable[ModelFile]) -> int:
        """How many of `files` were not waiting yet. Raises NotEnoughSpace, WorkspaceUnavailable."""
        async with self._lock:
            await self._load()
            new = {file.id: file for file in files if file.id not in self._waiting}
            if new:
                await self._volume.write(self._records.put, [*self._waiting.values(), *new.values()])
                self._failed = [] if not self._waiting else self._failed
                self._waiting |= new
                _log.info("adoption_asked", files=len(new), model_ids=list(new)[:IDS_LOGGED])
        self._news.set()
        return len(new)

    async def cancel(self, id_: str | None) -> int:
        """The file `id_`, or all; how many. Raises NotEnoughSpace, WorkspaceUnavailable."""
        async with self._lock:
            await self._load()
            gone = [known for known in self._waiting if id_ in {None, known}]
            if gone:
                await self._volume.write(
                    self._records.put, [file for known, file in self._waiting.items() if known not in gone]
                )
            for known in gone:
                self._waiting.pop(known, None)
                if self._work is not None and self._work.file.id == known:
                    self._work.is_over = True
        self._tell(force=not self._waiting)
        return len(gone)

    def status(self) -> AdoptionStatus:
        done, total = self._bytes()
        files = tuple(self._file(file) for file in self._waiting.values())
        return AdoptionStatus(files, done, total, round(self._speed.bytes_per_second, 1), tuple(self._failed))

    async def follow(self, library: "Library", downloads: DownloadsFeed) -> None:
        """For ever; a volume that is away is waited for."""
        while True:
            self._news.clear()
            try:
                async with self._lock:
                    await self._load()
                await self._hash_all(library, downloads)
            except WorkspaceUnavailable as error:
                _log.info("adoption_waits", reason=error.message, files=len(self._waiting))
                await asyncio.sleep(RETRY_SECONDS)
                continue
            await self._news.wait()

    def close(self) -> None:
        if self._work is not None:
            self._work.is_over = True
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _load(self) -> None:
        """What was left when the dashboard ended. Raises WorkspaceUnavailable."""
        if not self._is_loaded:
            self._waiting = {file.id: file for file in await self._volume.run(self._records.unfinished)}
            self._is_loaded = True

    async def _hash_all(self, library: "Library", downloads: DownloadsFeed) -> None:
        """Raises WorkspaceUnavailable."""
        if not self._waiting:
            return
        while self._waiting:
            file = next(iter(self._waiting.values()))
            named = digests_named((await library.shelf()).catalogue, file.id)
            if file.id not in self._waiting:
                continue
            try:
                await self._take(file, named)
            except (Stopped, NotFound) as ended:
                _log.info("adoption_dropped", model_id=file.id, reason=str(ended))
            except (StillChanging, NotEnoughSpace) as error:
                self._give_up(file, error.message)
            self._waiting.pop(file.id, None)
            self._show(library, downloads)
        async with self._lock:
            if not self._waiting:
                await self._volume.write(self._records.put, ())
        self._tell(force=True)
        _log.info("adoption_ended", hashed_bytes=self._finished_bytes, given_up=len(self._failed))
        self._finished_bytes, self._speed = 0, Speed()

    async def _take(self, file: ModelFile, named: frozenset[str]) -> None:
        """Raises Stopped, NotFound, StillChanging, NotEnoughSpace, WorkspaceUnavailable."""
        try:
            record = await self._hash(file, named)
        except OSError as error:
            # Nobody else's fault if the volume answers otherwise.
            await self._volume.run(self._workspace.root.stat)
            self._give_up(file, error.strerror or str(error))
            return
        await self._volume.write(self._verified.put, record)
        self._found.add(file.id)
        self._finished_bytes += file.size_bytes

    async def _hash(self, file: ModelFile, named: frozenset[str]) -> Verified:
        # Where nothing can be written, nothing need be read.
        await self._volume.write(self._workspace.root.stat)
        work = self._work = _Work(file)
        hashing = asyncio.get_running_loop().run_in_executor(
            self._thread, hash_file, self._workspace, file, named, work.progress
        )
        try:
            while not hashing.done():
                await asyncio.wait({hashing}, timeout=TICK_SECONDS)
                self._tell()
            return hashing.result()
        finally:
            self._work, work.is_over = None, True

    def _give_up(self, file: ModelFile, reason: str) -> None:
        _log.warning("adoption_given_up", model_id=file.id, reason=reason)
        self._failed = [*self._failed[1 - FAILED_KEPT :], GivenUp(file.id, file.folder, file.name, reason)]

    def _show(self, library: "Library", downloads: DownloadsFeed) -> None:
        now = time.monotonic()
        if self._found and (not self._waiting or now - self._shown_at >= SHOW_SECONDS):
            found, self._found, self._shown_at = self._found, set(), now
            library.forget()
            downloads.touch(found)

    def _tell(self, *, force: bool = False) -> None:
        now = time.monotonic()
        if not force and now - self._told_at < TICK_SECONDS:
            return
        self._told_at = now
        done, total = self._bytes()
        self._speed.measure(done, now)
        if not self._hub.is_heard("downloads"):
            return
        said = AdoptionMessage(
            file=self._file(self._work.file) if self._work else None,
            files_left=len(self._waiting),
            bytes_done=done,
            bytes_total=total,
            bytes_per_second=round(self._speed.bytes_per_second, 1),
            failed=tuple(self._failed),
        )
        self._hub.publish("downloads", "adoption", message("adoption_progress", said))

    def _bytes(self) -> tuple[int, int]:
        now = self._work.bytes_done if self._work else 0
        return self._finished_bytes + now, self._finished_bytes + sum(f.size_bytes for f in self._waiting.values())

    def _file(self, file: ModelFile) -> AdoptedFile:
        is_now = self._work is not None and self._work.file.id == file.id
        done = self._work.bytes_done if self._work is not None and is_now else 0
        return AdoptedFile(file.id, file.folder, file.name, "hashing" if is_now else "waiting", done, file.size_bytes)
