"""A host of model files that can be slow, lie and break off, as real ones do.

In a test: `with ModelHost() as host: host.add("/a.safetensors", data); host.behave("/a.safetensors", throttle=1e6)`.
By hand: `python -m tests.fakes.model_host FOLDER --port 9000 --throttle 2000000`.
"""

import argparse
import email.utils
import hashlib
import threading
import time
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any

PIECE_BYTES = 16 * 1024


@dataclass(frozen=True)
class Behaviour:
    """How one path answers. `throttle`: bytes per second of each connection."""

    throttle: float | None = None
    # Closes the connection after so many bytes of a body, as often as `breaks` says.
    break_after: int | None = None
    breaks: int = 10**9
    # Sends so many bytes and then nothing for `stall_seconds`.
    stall_after: int | None = None
    stall_seconds: float = 60.0
    status: int | None = None
    # How often `status` is answered before the file is.
    status_times: int = 10**9
    headers: dict[str, str] = field(default_factory=dict)
    redirect: str | None = None
    ranges: bool = True
    length: bool = True
    etag: str | None = None
    content_type: str = "application/octet-stream"


@dataclass
class Request:
    path: str
    headers: dict[str, str]
    status: int = 0
    bytes_sent: int = 0


class ModelHost:
    """The server, on a port of its own; `requests` is what it was asked and what it sent."""

    def __init__(self, port: int = 0) -> None:
        self.files: dict[str, bytes] = {}
        self.behaviours: dict[str, Behaviour] = {}
        self.requests: list[Request] = []
        self._counts: dict[str, int] = {}
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", port), self)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def url(self, path: str) -> str:
        return self.address + path

    def add(self, path: str, data: bytes, **behaviour: Any) -> str:
        """The URL under which `data` is now served."""
        self.files[path] = data
        self.behave(path, **behaviour)
        return self.url(path)

    def behave(self, path: str, **behaviour: Any) -> None:
        self.behaviours[path] = replace(self.behaviours.get(path, Behaviour()), **behaviour)

    def bytes_sent(self, path: str) -> int:
        with self._lock:
            return sum(request.bytes_sent for request in self.requests if request.path == path)

    def count(self, what: str) -> int:
        """How often this was called for `what` before."""
        with self._lock:
            self._counts[what] = self._counts.get(what, 0) + 1
            return self._counts[what] - 1

    def __enter__(self) -> "ModelHost":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def serve_forever(self) -> None:
        self._server.serve_forever()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], host: ModelHost) -> None:
        self.host = host
        super().__init__(address, _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients hang up in the middle all the time here; that is what is being tested."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def _answer(self, *, body: bool) -> None:
        host, path = self.server.host, self.path.partition("?")[0]
        behaviour = host.behaviours.get(path, Behaviour())
        request = Request(path, {name.lower(): value for name, value in self.headers.items()})
        host.requests.append(request)
        if behaviour.status is not None and host.count(f"status {path}") < behaviour.status_times:
            self._short(request, behaviour.status, behaviour.headers)
        elif behaviour.redirect is not None:
            self._short(request, 302, {"Location": behaviour.redirect, **behaviour.headers})
        elif path not in host.files:
            self._short(request, 404, {})
        else:
            self._file(request, host.files[path], behaviour, body)

    def _short(self, request: Request, status: int, headers: dict[str, str]) -> None:
        request.status = status
        self.send_response(status)
        for name, value in {"Content-Length": "0", **headers}.items():
            self.send_header(name, value)
        self.end_headers()

    def _file(self, request: Request, data: bytes, behaviour: Behaviour, body: bool) -> None:
        etag = behaviour.etag or f'"{hashlib.sha256(data).hexdigest()[:16]}"'
        start = self._start(request, len(data), etag, behaviour)
        if start is None:
            self._short(request, 416, {"Content-Range": f"bytes */{len(data)}"})
            return
        request.status = 206 if start else 200
        self.send_response(request.status)
        self.send_header("ETag", etag)
        self.send_header("Content-Type", behaviour.content_type)
        self.send_header("Last-Modified", email.utils.formatdate(0, usegmt=True))
        if behaviour.ranges:
            self.send_header("Accept-Ranges", "bytes")
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        if behaviour.length:
            self.send_header("Content-Length", str(len(data) - start))
        else:
            self.send_header("Connection", "close")
            self.close_connection = True
        for name, value in behaviour.headers.items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self._send(request, memoryview(data)[start:], behaviour)

    def _start(self, request: Request, size: int, etag: str, behaviour: Behaviour) -> int | None:
        """The first byte to send; None when it lies behind the end."""
        wanted = request.headers.get("range", "")
        if not behaviour.ranges or not wanted.startswith("bytes="):
            return 0
        if request.headers.get("if-range", etag) != etag:
            return 0
        start = int(wanted.removeprefix("bytes=").partition("-")[0])
        return start if start < size else None

    def _send(self, request: Request, data: memoryview, behaviour: Behaviour) -> None:
        started = time.monotonic()
        breaks = (
            behaviour.break_after is not None and self.server.host.count(f"break {request.path}") < behaviour.breaks
        )
        for position in range(0, len(data), PIECE_BYTES):
            if breaks and request.bytes_sent >= (behaviour.break_after or 0):
                self.close_connection = True
                self.connection.close()
                return
            if behaviour.stall_after is not None and request.bytes_sent >= behaviour.stall_after:
                time.sleep(behaviour.stall_seconds)
            piece = data[position : position + PIECE_BYTES]
            self.wfile.write(piece)
            request.bytes_sent += len(piece)
            # Looked up anew: a test may let go of a file once it has seen what it wanted.
            if throttle := self.server.host.behaviours.get(request.path, behaviour).throttle:
                time.sleep(max(request.bytes_sent / throttle - (time.monotonic() - started), 0))


def main() -> None:
    parser = argparse.ArgumentParser(description="Serve a folder of files, with faults.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--port", type=int, default=9000)
    parser.add_argument("--throttle", type=float, help="bytes per second of each connection")
    parser.add_argument("--break-after", type=int, help="close each connection after so many bytes")
    parser.add_argument("--status", type=int, help="answer this status instead of the file")
    parser.add_argument("--no-ranges", action="store_true")
    options = parser.parse_args()
    host = ModelHost(options.port)
    for file in sorted(path for path in options.folder.rglob("*") if path.is_file()):
        url = host.add(
            "/" + file.relative_to(options.folder).as_posix(),
            file.read_bytes(),
            throttle=options.throttle,
            break_after=options.break_after,
            status=options.status,
            ranges=not options.no_ranges,
        )
        print(url)
    host.serve_forever()


if __name__ == "__main__":
    main()
