"""Follows the workers' progress in Redis and says per preset how far it is."""

import asyncio
import contextlib
import time
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

import msgspec
import redis.asyncio
from redis.exceptions import RedisError

from dashboard.live.hub import Hub, message
from dashboard.messages import ScheduleMessage, download_list, install_message
from dashboard.shelf import Shelf
from services import log, progress, standing
from services.installs import as_preset
from services.presets import Preset
from services.progress import FileProgress

if TYPE_CHECKING:
    from dashboard.library import Library

# At most this often per preset; the last word is never held back.
TICK_SECONDS = 0.25
RETRY_SECONDS = 1.0

_UNDER_WAY = {"downloading", "verifying", "queued"}
_log = log.get("downloads_feed")


class DownloadsFeed:
    """`progress` is the live state by artifact id; the library reads it."""

    def __init__(self, pool: redis.asyncio.Redis, hub: Hub) -> None:
        self._redis = pool
        self._hub = hub
        self._changed: set[str] = set()
        self._ended = False
        self._news = asyncio.Event()
        self.progress: dict[str, FileProgress] = {}
        # Grows with every change, so that answers made from it can be told apart.
        self.version = 0

    async def follow(self) -> None:
        """For ever; a lost Redis is waited for."""
        while True:
            try:
                async with self._redis.pubsub() as channel:
                    await channel.subscribe(progress.CHANNEL)
                    await self._catch_up()
                    async for event in channel.listen():
                        if event["type"] == "message":
                            self._take(progress.decode(event["data"]))
            except (RedisError, OSError) as error:
                _log.info("progress_not_followed", reason=str(error))
            except msgspec.DecodeError as error:
                _log.error("progress_unreadable", reason=str(error))
            await asyncio.sleep(RETRY_SECONDS)

    async def tell(self, library: "Library") -> None:
        """For ever: each preset at once when something moved, then again after TICK_SECONDS at the earliest."""
        told_at: dict[str, float] = {}
        due_in: float | None = None
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), due_in)
            self._news.clear()
            if self._ended:
                self._ended = False
                library.forget()
            due_in = await self._publish(library, told_at)

    def is_moving(self, artifact_id: str) -> bool:
        live = self.progress.get(artifact_id)
        return live is not None and live.is_moving and time.time() - live.at < progress.SILENT_SECONDS

    def touch(self, artifact_ids: Iterable[str]) -> None:
        """Something other than progress happened to these: asked for, cancelled, removed."""
        self._changed.update(artifact_ids)
        self.version += 1
        self._ended = True
        self._news.set()

    async def snapshot(self, library: "Library") -> str:
        shelf = await library.shelf()
        listed, paused = download_list(shelf.catalogue, shelf.view), shelf.view.schedule.is_paused
        return message("snapshot", {"channel": "downloads", "downloads": listed, "paused": paused})

    def tell_schedule(self, schedule: ScheduleMessage) -> None:
        self._hub.publish("downloads", "downloads_schedule", message("downloads_schedule", schedule))

    async def _publish(self, library: "Library", told_at: dict[str, float]) -> float | None:
        """What is not due yet stays in `_changed`; the seconds until it is, None when nothing waits."""
        changed, self._changed = self._changed, set()
        if not changed or not self._hub.is_heard("downloads"):
            return None
        due_in = None
        shelf, now = await library.shelf(), time.monotonic()
        for preset in _touched(changed, shelf).values():
            status = standing.status(preset, shelf.view)
            wait = told_at.get(preset.id, 0.0) + TICK_SECONDS - now
            # Also one that stands still, while its files come in for another.
            if wait > 0 and any(file.state in _UNDER_WAY for file in status.files):
                self._changed.update(changed & {file.id for file in preset.files})
                due_in = min(wait, due_in or wait)
                continue
            told_at[preset.id] = now
            self._hub.publish(
                "downloads", f"download:{preset.id}", message("download_progress", install_message(status))
            )
        if not library.is_current:
            # It may have been the last word, told from an old picture.
            self._changed |= changed
            due_in = min(RETRY_SECONDS, due_in or RETRY_SECONDS)
        return due_in

    async def _catch_up(self) -> None:
        stored = await self._redis.hgetall(progress.BOARD_KEY)
        self.progress.clear()
        self.progress.update({found.id: found for found in map(progress.decode, stored.values())})
        self.touch(self.progress)

    def _take(self, news: FileProgress) -> None:
        self.progress[news.id] = news
        self.version += 1
        self._changed.add(news.id)
        self._ended = self._ended or news.state not in _UNDER_WAY
        self._news.set()


def _touched(artifact_ids: Collection[str], shelf: Shelf) -> dict[str, Preset]:
    """The presets that bring one of these files, single files and what left the catalogue among them."""
    others = [
        as_preset(install)
        for id_, install in shelf.view.installs.items()
        if id_ not in shelf.catalogue.presets and any(file.id in artifact_ids for file in install.files)
    ]
    known = [preset for id_ in artifact_ids for preset in shelf.catalogue.presets_with(id_)]
    return {preset.id: preset for preset in (*known, *others)}
