"""Reads the heads of the model files, a few at a time, behind everything else that the volume is wanted for."""

import asyncio
import contextlib
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from dashboard.volume import Volume
from services import log
from services.errors import WorkspaceUnavailable
from services.models import ModelFile

if TYPE_CHECKING:
    from dashboard.library import Library

# One call to the volume reads for about this long, and rests after each file, so that others get their turn.
BATCH_SECONDS = 0.1
REST_SECONDS = 0.002
# What was read is kept this often while there is more.
KEEP_SECONDS = 30.0
# How often is looked whether there is something new, and how long a volume that is away is left alone.
LOOK_SECONDS = 5.0

_log = log.get("headers")


class HeadersFeed:
    def __init__(self, volume: Volume) -> None:
        self._volume = volume
        self._kept_at = 0.0
        self._is_closed = False

    async def follow(self, library: "Library") -> None:
        """For ever; a volume that is away is waited for."""
        # After the first picture, which someone waits for.
        await library.shelf()
        await self._load(library)
        version, is_owed = -1, False
        while True:
            shelf = await library.shelf() if version < 0 else library.newest()
            if shelf.version != version:
                is_read = await self._read_all(library, library.facts.unread(shelf.models.values()))
                # What is left is found again by the next look.
                version, is_owed = shelf.version if is_read else -1, True
                if is_read and shelf.is_complete:
                    library.facts.keep_only(shelf.models)
            elif is_owed:
                # Nothing changed for a while.
                await self._keep(library)
                is_owed = False
            await asyncio.sleep(LOOK_SECONDS)

    def close(self) -> None:
        """A thread that is reading ends with its file."""
        self._is_closed = True

    async def _load(self, library: "Library") -> None:
        while True:
            try:
                return await self._volume.run(library.facts.load)
            except WorkspaceUnavailable:
                await asyncio.sleep(LOOK_SECONDS)

    async def _read_all(self, library: "Library", files: list[ModelFile]) -> bool:
        """Whether the volume answered."""
        waiting = iter(files)
        try:
            for file in waiting:
                reading = self._volume.start(self._read_some, library, [file], waiting)
                await asyncio.wait({reading})
                await self._volume.wait_for(reading)
                if time.monotonic() - self._kept_at > KEEP_SECONDS:
                    await self._keep(library)
        except WorkspaceUnavailable as error:
            _log.info("headers_not_read", reason=error.message)
            return False
        return True

    async def _keep(self, library: "Library") -> None:
        self._kept_at = time.monotonic()
        # Where nothing can be written, all is read again after the next start.
        if not self._volume.report.writable:
            return
        with contextlib.suppress(WorkspaceUnavailable):
            keeping = self._volume.start(library.keep)
            await asyncio.wait({keeping})
            await self._volume.wait_for(keeping)

    def _read_some(self, library: "Library", first: Iterable[ModelFile], more: Iterable[ModelFile]) -> None:
        """In a thread. Raises OSError."""
        until = time.monotonic() + BATCH_SECONDS
        for files in (first, more):
            for file in files:
                library.facts.read(file)
                if self._is_closed or time.monotonic() > until:
                    return
                time.sleep(REST_SECONDS)
