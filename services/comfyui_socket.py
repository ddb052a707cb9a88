"""ComfyUI's WebSocket, read by one client that comes back after every loss.

A client id is used for one connection only: when an old connection with the same id closes late, ComfyUI's clean-up
silences the new one. What was missed meanwhile is caught up through `/queue` and `/history` (services.runs).
"""

import asyncio
import struct
import uuid
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any, Literal, TypeVar

import msgspec
from msgspec import Struct
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from services import log
from services.errors import ComfyUIUnavailable

# It is in the same container, and may be back any moment.
RETRY_SECONDS = 0.2
SILENCE_SECONDS = 15.0
# What each client id of ours begins with.
OUR_CLIENTS = "suite-"
# ComfyUI sends whole preview pictures.
MAX_MESSAGE_BYTES = 64 * 1024 * 1024

_FEATURES = '{"type":"feature_flags","data":{"supports_preview_metadata":true}}'
_PREVIEW = 1
_PREVIEW_WITH_METADATA = 4

T = TypeVar("T")
# The only ones that ComfyUI sends, and the only ones that a browser is to be told.
MimeType = Literal["image/jpeg", "image/png"]

_log = log.get("comfyui_bridge")


class Connected(Struct, frozen=True):
    """A new connection stands; prompts submitted from now on under `client_id` send their events here."""

    client_id: str


class Disconnected(Struct, frozen=True):
    pass


class Message(Struct, frozen=True):
    """A JSON message: `type` and `data` as in reference `ws_*.json` of ComfyUI 0.33.0."""

    type: str
    data: dict[str, Any]


class Preview(Struct, frozen=True):
    """A picture of the running node. `prompt_id` and `node_id` are None from a ComfyUI too old to say."""

    mime_type: MimeType
    image: bytes
    prompt_id: str | None
    node_id: str | None


class _Metadata(Struct):
    node_id: str | None = None
    display_node_id: str | None = None
    prompt_id: str | None = None
    image_type: MimeType = "image/jpeg"


Event = Connected | Disconnected | Message | Preview


async def events(port: int) -> AsyncIterator[Event]:
    """Everything ComfyUI on 127.0.0.1:`port` says, for ever."""
    failures = 0
    while True:
        client_id = OUR_CLIENTS + uuid.uuid4().hex
        try:
            async with _connection(port, client_id) as socket:
                await socket.send(_FEATURES)
                failures = 0
                _log.info("comfyui_connected", client_id=client_id)
                yield Connected(client_id)
                async for raw in socket:
                    event = parse(raw)
                    if event is not None:
                        yield event
        except (OSError, WebSocketException, TimeoutError) as error:
            if failures == 0:
                _log.info("comfyui_not_connected", reason=str(error) or type(error).__name__)
        else:
            _log.warning("comfyui_connection_closed")
        yield Disconnected()
        await asyncio.sleep(RETRY_SECONDS)
        failures += 1


async def events_of(port: int, client_id: str) -> AsyncGenerator[Message | Preview]:
    """What ComfyUI says to `client_id`, which was ours before: until it has nothing to say for SILENCE_SECONDS.

    That may be because nothing happens, or because the clean-up of the old connection came late and silenced this one:
    another one is told at once which node is at work. Raises ComfyUIUnavailable.
    """
    try:
        async with _connection(port, client_id) as socket:
            await socket.send(_FEATURES)
            while True:
                event = parse(await asyncio.wait_for(socket.recv(), SILENCE_SECONDS))
                if event is not None:
                    yield event
    except TimeoutError:
        return
    except (OSError, WebSocketException) as error:
        raise ComfyUIUnavailable(f"ComfyUI does not answer ({type(error).__name__})") from None


def _connection(port: int, client_id: str) -> connect:
    return connect(
        f"ws://127.0.0.1:{port}/ws?clientId={client_id}",
        max_size=MAX_MESSAGE_BYTES,
        compression=None,
        proxy=None,
        # While it reads a large model ComfyUI may not answer for a minute; a dead one closes the connection.
        ping_interval=None,
    )


def parse(raw: str | bytes) -> Message | Preview | None:
    """An event, or None for what the suite has no use for."""
    return _parse_preview(raw) if isinstance(raw, bytes) else _decode(raw, Message)


def _parse_preview(raw: bytes) -> Preview | None:
    """Big-endian: u32 event; then u32 picture type and the picture, or u32 length, JSON metadata and the picture."""
    if len(raw) < 8:
        return None
    event, second = struct.unpack(">II", raw[:8])
    if event == _PREVIEW:
        return Preview("image/png" if second == 2 else "image/jpeg", raw[8:], None, None)
    if event != _PREVIEW_WITH_METADATA:
        return None
    metadata = _decode(raw[8 : 8 + second], _Metadata)
    if metadata is None:
        return None
    node_id = metadata.display_node_id or metadata.node_id
    return Preview(metadata.image_type, raw[8 + second :], metadata.prompt_id, node_id)


def _decode(data: str | bytes, shape: type[T]) -> T | None:
    """Custom nodes send what they like: None for what does not fit."""
    try:
        return msgspec.json.decode(data, type=shape)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
