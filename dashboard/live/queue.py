"""Who waits and runs in ComfyUI, and how far it is."""

import asyncio
import contextlib
from collections.abc import Callable

from dashboard.live.hub import Hub, message
from dashboard.messages import QueueMessage
from services.comfyui_socket import RETRY_SECONDS, Connected, Disconnected, Message, events, events_of
from services.errors import ComfyUIUnavailable
from services.runs import Change, Run, RunBook

TICK_SECONDS = 0.1
RECENT = 10


class QueueFeed:
    """Put `heard` into the run book as its `on_change`."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._moved: dict[str, Run] = {}
        self._queue_changed = False
        self._news = asyncio.Event()

    def heard(self, change: Change, run: Run | None) -> None:
        if run is None:
            self._queue_changed = True
        elif change == "finished":
            self._moved.pop(run.prompt_id, None)
            self._hub.publish("queue", f"run:{run.prompt_id}", message("run_finished", run))
        else:
            self._moved[run.prompt_id] = run
        self._news.set()

    async def tell(self, book: RunBook) -> None:
        """For ever: at most ten messages a second, whatever ComfyUI sends."""
        while True:
            await self._news.wait()
            self._news.clear()
            if self._queue_changed:
                self._queue_changed = False
                self._hub.publish("queue", "queue", message("queue_status", queue_message(book)))
            moved, self._moved = self._moved, {}
            for run in moved.values():
                self._hub.publish("queue", f"run:{run.prompt_id}", message("run_progress", run))
            await asyncio.sleep(TICK_SECONDS)

    def snapshot(self, book: RunBook) -> str:
        queue = queue_message(book)
        recent = [run for run in book.recent() if run.is_over][:RECENT]
        return message(
            "snapshot", {"channel": "queue", "running": queue.running, "pending": queue.pending, "recent": recent}
        )


async def follow(port: int, book: RunBook, on_connection: Callable[[], None]) -> None:
    """For ever: ComfyUI's events into the book. `on_connection`: it is there, or is there no more."""
    was_there = False
    async for event in events(port):
        if isinstance(event, Connected) or (was_there and isinstance(event, Disconnected)):
            was_there = isinstance(event, Connected)
            on_connection()
        await book.handle(event)


async def follow_orphans(port: int, book: RunBook) -> None:
    """For ever: how the runs go on that were submitted before the dashboard, or its connection, was a new one."""
    while True:
        await book.orphan_changed.wait()
        book.orphan_changed.clear()
        while (client_id := book.orphan) is not None:
            try:
                async with contextlib.aclosing(events_of(port, client_id)) as heard:
                    async for event in heard:
                        # The rest is heard by `follow` as well.
                        if not isinstance(event, Message) or event.type != "status":
                            await book.handle(event)
                        if book.orphan != client_id:
                            break
            except ComfyUIUnavailable:
                await asyncio.sleep(RETRY_SECONDS)


def queue_message(book: RunBook) -> QueueMessage:
    queue = book.queue()
    return QueueMessage(running=queue.running, pending=queue.pending)
