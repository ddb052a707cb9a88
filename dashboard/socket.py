"""`/ws`: subscribe to channels, get their present state, then what changes."""

import asyncio
import contextlib
from typing import Literal

import msgspec
from msgspec import Struct
from starlette.websockets import WebSocket, WebSocketDisconnect

from dashboard.gate import CLOSE_NOT_SIGNED_IN, judge, session_id
from dashboard.live.hub import CHANNELS, Listener, message
from dashboard.suite import Suite, suite_of

RECHECK_SECONDS = 60.0


class Request(Struct, frozen=True):
    type: Literal["subscribe", "unsubscribe"]
    channels: tuple[str, ...]


_decode = msgspec.json.Decoder(Request).decode


async def live(socket: WebSocket) -> None:
    suite = suite_of(socket)
    await socket.accept()
    listener = Listener(session_id(suite, socket.headers))
    suite.hub.join(listener)
    tasks = {
        asyncio.create_task(_listen(socket, suite, listener)),
        asyncio.create_task(_speak(socket, listener)),
        asyncio.create_task(_recheck(socket, suite, listener)),
    }
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        suite.hub.leave(listener)
        for task in tasks:
            task.cancel()
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(result, Exception) and not isinstance(result, WebSocketDisconnect | OSError):
                raise result
    if listener.closed:
        with contextlib.suppress(WebSocketDisconnect, OSError, RuntimeError):
            await socket.close(CLOSE_NOT_SIGNED_IN, "sign in")


async def _listen(socket: WebSocket, suite: Suite, listener: Listener) -> None:
    while True:
        text = await socket.receive_text()
        try:
            request = _decode(text)
        except (msgspec.DecodeError, RecursionError) as error:
            listener.put("error", message("error", {"message": f"not understood: {error}"}))
            continue
        unknown = sorted(set(request.channels) - CHANNELS)
        if unknown:
            listener.put("error", message("error", {"message": f"no such channel: {', '.join(unknown)[:200]}"}))
        known = set(request.channels) & CHANNELS
        if request.type == "unsubscribe":
            listener.channels -= known
            continue
        for channel in sorted(known):
            listener.channels.add(channel)
            listener.put(f"snapshot:{channel}", await _snapshot(suite, channel))


async def _speak(socket: WebSocket, listener: Listener) -> None:
    while (mail := await listener.take()) is not None:
        for text in mail:
            await socket.send_text(text)


async def _recheck(socket: WebSocket, suite: Suite, listener: Listener) -> None:
    """A session that ran out while its page stood open."""
    while judge(suite, socket.headers, "WEBSOCKET") == "pass":  # noqa: ASYNC110 (time passing is the event)
        await asyncio.sleep(RECHECK_SECONDS)
    listener.close()


async def _snapshot(suite: Suite, channel: str) -> str:
    if channel == "downloads":
        return await suite.downloads.snapshot(suite.library)
    if channel == "outputs":
        return await suite.output_feed.snapshot()
    if channel == "queue":
        return suite.queue.snapshot(suite.runs)
    return await suite.system.snapshot()
