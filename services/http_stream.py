"""GETs whose bodies are read in large pieces, and HEADs, over the standard library's client.

httpx hands a body on in pieces of 16 KiB under TLS, which costs half the speed of a fast line. Redirects are followed
by hand: each hop is resolved and vetted anew, the connection goes to the vetted address and nowhere else, and
credentials are only what `Sources` has for that very host.
"""

import contextlib
import fcntl
import functools
import http.client
import socket
import ssl
import termios
import time
from collections.abc import Mapping
from urllib.parse import quote, urljoin, urlsplit

from services.errors import DownloadFailed
from services.proxies import DIRECT, Proxies, Proxy
from services.sources import Promise, Sources

MAX_REDIRECTS = 8
CONNECT_TIMEOUT_SECONDS = 15.0
# Of the addresses that a name has: each may take that long.
MAX_ADDRESSES = 8
# A line that brings nothing for this long is dead, whatever TCP thinks.
STALL_SECONDS = 30.0
FILL_SECONDS = 0.1
# Waking up for every packet of a slow line costs more than reading it: what comes meanwhile is read at once.
SLOW_BYTES_PER_SECOND = 64 * 1024 * 1024
GATHER_SECONDS = 0.004

# What an address may hold as it is (RFC 3986, 3.3 and 3.4), and the sign of what is encoded already.
_SENT_AS_IT_IS = "/?:@!$&'()*+,;=-._~%"

_LONGEST_HEAD_BYTES = 16 * 1024
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


class HttpStream:
    """An answer whose body is still to be read. Close it, or use it in a `with`."""

    def __init__(self, url: str, response: http.client.HTTPResponse, line: socket.socket | None) -> None:
        self.url = url
        self.status = response.status
        self.headers: Mapping[str, str] = {name.lower(): value for name, value in response.getheaders()}
        # None: chunked, or as long as the connection lasts; http.client takes care of both.
        self.length: int | None = None if response.chunked else response.length
        # What a hub said of the file on the way here.
        self.promise = Promise()
        self._response = response
        self._line = line
        self._left = self.length
        self._begun, self._received = time.monotonic(), 0
        self._failure: OSError | http.client.HTTPException | None = None

    @property
    def is_read(self) -> bool:
        """Whether every byte that was announced has come, so that the line can be used again."""
        return self._left == 0

    def read_into(self, buffer: memoryview) -> int:
        """Bytes read into `buffer`: as many as came within FILL_SECONDS, 0 at the end of the body. Of a slow line,
        those that are there.

        Raises OSError or http.client.HTTPException on a stall or a broken line, once everything that came before was
        handed on. `HTTPResponse.readinto` would wait for the whole buffer, which on a slow line means no progress for
        seconds.
        """
        if self._failure is not None:
            raise self._failure
        now = time.monotonic()
        filled, until = 0, now + FILL_SECONDS
        is_slow = self._received < SLOW_BYTES_PER_SECOND * (now - self._begun)
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
            if is_slow and filled < len(buffer) and not self._is_ready():
                time.sleep(GATHER_SECONDS)
                if not self._is_ready():
                    # It may be long until more comes, and what is here need not wait for it.
                    break
        self._received += filled
        return filled

    def _is_ready(self) -> bool:
        """Whether something lies in the socket (tcp(7), FIONREAD), or came out of it and was not read yet."""
        line = self._line
        if line is None or (isinstance(line, ssl.SSLSocket) and line.pending()):
            return True
        return fcntl.ioctl(line, termios.FIONREAD, bytes(4)) != bytes(4)

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

    def __enter__(self) -> "HttpStream":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Client:
    """One line at a time, kept for the next request to the same host when an answer was read to its end.

    For one thread; only `abort` may be called from another.
    """

    def __init__(self, sources: Sources, proxies: Proxies = DIRECT) -> None:
        self._sources = sources
        self._proxies = proxies
        self._origin: tuple[str, str] | None = None
        self._connection: http.client.HTTPConnection | None = None
        self._stream: HttpStream | None = None
        # http.client lets go of its own once an answer says that it is the last.
        self._line: socket.socket | None = None
        self.is_aborted = False

    def get(self, url: str, headers: Mapping[str, str]) -> HttpStream:
        """GET `url`, following redirects. The status is the last hop's, whatever it is.

        Raises DownloadFailed for forbidden addresses and endless redirects, OSError and http.client.HTTPException for
        a host that cannot be reached or does not speak HTTP.
        """
        return self._follow("GET", self._sources.address(url), headers)

    def head(self, url: str) -> HttpStream:
        """HEAD `url`, following redirects until a hub has promised both length and digest: its store need not be asked
        then, and the status is that of the redirect. Raises as `get` does."""
        return self._follow("HEAD", self._sources.address(url), {})

    def _follow(self, method: str, url: str, headers: Mapping[str, str]) -> HttpStream:
        promise = Promise()
        for _ in range(MAX_REDIRECTS + 1):
            stream = self._request(method, url, {**headers, **self._sources.headers(url)})
            said = self._sources.promised(url, stream.headers)
            # A hub leads to its new place what was renamed, and says more of it there; its store says nothing.
            if said.sha256 or (said != Promise() and not promise.sha256):
                promise = said
            stream.promise = promise
            location = stream.headers.get("location")
            is_enough = method == "HEAD" and promise.sha256 is not None and promise.size_bytes is not None
            if stream.status not in _REDIRECTS or not location or is_enough:
                return stream
            url = _joined(url, location)
        self.close()
        raise DownloadFailed(
            f"more than {MAX_REDIRECTS} redirects, the last to {urlsplit(url).hostname}",
            permanent=True,
            details={"kind": "unreachable"},
        )

    def abort(self) -> None:
        """Ends whatever is being waited for; whatever is asked from then on is an OSError."""
        # Before the line is looked for: one that is being opened meanwhile is not used.
        self.is_aborted = True
        line = self._line
        if line is not None:
            with contextlib.suppress(OSError):
                # Past the TLS layer, which belongs to the other thread.
                socket.socket.shutdown(line, socket.SHUT_RDWR)

    def close(self) -> None:
        if self._stream is not None:
            self._stream.close()
        if self._connection is not None:
            self._connection.close()
        self._origin = self._connection = self._stream = self._line = None

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _request(self, method: str, url: str, headers: Mapping[str, str]) -> HttpStream:
        parts = urlsplit(url)
        origin = (parts.scheme, parts.netloc)
        is_kept = self._is_kept(origin)
        try:
            return self._send(method, url, headers)
        except (OSError, http.client.HTTPException):
            self.close()
            if not is_kept:
                raise
        # Hosts close lines that nothing was asked on for a while.
        self._is_kept(origin)
        return self._send(method, url, headers)

    def _is_kept(self, origin: tuple[str, str]) -> bool:
        """Whether the line that is there can be used; otherwise it is closed."""
        if self._stream is not None and self._stream.is_read and origin == self._origin:
            self._stream.close()
            if self._connection is not None and self._connection.sock is not None:
                return True
        self.close()
        self._origin = origin
        return False

    def _send(self, method: str, url: str, headers: Mapping[str, str]) -> HttpStream:
        try:
            proxy = self._proxies.for_url(url)
            if self._connection is None:
                self._connection = _connection(url, self._sources, proxy)
                self._line = self._connection.sock
            self._go_on()
            headers = {"User-Agent": "comfyui-docker", "Accept-Encoding": "identity", **headers}
            target = _target(url)
            if proxy is not None and urlsplit(url).scheme == "http":
                target, headers = f"http://{self._sources.check(url)}{target}", {**headers, **proxy.headers()}
            self._connection.request(method, target, headers=headers)
            response = self._connection.getresponse()
            # http.client takes headers that break off for all of them.
            self._go_on()
            self._stream = HttpStream(url, response, self._line)
        except BaseException:
            self.close()
            raise
        return self._stream

    def _go_on(self) -> None:
        """Raises OSError for who was told to end."""
        if self.is_aborted:
            raise OSError("it was ended")


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


