"""What may be done with the files that ComfyUI made: look into them, delete them, take them along as a zip."""

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncGenerator, Generator, Iterable, Sequence
from pathlib import Path
from typing import BinaryIO

from msgspec import Struct

from dashboard.gallery import Gallery
from dashboard.thumbnails import Thumbnails
from dashboard.volume import Volume
from services import log, zip_stream
from services.errors import InvalidRequest, NotFound, WorkspaceUnavailable
from services.output_files import OutputFiles
from services.picture_size import picture_size
from services.workflows.document import Document, read_document_file
from services.workspace import Workspace, check_relative_path
from services.zip_stream import Member

# One call to the volume deletes or looks at so many, so that each is in time.
BATCH = 50
# A zip of many gigabytes is not given up because the volume is away for a moment.
PATIENCE_SECONDS = 60.0
RETRY_SECONDS = 1.0
# Of those that were deleted, so many are named in the log.
PATHS_LOGGED = 20

_log = log.get("outputs")


class Undeleted(Struct, frozen=True):
    path: str
    reason: str


class Deleted(Struct, frozen=True):
    removed: tuple[str, ...]
    not_found: tuple[str, ...]
    failed: tuple[Undeleted, ...]
    freed_bytes: int


class Look(Struct, frozen=True):
    """Into one file. `document`: the workflow that it carries; `problem`: why it carries none."""

    width: int | None
    height: int | None
    document: Document | None
    problem: str


class Archive(Struct, frozen=True):
    """A zip that is made while it is sent: `length` bytes."""

    length: int
    pieces: AsyncGenerator[bytes, None]


class OutputDesk:
    def __init__(self, workspace: Workspace, volume: Volume, gallery: Gallery, thumbnails: Thumbnails) -> None:
        self._files = OutputFiles(workspace.output)
        self._workspace = workspace
        self._volume = volume
        self._gallery = gallery
        self._thumbnails = thumbnails

    async def figures(self, path: str) -> os.stat_result:
        """Raises InvalidName, NotFound, WorkspaceUnavailable."""
        return await self._volume.run(self._files.figures, path)

    async def look(self, path: str) -> Look:
        """Raises InvalidName, NotFound, WorkspaceUnavailable."""
        return await self._volume.run(self._look, path)

    async def document(self, path: str) -> Document:
        """The workflow that made it. Raises InvalidName, NotFound, also where it carries none, WorkspaceUnavailable."""
        look = await self.look(path)
        if look.document is None:
            raise NotFound(f"'{path[:200]}': {look.problem}")
        return look.document

    async def small_picture(self, path: str) -> tuple[Path, int]:
        """Where it lies, and when the picture itself was changed, in nanoseconds.

        Raises InvalidName, NotFound, ThumbnailFailed, WorkspaceUnavailable."""
        figures = await self.figures(path)
        return await self._thumbnails.of(self._workspace.output.joinpath(path)), figures.st_mtime_ns

    async def delete(self, paths: Iterable[str]) -> Deleted:
        """Raises InvalidName before anything is deleted, WorkspaceUnavailable."""
        wanted = list(dict.fromkeys(paths))
        for path in wanted:
            check_relative_path(path)
        found: list[Deleted] = []
        try:
            for start in range(0, len(wanted), BATCH):
                found.append(await self._volume.write(self._delete, wanted[start : start + BATCH]))
        finally:
            self._gallery.forget()
            removed = [path for deleted in found for path in deleted.removed]
            freed = sum(deleted.freed_bytes for deleted in found)
            _log.info("outputs_deleted", count=len(removed), paths=removed[:PATHS_LOGGED], freed_bytes=freed)
        return Deleted(
            tuple(removed),
            tuple(path for deleted in found for path in deleted.not_found),
            tuple(one for deleted in found for one in deleted.failed),
            freed,
        )

    async def archive(self, paths: Iterable[str]) -> Archive:
        """What is not there is left out. Raises InvalidName, NotFound when nothing is, WorkspaceUnavailable."""
        wanted = list(dict.fromkeys(paths))
        members: list[Member] = []
        for start in range(0, len(wanted), BATCH):
            members += await self._volume.run(self._members, wanted[start : start + BATCH])
        if not members:
            raise NotFound("there is none of these outputs")
        return Archive(await asyncio.to_thread(zip_stream.length, members), self._pieces(members))

    async def _pieces(self, members: Sequence[Member]) -> AsyncGenerator[bytes, None]:
        """Ends early when the volume fails: whoever reads knows the length, and sees that it is broken."""
        pieces = zip_stream.pieces(members, self._opened)
        try:
            while piece := await self._next(pieces):
                yield piece
        except WorkspaceUnavailable as error:
            _log.warning("zip_broken", reason=error.message, files=len(members))
        finally:
            # A thread that still reads ends with its piece, and closes it itself.
            with contextlib.suppress(ValueError):
                pieces.close()

    async def _next(self, pieces: Generator[bytes, None, None]) -> bytes:
        """Empty after the last. Raises WorkspaceUnavailable when the volume fails, or is away for PATIENCE_SECONDS."""
        until = time.monotonic() + PATIENCE_SECONDS
        while (reading := self._begun(pieces)) is None:
            if time.monotonic() > until:
                raise WorkspaceUnavailable("the volume is away")
            await asyncio.sleep(RETRY_SECONDS)
        try:
            while True:
                try:
                    return await self._volume.wait_for(reading)
                except WorkspaceUnavailable:
                    if reading.done() or time.monotonic() > until:
                        raise
        finally:
            if not reading.done():
                reading.add_done_callback(lambda _done: pieces.close())

    def _begun(self, pieces: Generator[bytes, None, None]) -> asyncio.Future[bytes] | None:
        """None while the volume is known to be away."""
        try:
            return self._volume.start(lambda: next(pieces, b""))
        except WorkspaceUnavailable:
            return None

    def _look(self, path: str) -> Look:
        document, problem = None, ""
        with self._opened_for_all(path) as file:
            width, height = picture_size(file) or (None, None)
            try:
                # By what is open, because the name may be another file's by now.
                document = read_document_file(Path(f"/proc/self/fd/{file.fileno()}"))
            except InvalidRequest as error:
                problem = error.message
        return Look(width, height, document, problem)

    def _opened_for_all(self, path: str) -> BinaryIO:
        """Raises NotFound also for what a program of ComfyUI's keeps to itself: the volume is not to blame."""
        try:
            return self._files.open(path)
        except PermissionError:
            raise NotFound(f"the output '{path[:200]}' may not be read") from None

    def _delete(self, paths: Sequence[str]) -> Deleted:
        removed, not_found, failed, freed = [], [], [], 0
        for path in paths:
            try:
                figures = self._files.figures(path)
                freed += self._files.remove(path)
            except NotFound:
                not_found.append(path)
            except PermissionError as error:
                failed.append(Undeleted(path, error.strerror or str(error)))
            else:
                removed.append(path)
                self._thumbnails.forget(self._workspace.output.joinpath(path), figures)
        return Deleted(tuple(removed), tuple(not_found), tuple(failed), freed)

    def _members(self, paths: Sequence[str]) -> list[Member]:
        members = []
        for path in paths:
            with contextlib.suppress(NotFound, PermissionError):
                figures = self._files.figures(path)
                members.append(Member(path, figures.st_size, figures.st_mtime))
        return members

    def _opened(self, member: Member) -> BinaryIO | None:
        try:
            return self._files.open(member.name)
        except (NotFound, PermissionError) as error:
            _log.warning("zip_without", path=member.name, reason=str(error))
            return None
