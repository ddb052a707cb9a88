"""The host of model files that other tests rely on: it does wrong what it is told to, and nothing else."""

import contextlib
import email.utils
import gzip
import http.client
import itertools
import resource
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from tests.fakes.model_host import Civitai, HuggingFace, ModelHost, TlsFault
from tests.running import free_ports

DATA = bytes(range(256)) * 400
PATH = "/a.safetensors"
ROOT = Path(__file__).resolve().parent.parent.parent

Add = Callable[..., str]


@pytest.fixture
def client() -> Iterator[httpx.Client]:
    with httpx.Client() as made:
        yield made


@pytest.fixture
def other_host() -> Iterator[ModelHost]:
    with ModelHost() as host:
        yield host


@pytest.fixture(params=["bytes", "file"])
def add(request: pytest.FixtureRequest, model_host: ModelHost, tmp_path: Path) -> Add:
    """Adds DATA at PATH, held in memory or lying on disk."""
    if request.param == "bytes":
        return lambda **behaviour: model_host.add(PATH, DATA, **behaviour)
    (tmp_path / "a").write_bytes(DATA)
    return lambda **behaviour: model_host.add_file(PATH, tmp_path / "a", **behaviour)


def wait_until(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


def get(client: httpx.Client, url: str, range: str = "", **headers: str) -> httpx.Response:
    return client.get(url, headers={**({"Range": range} if range else {}), **headers})


def read_to_the_end(url: str) -> tuple[http.client.HTTPResponse, bytes, Exception | None]:
    """An answer, as much of its body as came, and how that ended."""
    line = http.client.HTTPConnection(urlsplit(url).netloc, timeout=20)
    line.request("GET", urlsplit(url).path)
    response, body = line.getresponse(), b""
    try:
        while piece := response.read1(65536):
            body += piece
        # read1() does not say when a body ends before its length.
        error: Exception | None = http.client.IncompleteRead(body, response.length) if response.length else None
    except (http.client.HTTPException, OSError) as caught:
        error = caught
    response.close()
    line.close()
    return response, body, error


@pytest.mark.parametrize(
    ("wanted", "expected", "said"),
    [
        ("bytes=5-9", DATA[5:10], "bytes 5-9/102400"),
        ("bytes=102000-", DATA[102000:], "bytes 102000-102399/102400"),
        ("bytes=-5", DATA[-5:], "bytes 102395-102399/102400"),
        ("bytes=0-", DATA, "bytes 0-102399/102400"),
        ("bytes=102390-999999", DATA[-10:], "bytes 102390-102399/102400"),
    ],
)
def test_a_range_is_answered_with_just_that(
    wanted: str, expected: bytes, said: str, add: Add, client: httpx.Client
) -> None:
    answer = get(client, add(), wanted)
    assert (answer.status_code, answer.headers["content-range"], answer.content) == (206, said, expected)


@pytest.mark.parametrize("wanted", ["", "bytes=9-5", "bytes=-", "lines=1-2", "bytes=1-2,5-6"])
def test_without_an_understandable_range_the_whole_file_comes(wanted: str, add: Add, client: httpx.Client) -> None:
    answer = get(client, add(), wanted)
    assert (answer.status_code, answer.content) == (200, DATA)
    assert "content-range" not in answer.headers


@pytest.mark.parametrize("wanted", ["bytes=102400-", "bytes=-0"])
def test_a_range_behind_the_end_is_refused(wanted: str, add: Add, client: httpx.Client) -> None:
    answer = get(client, add(), wanted)
    assert (answer.status_code, answer.headers["content-range"]) == (416, "bytes */102400")


@pytest.mark.parametrize(
    ("etag", "condition", "status"),
    [('"x"', '"x"', 206), ('"x"', '"y"', 200), ('W/"x"', 'W/"x"', 200), ("", "Thu, 01 Jan 1970 00:00:00 GMT", 206)],
)
def test_if_range_compares_strongly(
    etag: str, condition: str, status: int, model_host: ModelHost, client: httpx.Client
) -> None:
    url = model_host.add(PATH, DATA, etag=etag)
    assert get(client, url, "bytes=5-", **{"If-Range": condition}).status_code == status


def test_a_head_request_brings_the_headers_alone(add: Add, client: httpx.Client, model_host: ModelHost) -> None:
    answer = client.head(add(), headers={"Range": "bytes=5-9"})
    assert (answer.status_code, answer.headers["content-length"]) == (206, "5")
    assert model_host.bytes_sent(PATH) == 0


def test_a_connection_serves_many_requests(model_host: ModelHost, add: Add, client: httpx.Client) -> None:
    url = add()
    for start in range(5):
        get(client, url, f"bytes={start}-")
    assert len({request.client_port for request in model_host.requests}) == 1


def test_a_connection_may_be_closed_unannounced(model_host: ModelHost) -> None:
    model_host.add(PATH, DATA, keep_alive=False)
    line = http.client.HTTPConnection("127.0.0.1", model_host.port, timeout=30)
    with contextlib.closing(line):
        line.request("GET", PATH)
        with line.getresponse() as answer:
            assert answer.getheader("Connection") is None
            assert answer.read() == DATA
        assert line.sock.recv(1) == b""


def test_a_path_may_hold_any_letters(model_host: ModelHost, client: httpx.Client) -> None:
    assert get(client, model_host.add("/my modèle 100%.gguf", b"x")).content == b"x"


def test_what_was_sent_is_counted(model_host: ModelHost, add: Add, client: httpx.Client) -> None:
    url = add()
    get(client, url, "bytes=5-9")
    get(client, url)
    first, second = model_host.requests
    assert (first.range, first.status, first.bytes_sent) == ("bytes=5-9", 206, 5)
    assert (second.range, second.status, second.bytes_sent) == ("", 200, len(DATA))
    assert model_host.bytes_sent(PATH) == len(DATA) + 5


def test_connections_at_once_are_counted(model_host: ModelHost, add: Add) -> None:
    url = add(throttle=1_000)
    with ThreadPoolExecutor(3) as pool:
        answers = [pool.submit(httpx.get, url) for _ in range(3)]
        wait_until(lambda: len(model_host.requests) == 3)
        model_host.behave(PATH, throttle=None)
    assert [answer.result().content for answer in answers] == [DATA] * 3
    assert model_host.most_connections(PATH) == 3


def test_a_throttle_lets_no_byte_pass_before_its_time(add: Add, client: httpx.Client) -> None:
    url, rate, came = add(throttle=200_000), 200_000, 0
    started = time.monotonic()
    with client.stream("GET", url) as answer:
        for piece in answer.iter_raw():
            came += len(piece)
            assert came <= rate * (time.monotonic() - started)
    assert len(DATA) / rate <= time.monotonic() - started < len(DATA) / rate * 20


def test_the_end_of_a_body_is_not_sent_faster(add: Add, client: httpx.Client) -> None:
    url = add(throttle=200_000)
    started = time.monotonic()
    for start in range(0, 20_000, 500):
        get(client, url, f"bytes={start}-{start + 499}")
    assert time.monotonic() - started >= 20_000 / 200_000


def test_time_that_went_by_between_requests_is_lost(add: Add, client: httpx.Client) -> None:
    url = add(throttle=200_000)
    get(client, url, "bytes=0-9")
    time.sleep(0.3)
    started = time.monotonic()
    get(client, url, "bytes=0-39999")
    assert time.monotonic() - started >= 0.2


def test_a_stall_is_not_made_up_for(add: Add, client: httpx.Client) -> None:
    url = add(throttle=200_000, stall_after=100, stall_seconds=0.3)
    started = time.monotonic()
    get(client, url, "bytes=0-39999")
    assert time.monotonic() - started >= 0.3 + 39_900 / 200_000


def test_each_connection_has_its_own_throttle(add: Add) -> None:
    # A second each; twelve, if they had one between them.
    url = add(throttle=len(DATA))
    started = time.monotonic()
    with ThreadPoolExecutor(12) as pool:
        list(pool.map(httpx.get, [url] * 12))
    assert time.monotonic() - started < 11


def test_a_throttle_can_be_let_go(model_host: ModelHost, add: Add, client: httpx.Client) -> None:
    # A hundred seconds, if it went on.
    url = add(throttle=1_000)
    threading.Timer(0.2, model_host.behave, [PATH], {"throttle": None}).start()
    started = time.monotonic()
    assert get(client, url).content == DATA
    assert time.monotonic() - started < 20


def test_a_large_file_is_not_read_into_memory(model_host: ModelHost, client: httpx.Client, tmp_path: Path) -> None:
    with (tmp_path / "large").open("wb") as file:
        file.truncate(10**12)
        file.seek(10**11)
        file.write(b"here")
    url = model_host.add_file(PATH, tmp_path / "large")
    assert get(client, url, f"bytes={10**11}-{10**11 + 3}").content == b"here"


def test_little_is_on_its_way_when_nobody_reads(model_host: ModelHost) -> None:
    url = model_host.add(PATH, bytes(50_000_000))
    with socket.socket() as line:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        line.connect(("127.0.0.1", model_host.port))
        line.sendall(f"GET {urlsplit(url).path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        wait_until(lambda: model_host.bytes_sent(PATH) > 0)
        time.sleep(0.3)
        assert model_host.bytes_sent(PATH) < 500_000


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_breaks_off_at_the_byte(chunked: bool, add: Add) -> None:
    _, body, error = read_to_the_end(add(break_after=12_345, chunked=chunked))
    assert body == DATA[:12_345]
    assert isinstance(error, http.client.IncompleteRead)


def test_so_many_bodies_break_off(add: Add) -> None:
    url = add(break_after=100, breaks=2)
    assert [len(read_to_the_end(url)[1]) for _ in range(4)] == [100, 100, len(DATA), len(DATA)]


def test_every_third_body_breaks_off(add: Add) -> None:
    url = add(break_after=100, break_every=3)
    assert [len(read_to_the_end(url)[1]) == 100 for _ in range(6)] == [False, False, True] * 2


def test_every_second_body_stalls_for_a_while(add: Add, client: httpx.Client) -> None:
    url, took = add(stall_after=100, stall_seconds=1.5, stall_every=2, stalls=1), []
    for _ in range(4):
        started = time.monotonic()
        assert get(client, url).content == DATA
        took.append(time.monotonic() - started >= 1.5)
    assert took == [False, True, False, False]


def test_the_first_byte_may_take_its_time(add: Add, client: httpx.Client) -> None:
    url = add(first_byte_seconds=0.3)
    started = time.monotonic()
    get(client, url, "bytes=0-0")
    assert time.monotonic() - started >= 0.3


def test_a_closed_host_keeps_nobody_waiting() -> None:
    with ModelHost() as host:
        url = host.add(PATH, DATA, stall_after=100)
        results: list[Any] = []
        thread = threading.Thread(target=lambda: results.append(read_to_the_end(url)))
        thread.start()
        while host.bytes_sent(PATH) < 100:
            time.sleep(0.01)
    thread.join(30)
    assert len(results[0][1]) == 100


def test_every_third_request_gets_the_status(add: Add, client: httpx.Client) -> None:
    url = add(status=503, status_every=3, status_times=2)
    assert [get(client, url).status_code for _ in range(9)] == [200, 200, 503] * 2 + [200] * 3


def test_a_refusal_says_when_to_come_again_in_seconds(add: Add, client: httpx.Client) -> None:
    assert get(client, add(status=429, retry_after=7)).headers["retry-after"] == "7"


def test_a_refusal_says_when_to_come_again_as_a_date(add: Add, client: httpx.Client) -> None:
    said = get(client, add(status=503, retry_after=60, retry_after_date=True)).headers["retry-after"]
    assert 30 < email.utils.parsedate_to_datetime(said).timestamp() - time.time() < 62


def test_a_refusal_may_have_something_to_say(add: Add, client: httpx.Client) -> None:
    answer = get(client, add(status=403, body=b"{}", headers={"Content-Type": "application/json"}))
    assert (answer.json(), answer.headers["content-type"]) == ({}, "application/json")


def test_one_request_too_many_at_once_is_refused(model_host: ModelHost, add: Add) -> None:
    url = add(throttle=1_000, max_connections=4)
    with ThreadPoolExecutor(5) as pool:
        answers = [pool.submit(httpx.get, url) for _ in range(5)]
        wait_until(lambda: len(model_host.requests) == 5)
        model_host.behave(PATH, throttle=None)
    assert sorted(answer.result().status_code for answer in answers) == [200] * 4 + [429]


def test_a_range_may_get_the_whole_file(add: Add, client: httpx.Client) -> None:
    url = add(whole_every=2)
    assert [get(client, url, "bytes=5-9").status_code for _ in range(4)] == [206, 200] * 2


def test_a_host_may_know_no_ranges(add: Add, client: httpx.Client) -> None:
    answer = get(client, add(ranges=False), "bytes=5-9")
    assert (answer.status_code, answer.content) == (200, DATA)
    assert "accept-ranges" not in answer.headers


@pytest.mark.parametrize(
    ("lie", "said"), [("start", "bytes 6-9/102400"), ("end", "bytes 5-8/102400"), ("total", "bytes 5-9/102401")]
)
def test_the_content_range_may_lie(lie: str, said: str, add: Add, client: httpx.Client) -> None:
    answer = get(client, add(wrong_range=lie), "bytes=5-9")
    assert (answer.headers["content-range"], answer.content) == (said, DATA[5:10])


def test_a_length_may_be_too_large(add: Add) -> None:
    response, body, error = read_to_the_end(add(length_off=10))
    assert (response.headers["content-length"], body) == (str(len(DATA) + 10), DATA)
    assert isinstance(error, http.client.IncompleteRead)


def test_a_length_may_be_too_small(add: Add, model_host: ModelHost) -> None:
    _, body, error = read_to_the_end(add(length_off=-10))
    assert (body, error) == (DATA[:-10], None)
    assert model_host.bytes_sent(PATH) == len(DATA)


def test_a_body_may_have_no_length(add: Add, client: httpx.Client) -> None:
    answer = get(client, add(length=False))
    assert (answer.content, answer.headers["connection"]) == (DATA, "close")


def test_a_body_may_come_in_chunks(add: Add, client: httpx.Client) -> None:
    url = add(chunked=True)
    assert get(client, url).content == DATA
    assert get(client, url, "bytes=5-9").content == DATA[5:10]


def test_a_body_may_come_packed(add: Add, client: httpx.Client) -> None:
    with client.stream("GET", add(gzip=True), headers={"Accept-Encoding": "identity"}) as answer:
        packed = b"".join(answer.iter_raw())
    assert answer.headers["content-encoding"] == "gzip"
    assert gzip.decompress(packed) == DATA


def test_the_content_changes_and_its_etag_with_it(add: Add, client: httpx.Client) -> None:
    url = add(change_after=2)
    answers = [get(client, url) for _ in range(4)]
    assert [answer.content == DATA for answer in answers] == [True, True, False, False]
    assert [len(set(pair)) for pair in itertools.pairwise(answer.headers["etag"] for answer in answers)] == [1, 2, 1]
    assert len(answers[3].content) == len(DATA)


def test_the_content_may_change_under_the_same_etag(add: Add, client: httpx.Client) -> None:
    url = add(change_after=1, etag='"x"')
    first, second = get(client, url), get(client, url)
    assert first.headers["etag"] == second.headers["etag"]
    assert first.content != second.content


def test_an_etag_may_be_missing(add: Add, client: httpx.Client) -> None:
    assert "etag" not in get(client, add(etag="")).headers


def test_a_file_may_be_spoilt_in_the_middle(add: Add, client: httpx.Client) -> None:
    url = add(corrupt_at=50_000, corruptions=1)
    assert get(client, url, "bytes=0-49999").content == DATA[:50_000]
    spoilt = get(client, url).content
    assert (spoilt[:50_000], spoilt[50_016:]) == (DATA[:50_000], DATA[50_016:])
    assert not any(left == right for left, right in zip(spoilt[50_000:50_016], DATA[50_000:50_016], strict=True))
    assert get(client, url).content == DATA


def test_a_redirect_may_lead_to_another_host(model_host: ModelHost, other_host: ModelHost, add: Add) -> None:
    url = add(redirect=other_host.add("/b", b"there"), redirect_status=307)
    answer = httpx.get(url, follow_redirects=True)
    assert (answer.content, answer.history[0].status_code) == (b"there", 307)


def test_redirects_may_go_in_a_circle(add: Add) -> None:
    with pytest.raises(httpx.TooManyRedirects):
        httpx.get(add(redirect=PATH), follow_redirects=True)


def test_redirects_may_never_end(add: Add, model_host: ModelHost) -> None:
    with pytest.raises(httpx.TooManyRedirects):
        httpx.get(add(endless_redirects=True), follow_redirects=True)
    assert len({request.query for request in model_host.requests}) == len(model_host.requests)


def test_a_page_may_come_instead_of_the_file(add: Add, client: httpx.Client) -> None:
    answer = get(client, add(page=True), "bytes=5-9")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert b"<html>" in answer.content


def test_a_login_may_be_asked_for(add: Add) -> None:
    answer = httpx.get(add(login=True), follow_redirects=True)
    assert (answer.url.path, answer.headers["content-type"]) == ("/login", "text/html; charset=utf-8")


@pytest.mark.parametrize("where", ["here", "elsewhere"])
def test_a_signed_address_serves_so_many_times(where: str, model_host: ModelHost, other_host: ModelHost) -> None:
    url = model_host.add_signed(PATH, DATA, uses=2, on=None if where == "here" else other_host)
    target = httpx.get(url).headers["location"]
    assert [httpx.get(target).status_code for _ in range(3)] == [200, 200, 403]
    assert httpx.get(httpx.get(url).headers["location"]).content == DATA


def test_a_signed_address_serves_for_so_long(model_host: ModelHost) -> None:
    lasting = httpx.get(model_host.add_signed(PATH, DATA, seconds=3600)).headers["location"]
    over = httpx.get(model_host.add_signed("/over.safetensors", DATA, seconds=0)).headers["location"]
    assert (httpx.get(lasting).status_code, httpx.get(over).status_code) == (200, 403)


def test_an_address_nobody_signed_is_refused(model_host: ModelHost) -> None:
    model_host.add_signed(PATH, DATA)
    assert httpx.get(model_host.url(f"/signed{PATH}?signature=guessed")).status_code == 403


def trusting(host: ModelHost) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(host.ca_file))


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1"])
def test_tls_is_spoken_with_who_trusts_the_authority(name: str, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(DATA)
    with ModelHost(tls=True) as host:
        host.add_file(PATH, tmp_path / "a", break_after=10, breaks=1)
        with httpx.Client(verify=trusting(host)) as client:
            # Not every machine can resolve localhost.
            known_as = {"sni_hostname": name}
            with pytest.raises(httpx.RemoteProtocolError):
                client.get(host.url(PATH), extensions=known_as)
            assert client.get(host.url(PATH), extensions=known_as).content == DATA


def test_hosts_share_an_authority() -> None:
    with ModelHost(tls=True) as first, ModelHost(tls=True, names=("cdn.example",)) as second:
        assert first.ca_file == second.ca_file


def test_a_throttle_holds_under_tls() -> None:
    with ModelHost(tls=True) as host, httpx.Client(verify=trusting(host)) as client:
        url = host.add(PATH, DATA, throttle=400_000)
        started = time.monotonic()
        client.get(url)
        assert time.monotonic() - started >= len(DATA) / 400_000


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (TlsFault.EXPIRED, "certificate has expired"),
        (TlsFault.WRONG_NAME, "IP address mismatch"),
        (TlsFault.SELF_SIGNED, "self-signed certificate"),
        (TlsFault.HANG_UP, "EOF|reset"),
        (TlsFault.PLAIN_TEXT, "(?i)wrong.version.number"),
    ],
)
def test_tls_can_fail_in_each_way(fault: TlsFault, says: str) -> None:
    with ModelHost(tls_fault=fault) as host, httpx.Client(verify=trusting(host)) as client:
        with pytest.raises(httpx.TransportError, match=says):
            client.get(host.add(PATH, DATA))
        assert host.requests == []


