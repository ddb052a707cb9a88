"""`python -m benchmarks.listeners ADDRESS COOKIE COUNT`: dashboards that watch downloads.

Says `ready` when all are subscribed. At the end of its input it prints what each heard, as JSON: the delays of the
messages that carry the time they were made as their speed, and how many each listener got. Speaks just enough of RFC
6455 itself: a client library costs more per message than the suite, and on the same cores that would be measured.
"""

import asyncio
import json
import os
import re
import sys
import time
from typing import cast
from urllib.parse import urlsplit

import uvloop

MADE_AT = re.compile(rb'"bytes_per_second":(\d{10,}\.\d+)')
AT_ONCE = 50


class Listener(asyncio.Protocol):
    """One dashboard. `subscribed` is done when its first message, the snapshot, has come."""

    def __init__(self, host: str, cookie: str) -> None:
        self._hello = (
            f"GET /ws HTTP/1.1\r\nHost: {host}\r\nOrigin: http://{host}\r\nCookie: {cookie}\r\n"
            "Upgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        ).encode()
        self._received = bytearray()
        self._is_open = False
        self.subscribed = asyncio.get_running_loop().create_future()
        self.delays: list[float] = []
        self.heard = 0
        self.lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the methods and not the base class.
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(self._hello)

    def data_received(self, data: bytes) -> None:
        now = time.time()
        self._received += data
        if not self._is_open:
            head, end, rest = self._received.partition(b"\r\n\r\n")
            if not end:
                return
            assert head.startswith(b"HTTP/1.1 101 "), bytes(head)
            self._is_open, self._received = True, rest
            self._say(b'{"type": "subscribe", "channels": ["downloads"]}')
        while (frame := self._frame()) is not None:
            self._hear(*frame, now)

    def connection_lost(self, _error: Exception | None) -> None:
        self.lost = True

    def _say(self, text: bytes, opcode: int = 1) -> None:
        # Masked, as a client's frames must be; with zeros, which leave the text as it is.
        self._transport.write(bytes([0x80 | opcode, 0x80 | len(text), 0, 0, 0, 0]) + text)

    def _frame(self) -> tuple[int, bytes] | None:
        """(opcode, content) of the next whole frame."""
        data, start = self._received, 2
        if len(data) < start:
            return None
        length = data[1] & 0x7F
        if length == 126:
            length, start = int.from_bytes(data[2:4], "big"), 4
        if len(data) < start + length:
            return None
        frame = data[0] & 0x0F, bytes(data[start : start + length])
        del data[: start + length]
        return frame

    def _hear(self, opcode: int, content: bytes, now: float) -> None:
        if opcode == 9:
            self._say(content, opcode=10)
        elif opcode == 1 and not self.subscribed.done():
            self.subscribed.set_result(None)
        elif opcode == 1:
            self.heard += 1
            if made_at := MADE_AT.search(content):
                self.delays.append(now - float(made_at[1]))


async def main(address: str, cookie: str, count: int) -> None:
    host = urlsplit(address).netloc
    loop, listeners = asyncio.get_running_loop(), []
    for _ in range(count):
        _, listener = await loop.create_connection(lambda: Listener(host, cookie), *_place(host))
        listeners.append(listener)
        if len(listeners) % AT_ONCE == 0:
            await asyncio.gather(*(listener.subscribed for listener in listeners))
    await asyncio.gather(*(listener.subscribed for listener in listeners))
    os.write(1, b"ready\n")
    await asyncio.to_thread(sys.stdin.read)
    lost = sum(listener.lost for listener in listeners)
    delays = [delay for listener in listeners for delay in listener.delays]
    print(json.dumps({"delays": delays, "heard": [listener.heard for listener in listeners], "lost": lost}), flush=True)


def _place(host: str) -> tuple[str, int]:
    name, _, port = host.rpartition(":")
    return name, int(port)


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
