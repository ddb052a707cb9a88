"""The host itself: what it serves, how it behaves, and what it counted."""

import contextlib
import secrets
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from http.server import ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol
from urllib.parse import quote

from tests.fakes.model_host.answer import Handler, Short
from tests.fakes.model_host.behaviour import Behaviour
from tests.fakes.model_host.content import Content
from tests.fakes.model_host.request import Request
from tests.fakes.model_host.tls import OWN_NAMES, Tls, TlsFault

# Little of what was counted as sent is still on its way. The kernel doubles it.
_SEND_BUFFER_BYTES = 64 * 1024


class Site(Protocol):
    """Something on a host with addresses of its own."""

    def answer(self, request: Request) -> Short | None:
        """None when the address is none of its own."""


@dataclass
class _Signature:
    until: float | None
    uses: int | None


class ModelHost:
    """The server, on a port of its own. All of it may be used from several threads.

    `requests` is what it was asked and what it sent. `names`: what its certificate is for, with `tls`.
    """

    def __init__(
        self,
        port: int = 0,
        *,
        tls: bool = False,
        tls_fault: TlsFault | None = None,
        names: tuple[str, ...] = OWN_NAMES,
    ) -> None:
        self.files: dict[str, Content] = {}
        self.behaviours: dict[str, Behaviour] = {}
        self.sites: list[Site] = []
        self.requests: list[Request] = []
        self.closing = threading.Event()
        self.tls = Tls(names, tls_fault) if tls or tls_fault else None
        self._counts: Counter[str] = Counter()
        self._going_on: Counter[tuple[str, str]] = Counter()
        self._most: Counter[str] = Counter()
        self._signatures: dict[tuple[str, str], _Signature] = {}
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", port), self)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def address(self) -> str:
        return self.url("")

    @property
    def ca_file(self) -> Path:
        """What a client has to trust, with `tls`."""
        assert self.tls is not None, "this host has no certificate"
        return self.tls.ca_file

    def url(self, path: str, name: str = "127.0.0.1") -> str:
        """The address of `path`; another `name` for the same host makes it another origin."""
        return f"{'https' if self.tls else 'http'}://{name}:{self.port}{quote(path, safe='/?=&')}"

    def add(self, path: str, data: bytes, **behaviour: Any) -> str:
        """The URL under which `data` is now served."""
        return self.serve(path, data, **behaviour)

    def add_file(self, path: str, file: Path, **behaviour: Any) -> str:
        """The URL under which the file on disk is now served."""
        return self.serve(path, file, **behaviour)

    def serve(self, path: str, content: bytes | Path, **behaviour: Any) -> str:
        """What `add` and `add_file` do, for either."""
        self.files[path] = Content.of(content)
        self.behave(path, **behaviour)
        return self.url(path)

    def behave(self, path: str, **behaviour: Any) -> None:
        with self._lock:
            self.behaviours[path] = replace(self.behaviours.get(path, Behaviour()), **behaviour)

    def behaviour(self, path: str) -> Behaviour:
        return self.behaviours.get(path, _PLAIN)

    def sign(self, path: str, *, seconds: float | None = None, uses: int | None = None, name: str = "127.0.0.1") -> str:
        """An address for `path` that is valid for a while, or for some requests. `path` should need a signature."""
        signature = secrets.token_hex(8)
        with self._lock:
            until = time.monotonic() + seconds if seconds is not None else None
            self._signatures[path, signature] = _Signature(until, uses)
        expires = int(time.time() + (seconds if seconds is not None else 3600))
        return self.url(f"{path}?expires={expires}&signature={signature}", name)

    def add_signed(
        self,
        path: str,
        content: bytes | Path,
        *,
        seconds: float | None = None,
        uses: int | None = None,
        on: "ModelHost | None" = None,
        **behaviour: Any,
    ) -> str:
        """The URL of a redirect to a signed address, on this host or `on`, where `content` lies under /signed`path`."""
        there, signed = on or self, f"/signed{path}"
        there.serve(signed, content, **{"needs_signature": True, **behaviour})
        self.behave(path, redirect=lambda: there.sign(signed, seconds=seconds, uses=uses))
        return self.url(path)

    def use_signature(self, path: str, signature: str) -> bool:
        """Whether the address is valid; it is used once more."""
        with self._lock:
            found = self._signatures.get((path, signature))
            if not found or (found.until is not None and time.monotonic() > found.until):
                return False
            if found.uses is not None:
                found.uses -= 1
                return found.uses >= 0
            return True

    def bytes_sent(self, path: str) -> int:
        return sum(request.bytes_sent for request in list(self.requests) if request.path == path)

    def most_connections(self, path: str) -> int:
        """How many requests for `path` went on at once, at most."""
        return self._most[path]

    def count(self, what: str) -> int:
        """How often this was called for `what` before."""
        with self._lock:
            self._counts[what] += 1
            return self._counts[what] - 1

    @contextlib.contextmanager
    def going_on(self, request: Request) -> Iterator[int]:
        """While it is being answered; with how many the same client has for the same path."""
        path, client = request.path, request.client[0]
        with self._lock:
            self._going_on[path, client] += 1
            here = self._going_on[path, client]
            all_ = sum(number for (its, _), number in self._going_on.items() if its == path)
            self._most[path] = max(self._most[path], all_)
        try:
            yield here
        finally:
            with self._lock:
                self._going_on[path, client] -= 1

    def __enter__(self) -> "ModelHost":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Also ends what is going on: a host that is gone keeps no line open."""
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._server.hang_up()

    def serve_forever(self) -> None:
        self._server.serve_forever()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], host: ModelHost) -> None:
        self.host = host
        self._lines: set[socket.socket] = set()
        super().__init__(address, Handler)

    def finish_request(self, request: Any, client_address: Any) -> None:
        """In the thread of the connection, so that nobody waits for another's handshake."""
        request.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
        line = self.host.tls.begin(request) if self.host.tls else request
        if line is None:
            return
        self._lines.add(line)
        try:
            super().finish_request(line, client_address)
        finally:
            self._lines.discard(line)
            self.shutdown_request(line)

    def hang_up(self) -> None:
        for line in list(self._lines):
            with contextlib.suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients hang up in the middle all the time here; that is what is being tested."""


_PLAIN = Behaviour()