@pytest.fixture
def hugging_face(model_host: ModelHost, other_host: ModelHost) -> HuggingFace:
    """`knows` is a token that was granted gated/model, `lacks` one that was not."""
    return HuggingFace(model_host, other_host, tokens={"knows": {"gated/model"}, "lacks": set()})


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"} if token else {}


def test_hugging_face_tells_a_file_before_it_leads_there(hugging_face: HuggingFace, other_host: ModelHost) -> None:
    url = hugging_face.add("owner/name", "folder/a.safetensors", DATA)
    answer = httpx.head(url)
    assert (answer.status_code, answer.headers["x-linked-size"]) == (302, str(len(DATA)))
    assert len(answer.headers["x-linked-etag"].strip('"')) == 64
    assert len(answer.headers["x-repo-commit"]) == 40
    assert answer.headers["location"].startswith(other_host.address)


def test_hugging_face_serves_ranges_behind_its_redirect(hugging_face: HuggingFace) -> None:
    url = hugging_face.add("owner/name", "a.safetensors", DATA)
    answer = httpx.get(url, headers={"Range": "bytes=5-9"}, follow_redirects=True)
    assert (answer.status_code, answer.content) == (206, DATA[5:10])


@pytest.mark.parametrize(
    ("token", "status", "code"), [("", 401, "GatedRepo"), ("lacks", 403, "GatedRepo"), ("knows", 302, None)]
)
def test_hugging_face_guards_a_gated_repository(
    token: str, status: int, code: str | None, hugging_face: HuggingFace
) -> None:
    url = hugging_face.add("gated/model", "a.safetensors", DATA, gated=True)
    answer = httpx.get(url, headers=bearer(token))
    assert (answer.status_code, answer.headers.get("x-error-code")) == (status, code)


