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
from urllib.parse import quote, urljoin, urlsplit

from services.errors import DownloadFailed
from services.sources import Sources

MAX_REDIRECTS = 8
CONNECT_TIMEOUT_SECONDS = 15.0
# A line that brings nothing for this long is dead, whatever TCP thinks.
STALL_SECONDS = 30.0
FILL_SECONDS = 0.1

# What an address may hold as it is (RFC 3986, 3.3 and 3.4), and the sign of what is encoded already.
_SENT_AS_IT_IS = "/?:@!$&'()*+,;=-._~%"

_REDIRECTS = frozenset({301, 302, 303, 307, 308})


class HttpStream:
    """An answer whose body is still to be read. Close it, or use it in a `with`."""

    def __init__(self, url: str, connection: http.client.HTTPConnection, response: http.client.HTTPResponse) -> None:
        self.url = url
        self.status = response.status
        self.headers: Mapping[str, str] = {name.lower(): value for name, value in response.getheaders()}
        # None: chunked, or as long as the connection lasts; http.client takes care of both.
        self.length: int | None = None if response.chunked else response.length
        self._connection = connection
        self._response = response
        self._left = self.length
        self._failure: OSError | http.client.HTTPException | None = None

    def read_into(self, buffer: memoryview) -> int:
        """Bytes read into `buffer`: as many as came within FILL_SECONDS, 0 at the end of the body.

        Raises OSError or http.client.HTTPException on a stall or a broken line, once everything that came before was
        handed on. `HTTPResponse.readinto` would wait for the whole buffer, which on a slow line means no progress for
        seconds.
        """
        if self._failure is not None:
            raise self._failure
        filled, until = 0, time.monotonic() + FILL_SECONDS
        while filled < len(buffer):
            try:
                count = self._read_some(buffer[filled:])
            except (OSError, http.client.HTTPException) as error:
                if not filled:
                    raise
                # Kept, because http.client takes the second read of a broken line for the end of the body.
                self._failure = error
                break
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
        url = _joined(url, location)
    raise DownloadFailed(f"more than {MAX_REDIRECTS} redirects, the last to {urlsplit(url).hostname}", permanent=True)


def _request(url: str, headers: Mapping[str, str], sources: Sources) -> HttpStream:
    connection = _connection(url, sources)
    try:
        connection.request(
            "GET", _target(url), headers={"User-Agent": "comfyui-docker", "Accept-Encoding": "identity", **headers}
        )
        return HttpStream(url, connection, connection.getresponse())
    except BaseException:
        connection.close()
        raise


def _joined(url: str, location: str) -> str:
    """Where a redirect from `url` leads. http.client reads headers as Latin-1, whatever their bytes mean."""
    try:
        return urljoin(url, quote(location.encode("latin-1"), safe=_SENT_AS_IT_IS + "[]#"))
    except ValueError:
        raise DownloadFailed(f"{urlsplit(url).hostname} redirects to what is no address", permanent=True) from None


def _target(url: str) -> str:
    """What is asked for on the host: path and query, percent-encoded where they are not yet."""
    parts = urlsplit(url)
    path, query = quote(parts.path, safe=_SENT_AS_IT_IS), quote(parts.query, safe=_SENT_AS_IT_IS)
    return (path or "/") + (f"?{query}" if query else "")


def _connection(url: str, sources: Sources) -> http.client.HTTPConnection:
    parts = urlsplit(url)
    addresses = sources.resolve(url)
    host, port = parts.hostname or "", addresses[0][1][1]
    line = _connect(addresses)
    try:
        if parts.scheme == "https":
            context = ssl.create_default_context()
            connection: http.client.HTTPConnection = http.client.HTTPSConnection(host, port, context=context)
            line = context.wrap_socket(line, server_hostname=host)
        else:
            connection = http.client.HTTPConnection(host, port)
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
