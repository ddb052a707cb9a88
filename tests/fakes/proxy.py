"""A small forward proxy: CONNECT for https, and requests with a whole address for http (RFC 9112, 3.2.2)."""

import contextlib
import select
import socket
import threading
from types import TracebackType
from urllib.parse import urlsplit


class ForwardProxy:
    """Leads every name to 127.0.0.1. `heads`: the head of each request as it came.

    `refuses_with`: the status line's rest of what it answers to everybody, for example `403 Forbidden`.
    """

    def __init__(self, *, ports: dict[str, int] | None = None, refuses_with: str = "", hangs_up: bool = False) -> None:
        self.heads: list[bytes] = []
        # Where a name leads; others keep their port.
        self._ports = ports or {}
        self._refuses_with = refuses_with
        self._hangs_up = hangs_up
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._lines: list[socket.socket] = []
        self._thread = threading.Thread(target=self._serve, daemon=True)

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    def __enter__(self) -> "ForwardProxy":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Wakes accept(), which closing alone does not.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for line in self._lines:
            with contextlib.suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)
        self._thread.join(5)

    def _serve(self) -> None:
        while True:
            try:
                line, _ = self._listener.accept()
            except OSError:
                return
            self._lines.append(line)
            threading.Thread(target=self._serve_one, args=(line,), daemon=True).start()

    def _serve_one(self, line: socket.socket) -> None:
        with line, contextlib.suppress(OSError):
            while head := _head(line):
                self.heads.append(head)
                if self._hangs_up:
                    return
                if self._refuses_with:
                    line.sendall(f"HTTP/1.1 {self._refuses_with}\r\nContent-Length: 0\r\n\r\n".encode())
                    return
                self._forward(line, head)

    def _forward(self, line: socket.socket, head: bytes) -> None:
        """Until either side hangs up."""
        method, target, _ = head.split(b" ", 2)
        if method == b"CONNECT":
            with self._line_to(target.decode()) as host:
                line.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                _relay(line, host)
            return
        parts = urlsplit(target.decode())
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        kept = [row for row in head.split(b"\r\n")[1:] if not row.lower().startswith(b"proxy-")]
        with self._line_to(parts.netloc) as host:
            host.sendall(b"\r\n".join([b"GET " + path.encode() + b" HTTP/1.1", *kept]))
            _relay(line, host)

    def _line_to(self, authority: str) -> socket.socket:
        name, _, port = authority.rpartition(":")
        if not name:
            name, port = authority, "80"
        return socket.create_connection(("127.0.0.1", self._ports.get(name, int(port))))


def _head(line: socket.socket) -> bytes:
    """The head of a request; nothing when there is none."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = line.recv(1)
        if not byte:
            return b""
        head += byte
    return head


def _relay(one: socket.socket, other: socket.socket) -> None:
    while True:
        for line in select.select([one, other], [], [])[0]:
            data = line.recv(65536)
            if not data:
                return
            (other if line is one else one).sendall(data)