@pytest.mark.parametrize(("token", "status"), [("", 401), ("lacks", 404)])
@pytest.mark.parametrize("path", ["/secret/model/resolve/main/a", "/no/repository/resolve/main/a"])
def test_hugging_face_does_not_tell_private_from_missing(
    path: str, token: str, status: int, hugging_face: HuggingFace, model_host: ModelHost
) -> None:
    hugging_face.add("secret/model", "a", DATA, private=True)
    answer = httpx.get(model_host.url(path), headers=bearer(token))
    assert (answer.status_code, answer.headers["x-error-code"]) == (status, "RepoNotFound")


@pytest.mark.parametrize(
    ("path", "code"),
    [("/owner/name/resolve/main/b", "EntryNotFound"), ("/owner/name/resolve/v9/a", "RevisionNotFound")],
)
def test_hugging_face_says_what_is_missing(
    path: str, code: str, hugging_face: HuggingFace, model_host: ModelHost
) -> None:
    hugging_face.add("owner/name", "a", DATA)
    answer = httpx.get(model_host.url(path))
    assert (answer.status_code, answer.headers["x-error-code"]) == (404, code)


def test_hugging_face_keeps_every_version_of_a_file(hugging_face: HuggingFace, model_host: ModelHost) -> None:
    url = hugging_face.add("owner/name", "a", DATA)
    first = hugging_face.commit("owner/name")
    hugging_face.add("owner/name", "a", b"next")
    assert hugging_face.commit("owner/name") != first
    assert httpx.get(url, follow_redirects=True).content == b"next"
    assert httpx.get(model_host.url(f"/owner/name/resolve/{first}/a"), follow_redirects=True).content == DATA


