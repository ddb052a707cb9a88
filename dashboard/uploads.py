"""Uploads as the dashboard takes them in. Their data has threads of its own: syncing a chunk takes longer than a page
may wait, and must not keep the pages from the volume."""

import asyncio
import contextlib
import weakref
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from dashboard.volume import Volume
from services import installs, log
from services.adoptions import digests_named
from services.errors import InvalidRequest, NotFound, WorkspaceUnavailable
from services.settings import Settings
from services.uploads import Upload, UploadBook, Wish
from services.workspace import Workspace

if TYPE_CHECKING:
    from dashboard.library import Library
    from dashboard.live.downloads import DownloadsFeed

THREADS = 4
# Of one upload. More wait, unread: the sender feels it.
CHUNKS_AT_ONCE = 4
# How much of a chunk is held in memory.
PIECE_BYTES = 1024 * 1024
# How long the volume may take for a piece, or for syncing a chunk.
WRITE_SECONDS = 60.0
RETRY_SECONDS = 10.0
SWEEP_SECONDS = 3600.0

T = TypeVar("T")
_log = log.get("uploads")


class Stopped(Exception):
    """Nobody wants the check any more."""


class UploadDesk:
    """`checked`: how many bytes were read of those that are being checked, by id."""

    def __init__(self, settings: Settings, volume: Volume) -> None:
        self._volume = volume
        self._book = UploadBook(Workspace(settings.workspace), settings.comfyui_dir, settings.disk_reserve_bytes)
        self._threads = ThreadPoolExecutor(THREADS, "upload")
        # So that one file is read at a time, and hashing leaves chunks their threads.
        self._checks = ThreadPoolExecutor(1, "upload-check")
        self._slots: weakref.WeakValueDictionary[str, asyncio.Semaphore] = weakref.WeakValueDictionary()
        self._locks: weakref.WeakValueDictionary[tuple[str, int], asyncio.Lock] = weakref.WeakValueDictionary()
        self._news = asyncio.Event()
        self.checked: dict[str, int] = {}

    async def all(self) -> list[Upload]:
        """Raises WorkspaceUnavailable, as all that follow."""
        return sorted((await self._volume.run(self._book.all)).values(), key=lambda upload: upload.touched_at)

    async def get(self, id_: str) -> Upload:
        """Raises NotFound."""
        return await self._volume.run(self._book.get, id_)

    async def folders(self) -> tuple[str, ...]:
        return await self._volume.run(self._book.folders)

    async def begin(self, wish: Wish, library: "Library", downloads: "DownloadsFeed") -> tuple[Upload, bool]:
        """The upload of that file, and whether it had begun before.

        Raises InvalidName, InvalidRequest, Conflict, NotEnoughSpace.
        """
        library.forget()
        view = (await library.shelf()).view
        promised = installs.promised_bytes(view, ())
        coming = {id_ for id_ in view.progress if downloads.is_moving(id_)}
        coming |= {file.id for install in view.installs.values() if install.is_active for file in install.files}
        # What waits for someone to do something may well be brought in by hand.
        coming -= {id_ for id_, hold in view.holds.items() if hold.until is None and not downloads.is_moving(id_)}
        upload, joined = await self._volume.write(self._book.begin, wish, coming, promised)
        _log.info("upload_begun", **_names(upload), size_bytes=upload.size_bytes, joined=joined)
        return upload, joined

    async def delete(self, id_: str) -> None:
        """Raises NotFound."""
        upload = await self.get(id_)
        await self._volume.run(self._book.delete, id_)
        self.checked.pop(id_, None)
        _log.info("upload_dropped", **_names(upload), state=upload.state, bytes_done=upload.bytes_done)

    async def receive(
        self, id_: str, number: int, digest: bytes | None, length: int | None, pieces: AsyncIterator[bytes]
    ) -> Upload:
        """Takes in one chunk. One that is here already is not read. `length`: what was announced.

        Raises NotFound, InvalidRequest when it is not what was announced, Conflict, NotEnoughSpace.
        """
        expected = (await self._volume.write(self._book.get, id_)).chunk_bytes(number)
        if length not in {None, expected}:
            raise InvalidRequest(f"chunk {number} must have {expected} bytes, not {length}")
        slot = self._slots.setdefault(id_, asyncio.Semaphore(CHUNKS_AT_ONCE))
        # One chunk twice at a time: the second finds it here, or does what the first could not.
        lock = self._locks.setdefault((id_, number), asyncio.Lock())
        async with slot, lock:
            upload = await self.get(id_)
            if upload.has(number):
                return upload
            await self._write(upload, number, digest, pieces)
            return await self._volume.write(self._book.note, id_, number)

    async def complete(self, id_: str) -> Upload:
        """Raises NotFound, Conflict, NotEnoughSpace."""
        upload = await self._volume.write(self._book.complete, id_)
        self._news.set()
        return upload

    async def follow(self, library: "Library", downloads: "DownloadsFeed") -> None:
        """For ever: checks what is complete, also what was when the dashboard ended, and gives up what is stale."""
        while True:
            self._news.clear()
            try:
                for upload in await self.all():
                    if upload.state == "checking":
                        await self._check(upload, library, downloads)
                if self._volume.report.writable:
                    await self._volume.run(self._book.remove_stale)
            except WorkspaceUnavailable as error:
                _log.info("uploads_not_checked", reason=error.message)
                await asyncio.sleep(RETRY_SECONDS)
                continue
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), SWEEP_SECONDS)

    def close(self) -> None:
        self.checked.clear()
        for threads in (self._threads, self._checks):
            threads.shutdown(wait=False, cancel_futures=True)

    async def _write(self, upload: Upload, number: int, digest: bytes | None, pieces: AsyncIterator[bytes]) -> None:
        chunk = await self._do(self._book.open_chunk, upload, number, digest)
        try:
            buffer = bytearray()
            async for piece in pieces:
                buffer += piece
                if len(buffer) >= PIECE_BYTES:
                    await self._do(chunk.write, buffer)
                    buffer = bytearray()
            await self._do(chunk.write, buffer)
            await self._do(chunk.finish)
        finally:
            # Not waited for: a thread that hangs in it would keep this one, too.
            with contextlib.suppress(RuntimeError):
                self._threads.submit(chunk.close)

    async def _do(self, work: Callable[..., T], *arguments: object) -> T:
        """`work(*arguments)` in a thread for data. Raises WorkspaceUnavailable."""
        future = asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)
        try:
            return await asyncio.wait_for(asyncio.shield(future), WRITE_SECONDS)
        except TimeoutError:
            raise WorkspaceUnavailable(f"the volume took in no data for {WRITE_SECONDS:.0f} s: go on later") from None
        except OSError as error:
            raise WorkspaceUnavailable(f"the volume: {error.strerror or error}") from None

    async def _check(self, upload: Upload, library: "Library", downloads: "DownloadsFeed") -> None:
        """Raises WorkspaceUnavailable: it is tried again."""
        named = digests_named((await library.shelf()).catalogue, upload.model_id)
        self.checked[upload.id] = 0

        def progress(done: int) -> None:
            if upload.id not in self.checked:
                raise Stopped
            self.checked[upload.id] = done

        try:
            # Where nothing can be written, nothing need be read.
            await self._volume.write(self._book.get, upload.id)
            loop = asyncio.get_running_loop()
            ended = await loop.run_in_executor(self._checks, self._book.check, upload.id, named, progress)
            # Before anyone hears that it is done: who does looks for the model.
            library.forget()
            await self._volume.run(self._book.end, ended)
            _log.info("upload_ended", **_names(upload), state=ended.state, reason=ended.error)
        except (Stopped, NotFound):
            return
        except OSError as error:
            raise WorkspaceUnavailable(f"{upload.name} cannot be read: {error.strerror or error}") from None
        finally:
            self.checked.pop(upload.id, None)
        downloads.touch([upload.model_id])


def _names(upload: Upload) -> dict[str, str]:
    return {"upload_id": upload.id, "folder": upload.folder, "name": upload.name}
