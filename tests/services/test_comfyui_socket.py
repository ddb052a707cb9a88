import struct
from collections.abc import AsyncIterator
from urllib.parse import parse_qs, urlsplit

import pytest
from websockets.asyncio.server import ServerConnection, serve

from services import comfyui_socket
from services.comfyui_socket import Connected, Disconnected, Event, Message, MimeType, Preview, events, events_of, parse
from services.errors import ComfyUIUnavailable
from tests.running import free_ports


def test_a_message_has_a_type_and_data() -> None:
    raw = '{"type": "progress", "data": {"value": 1, "max": 20, "prompt_id": "p", "node": "3"}}'
    assert parse(raw) == Message("progress", {"value": 1, "max": 20, "prompt_id": "p", "node": "3"})


def test_what_else_a_message_holds_does_not_matter() -> None:
    assert parse('{"type": "status", "data": {}, "extra": 1}') == Message("status", {})


@pytest.mark.parametrize(("number", "mime_type"), [(1, "image/jpeg"), (2, "image/png"), (7, "image/jpeg")])
def test_a_plain_preview_is_a_picture_and_its_kind(number: int, mime_type: MimeType) -> None:
    assert parse(struct.pack(">II", 1, number) + b"picture") == Preview(mime_type, b"picture", None, None)


def with_metadata(metadata: bytes, picture: bytes = b"picture") -> bytes:
    return struct.pack(">II", 4, len(metadata)) + metadata + picture


def test_a_preview_with_metadata_says_whose_it_is() -> None:
    raw = with_metadata(b'{"node_id": "3", "display_node_id": "7", "prompt_id": "p", "image_type": "image/png"}')
    assert parse(raw) == Preview("image/png", b"picture", "p", "7")


def test_a_preview_of_an_outer_node_is_its_own() -> None:
    assert parse(with_metadata(b'{"node_id": "3", "prompt_id": "p"}')) == Preview("image/jpeg", b"picture", "p", "3")


@pytest.mark.parametrize(
    "raw",
    [
        "",
        "nonsense",
        "[]",
        "null",
        '{"type": "status"}',
        '{"data": {}}',
        '{"type": "crystools.monitor", "data": [1]}',
        '{"type": 1, "data": {}}',
        "[" * 100_000,
        '{"type": "x", "data": {"a": ' + "[" * 100_000,
        b"",
        b"\0\0\0\1",
        struct.pack(">II", 2, 0) + b"x",
        struct.pack(">II", 3, 0) + b"text",
        struct.pack(">II", 4, 1000) + b"{",
        with_metadata(b"nonsense"),
        with_metadata(b"[]"),
        with_metadata(b""),
        with_metadata(b'{"node_id": "\xff"}'),
        with_metadata(b"\xff\xfe"),
        with_metadata(b'{"prompt_id": ["p"]}'),
        # The dashboard hands the picture on as what it is said to be.
        with_metadata(b'{"image_type": "text/html"}', b"<script>"),
        b"\xff" * 100,
    ],
)
def test_what_makes_no_sense_is_passed_over(raw: str | bytes) -> None:
    assert parse(raw) is None


class Server:
    """Says `greeting` to whoever connects, then hangs up."""

    def __init__(self) -> None:
        self.greeting: list[str | bytes] = []
        self.client_ids: list[str] = []
        self.heard: list[str | bytes] = []
        self.port = 0

    async def handle(self, connection: ServerConnection) -> None:
        assert connection.request is not None
        self.client_ids += parse_qs(urlsplit(connection.request.path).query)["clientId"]
        self.heard.append(await connection.recv())
        for message in self.greeting:
            await connection.send(message)


@pytest.fixture
async def server(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Server]:
    monkeypatch.setattr(comfyui_socket, "RETRY_SECONDS", 0.01)
    made = Server()
    async with serve(made.handle, "127.0.0.1", 0) as listening:
        made.port = next(iter(listening.sockets)).getsockname()[1]
        yield made


async def hear(port: int, count: int) -> list[Event]:
    heard: list[Event] = []
    stream = events(port)
    async for event in stream:
        heard.append(event)
        if len(heard) == count:
            break
    await stream.aclose()  # type: ignore[attr-defined]
    return heard


async def test_messages_come_between_connecting_and_disconnecting(server: Server) -> None:
    server.greeting = ['{"type": "status", "data": {}}', "nonsense", struct.pack(">II", 1, 2) + b"x"]
    heard = await hear(server.port, 4)
    assert heard == [
        Connected(server.client_ids[0]),
        Message("status", {}),
        Preview("image/png", b"x", None, None),
        Disconnected(),
    ]


async def test_a_lost_connection_is_made_again_under_another_id(server: Server) -> None:
    heard = await hear(server.port, 5)
    assert [type(event) for event in heard] == [Connected, Disconnected, Connected, Disconnected, Connected]
    assert len(set(server.client_ids)) == 3


async def test_previews_are_asked_for_with_their_metadata(server: Server) -> None:
    await hear(server.port, 2)
    assert b"supports_preview_metadata" in str(server.heard[0]).encode()


async def test_a_comfyui_that_is_not_there_is_waited_for(server: Server) -> None:
    assert await hear(free_ports(1)[0], 3) == [Disconnected()] * 3


async def test_an_earlier_id_of_ours_is_listened_to_once_more(server: Server) -> None:
    server.greeting = ['{"type": "executing", "data": {"node": "3"}}']
    heard: list[Event] = []

    async def listen() -> None:
        async for event in events_of(server.port, "suite-old"):
            heard.append(event)

    with pytest.raises(ComfyUIUnavailable):
        await listen()
    assert heard == [Message("executing", {"node": "3"})]
    assert server.client_ids == ["suite-old"]


async def test_who_is_told_nothing_hangs_up_to_ask_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async def silent(connection: ServerConnection) -> None:
        await connection.wait_closed()

    monkeypatch.setattr(comfyui_socket, "SILENCE_SECONDS", 0.05)
    async with serve(silent, "127.0.0.1", 0) as listening:
        port = next(iter(listening.sockets)).getsockname()[1]
        assert [event async for event in events_of(port, "suite-old")] == []
