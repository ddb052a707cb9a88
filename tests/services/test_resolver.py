import contextlib
import hashlib
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import replace

import pytest
import structlog

from services import resolver as resolver_module
from services.artifacts import Artifact
from services.lockfile import LockFile
from services.proxies import DIRECT, Proxies
from services.resolver import THREADS, Described, Fact, Resolver, Trouble, locked
from services.settings import Secret
from services.sources import Sources
from services.workspace import Workspace
from tests.fakes.internet import Internet
from tests.fakes.model_host import ModelHost
from tests.services.raw_host import RawHost

ANYONE = Sources(Secret(""), Secret(""), "", private_hosts=True)
DATA = bytes(range(256)) * 40
SHA256 = hashlib.sha256(DATA).hexdigest()
# What no test waits for.
LONG = 60.0

MakeHost = Callable[..., RawHost]


def resolver(workspace: Workspace, internet: Internet | None = None, sources: Sources = ANYONE) -> Resolver:
    proxies: Proxies = internet.proxies if internet else DIRECT
    return Resolver(lambda: sources, proxies, LockFile(workspace))


def fact(found: Fact | Trouble) -> Fact:
    assert isinstance(found, Fact), found
    return found


def trouble(found: Fact | Trouble) -> Trouble:
    assert isinstance(found, Trouble), found
    return found


class EndlessHost:
    """Answers with `start`, and then something that is never the end of it, again and again, in time."""

    def __init__(self, start: bytes) -> None:
        self._start = start
        self._listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._serve, daemon=True).start()

    def __enter__(self) -> "EndlessHost":
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}{path}"

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=self._answer, args=self._listener.accept()[:1], daemon=True).start()

    def _answer(self, line: socket.socket) -> None:
        with line, contextlib.suppress(OSError):
            line.recv(65536)
            line.sendall(self._start)
            while True:
                line.sendall(self._start if self._start.endswith(b"\r\n\r\n") else b"x")
                time.sleep(0.05)


def wait_until(happened: Callable[[], bool]) -> None:
    until = time.monotonic() + 20
    while not happened():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.01)


def test_every_address_gets_its_answer(workspace: Workspace, internet: Internet) -> None:
    good = internet.hugging_face.add("o/r", "a.safetensors", DATA)
    gated = internet.hugging_face.add("gated/model", "a.safetensors", DATA, gated=True)
    missing = "https://huggingface.co/o/r/resolve/main/b.safetensors"
    civitai = internet.civitai.add(7, DATA + b"odd")
    found = resolver(workspace, internet).resolve([good, gated, missing, civitai, good], seconds=LONG)
    assert (fact(found[good]).sha256, fact(found[good]).commit) == (SHA256, internet.hugging_face.commit("o/r"))
    assert fact(found[civitai]).size_bytes == len(DATA) + 3
    assert [trouble(found[url]).kind for url in (gated, missing)] == ["gated", "missing"]


def test_nothing_asked_is_nothing_answered(workspace: Workspace) -> None:
    assert resolver(workspace).resolve([]) == {}


def test_what_is_locked_is_not_asked_again(workspace: Workspace, model_host: ModelHost) -> None:
    url = model_host.add("/a", DATA)
    first = resolver(workspace).resolve([url], seconds=LONG)
    model_host.add("/a", b"another")
    assert resolver(workspace).resolve([url], seconds=LONG) == first
    assert len(model_host.requests) == 1


def test_what_is_to_be_refreshed_is_asked_and_locked_anew(workspace: Workspace, model_host: ModelHost) -> None:
    url = model_host.add("/a", DATA)
    resolver(workspace).resolve([url], seconds=LONG)
    model_host.add("/a", b"another")
    assert fact(resolver(workspace).resolve([url], seconds=LONG, refresh=True)[url]).size_bytes == 7
    assert fact(resolver(workspace).resolve([url])[url]).size_bytes == 7


