"""What ComfyUI made, as it appears."""

import asyncio
import contextlib
from typing import Any

from dashboard.gallery import Collection, Gallery
from dashboard.live.hub import Hub, message
from services.runs import Change, Run

# How often is looked while someone listens.
LOOK_SECONDS = 2.0
NEWEST = 24


class OutputsFeed:
    """Put `heard` behind the run book's `on_change`."""

    def __init__(self, gallery: Gallery, hub: Hub) -> None:
        self._gallery = gallery
        self._hub = hub
        self._news = asyncio.Event()
        # What those who listen know.
        self._told: Collection | None = None

    def heard(self, change: Change, run: Run | None) -> None:
        if change == "finished" and run is not None and run.outputs:
            self.touch()

    def touch(self) -> None:
        """Files came or went: nobody is to wait for the next look."""
        self._gallery.forget()
        self._news.set()

    async def tell(self) -> None:
        """For ever."""
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), LOOK_SECONDS)
            self._news.clear()
            if not self._hub.is_heard("outputs"):
                self._told = None
                continue
            found = await self._gallery.collection()
            # Who is the first to listen is told by the snapshot.
            if self._told is not None and found.version != self._told.version:
                self._hub.publish("outputs", "outputs", message("outputs_changed", _shown(found)))
            self._told = found

    async def snapshot(self) -> str:
        found = await self._gallery.collection()
        # Others may know an older one, and have yet to be told.
        self._told = self._told or found
        return message("snapshot", _shown(max(found, self._told, key=lambda known: known.version)))


def _shown(found: Collection) -> dict[str, Any]:
    everything = found.everything
    return {"channel": "outputs", "total": len(everything.files), "newest": everything.page(0, NEWEST)}