def test_hugging_face_sends_a_small_file_itself(hugging_face: HuggingFace) -> None:
    answer = httpx.get(hugging_face.add("owner/name", "a.yaml", b"small", small=True))
    assert (answer.status_code, answer.content, "x-linked-etag" in answer.headers) == (200, b"small", False)


def test_hugging_face_leads_to_the_new_name_of_a_repository(hugging_face: HuggingFace, model_host: ModelHost) -> None:
    hugging_face.add("new/name", "a", DATA)
    hugging_face.renamed["old/name"] = "new/name"
    answer = httpx.head(model_host.url("/old/name/resolve/main/a"))
    assert (answer.status_code, answer.headers["location"]) == (307, "/new/name/resolve/main/a")


@pytest.mark.parametrize(("token", "status"), [("knows", 200), ("lacks", 200), ("canary", 401), ("", 401)])
def test_hugging_face_says_whose_a_token_is(
    token: str, status: int, hugging_face: HuggingFace, model_host: ModelHost
) -> None:
    answer = httpx.get(model_host.url("/api/whoami-v2"), headers=bearer(token))
    assert (answer.status_code, answer.json().get("name")) == (status, "someone" if status == 200 else None)


@pytest.fixture
def civitai(model_host: ModelHost, other_host: ModelHost) -> Civitai:
    return Civitai(model_host, other_host, tokens=frozenset({"knows"}), link_uses=1)


