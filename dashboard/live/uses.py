"""Remembers which model files the runs used."""

import asyncio
import time

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
        self._news = asyncio.Event()

    def heard(self, change: Change, run: Run | None, book: RunBook) -> None:
        if change == "finished" and run is not None and run.state == "success":
            self._used |= book.models(run.prompt_id)
            self._news.set()

    async def keep(self, library: Library) -> None:
        """For ever."""
        while True:
            await self._news.wait()
            self._news.clear()
            used, self._used = self._used, set()
            models = (await library.shelf()).models.values()
            ids = [
                file.id
                for file in models
                if NamedModel(None, file.name) in used or NamedModel(file.folder, file.name) in used
            ]
            try:
                await self._volume.run(self._last_used.mark, ids, time.time())
                library.forget()
            except WorkspaceUnavailable as error:
                _log.warning("uses_not_kept", reason=error.message)
            await asyncio.sleep(REST_SECONDS)