def test_a_refresh_that_fails_says_why_and_leaves_the_lock(workspace: Workspace, model_host: ModelHost) -> None:
    url = model_host.add("/a", DATA)
    known = resolver(workspace)
    known.resolve([url], seconds=LONG)
    model_host.behave("/a", status=404)
    assert trouble(known.resolve([url], seconds=LONG, refresh=True)[url]).kind == "missing"
    assert fact(known.resolve([url])[url]).size_bytes == len(DATA)


def test_addresses_are_asked_side_by_side(workspace: Workspace, model_host: ModelHost) -> None:
    urls = [model_host.add(f"/{number}", DATA) for number in range(3 * THREADS)]
    together = threading.Barrier(THREADS)
    asked = model_host.behaviour

    def behaviour(path: str) -> object:
        # Broken, if there are not as many at once.
        together.wait(20)
        return asked(path)

    model_host.behaviour = behaviour  # type: ignore[method-assign, assignment]
    found = resolver(workspace).resolve(urls, seconds=LONG)
    assert [fact(found[url]).size_bytes for url in urls] == [len(DATA)] * len(urls)


def test_files_of_one_host_share_a_line(workspace: Workspace, model_host: ModelHost) -> None:
    urls = [model_host.add(f"/{number}", DATA) for number in range(40)]
    resolver(workspace).resolve(urls, seconds=LONG)
    assert len({request.client_port for request in model_host.requests}) <= THREADS


def test_who_does_not_answer_in_time_is_locked_when_he_does(workspace: Workspace, model_host: ModelHost) -> None:
    quick, slow = model_host.add("/quick", DATA), model_host.add("/slow", DATA, first_byte_seconds=LONG)
    found = resolver(workspace).resolve([quick, slow], seconds=5)
    assert fact(found[quick]).size_bytes == len(DATA)
    assert trouble(found[slow]).kind == "unreachable"
    assert "has not answered yet" in trouble(found[slow]).message


def test_an_answer_that_comes_late_is_locked(workspace: Workspace) -> None:
    told = threading.Event()

    class Slow(ModelHost):
        def count(self, what: str) -> int:
            told.wait(20)
            return super().count(what)

    with Slow() as host:
        url = host.add("/a", DATA)
        known = resolver(workspace)
        assert isinstance(known.resolve([url], seconds=0.2)[url], Trouble)
        # While it is under way, nobody waits for it again.
        assert isinstance(known.resolve([url], seconds=LONG)[url], Trouble)
        told.set()
        wait_until(lambda: url in LockFile(workspace).all())
        assert fact(known.resolve([url])[url]).size_bytes == len(DATA)


def test_a_trouble_is_not_asked_about_at_every_look(workspace: Workspace, model_host: ModelHost) -> None:
    url = model_host.add("/a", DATA, status=404)
    known = resolver(workspace)
    first = known.resolve([url], seconds=LONG)
    assert known.resolve([url], seconds=LONG) == first
    assert len(model_host.requests) == 1


def test_a_trouble_is_looked_into_again_after_a_while(
    workspace: Workspace, model_host: ModelHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolver_module, "TROUBLE_SECONDS", 0.0)
    url = model_host.add("/a", DATA, status=404)
    known = resolver(workspace)
    assert isinstance(known.resolve([url], seconds=LONG)[url], Trouble)
    model_host.behave("/a", status=None)
    assert isinstance(known.resolve([url], seconds=LONG)[url], Fact)


def test_with_another_token_a_trouble_is_looked_into_at_once(workspace: Workspace, internet: Internet) -> None:
    url = internet.hugging_face.add("gated/model", "a.safetensors", DATA, gated=True)
    token = Secret("lacks")
    known = Resolver(lambda: replace(ANYONE, hf_token=token), internet.proxies, LockFile(workspace))
    assert trouble(known.resolve([url], seconds=LONG)[url]).kind == "gated"
    token = Secret("knows")
    assert fact(known.resolve([url], seconds=LONG)[url]).sha256 == SHA256