def test_civitai_leads_to_a_signed_address(civitai: Civitai) -> None:
    answer = httpx.get(civitai.add(7, DATA), follow_redirects=True)
    assert (answer.content, answer.history[0].status_code) == (DATA, 307)
    assert httpx.get(answer.url).status_code == 403


def test_civitai_refuses_who_has_no_token(civitai: Civitai) -> None:
    answer = httpx.get(civitai.add(7, DATA, locked="refused"))
    assert (answer.status_code, answer.json()["error"]) == (401, "Unauthorized")


def test_civitai_sends_who_has_no_token_to_the_login(civitai: Civitai) -> None:
    answer = httpx.get(civitai.add(7, DATA, locked="login"), follow_redirects=True)
    assert (answer.url.path, answer.url.params["reason"]) == ("/login", "download-auth")
    assert answer.headers["content-type"].startswith("text/html")


def test_civitai_takes_a_token_in_the_header_and_in_the_address(civitai: Civitai) -> None:
    url = civitai.add(7, DATA, locked="refused")
    assert httpx.get(url, headers=bearer("knows")).status_code == 307
    assert httpx.get(f"{url}?token=knows").status_code == 307


def test_civitai_keeps_early_access_to_itself(civitai: Civitai) -> None:
    answer = httpx.get(civitai.add(7, DATA, early_access=True), headers=bearer("knows"))
    assert (answer.status_code, answer.json()["error"]) == (403, "Early Access")