def _connection(url: str, sources: Sources, proxy: Proxy | None) -> http.client.HTTPConnection:
    """Raises DownloadFailed, OSError."""
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    if proxy is None:
        line = _connect(sources.resolve(url))
    else:
        authority = sources.check(url)
        line = _through(proxy, authority if parts.scheme == "https" else None)
    try:
        if parts.scheme == "https":
            context = _tls()
            connection: http.client.HTTPConnection = http.client.HTTPSConnection(host, port, context=context)
            line = context.wrap_socket(line, server_hostname=host)
        else:
            connection = http.client.HTTPConnection(host, port)
    except BaseException:
        line.close()
        raise
    line.settimeout(STALL_SECONDS)
    connection.sock = line
    # It would resolve the name anew, and connect to whatever it is told.
    connection.auto_open = 0
    return connection


def _through(proxy: Proxy, target: str | None) -> socket.socket:
    """A line to `proxy`, or through it to `target` (host:port), which it resolves (RFC 9110, 9.3.6)."""
    found = socket.getaddrinfo(proxy.host, proxy.port, type=socket.SOCK_STREAM)
    line = _connect([(family, (str(address[0]), proxy.port)) for family, _, _, _, address in found])
    if target is None:
        return line
    try:
        lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}"]
        lines += [f"{name}: {value}" for name, value in proxy.headers().items()]
        line.sendall("\r\n".join([*lines, "", ""]).encode("latin-1"))
        head = b""
        # Byte by byte: what stands behind the head is the host's.
        while not head.endswith(b"\r\n\r\n"):
            head += (byte := line.recv(1))
            if not byte or len(head) > _LONGEST_HEAD_BYTES:
                raise OSError(f"the proxy {proxy.host} hung up")
        status = head.partition(b"\r\n")[0].decode("latin-1").split(" ")[1:2]
        if status != ["200"]:
            raise DownloadFailed(
                f"the proxy {proxy.host} does not lead to {target}: HTTP {''.join(status)}",
                permanent=status == ["407"],
                details={"kind": "unreachable"},
            )
    except BaseException:
        line.close()
        raise
    return line


@functools.cache
def _tls() -> ssl.SSLContext:
    """Reading the certificates of the world costs 20 ms."""
    return ssl.create_default_context()


def _connect(addresses: list[tuple[socket.AddressFamily, tuple[str, int]]]) -> socket.socket:
    failure: OSError = OSError("no address")
    for family, address in addresses[:MAX_ADDRESSES]:
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
