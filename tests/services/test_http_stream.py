import contextlib
import hashlib
import http.client
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from services import http_stream
from services.errors import DownloadFailed
from services.http_stream import MAX_REDIRECTS, Client, HttpStream
from services.proxies import Proxies, Proxy
from services.settings import Secret
from services.sources import Promise, Sources
from tests.fakes.internet import Internet
from tests.fakes.model_host import HuggingFace, ModelHost
from tests.fakes.proxy import ForwardProxy
from tests.running import free_ports
from tests.services.raw_host import RawHost, answer

MakeHost = Callable[..., RawHost]

ANYWHERE = Sources(Secret(""), Secret(""), "", private_hosts=True)
NAMES = ("huggingface.co", "civitai.com", "cdn.example")


@dataclass(frozen=True)
class LocalNames(Sources):
    """As if DNS led the names in `ports` to servers on the internet."""

    ports: dict[str, int] = field(default_factory=dict)

    def resolve(self, url: str) -> list[tuple[socket.AddressFamily, tuple[str, int]]]:
        port = self.ports.get(urlsplit(url).hostname or "")
        return [(socket.AF_INET, ("127.0.0.1", port))] if port else super().resolve(url)


class TlsHost(ModelHost):
    def __init__(self, certificate: Path) -> None:
        super().__init__()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Key and certificate for NAMES, in one file."""
    file = tmp_path_factory.mktemp("tls") / "host.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    names = ",".join(f"DNS:{name}" for name in NAMES)
    command += ["-days", "2", "-subj", "/CN=tests", "-addext", f"subjectAltName={names}"]
    subprocess.run([*command, "-keyout", str(file), "-out", f"{file}.crt"], check=True, capture_output=True)
    file.write_bytes(file.read_bytes() + Path(f"{file}.crt").read_bytes())
    return file


@pytest.fixture
def hosts(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, TlsHost]]:
    """A server for each of NAMES, by name; their certificate is believed."""
    monkeypatch.setenv("SSL_CERT_FILE", f"{certificate}.crt")
    http_stream._tls.cache_clear()
    made = {name: TlsHost(certificate) for name in NAMES}
    for host in made.values():
        host.__enter__()
    yield made
    http_stream._tls.cache_clear()
    for host in made.values():
        host.__exit__(None, None, None)


def with_tokens(hosts: dict[str, TlsHost], **more_ports: int) -> LocalNames:
    ports = {name: host.port for name, host in hosts.items()}
    return LocalNames(Secret("hf-canary"), Secret("civitai-canary"), "", private_hosts=False, ports=ports | more_ports)


@contextlib.contextmanager
def open_stream(url: str, headers: dict[str, str], sources: Sources) -> Iterator[HttpStream]:
    with Client(sources) as client:
        yield client.get(url, headers)


def read_all(stream: HttpStream, size: int = 1024 * 1024) -> bytes:
    buffer, pieces = memoryview(bytearray(size)), []
    while count := stream.read_into(buffer):
        pieces.append(bytes(buffer[:count]))
    return b"".join(pieces)


def fetch(url: str, sources: Sources = ANYWHERE) -> bytes:
    with open_stream(url, {}, sources) as stream:
        assert stream.status == 200
        return read_all(stream)


def test_a_body_is_read_to_its_end(model_host: ModelHost) -> None:
    data = bytes(range(256)) * 10_000
    assert fetch(model_host.add("/a", data)) == data


def test_a_body_is_asked_for_as_it_is(model_host: ModelHost) -> None:
    fetch(model_host.add("/a", b"x"))
    assert model_host.requests[0].headers["accept-encoding"] == "identity"


def test_an_empty_body_ends_at_once(model_host: ModelHost) -> None:
    assert fetch(model_host.add("/a", b"")) == b""


def test_a_body_in_chunks_is_put_together(raw_host: MakeHost) -> None:
    chunks = b"5\r\nhello\r\n7;name=value\r\n, world\r\n0\r\nTrailer: x\r\n\r\n"
    assert fetch(raw_host(answer(chunks, Transfer_Encoding="chunked")).url("/a")) == b"hello, world"


def test_a_body_without_a_length_ends_with_the_connection(raw_host: MakeHost) -> None:
    assert fetch(raw_host(answer(b"all there is", Connection="close")).url("/a")) == b"all there is"


def test_what_stands_behind_a_body_is_not_read(raw_host: MakeHost) -> None:
    assert fetch(raw_host(answer(b"12345extra", Content_Length="5")).url("/a")) == b"12345"


def test_chunks_that_break_off_are_a_broken_line(raw_host: MakeHost) -> None:
    host = raw_host(answer(b"ffff\r\nhello", Transfer_Encoding="chunked"))
    with pytest.raises((http.client.HTTPException, OSError)):
        fetch(host.url("/a"))


def test_a_host_that_does_not_speak_http_is_an_error_of_its_own(raw_host: MakeHost) -> None:
    with pytest.raises(http.client.HTTPException):
        fetch(raw_host(b"220 mail.example ESMTP\r\n").url("/a"))


def test_a_host_that_is_not_there_is_a_broken_line() -> None:
    (port,) = free_ports(1)
    with pytest.raises(ConnectionRefusedError):
        fetch(f"http://127.0.0.1:{port}/a")


def test_a_read_fills_no_more_than_the_buffer(model_host: ModelHost) -> None:
    url = model_host.add("/a", b"0123456789")
    with open_stream(url, {}, ANYWHERE) as stream:
        buffer = bytearray(4)
        pieces = [bytes(buffer[: stream.read_into(memoryview(buffer))]) for _ in range(4)]
    assert pieces == [b"0123", b"4567", b"89", b""]


def test_a_read_of_a_slow_line_does_not_wait_for_the_whole_buffer(model_host: ModelHost) -> None:
    # Forty seconds for all of it.
    url = model_host.add("/a", bytes(400_000), throttle=10_000)
    with open_stream(url, {}, ANYWHERE) as stream:
        started = time.monotonic()
        count = stream.read_into(memoryview(bytearray(400_000)))
        assert time.monotonic() - started < 10
    assert 0 < count < 300_000


def test_a_line_that_brings_nothing_is_dead(model_host: ModelHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_stream, "STALL_SECONDS", 0.2)
    url = model_host.add("/a", bytes(100_000), stall_after=20_000, stall_seconds=20.0)
    with open_stream(url, {}, ANYWHERE) as stream, pytest.raises(TimeoutError):
        read_all(stream)


def test_what_came_before_a_stall_is_handed_on(model_host: ModelHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_stream, "STALL_SECONDS", 1.0)
    url = model_host.add("/a", bytes(100_000), stall_after=32_768, stall_seconds=20.0)
    with open_stream(url, {}, ANYWHERE) as stream:
        buffer, counts = memoryview(bytearray(100_000)), list[int]()
        with pytest.raises(TimeoutError):
            counts.extend(iter(lambda: stream.read_into(buffer), 0))
    assert sum(counts) == 32_768


def test_chunks_that_break_off_do_not_end_the_body(raw_host: MakeHost) -> None:
    host = raw_host(answer(b"5\r\nhello\r\nffff\r\nbroken", Transfer_Encoding="chunked"))
    with open_stream(host.url("/a"), {}, ANYWHERE) as stream, pytest.raises((http.client.HTTPException, OSError)):
        read_all(stream)


@pytest.mark.parametrize("status", [404, 401, 503, 416])
def test_a_refusal_is_handed_on_as_it_is(status: int, model_host: ModelHost) -> None:
    url = model_host.add("/a", b"x", status=status, headers={"Retry-After": "7"})
    with open_stream(url, {}, ANYWHERE) as stream:
        assert (stream.status, stream.headers["retry-after"]) == (status, "7")


def test_headers_are_sent_and_read_in_any_case(model_host: ModelHost) -> None:
    url = model_host.add("/a", b"0123456789", etag='"x"')
    with open_stream(url, {"Range": "bytes=4-"}, ANYWHERE) as stream:
        assert (stream.status, stream.headers["etag"]) == (206, '"x"')
        assert read_all(stream) == b"456789"


def test_a_redirect_is_followed(model_host: ModelHost) -> None:
    target = model_host.add("/b", b"there")
    assert fetch(model_host.add("/a", b"", redirect=f"{target}?signature=1")) == b"there"


def test_a_redirect_may_be_relative(model_host: ModelHost) -> None:
    model_host.add("/folder/b", b"there")
    assert fetch(model_host.add("/folder/a", b"", redirect="b")) == b"there"


@pytest.mark.parametrize(
    ("location", "sent"),
    [
        ("/my model", b"GET /my%20model "),
        ("/mod\xc3\xa8le", b"GET /mod%C3%A8le "),
        ("/a%20b?x=%2F&y=1#part", b"GET /a%20b?x=%2F&y=1 "),
    ],
)
def test_a_redirect_is_percent_encoded_once(location: str, sent: bytes, raw_host: MakeHost) -> None:
    host = raw_host(answer(b"", "302 Found", Content_Length="0", Location=location), answer(b"x", Content_Length="1"))
    fetch(host.url("/a"))
    assert host.requests[1].startswith(sent)


def test_the_range_is_asked_for_at_every_hop(model_host: ModelHost) -> None:
    model_host.add("/b", b"0123456789")
    url = model_host.add("/a", b"", redirect="/b")
    with open_stream(url, {"Range": "bytes=4-"}, ANYWHERE) as stream:
        assert read_all(stream) == b"456789"
        assert stream.url.endswith("/b")


def test_a_redirect_without_a_target_is_the_last_answer(raw_host: MakeHost) -> None:
    with open_stream(raw_host(answer(b"", "302 Found", Content_Length="0")).url("/a"), {}, ANYWHERE) as stream:
        assert stream.status == 302


def test_redirects_come_to_an_end(model_host: ModelHost) -> None:
    url = model_host.add("/a", b"", redirect="/a")
    with pytest.raises(DownloadFailed, match=f"more than {MAX_REDIRECTS} redirects") as caught:
        fetch(url)
    assert caught.value.permanent
    assert len(model_host.requests) == MAX_REDIRECTS + 1


@pytest.mark.parametrize(
    "target",
    ["ftp://127.0.0.1/a", "file:///etc/passwd", "http://127.0.0.1:99999/a", "http:///a", "http://[half/a", "gopher:x"],
)
def test_a_redirect_to_what_is_no_address_is_refused(target: str, model_host: ModelHost) -> None:
    with pytest.raises(DownloadFailed) as caught:
        fetch(model_host.add("/a", b"", redirect=target))
    assert caught.value.permanent


@pytest.mark.parametrize(
    "target",
    [
        "https://169.254.169.254/latest/meta-data/",
        "https://127.0.0.1/",
        "https://localhost/",
        "https://[::1]/",
        "https://[::ffff:127.0.0.1]/",
        "https://2130706433/",
    ],
)
def test_a_redirect_into_the_own_network_is_refused(target: str, hosts: dict[str, TlsHost]) -> None:
    hosts["cdn.example"].add("/a", b"", redirect=target)
    with pytest.raises(DownloadFailed, match="internal network"):
        fetch("https://cdn.example/a", with_tokens(hosts))


def test_a_redirect_away_from_tls_is_refused(hosts: dict[str, TlsHost], model_host: ModelHost) -> None:
    hosts["huggingface.co"].add("/a", b"", redirect=model_host.add("/b", b"plain"))
    with pytest.raises(DownloadFailed, match="only https"):
        fetch("https://huggingface.co/a", with_tokens(hosts))
    assert model_host.requests == []


def test_a_token_reaches_its_host(hosts: dict[str, TlsHost]) -> None:
    hosts["huggingface.co"].add("/a", b"x")
    assert fetch("https://huggingface.co/a", with_tokens(hosts)) == b"x"
    assert hosts["huggingface.co"].requests[0].headers["authorization"] == "Bearer hf-canary"


@pytest.mark.parametrize("first", ["huggingface.co", "civitai.com"])
def test_a_token_is_dropped_when_a_redirect_leads_to_another_host(first: str, hosts: dict[str, TlsHost]) -> None:
    hosts[first].add("/a", b"", redirect="https://cdn.example/b")
    hosts["cdn.example"].add("/b", b"x")
    assert fetch(f"https://{first}/a", with_tokens(hosts)) == b"x"
    assert "authorization" in hosts[first].requests[0].headers
    assert "canary" not in str(hosts["cdn.example"].requests[0].headers)


def test_each_host_of_a_redirect_gets_its_own_token(hosts: dict[str, TlsHost]) -> None:
    hosts["huggingface.co"].add("/a", b"", redirect="https://civitai.com/b")
    hosts["civitai.com"].add("/b", b"x")
    fetch("https://huggingface.co/a", with_tokens(hosts))
    assert hosts["civitai.com"].requests[0].headers["authorization"] == "Bearer civitai-canary"


def test_a_certificate_for_another_name_is_refused(hosts: dict[str, TlsHost]) -> None:
    sources = with_tokens(hosts, **{"models.example": hosts["cdn.example"].port})
    with pytest.raises(ssl.SSLCertVerificationError):
        fetch("https://models.example/a", sources)
    assert hosts["cdn.example"].requests == []


def test_a_certificate_nobody_vouches_for_is_refused(
    hosts: dict[str, TlsHost], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    http_stream._tls.cache_clear()
    with pytest.raises(ssl.SSLCertVerificationError):
        fetch("https://huggingface.co/a", with_tokens(hosts))


def test_the_mirror_is_asked_in_place_of_hugging_face(model_host: ModelHost) -> None:
    model_host.add("/mirror/a/b", b"x")
    sources = Sources(Secret("canary"), Secret(""), model_host.url("/mirror"), private_hosts=True)
    assert fetch("https://huggingface.co/a/b", sources) == b"x"
    assert "canary" not in str(model_host.requests[0].headers)


@pytest.mark.parametrize(
    ("path", "sent"),
    [
        ("/my model.safetensors", b"GET /my%20model.safetensors "),
        ("/modèle.safetensors", b"GET /mod%C3%A8le.safetensors "),
        ("/a%20b%2Fc", b"GET /a%20b%2Fc "),
        ("/a?x=1&y=%20#part", b"GET /a?x=1&y=%20 "),
        ("", b"GET / "),
    ],
)
def test_an_address_is_sent_percent_encoded_once(path: str, sent: bytes, raw_host: MakeHost) -> None:
    host = raw_host(answer(b"x", Content_Length="1"))
    fetch(host.url(path))
    assert host.requests[0].startswith(sent)


# Lines that are kept


def test_a_line_is_kept_for_the_next_request_to_the_same_host(model_host: ModelHost) -> None:
    one, two = model_host.add("/a", b"one"), model_host.add("/b", b"two")
    with Client(ANYWHERE) as client:
        assert [read_all(client.get(url, {})) for url in (one, two, one)] == [b"one", b"two", b"one"]
    assert len({request.client for request in model_host.requests}) == 1


def test_a_line_whose_answer_was_not_read_is_not_kept(model_host: ModelHost) -> None:
    url = model_host.add("/a", bytes(1000))
    with Client(ANYWHERE) as client:
        client.get(url, {}).read_into(memoryview(bytearray(10)))
        assert read_all(client.get(url, {})) == bytes(1000)
    assert len({request.client for request in model_host.requests}) == 2


def test_another_host_gets_a_line_of_its_own(model_host: ModelHost) -> None:
    with ModelHost() as other, Client(ANYWHERE) as client:
        assert read_all(client.get(model_host.add("/a", b"one"), {})) == b"one"
        assert read_all(client.get(other.add("/a", b"two"), {})) == b"two"


def test_a_line_that_its_host_closed_meanwhile_is_opened_anew(model_host: ModelHost) -> None:
    url = model_host.add("/a", b"there", keep_alive=False)
    with Client(ANYWHERE) as client:
        for _ in range(3):
            assert read_all(client.get(url, {})) == b"there"
            time.sleep(0.2)
    assert len({request.client for request in model_host.requests}) == 3


def test_a_host_that_hangs_up_on_a_new_line_is_a_broken_line() -> None:
    with ForwardProxy(hangs_up=True) as nobody, pytest.raises((http.client.HTTPException, OSError)):
        fetch(f"http://127.0.0.1:{nobody.port}/a")
    assert len(nobody.heads) == 1


def test_a_client_that_was_closed_can_be_used_again(model_host: ModelHost) -> None:
    url = model_host.add("/a", b"there")
    client = Client(ANYWHERE)
    client.close()
    assert read_all(client.get(url, {})) == b"there"
    client.close()
    client.close()


# Being told to end


def aborted(client: Client, wait: Callable[[], object]) -> float:
    """Seconds that `wait` goes on when another thread aborts it, which is an error or an end for it."""
    timer = threading.Timer(0.3, client.abort)
    timer.start()
    started = time.monotonic()
    with contextlib.suppress(OSError, http.client.HTTPException):
        wait()
    timer.join()
    return time.monotonic() - started


def test_another_thread_ends_the_wait_for_an_answer(model_host: ModelHost) -> None:
    url = model_host.add("/a", b"x", first_byte_seconds=20)
    with Client(ANYWHERE) as client:
        assert aborted(client, lambda: client.get(url, {})) < 2


def test_another_thread_ends_the_wait_for_a_body(model_host: ModelHost) -> None:
    url = model_host.add("/a", bytes(100_000), stall_after=10_000, stall_seconds=20)
    with Client(ANYWHERE) as client:
        stream = client.get(url, {})
        assert aborted(client, lambda: read_all(stream)) < 2


def test_another_thread_ends_the_wait_for_a_body_over_tls(hosts: dict[str, TlsHost]) -> None:
    hosts["cdn.example"].add("/a", bytes(100_000), stall_after=10_000, stall_seconds=20)
    with Client(with_tokens(hosts)) as client:
        stream = client.get("https://cdn.example/a", {})
        assert aborted(client, lambda: read_all(stream)) < 2


def test_there_is_nothing_to_end_before_the_first_request() -> None:
    with Client(ANYWHERE) as client:
        client.abort()


def test_who_was_told_to_end_asks_nobody_any_more(model_host: ModelHost) -> None:
    url = model_host.add("/a", b"x")
    with Client(ANYWHERE) as client:
        assert read_all(client.get(url, {})) == b"x"
        client.abort()
        with pytest.raises(OSError, match="ended"):
            client.get(url, {})
        assert len(model_host.requests) == 1


# What a hub says on the way


def test_what_the_hub_said_is_remembered_where_the_redirects_end(model_host: ModelHost) -> None:
    url = HuggingFace(model_host).add("owner/name", "a.bin", b"content")
    sources = Sources(Secret(""), Secret(""), model_host.url(""), private_hosts=True)
    with ModelHost() as start:
        first = start.add("/a", b"", redirect=url)
        with open_stream(first, {}, sources) as stream:
            assert stream.promise.size_bytes == len(b"content")
            assert stream.promise.sha256 is not None


def test_what_any_other_host_says_of_digests_is_not_believed(model_host: ModelHost) -> None:
    url = model_host.add("/a", b"x", headers={"X-Linked-ETag": f'"{"0" * 64}"'})
    with open_stream(url, {}, ANYWHERE) as stream:
        assert stream.promise.sha256 is None


# Proxies


def through(proxy: ForwardProxy, credentials: str = "") -> Proxies:
    made = Proxy("http", "127.0.0.1", proxy.port, Secret(credentials))
    return Proxies(http=made, https=made)


def fetch_through(proxy: ForwardProxy, url: str, sources: Sources, credentials: str = "") -> bytes:
    with Client(sources, through(proxy, credentials)) as client:
        stream = client.get(url, {})
        assert stream.status == 200
        return read_all(stream)


@pytest.fixture
def proxy(hosts: dict[str, TlsHost]) -> Iterator[ForwardProxy]:
    with ForwardProxy(ports={name: host.port for name, host in hosts.items()}) as made:
        yield made


def test_an_http_host_is_reached_through_a_proxy(model_host: ModelHost) -> None:
    with ForwardProxy() as proxy:
        assert fetch_through(proxy, model_host.add("/a b", b"there"), ANYWHERE) == b"there"
        assert proxy.heads[0].startswith(f"GET {model_host.url('/a%20b').replace('%25', '%')} HTTP/1.1".encode())


def test_an_https_host_is_reached_through_a_tunnel(hosts: dict[str, TlsHost], proxy: ForwardProxy) -> None:
    hosts["cdn.example"].add("/a", b"there")
    assert fetch_through(proxy, "https://cdn.example/a", with_tokens(hosts)) == b"there"
    assert proxy.heads[0].startswith(b"CONNECT cdn.example:443 HTTP/1.1\r\nHost: cdn.example:443\r\n")


def test_a_name_is_left_to_the_proxy_to_resolve(hosts: dict[str, TlsHost], proxy: ForwardProxy) -> None:
    hosts["cdn.example"].add("/a", b"there")
    sources = Sources(Secret(""), Secret(""), "", private_hosts=False)
    assert fetch_through(proxy, "https://cdn.example/a", sources) == b"there"


def test_a_tunnel_is_kept_for_the_next_request(hosts: dict[str, TlsHost], proxy: ForwardProxy) -> None:
    hosts["cdn.example"].add("/a", b"there")
    with Client(with_tokens(hosts), through(proxy)) as client:
        for _ in range(3):
            assert read_all(client.get("https://cdn.example/a", {})) == b"there"
    assert len(proxy.heads) == 1


def test_the_proxy_gets_its_own_credentials_and_no_others(hosts: dict[str, TlsHost], proxy: ForwardProxy) -> None:
    hosts["huggingface.co"].add("/a", b"there")
    fetch_through(proxy, "https://huggingface.co/a", with_tokens(hosts), "me:canary-of-the-proxy")
    assert b"\r\nProxy-Authorization: Basic " in proxy.heads[0]
    assert b"\r\nAuthorization" not in proxy.heads[0]
    assert b"hf-canary" not in proxy.heads[0]


def test_the_host_gets_its_token_through_the_tunnel_and_nothing_of_the_proxys(
    hosts: dict[str, TlsHost], proxy: ForwardProxy
) -> None:
    hosts["huggingface.co"].add("/a", b"there")
    fetch_through(proxy, "https://huggingface.co/a", with_tokens(hosts), "me:canary-of-the-proxy")
    headers = hosts["huggingface.co"].requests[0].headers
    assert headers["authorization"] == "Bearer hf-canary"
    assert "proxy-authorization" not in headers


def test_a_redirect_through_a_proxy_takes_no_token_along(hosts: dict[str, TlsHost], proxy: ForwardProxy) -> None:
    hosts["huggingface.co"].add("/a", b"", redirect="https://cdn.example/b")
    hosts["cdn.example"].add("/b", b"there")
    assert fetch_through(proxy, "https://huggingface.co/a", with_tokens(hosts), "me:canary-of-the-proxy") == b"there"
    assert "canary" not in str(hosts["cdn.example"].requests[0].headers)
    assert [head.split(b" ")[1] for head in proxy.heads] == [b"huggingface.co:443", b"cdn.example:443"]


@pytest.mark.parametrize("url", ["https://127.0.0.1/a", "https://169.254.169.254/a", "https://localhost/a"])
def test_a_proxy_leads_nobody_into_the_own_network(url: str, hosts: dict[str, TlsHost], proxy: ForwardProxy) -> None:
    with pytest.raises(DownloadFailed, match="internal network"):
        fetch_through(proxy, url, with_tokens(hosts))
    assert proxy.heads == []


def test_a_certificate_is_checked_through_a_tunnel(hosts: dict[str, TlsHost]) -> None:
    with (
        ForwardProxy(ports={"models.example": hosts["cdn.example"].port}) as proxy,
        pytest.raises(ssl.SSLCertVerificationError),
    ):
        fetch_through(proxy, "https://models.example/a", with_tokens(hosts))
    assert hosts["cdn.example"].requests == []


@pytest.mark.parametrize(
    ("answer_", "permanent"),
    [("407 Proxy Authentication Required", True), ("403 Forbidden", False), ("502 Bad Gateway", False)],
)
def test_a_proxy_that_refuses_is_named(answer_: str, permanent: bool, hosts: dict[str, TlsHost]) -> None:
    status = answer_.partition(" ")[0]
    with (
        ForwardProxy(refuses_with=answer_) as proxy,
        pytest.raises(DownloadFailed, match=f"the proxy 127.0.0.1 .* cdn.example:443: HTTP {status}") as caught,
    ):
        fetch_through(proxy, "https://cdn.example/a", with_tokens(hosts), "me:canary-of-the-proxy")
    assert caught.value.permanent is permanent
    assert "canary" not in caught.value.message


def test_a_proxy_that_hangs_up_is_a_broken_line(hosts: dict[str, TlsHost]) -> None:
    with ForwardProxy(hangs_up=True) as proxy, pytest.raises(OSError, match=r"the proxy 127\.0\.0\.1 hung up"):
        fetch_through(proxy, "https://cdn.example/a", with_tokens(hosts))


def test_what_is_exempt_goes_past_the_proxy(model_host: ModelHost) -> None:
    with ForwardProxy() as proxy:
        made = Proxy("http", "127.0.0.1", proxy.port, Secret(""))
        with Client(ANYWHERE, Proxies(made, made, exempt=("127.0.0.1",))) as client:
            assert read_all(client.get(model_host.add("/a", b"there"), {})) == b"there"
        assert proxy.heads == []


def test_a_hub_promises_length_and_digest_without_its_store(internet: Internet) -> None:
    url = internet.hugging_face.add("owner/name", "a.safetensors", b"content")
    with Client(ANYWHERE, internet.proxies) as client:
        stream = client.head(url)
    digest = hashlib.sha256(b"content").hexdigest()
    assert stream.promise == Promise(7, digest, internet.hugging_face.commit("owner/name"))
    assert internet.asked("HEAD") == ["/owner/name/resolve/main/a.safetensors"]
    assert internet.store.requests == []


def test_a_repository_that_was_renamed_is_followed_within_the_hub(internet: Internet) -> None:
    internet.hugging_face.add("new/name", "a.safetensors", b"content")
    internet.hugging_face.renamed["old/name"] = "new/name"
    with Client(ANYWHERE, internet.proxies) as client:
        stream = client.head("https://huggingface.co/old/name/resolve/main/a.safetensors")
    assert stream.promise.size_bytes == 7
    assert internet.asked("HEAD") == [f"/{name}/name/resolve/main/a.safetensors" for name in ("old", "new")]
    assert internet.store.requests == []


def test_a_small_file_of_a_hub_has_a_commit_and_no_digest(internet: Internet) -> None:
    url = internet.hugging_face.add("owner/name", "config.yaml", b"content", small=True)
    with Client(ANYWHERE, internet.proxies) as client:
        stream = client.head(url)
    assert (stream.status, stream.headers["content-length"]) == (200, "7")
    assert stream.promise == Promise(commit=internet.hugging_face.commit("owner/name"))


def test_elsewhere_redirects_are_followed_to_their_end(model_host: ModelHost) -> None:
    model_host.add("/here", b"", redirect="/there")
    model_host.add("/there", b"content")
    with Client(ANYWHERE) as client:
        stream = client.head(model_host.url("/here"))
    assert (stream.status, stream.headers["content-length"], stream.promise) == (200, "7", Promise())
    assert [request.method for request in model_host.requests] == ["HEAD", "HEAD"]


def test_heads_share_a_line(model_host: ModelHost) -> None:
    urls = [model_host.add(f"/{name}", b"content") for name in "abc"]
    with Client(ANYWHERE) as client:
        assert [client.head(url).status for url in urls] == [200] * 3
    assert len({request.client_port for request in model_host.requests}) == 1


def test_a_head_that_goes_in_circles_ends(model_host: ModelHost) -> None:
    url = model_host.add("/a", b"", endless_redirects=True)
    with Client(ANYWHERE) as client, pytest.raises(DownloadFailed, match="redirects"):
        client.head(url)


def test_a_head_is_vetted_at_every_hop(hosts: dict[str, TlsHost]) -> None:
    hosts["cdn.example"].add("/a", b"", redirect="https://127.0.0.1/a")
    with Client(with_tokens(hosts)) as client, pytest.raises(DownloadFailed, match="internal network"):
        client.head("https://cdn.example/a")


def test_a_head_takes_no_token_along_to_another_host(hosts: dict[str, TlsHost]) -> None:
    hosts["huggingface.co"].add("/a", b"", redirect="https://cdn.example/a")
    hosts["cdn.example"].add("/a", b"content")
    with Client(with_tokens(hosts)) as client:
        client.head("https://huggingface.co/a")
    sent = [hosts[name].requests[0].headers.get("authorization") for name in ("huggingface.co", "cdn.example")]
    assert sent == ["Bearer hf-canary", None]