def test_what_is_to_be_forgotten_is_asked_again(workspace: Workspace, model_host: ModelHost) -> None:
    url = model_host.add("/a", DATA, status=404)
    known = resolver(workspace)
    known.resolve([url], seconds=LONG)
    model_host.behave("/a", status=None)
    known.forget()
    assert fact(known.resolve([url], seconds=LONG)[url]).size_bytes == len(DATA)


def test_a_host_that_is_away_is_not_asked_file_by_file(workspace: Workspace, raw_host: MakeHost) -> None:
    host = raw_host(b"")
    urls = [host.url(f"/{number}") for number in range(100)]
    found = resolver(workspace).resolve(urls, seconds=LONG)
    assert {trouble(found[url]).kind for url in urls} == {"unreachable"}
    assert len(host.requests) <= 2 * THREADS


@pytest.mark.parametrize("endless", [b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 200 OK\r\nX-Slow: "])
def test_a_host_whose_answer_never_ends_is_given_up(
    endless: bytes, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolver_module, "ANSWER_SECONDS", 0.3)
    with EndlessHost(endless) as host:
        known = resolver(workspace)
        found = known.describe(host.url("/a.safetensors"), seconds=0.3)
        assert isinstance(found, Trouble)
        assert found.kind == "unreachable"
        urls = [host.url(f"/{number}") for number in range(2 * THREADS)]
        assert {trouble(asked).kind for asked in known.resolve(urls, seconds=LONG).values()} == {"unreachable"}
        # Its threads are free for others.
        wait_until(lambda: not any(thread.name == "resolver" for thread in threading.enumerate()))


def test_a_refresh_asks_a_host_that_was_away(workspace: Workspace, internet: Internet) -> None:
    url = internet.hugging_face.add("o/r", "a.safetensors", DATA)
    known = resolver(workspace, internet)
    internet.hub.behave("/o/r/resolve/main/a.safetensors", status=429)
    assert trouble(known.resolve([url], seconds=LONG)[url]).kind == "unreachable"
    internet.hub.behave("/o/r/resolve/main/a.safetensors", status=None)
    assert fact(known.resolve([url], seconds=LONG, refresh=True)[url]).sha256 == SHA256


def test_a_name_that_does_not_resolve_is_unreachable(workspace: Workspace) -> None:
    url = "https://nowhere.invalid/a.safetensors"
    found = trouble(resolver(workspace).resolve([url], seconds=LONG)[url])
    assert found.kind == "unreachable"
    assert "nowhere.invalid" in found.message


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("ftp://models.example/a", "not_a_file"),
        ("https://[half/a", "not_a_file"),
        ("", "not_a_file"),
        ("https://169.254.169.254/a", "forbidden"),
    ],
)
def test_what_is_no_address_to_ask_is_told(url: str, kind: str, workspace: Workspace) -> None:
    found = resolver(workspace, sources=replace(ANYONE, private_hosts=False)).resolve([url], seconds=LONG)
    assert trouble(found[url]).kind == kind