def test_civitai_does_not_know_every_version(civitai: Civitai, model_host: ModelHost) -> None:
    assert httpx.get(model_host.url("/api/download/models/8")).status_code == 404


def test_civitai_describes_a_version(civitai: Civitai, model_host: ModelHost) -> None:
    civitai.add(7, DATA, model_type="LORA", about={"name": "a.safetensors"})
    said = httpx.get(model_host.url("/api/v1/model-versions/7")).json()
    (file,) = said["files"]
    assert (said["model"]["type"], file["name"], file["primary"]) == ("LORA", "a.safetensors", True)
    assert file["sizeKB"] * 1024 == len(DATA)
    assert len(file["hashes"]["SHA256"]) == 64
    assert httpx.get(model_host.url("/api/v1/model-versions/8")).status_code == 404


def test_civitai_sends_the_file_that_the_query_means(civitai: Civitai) -> None:
    url = civitai.add(7, DATA)
    civitai.add_file(7, b"vae", about={"type": "VAE"})
    assert httpx.get(f"{url}?type=VAE", follow_redirects=True).content == b"vae"
    assert httpx.get(url, follow_redirects=True).content == DATA


@pytest.mark.parametrize(("token", "status"), [("knows", 200), ("canary", 401), ("", 401)])
def test_civitai_says_whose_a_token_is(token: str, status: int, civitai: Civitai, model_host: ModelHost) -> None:
    answer = httpx.get(model_host.url("/api/v1/me"), headers=bearer(token))
    assert (answer.status_code, answer.json().get("username")) == (status, "someone" if status == 200 else None)


