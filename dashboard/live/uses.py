"""Remembers which model files the runs used."""

import asyncio
import time
from collections.abc import Collection

from dashboard.library import Library
from dashboard.volume import Volume
from services import log
from services.errors import WorkspaceUnavailable
from services.last_used import LastUsed
from services.named_models import NamedModel
from services.runs import Change, Run, RunBook

# Runs come in batches: one writing for all of a batch.
REST_SECONDS = 2.0

_log = log.get("library")


class UsesFeed:
    """Put `heard` behind the run book's `on_change`."""

    def __init__(self, volume: Volume, last_used: LastUsed) -> None:
        self._volume = volume
        self._last_used = last_used
        self._used: set[NamedModel] = set()
        # Unix seconds.
        self._used_at = 0.0
        self._is_failing = False
        self._news = asyncio.Event()

    def heard(self, change: Change, run: Run | None, book: RunBook) -> None:
        if change == "finished" and run is not None and run.state == "success":
            self._used |= book.models(run.prompt_id)
            self._used_at = time.time()
            self._news.set()

    async def keep(self, library: Library) -> None:
        """For ever."""
        while True:
            await self._news.wait()
            self._news.clear()
            used, self._used = self._used, set()
            if not await self._is_kept(used, library):
                # For the next try.
                self._used |= used
                self._news.set()
            await asyncio.sleep(REST_SECONDS)

    async def _is_kept(self, used: Collection[NamedModel], library: Library) -> bool:
        shelf = await library.shelf()
        ids = [
            file.id
            for file in shelf.models.values()
            if NamedModel(None, file.name) in used or NamedModel(file.folder, file.name) in used
        ]
        if not shelf.is_complete:
            # A model that is not known yet may be among them.
            return False
        if not ids:
            return True
        try:
            await self._volume.write(self._last_used.mark, ids, self._used_at)
        except WorkspaceUnavailable as error:
            if not self._is_failing:
                _log.warning("uses_not_kept", reason=error.message)
            self._is_failing = True
            return False
        self._is_failing = False
        library.forget()
        return True