def test_a_mistake_of_ours_keeps_nobody_waiting(
    workspace: Workspace, model_host: ModelHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> Described:
        raise ZeroDivisionError

    monkeypatch.setattr(resolver_module, "look_up", broken)
    url = model_host.add("/a", DATA)
    assert "something broke" in trouble(resolver(workspace).resolve([url], seconds=LONG)[url]).message


def test_its_threads_end_with_what_there_is_to_ask(workspace: Workspace, model_host: ModelHost) -> None:
    urls = [model_host.add(f"/{number}", DATA) for number in range(20)]
    resolver(workspace).resolve(urls, seconds=LONG)
    wait_until(lambda: not any(thread.name == "resolver" for thread in threading.enumerate()))


def test_threads_that_resolve_at_once_all_get_answers(workspace: Workspace, model_host: ModelHost) -> None:
    urls = [model_host.add(f"/{number}", DATA) for number in range(20)]
    known, found = resolver(workspace), []
    threads = [threading.Thread(target=lambda: found.append(known.resolve(urls, seconds=LONG))) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [len([it for it in some.values() if isinstance(it, Fact)]) for some in found] == [20] * THREADS
    assert len(model_host.requests) == 20


def test_what_can_be_added_is_described_and_not_locked(workspace: Workspace, internet: Internet) -> None:
    url = internet.civitai.add(7, DATA + b"odd", model_type="LORA", about={"name": "style.safetensors"})
    found = resolver(workspace, internet).describe("https://civitai.com/models/3?modelVersionId=7")
    assert isinstance(found, Described)
    assert (found.url, found.name, found.folder) == (url, "style.safetensors", "loras")
    assert LockFile(workspace).all() == {}


def test_what_cannot_be_added_says_why(workspace: Workspace, internet: Internet) -> None:
    found = resolver(workspace, internet).describe("https://civitai.com/models/3")
    assert isinstance(found, Trouble)
    assert (found.kind, found.page) == ("not_a_file", "https://civitai.com/models/3")


HF = "https://huggingface.co/o/r/resolve/main/a.safetensors"
COMMIT = "cd" * 20
PINNED = HF.replace("main", COMMIT)
KNOWN = Fact(HF, 5, SHA256, COMMIT)


def test_a_locked_file_has_what_its_preset_does_not_name() -> None:
    wanted = Artifact(HF, "vae", "a.safetensors")
    assert locked(wanted, {HF: KNOWN}) == Artifact(PINNED, "vae", "a.safetensors", 5, SHA256, (HF,))


def test_a_locked_file_keeps_what_its_preset_names() -> None:
    wanted = Artifact(HF, "vae", "a.safetensors", 6, SHA256, ("https://mirror.example/a",))
    found = locked(wanted, {HF: KNOWN})
    assert (found.size_bytes, found.sha256, found.mirrors) == (6, SHA256, (HF, "https://mirror.example/a"))


def test_a_host_that_has_another_file_by_now_pins_nothing() -> None:
    wanted = Artifact(HF, "vae", "a.safetensors", 5, "ef" * 32)
    assert locked(wanted, {HF: KNOWN}) == wanted


def test_elsewhere_only_length_and_digest_are_locked() -> None:
    url = "https://models.example/a"
    found = locked(Artifact(url, "vae", "a.safetensors"), {url: Fact(url, 5, SHA256)})
    assert found == Artifact(url, "vae", "a.safetensors", 5, SHA256)


@pytest.mark.parametrize("facts", [{}, {HF: Trouble("missing", "gone")}])
def test_a_file_that_is_not_locked_stays_as_it_is(facts: dict[str, Fact | Trouble]) -> None:
    wanted = Artifact(HF, "vae", "a.safetensors")
    assert locked(wanted, facts) == wanted


def test_a_second_pod_is_told_of_the_same_bytes(workspace: Workspace, internet: Internet) -> None:
    url = internet.hugging_face.add("o/r", "a.safetensors", DATA)
    first = resolver(workspace, internet).resolve([url], seconds=LONG)
    internet.hugging_face.add("o/r", "a.safetensors", b"the next version")
    wanted = locked(Artifact(url, "vae", "a.safetensors"), resolver(workspace, internet).resolve([url]))
    assert (wanted.sha256, fact(first[url]).sha256) == (SHA256, SHA256)
    found = resolver(workspace, internet).describe(wanted.url)
    assert isinstance(found, Described)
    assert found.sha256 == SHA256


def test_a_host_that_cannot_be_reached_is_told_with_the_cause(workspace: Workspace) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with structlog.testing.capture_logs() as logged:
        found = trouble(resolver(workspace).describe(f"http://127.0.0.1:{port}/a.safetensors"))  # type: ignore[arg-type]
    assert "could not be reached (Connection refused)" in found.message
    assert [entry["log_level"] for entry in logged if entry["event"] == "host_unreachable"] == ["warning"]
