"""Sends the body of one answer: at its pace, and with whatever is to go wrong on the way."""

import os
import socket
import ssl
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from io import FileIO
from threading import Event

from tests.fakes.model_host.behaviour import Behaviour
from tests.fakes.model_host.content import Reader
from tests.fakes.model_host.meter import Meter
from tests.fakes.model_host.request import Request


class BrokenOff(Exception):
    """The connection is to be closed in the middle."""


@dataclass
class Body:
    """`stall_at` and `break_at`: after so many bytes of this body, if at all."""

    line: socket.socket
    request: Request
    # Asked anew for each piece: a test may let go of a file once it has seen what it wanted.
    behaviour: Callable[[], Behaviour]
    closing: Event
    stall_at: int | None
    break_at: int | None
    _meter: Meter = field(default_factory=Meter)

    def send(self, reader: Reader, wanted: range, *, is_chunked: bool) -> None:
        """Raises BrokenOff, and OSError when the client is gone."""
        position = wanted.start
        while position < wanted.stop:
            count = self._next(wanted.stop - position)
            file = None if is_chunked or isinstance(self.line, ssl.SSLSocket) else reader.file_to_send(position, count)
            if file:
                sent = self._put_file(file, position, count)
            else:
                piece = reader.read(position, count)
                sent = self._put(piece, is_chunked) if piece else 0
            if not sent:
                raise BrokenOff  # the file was cut short meanwhile
            position += sent
        if is_chunked:
            self.line.sendall(b"0\r\n\r\n")

    def send_packed(self, reader: Reader, wanted: range) -> None:
        """In chunks, coded with gzip."""
        packer = zlib.compressobj(wbits=31)
        for position in range(wanted.start, wanted.stop, 65536):
            self._put_all(packer.compress(reader.read(position, min(65536, wanted.stop - position))))
        self._put_all(packer.flush())
        self.line.sendall(b"0\r\n\r\n")

    def _put_all(self, data: bytes) -> None:
        while data:
            count = self._next(len(data))
            self._put(data[:count], is_chunked=True)
            data = data[count:]

    def _next(self, left: int) -> int:
        """How many bytes are to be sent now; waits until they may be."""
        sent = self.request.bytes_sent
        if self.break_at is not None and sent >= self.break_at:
            raise BrokenOff
        now = self.behaviour()
        if self.stall_at is not None and sent >= self.stall_at:
            self.stall_at = None
            if now.stall_after is not None and self.closing.wait(now.stall_seconds):
                raise BrokenOff
            self._meter = Meter()  # what a stall left unused is lost
        events = [at - sent for at in (self.break_at, self.stall_at) if at is not None and at > sent]
        rate = self.behaviour().throttle
        count = min([self._meter.piece_bytes(rate), left, *events])
        self._meter.wait(count, rate)
        return count

    # Both count before they send: once a client has the last byte, it may look at the count at once.

    def _put_file(self, file: FileIO, position: int, count: int) -> int:
        self.request.bytes_sent += count
        sent = os.sendfile(self.line.fileno(), file.fileno(), position, count)
        self.request.bytes_sent -= count - sent
        return sent

    def _put(self, data: bytes | memoryview, is_chunked: bool) -> int:
        self.request.bytes_sent += len(data)
        self.line.sendall(b"%x\r\n" % len(data) + data + b"\r\n" if is_chunked else data)
        return len(data)