def test_a_host_may_not_know_head(add: Add, client: httpx.Client) -> None:
    url = add(head_status=405)
    assert (client.head(url).status_code, client.get(url).status_code) == (405, 200)


@contextlib.contextmanager
def by_hand(folder: Path, *options: str) -> Iterator[str]:
    """The first address that the command line prints."""
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "tests.fakes.model_host", str(folder), "--port", str(port), *options]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process:
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()
    assert process.returncode == 0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "a.gguf").write_bytes(DATA)
    return tmp_path / "files"


def test_a_folder_is_served_by_hand(folder: Path) -> None:
    with by_hand(folder, "--status", "503", "--status-times", "1", "--no-ranges", "--throttle", "1e6") as url:
        assert [httpx.get(url, headers={"Range": "bytes=5-"}).status_code for _ in range(2)] == [503, 200]


def test_faults_by_hand_may_be_for_some_files_only(folder: Path) -> None:
    with by_hand(folder, "--only", "*.safetensors", "--status", "503") as url:
        assert httpx.get(url).status_code == 200


def test_a_gated_repository_is_served_by_hand(folder: Path) -> None:
    with by_hand(folder, "--hugging-face", "owner/name", "--gated", "--token", "knows") as url:
        assert httpx.get(url).status_code == 401
        assert httpx.get(url, headers=bearer("knows"), follow_redirects=True).content == DATA


def test_the_pace_costs_little(tmp_path: Path) -> None:
    """16 connections, 25 MiB/s each: a benchmark must not measure its own host."""
    with (tmp_path / "a").open("wb") as made:
        made.truncate(64 * 2**20)
    cpu_before, started = children_cpu_seconds(), time.monotonic()
    with by_hand(tmp_path, "--throttle", str(25 * 2**20)) as url, ThreadPoolExecutor(16) as pool:
        parts = [f"bytes={start * 2**20}-{(start + 25) * 2**20 - 1}" for start in range(16)]
        came = pool.map(lambda part: len(httpx.get(url, headers={"Range": part}).content), parts)
        assert sum(came) == 16 * 25 * 2**20
    assert time.monotonic() - started < 30
    assert children_cpu_seconds() - cpu_before < 3


def children_cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
