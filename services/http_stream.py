"""One GET whose body is read in large pieces, over the standard library's client.

httpx hands a body on in pieces of 16 KiB under TLS, which costs half the speed of a fast line. Redirects are followed
by hand: each hop is resolved and vetted anew, the connection goes to the vetted address and nowhere else, and
credentials are only what `Sources` has for that very host.
"""

import contextlib
import http.client
import socket
import ssl
import time
from collections.abc import Mapping
from urllib.parse import urljoin, urlsplit

from services.errors import DownloadFailed
from services.sources import Sources

MAX_REDIRECTS = 8
CONNECT_TIMEOUT_SECONDS = 15.0
# A line that brings nothing for this long is dead, whatever TCP thinks.
STALL_SECONDS = 30.0
FILL_SECONDS = 0.1

_REDIRECTS = frozenset({301, 302, 303, 307, 308})


class HttpStream:
    """An answer whose body is still to be read. Close it, or use it in a `with`."""

    def __init__(self, url: str, connection: http.client.HTTPConnection, response: http.client.HTTPResponse) -> None:
        self.url = url
        self.status = response.status
        self.headers: Mapping[str, str] = {name.lower(): value for name, value in response.getheaders()}
        self._connection = connection
        self._response = response
        # None: chunked, or as long as the connection lasts; http.client takes care of both.
        self._left = None if response.chunked else response.length

    def read_into(self, buffer: memoryview) -> int:
        """Bytes read into `buffer`: as many as came within FILL_SECONDS, 0 at the end of the body.

        Raises OSError on a stall or a broken line. `HTTPResponse.readinto` would wait for the whole buffer, which on
        a slow line means no progress for seconds.
        """
        filled, until = 0, time.monotonic() + FILL_SECONDS
        while filled < len(buffer):
            count = self._read_some(buffer[filled:])
            filled += count
            if not count or time.monotonic() > until:
                break
        return filled

    def _read_some(self, buffer: memoryview) -> int:
        """What one read of the line brings."""
        if self._left is None:
            piece = self._response.read1(len(buffer))
            buffer[: len(piece)] = piece
            return len(piece)
        if not self._left:
            return 0
        count = self._response.fp.readinto1(buffer[: self._left])
        self._left -= count
        return count

    def close(self) -> None:
        self._response.close()
        self._connection.close()

    def __enter__(self) -> "HttpStream":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_stream(url: str, headers: Mapping[str, str], sources: Sources) -> HttpStream:
    """GET `url`, following redirects. The status is the last hop's, whatever it is.

    Raises DownloadFailed for forbidden addresses and endless redirects, OSError and http.client.HTTPException for a
    host that cannot be reached or does not speak HTTP.
    """
    url = sources.address(url)
    for _ in range(MAX_REDIRECTS + 1):
        stream = _request(url, {**headers, **sources.headers(url)}, sources)
        location = stream.headers.get("location")
        if stream.status not in _REDIRECTS or not location:
            return stream
        stream.close()
        url = urljoin(url, location)
    raise DownloadFailed(f"more than {MAX_REDIRECTS} redirects, the last to {urlsplit(url).hostname}", permanent=True)


def _request(url: str, headers: Mapping[str, str], sources: Sources) -> HttpStream:
    parts = urlsplit(url)
    connection = _connection(url, sources)
    try:
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request(
            "GET", target, headers={"User-Agent": "comfyui-docker", "Accept-Encoding": "identity", **headers}
        )
        return HttpStream(url, connection, connection.getresponse())
    except BaseException:
        connection.close()
        raise


def _connection(url: str, sources: Sources) -> http.client.HTTPConnection:
    parts = urlsplit(url)
    addresses = sources.resolve(url)
    host, port = parts.hostname or "", addresses[0][1][1]
    if parts.scheme == "https":
        connection: http.client.HTTPConnection = http.client.HTTPSConnection(
            host, port, context=ssl.create_default_context()
        )
    else:
        connection = http.client.HTTPConnection(host, port)
    line = _connect(addresses)
    try:
        if isinstance(connection, http.client.HTTPSConnection):
            line = ssl.create_default_context().wrap_socket(line, server_hostname=host)
    except BaseException:
        line.close()
        raise
    line.settimeout(STALL_SECONDS)
    connection.sock = line
    return connection


def _connect(addresses: list[tuple[socket.AddressFamily, tuple[str, int]]]) -> socket.socket:
    failure: OSError = OSError("no address")
    for family, address in addresses:
        line = socket.socket(family, socket.SOCK_STREAM)
        line.settimeout(CONNECT_TIMEOUT_SECONDS)
        try:
            line.connect(address)
        except OSError as error:
            line.close()
            failure = error
            continue
        with contextlib.suppress(OSError):
            line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return line
    raise failure
