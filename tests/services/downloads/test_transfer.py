import contextlib
import hashlib
import itertools
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from services import http_stream, journal
from services.artifacts import Artifact
from services.downloads import Fetcher
from services.downloads import fetcher as fetchers
from services.downloads.concurrency import MOST_LINES
from services.downloads.fetcher import NOTE_BYTES
from services.errors import DownloadFailed, DownloadStopped, NotEnoughSpace
from services.journal import Journal, Span
from services.progress import FileProgress
from services.settings import Secret
from services.sources import Sources
from services.workspace import Workspace
from tests.fakes.model_host import HuggingFace, ModelHost, Request, TlsFault
from tests.fakes.model_host.answer import Short
from tests.services.downloads.scene import (
    DATA,
    MIB,
    PATH,
    Watcher,
    artifact,
    fetcher_for,
    left_behind,
    model,
    target_of,
)
from tests.services.raw_host import RawHost, answer

# Slow enough for many lines to be worth it.
SLOW = 2.0 * MIB


@pytest.fixture(scope="module")
def large() -> bytes:
    return model(24 * MIB + 12345)


@pytest.fixture(scope="module")
def larger() -> bytes:
    """More segments than lines: some are asked for later than others."""
    return model(48 * MIB)


@pytest.fixture
def other_host() -> Iterator[ModelHost]:
    with ModelHost() as host:
        yield host


# Who asks a second time hears that there is no such file.
GONE_AFTERWARDS = {"status": 404, "status_every": 2}


def lines_of(host: ModelHost, path: str = PATH) -> int:
    """How many connections brought something of the file."""
    return len({request.client for request in host.requests if request.path == path and request.bytes_sent})


def ranges_of(host: ModelHost, path: str = PATH) -> list[tuple[int, int]]:
    """What was sent, in order of place."""
    sent = []
    for request in host.requests:
        if request.path == path and request.bytes_sent:
            start = int(request.range.removeprefix("bytes=").partition("-")[0] or 0)
            sent.append((start, start + request.bytes_sent))
    return sorted(sent)


def wait_until(condition: Callable[[], bool], what: str, seconds: float = 30) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, what
        time.sleep(0.01)


def threads_of_downloads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name in {"line", "digest"}]


# Many lines


def test_many_slow_lines_bring_a_file_together_and_each_byte_once(
    fetcher: Fetcher, watcher: Watcher, workspace: Workspace, model_host: ModelHost, large: bytes
) -> None:
    wanted = artifact(model_host.add(PATH, large, throttle=SLOW / 2), large)
    started = time.monotonic()
    record = fetcher.fetch(wanted)
    assert record.sha256 == wanted.sha256
    assert target_of(workspace, wanted).read_bytes() == large
    assert time.monotonic() - started < len(large) / (SLOW / 2) * 0.8
    assert lines_of(model_host) >= 6
    assert max(report.connections for report in watcher.reports) >= 6
    assert all(end <= start for (_, end), (start, _) in itertools.pairwise(ranges_of(model_host)))
    assert model_host.bytes_sent(PATH) == len(large)
    assert threads_of_downloads() == []


def test_lines_are_kept_from_one_segment_to_the_next(fetcher: Fetcher, model_host: ModelHost, large: bytes) -> None:
    fetcher.fetch(artifact(model_host.add(PATH, large, max_connections=2, throttle=4 * SLOW), large))
    asked = [request for request in model_host.requests if request.status == 206]
    assert len(asked) > len({request.client for request in asked})


def test_a_file_whose_length_only_the_host_knows_comes_over_many_lines(
    fetcher: Fetcher, workspace: Workspace, model_host: ModelHost, large: bytes
) -> None:
    wanted = artifact(model_host.add(PATH, large, throttle=SLOW), large, size_bytes=None, sha256=None)
    record = fetcher.fetch(wanted)
    assert target_of(workspace, wanted).read_bytes() == large
    assert record.sha256 == hashlib.sha256(large).hexdigest()
    assert lines_of(model_host) > 1


@pytest.mark.parametrize("behaviour", [{"ranges": False}, {"etag": ""}, {"etag": 'W/"weak"'}, {"length": False}])
def test_what_cannot_be_put_together_comes_over_one_line(
    behaviour: dict[str, Any], fetcher: Fetcher, workspace: Workspace, model_host: ModelHost
) -> None:
    data = model(12 * MIB)
    wanted = artifact(model_host.add(PATH, data, throttle=12 * MIB, **behaviour), data, sha256=None, size_bytes=None)
    fetcher.fetch(wanted)
    assert target_of(workspace, wanted).read_bytes() == data
    assert model_host.most_connections(PATH) == 1
    assert model_host.bytes_sent(PATH) == len(data)


def test_a_line_that_breaks_costs_nothing_but_its_own_rest(
    fetcher: Fetcher, workspace: Workspace, model_host: ModelHost, large: bytes
) -> None:
    wanted = artifact(model_host.add(PATH, large, throttle=SLOW, break_after=300_000, break_every=5), large)
    fetcher.fetch(wanted)
    assert target_of(workspace, wanted).read_bytes() == large
    assert len(model_host.requests) > 10
    assert model_host.bytes_sent(PATH) - len(large) < 2 * MIB


def test_a_line_that_stalls_does_not_hold_up_the_others(
    fetcher: Fetcher, workspace: Workspace, model_host: ModelHost, large: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_stream, "STALL_SECONDS", 1.0)
    wanted = artifact(model_host.add(PATH, large, throttle=SLOW, stall_after=500_000, stall_every=4, stalls=2), large)
    fetcher.fetch(wanted)
    assert target_of(workspace, wanted).read_bytes() == large


def test_a_host_that_bears_few_lines_gets_few(
    fetcher: Fetcher, workspace: Workspace, model_host: ModelHost, large: bytes
) -> None:
    wanted = artifact(model_host.add(PATH, large, throttle=SLOW, max_connections=8), large)
    fetcher.fetch(wanted)
    assert target_of(workspace, wanted).read_bytes() == large
    refused = [request for request in model_host.requests if request.status == 429]
    assert 1 <= len(refused) <= MOST_LINES


def test_lines_that_are_refused_together_count_as_one_refusal(
    fetcher: Fetcher, watcher: Watcher, model_host: ModelHost, large: bytes
) -> None:
    # Eight of sixteen get 429 at once: the eight others are what the host bears, and bring it in four seconds; one, if
    # each refusal counted, in twenty-four.
    started = time.monotonic()
    fetcher.fetch(artifact(model_host.add(PATH, large, throttle=SLOW / 2, max_connections=8), large))
    assert time.monotonic() - started < 16


def test_a_host_that_refuses_every_line_for_a_moment_is_not_given_up(
    fetcher: Fetcher, workspace: Workspace, model_host: ModelHost, large: bytes
) -> None:
    # Each of the many lines hears it, and it is still one failure.
    wanted = artifact(model_host.add(PATH, large, throttle=SLOW, break_after=400_000, retry_after=1), large)

    def refuse_for_a_moment() -> None:
        wait_until(lambda: model_host.bytes_sent(PATH) > 4 * MIB, "nothing comes")
        model_host.behave(PATH, status=503)
        wait_until(lambda: sum(request.status == 503 for request in model_host.requests) >= 4, "nobody asks")
        model_host.behave(PATH, status=None, break_after=None)

    thread = threading.Thread(target=refuse_for_a_moment)
    thread.start()
    fetcher.fetch(wanted)
    thread.join()
    assert target_of(workspace, wanted).read_bytes() == large


class OneLineOnly:
    """As hosts do that allow one line for each client."""

    def __init__(self, host: ModelHost, status: int) -> None:
        self._host = host
        self._status = status

    def answer(self, request: Request) -> Short | None:
        # It takes a moment to notice that a client hung up.
        time.sleep(0.1)
        is_alone = self._host._going_on[request.path, request.client[0]] == 1
        return None if is_alone else Short(self._status)


@pytest.mark.parametrize("status", [403, 404])
def test_a_host_that_refuses_a_second_line_is_left_with_the_first(
    status: int, fetcher: Fetcher, workspace: Workspace, model_host: ModelHost
) -> None:
    data = model(12 * MIB)
    model_host.sites.append(OneLineOnly(model_host, status))
    wanted = artifact(model_host.add(PATH, data, throttle=8 * MIB), data)
    fetcher.fetch(wanted)
    assert target_of(workspace, wanted).read_bytes() == data
    assert 1 <= sum(request.status == status for request in model_host.requests) < MOST_LINES
    assert lines_of(model_host) <= 2


def test_a_file_that_is_gone_from_its_host_ends_the_download(
    fetcher: Fetcher, workspace: Workspace, model_host: ModelHost, large: bytes
) -> None:
    url = model_host.add(PATH, large, throttle=SLOW, break_after=MIB)

    def remove() -> None:
        wait_until(lambda: model_host.bytes_sent(PATH) > 3 * MIB, "nothing comes")
        model_host.behave(PATH, status=404)

    thread = threading.Thread(target=remove)
    thread.start()
    with pytest.raises(DownloadFailed, match="no such file") as caught:
        fetcher.fetch(artifact(url, large))
    thread.join()
    assert caught.value.permanent
    assert threads_of_downloads() == []


def test_a_file_that_changes_under_many_lines_is_never_a_mixture(
    fetcher: Fetcher, workspace: Workspace, model_host: ModelHost, larger: bytes
) -> None:
    url = model_host.add(PATH, larger, throttle=SLOW, break_after=MIB)
    wanted = artifact(url, larger, sha256=None)
    changed = model(len(larger), seed=1)
    model_host.add("/changed", changed)

    def change() -> None:
        wait_until(lambda: model_host.bytes_sent(PATH) > 4 * MIB, "nothing comes")
        model_host.files[PATH] = model_host.files["/changed"]
        wait_until(lambda: sum(request.status == 200 for request in model_host.requests) > 1, "nobody notices")
        model_host.behave(PATH, throttle=None, break_after=None)

    thread = threading.Thread(target=change)
    thread.start()
    fetcher.fetch(wanted)
    thread.join()
    assert target_of(workspace, wanted).read_bytes() == changed


def test_an_interrupted_file_with_gaps_is_filled_up(
    fetcher: Fetcher, workspace: Workspace, model_host: ModelHost, large: bytes
) -> None:
    wanted = artifact(model_host.add(PATH, large, etag='"one"'), large)
    target = target_of(workspace, wanted)
    here = ((0, 3 * MIB), (5 * MIB, 9 * MIB), (20 * MIB, len(large)))
    with journal.part_file(target).open("wb") as file:
        for start, end in here:
            file.seek(start)
            file.write(large[start:end])
    journal.save(target, Journal(wanted.url, len(large), '"one"', here, wanted.sha256))
    fetcher.fetch(wanted)
    assert target.read_bytes() == large
    assert model_host.bytes_sent(PATH) == 13 * MIB


@pytest.mark.parametrize("changes", [{"ranges": False}, {"etag": '"two"'}])
def test_a_file_with_gaps_that_comes_whole_is_counted_once(
    changes: dict[str, Any], fetcher: Fetcher, workspace: Workspace, model_host: ModelHost, large: bytes
) -> None:
    # What is missing starts at the first byte, where a whole answer fits as well.
    wanted = artifact(model_host.add(PATH, large, **{"etag": '"one"', **changes}), large)
    target = target_of(workspace, wanted)
    journal.part_file(target).write_bytes(large)
    journal.save(target, Journal(wanted.url, len(large), '"one"', ((5 * MIB, 9 * MIB),), wanted.sha256))
    fetcher.fetch(wanted)
    assert target.read_bytes() == large


def _bytes_of(spans: tuple[Span, ...]) -> Iterator[int]:
    """One of every 4 KiB."""
    for start, end in spans:
        yield from range(-(-start // 4096) * 4096, end, 4096)


def test_what_is_certain_was_synced(
    fetcher: Fetcher, workspace: Workspace, model_host: ModelHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = model(48 * MIB)
    wanted = artifact(model_host.add(PATH, data, throttle=4 * SLOW), data)
    events: list[str] = []
    fdatasync, note = os.fdatasync, journal.note

    def sync(descriptor: int) -> None:
        fdatasync(descriptor)
        events.append("synced")

    def look(path: Path, entry: Journal) -> None:
        if entry.spans:
            events.append("certain")
        note(path, entry)

    monkeypatch.setattr(os, "fdatasync", sync)
    monkeypatch.setattr(journal, "note", look)
    fetcher.fetch(wanted)
    assert "certain" in events
    assert events[0] == "synced"


def test_a_slow_sync_neither_stops_a_download_nor_costs_more_than_a_few_megabytes_when_it_is_killed(
    fetcher: Fetcher, watcher: Watcher, workspace: Workspace, model_host: ModelHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = model(64 * MIB)
    wanted = artifact(model_host.add(PATH, data, throttle=SLOW), data)
    monkeypatch.setattr(os, "fdatasync", lambda _: time.sleep(1.5))
    lost: list[int] = []

    def look(progress: FileProgress) -> None:
        if progress.state == "downloading":
            lost.append(progress.bytes_done - journal.bytes_kept(target_of(workspace, wanted), wanted.url))

    watcher.on_report = look
    fetcher.fetch(wanted)
    assert len(lost) > 4
    assert max(lost) <= 2 * NOTE_BYTES


def test_the_journal_never_names_bytes_that_are_not_there(
    fetcher: Fetcher, watcher: Watcher, workspace: Workspace, model_host: ModelHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = model(48 * MIB)
    wanted = artifact(model_host.add(PATH, data, throttle=4 * SLOW, break_after=900_000, break_every=3), data)
    target, saved = target_of(workspace, wanted), list[int]()
    note = journal.note

    def look(path: Path, entry: Journal) -> None:
        there = journal.part_file(path).read_bytes()
        assert all(there[start:end] == data[start:end] for start, end in (*entry.spans, *entry.written))
        assert set(_bytes_of(entry.spans)) <= set(_bytes_of(entry.written))
        saved.append(entry.bytes_done)
        note(path, entry)

    monkeypatch.setattr(journal, "note", look)
    fetcher.fetch(wanted)
    assert len(saved) >= len(data) // (3 * NOTE_BYTES)
    assert saved == sorted(saved)
    assert target.read_bytes() == data


# Signed links


def test_a_signed_link_that_expires_is_asked_anew_once_for_all_lines(
    fetcher: Fetcher, workspace: Workspace, model_host: ModelHost, larger: bytes
) -> None:
    wanted = artifact(model_host.add_signed(PATH, larger, seconds=60, throttle=2 * SLOW), larger)

    def expire() -> None:
        wait_until(lambda: model_host.bytes_sent(f"/signed{PATH}") > 6 * MIB, "nothing comes")
        model_host._signatures.clear()

    thread = threading.Thread(target=expire)
    thread.start()
    fetcher.fetch(wanted)
    thread.join()
    assert target_of(workspace, wanted).read_bytes() == larger
    assert any(request.status == 403 for request in model_host.requests)
    assert sum(request.path == PATH for request in model_host.requests) == 2


def test_links_that_are_good_for_one_request_bring_the_file(
    fetcher: Fetcher, workspace: Workspace, model_host: ModelHost, large: bytes
) -> None:
    wanted = artifact(model_host.add_signed(PATH, large, uses=1, throttle=SLOW), large)
    fetcher.fetch(wanted)
    assert target_of(workspace, wanted).read_bytes() == large


def test_a_signed_link_is_asked_anew_by_a_download_that_goes_on(
    fetcher: Fetcher, watcher: Watcher, workspace: Workspace, model_host: ModelHost, large: bytes
) -> None:
    wanted = artifact(model_host.add_signed(PATH, large, seconds=60, throttle=SLOW), large)
    watcher.stop_when = lambda progress: progress.bytes_done > 0
    with pytest.raises(DownloadStopped):
        fetcher.fetch(wanted)
    kept = journal.load(target_of(workspace, wanted))
    assert kept is not None
    assert kept.url == wanted.url
    watcher.stop_when = lambda _: False
    model_host.behave(f"/signed{PATH}", throttle=None)
    fetcher.fetch(wanted)
    assert target_of(workspace, wanted).read_bytes() == large


def test_a_link_that_is_refused_anew_is_refused_for_good(fetcher: Fetcher, model_host: ModelHost) -> None:
    url = model_host.add(PATH, b"", redirect="/signed")
    model_host.add("/signed", DATA, status=403)
    with pytest.raises(DownloadFailed, match="HTTP 403") as caught:
        fetcher.fetch(artifact(url))
    assert caught.value.permanent
    assert len(model_host.requests) <= 4


# Mirrors


def test_what_the_first_does_not_have_the_second_brings(
    fetcher: Fetcher, workspace: Workspace, model_host: ModelHost, other_host: ModelHost
) -> None:
    wanted = artifact(model_host.url("/gone"), mirrors=(other_host.add(PATH, DATA),))
    fetcher.fetch(wanted)
    assert target_of(workspace, wanted).read_bytes() == DATA
    assert [request.status for request in model_host.requests] == [404]


def test_a_mirror_is_not_asked_while_the_first_has_it(
    fetcher: Fetcher, model_host: ModelHost, other_host: ModelHost
) -> None:
    fetcher.fetch(artifact(model_host.add(PATH, DATA), mirrors=(other_host.add(PATH, DATA),)))
    assert other_host.requests == []


def test_a_mirror_has_the_right_file_when_the_first_has_another(
    fetcher: Fetcher, workspace: Workspace, model_host: ModelHost, other_host: ModelHost
) -> None:
    url = model_host.add(PATH, model(len(DATA), seed=1))
    wanted = artifact(url, mirrors=(other_host.add(PATH, DATA),))
    fetcher.fetch(wanted)
    assert target_of(workspace, wanted).read_bytes() == DATA
    assert other_host.bytes_sent(PATH) == len(DATA)


def test_the_first_hosts_bytes_are_kept_for_a_mirror_when_a_digest_will_tell(
    fetcher: Fetcher, workspace: Workspace, model_host: ModelHost, other_host: ModelHost
) -> None:
    url = model_host.add(PATH, DATA, break_after=800_000, etag='"one"', **GONE_AFTERWARDS)
    wanted = artifact(url, mirrors=(other_host.add(PATH, DATA, etag='"other"'),))
    fetcher.fetch(wanted)
    assert target_of(workspace, wanted).read_bytes() == DATA
    assert 0 < other_host.bytes_sent(PATH) <= len(DATA) - 700_000


def test_the_first_hosts_bytes_are_not_mixed_with_a_mirrors_when_nothing_can_tell(
    fetcher: Fetcher, workspace: Workspace, model_host: ModelHost, other_host: ModelHost
) -> None:
    changed = model(len(DATA), seed=1)
    url = model_host.add(PATH, DATA, break_after=800_000, **GONE_AFTERWARDS)
    wanted = artifact(url, sha256=None, mirrors=(other_host.add(PATH, changed),))
    fetcher.fetch(wanted)
    assert target_of(workspace, wanted).read_bytes() == changed


def test_a_mirror_that_brought_bytes_is_gone_on_with_after_a_stop(
    fetcher: Fetcher, watcher: Watcher, workspace: Workspace, model_host: ModelHost, other_host: ModelHost
) -> None:
    # Without a digest nothing else can use them.
    mirror = other_host.add(PATH, DATA, throttle=3_000_000)
    wanted = artifact(model_host.url("/gone"), sha256=None, mirrors=(mirror,))
    watcher.stop_when = lambda progress: progress.bytes_done > 0
    with pytest.raises(DownloadStopped):
        fetcher.fetch(wanted)
    kept = journal.bytes_kept(target_of(workspace, wanted), mirror)
    assert kept > 0
    watcher.stop_when = lambda _: False
    other_host.behave(PATH, throttle=None)
    fetcher.fetch(wanted)
    assert target_of(workspace, wanted).read_bytes() == DATA
    assert other_host.requests[-1].bytes_sent == len(DATA) - kept


def test_of_several_failures_the_one_that_may_pass_is_told(fetcher: Fetcher, model_host: ModelHost) -> None:
    busy = model_host.add("/busy", DATA, status=503)
    with pytest.raises(DownloadFailed, match="HTTP 503") as caught:
        fetcher.fetch(artifact(model_host.url("/gone"), mirrors=(busy,)))
    assert not caught.value.permanent


def test_without_any_hope_the_first_hosts_failure_is_told(fetcher: Fetcher, model_host: ModelHost) -> None:
    forbidden = model_host.add("/forbidden", DATA, status=403)
    with pytest.raises(DownloadFailed, match="no such file") as caught:
        fetcher.fetch(artifact(model_host.url("/gone"), mirrors=(forbidden,)))
    assert caught.value.permanent


def test_a_mirrors_address_is_checked_like_any(workspace: Workspace, watcher: Watcher, model_host: ModelHost) -> None:
    sources = Sources(Secret(""), Secret(""), "", private_hosts=False)
    fetcher = fetcher_for(workspace, watcher, sources=sources)
    with pytest.raises(DownloadFailed) as caught:
        fetcher.fetch(artifact("https://127.0.0.1/a", mirrors=(model_host.add(PATH, DATA),)))
    assert caught.value.permanent
    assert model_host.requests == []


# What is known of a file from elsewhere


def test_bytes_of_another_address_are_not_used_though_its_hub_named_a_digest(
    fetcher: Fetcher, workspace: Workspace, model_host: ModelHost
) -> None:
    other = model(len(DATA), seed=1)
    wanted = artifact(model_host.add(PATH, DATA), sha256=None)
    target = target_of(workspace, wanted)
    journal.part_file(target).write_bytes(other)
    named = hashlib.sha256(other).hexdigest()
    journal.save(target, Journal("https://elsewhere.example/b", len(other), '"x"', ((0, len(other)),), named))
    fetcher.fetch(wanted)
    assert target.read_bytes() == DATA


@pytest.fixture
def hub(model_host: ModelHost) -> HuggingFace:
    return HuggingFace(model_host)


@pytest.fixture
def hub_fetcher(workspace: Workspace, watcher: Watcher, model_host: ModelHost) -> Fetcher:
    sources = Sources(Secret(""), Secret(""), model_host.url(""), private_hosts=True)
    return fetcher_for(workspace, watcher, sources=sources)


def test_the_digest_that_the_hub_names_is_held_to(hub: HuggingFace, hub_fetcher: Fetcher, workspace: Workspace) -> None:
    wanted = artifact(hub.add("owner/name", "a.safetensors", DATA), sha256=None, size_bytes=None)
    assert hub_fetcher.fetch(wanted).checked_against == "sha256"
    assert target_of(workspace, wanted).read_bytes() == DATA


def test_a_file_that_is_not_what_the_hub_named_is_refused(
    hub: HuggingFace, hub_fetcher: Fetcher, workspace: Workspace
) -> None:
    url = hub.add("owner/name", "a.safetensors", DATA, sha256="0" * 64)
    with pytest.raises(DownloadFailed, match=f"the host says {'0' * 64}") as caught:
        hub_fetcher.fetch(artifact(url, sha256=None, size_bytes=None))
    assert caught.value.permanent
    assert left_behind(workspace) == []


def test_a_spoilt_body_from_the_hub_is_refused(hub: HuggingFace, hub_fetcher: Fetcher, workspace: Workspace) -> None:
    url = hub.add("owner/name", "a.safetensors", DATA, corrupt_at=700_000)
    with pytest.raises(DownloadFailed, match="sha256"):
        hub_fetcher.fetch(artifact(url, sha256=None))
    assert left_behind(workspace) == []


# Limits, stops and space


def test_a_limit_is_kept(workspace: Workspace, watcher: Watcher, model_host: ModelHost) -> None:
    data = model(4 * MIB)
    fetcher = fetcher_for(workspace, watcher, limit=lambda: 2.0 * MIB)
    started = time.monotonic()
    wanted = artifact(model_host.add(PATH, data), data)
    fetcher.fetch(wanted)
    assert time.monotonic() - started > 1.4
    assert target_of(workspace, wanted).read_bytes() == data


def test_a_limit_that_ends_on_the_way_holds_nothing_up(
    workspace: Workspace, watcher: Watcher, model_host: ModelHost
) -> None:
    # Sixteen seconds, if it went on.
    data = model(16 * MIB)
    limits = iter([1.0 * MIB] * 3)
    started = time.monotonic()
    wanted = artifact(model_host.add(PATH, data), data)
    fetcher_for(workspace, watcher, limit=lambda: next(limits, None)).fetch(wanted)
    assert time.monotonic() - started < 14
    assert target_of(workspace, wanted).read_bytes() == data


def stop_after(seconds: float) -> Callable[[FileProgress], bool]:
    until = time.monotonic() + seconds
    return lambda _: time.monotonic() > until


@pytest.mark.parametrize(
    "behaviour",
    [
        {"throttle": SLOW},
        {"stall_after": 200_000, "stall_seconds": 60.0},
    ],
    ids=["many lines", "a stall"],
)
def test_a_stop_waits_for_no_line_and_leaves_no_thread(
    behaviour: dict[str, Any],
    fetcher: Fetcher,
    watcher: Watcher,
    workspace: Workspace,
    model_host: ModelHost,
    large: bytes,
) -> None:
    wanted = artifact(model_host.add(PATH, large, **behaviour), large, sha256=None)
    watcher.stop_when = stop_after(0.5)
    with pytest.raises(DownloadStopped):
        fetcher.fetch(wanted)
    assert time.monotonic() - watcher.times[-1] < 20
    wait_until(lambda: threads_of_downloads() == [], "a thread is left")
    if kept := journal.load(target_of(workspace, wanted)):
        there = journal.part_file(target_of(workspace, wanted)).read_bytes()
        assert all(there[start:end] == large[start:end] for start, end in kept.spans)


def test_a_line_that_comes_back_after_a_stop_writes_to_no_other_file(
    fetcher: Fetcher, watcher: Watcher, model_host: ModelHost, tmp_path: Path
) -> None:
    # One that is not kept open cannot be hurried, and the descriptor it knows is another file's by then.
    url = model_host.add(PATH, DATA, length=False, stall_after=200_000, stall_seconds=2.0)
    watcher.stop_when = stop_after(0.3)
    with pytest.raises(DownloadStopped):
        fetcher.fetch(artifact(url))
    with contextlib.ExitStack() as open_files:
        others = [tmp_path / str(number) for number in range(20)]
        for other in others:
            open_files.enter_context(other.open("w+b"))
        wait_until(lambda: threads_of_downloads() == [], "the line never comes back")
    assert {other.stat().st_size for other in others} == {0}


def test_a_host_that_says_nothing_can_be_stopped(fetcher: Fetcher, watcher: Watcher, model_host: ModelHost) -> None:
    url = model_host.add(PATH, DATA, first_byte_seconds=20.0)
    started = time.monotonic()
    watcher.stop_when = lambda _: time.monotonic() - started > 0.3
    with pytest.raises(DownloadStopped):
        fetcher.fetch(artifact(url))
    assert time.monotonic() - started < 15


def test_a_limited_download_can_be_stopped_at_once(
    workspace: Workspace, watcher: Watcher, model_host: ModelHost
) -> None:
    fetcher = fetcher_for(workspace, watcher, limit=lambda: 10_000.0)
    started = time.monotonic()
    watcher.stop_when = lambda _: time.monotonic() - started > 0.3
    with pytest.raises(DownloadStopped):
        fetcher.fetch(artifact(model_host.add(PATH, DATA)))
    assert time.monotonic() - started < 15


def test_no_descriptor_is_left_open(
    fetcher: Fetcher, watcher: Watcher, workspace: Workspace, model_host: ModelHost, large: bytes
) -> None:
    def descriptors() -> set[str]:
        found = set()
        for entry in Path("/proc/self/fd").iterdir():
            try:
                found.add(str(entry.readlink()))
            except OSError:
                continue
        return {target for target in found if ".part" in target}

    wanted = artifact(model_host.add(PATH, large, throttle=SLOW), large)
    watcher.stop_when = stop_after(0.5)
    with pytest.raises(DownloadStopped):
        fetcher.fetch(wanted)
    assert descriptors() == set()


def test_what_other_downloads_still_need_is_not_free(
    workspace: Workspace, watcher: Watcher, model_host: ModelHost
) -> None:
    free = workspace.free_bytes()
    fetcher = fetcher_for(workspace, watcher, promised=lambda: free)
    with pytest.raises(NotEnoughSpace):
        fetcher.fetch(artifact(model_host.add(PATH, DATA)))
    assert model_host.requests == []
    assert left_behind(workspace) == []


def test_others_promises_do_not_end_a_download_that_goes_on(
    workspace: Workspace, watcher: Watcher, model_host: ModelHost, large: bytes
) -> None:
    promised = iter([0])
    fetcher = fetcher_for(workspace, watcher, promised=lambda: next(promised, 10**18))
    wanted = artifact(model_host.add(PATH, large), large)
    fetcher.fetch(wanted)
    assert target_of(workspace, wanted).exists()


def test_a_length_that_the_host_tells_has_to_fit(
    workspace: Workspace, watcher: Watcher, model_host: ModelHost, large: bytes
) -> None:
    fetcher = fetcher_for(workspace, watcher, reserve_bytes=workspace.free_bytes() - 4 * MIB)
    url = model_host.add(PATH, large, throttle=8 * MIB)
    with pytest.raises(NotEnoughSpace):
        fetcher.fetch(artifact(url, large, size_bytes=None, sha256=None))


# TLS


@pytest.fixture
def trusted(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., ModelHost]]:
    """Makes hosts whose authority is believed."""
    hosts: list[ModelHost] = []

    def make(fault: TlsFault | None = None) -> ModelHost:
        host = ModelHost(tls=True, tls_fault=fault)
        monkeypatch.setenv("SSL_CERT_FILE", str(host.ca_file))
        http_stream._tls.cache_clear()
        hosts.append(host)
        return host.__enter__()

    yield make
    http_stream._tls.cache_clear()
    for host in hosts:
        host.close()


def test_a_file_comes_in_over_tls_and_many_lines(
    trusted: Callable[..., ModelHost], fetcher: Fetcher, workspace: Workspace, large: bytes
) -> None:
    host = trusted()
    wanted = artifact(host.add(PATH, large, throttle=SLOW), large)
    fetcher.fetch(wanted)
    assert target_of(workspace, wanted).read_bytes() == large
    assert lines_of(host) > 4


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (TlsFault.EXPIRED, "certificate has expired"),
        (TlsFault.WRONG_NAME, "not valid for '127.0.0.1'"),
        (TlsFault.SELF_SIGNED, "self-signed"),
    ],
)
def test_a_certificate_that_is_not_valid_is_refused_for_good(
    fault: TlsFault, words: str, trusted: Callable[..., ModelHost], fetcher: Fetcher, workspace: Workspace
) -> None:
    host = trusted(fault)
    with pytest.raises(DownloadFailed, match=f"certificate is not valid: .*{words}") as caught:
        fetcher.fetch(artifact(host.add(PATH, DATA)))
    assert caught.value.permanent
    assert (host.requests, left_behind(workspace)) == ([], [])


@pytest.mark.parametrize("fault", [TlsFault.HANG_UP, TlsFault.PLAIN_TEXT])
def test_a_host_that_does_not_speak_tls_is_given_up_for_now(
    fault: TlsFault, trusted: Callable[..., ModelHost], fetcher: Fetcher, workspace: Workspace
) -> None:
    host = trusted(fault)
    with pytest.raises(DownloadFailed) as caught:
        fetcher.fetch(artifact(host.add(PATH, DATA)))
    assert not caught.value.permanent
    assert left_behind(workspace) == []


def test_a_mirror_brings_what_a_host_with_a_bad_certificate_does_not(
    trusted: Callable[..., ModelHost], fetcher: Fetcher, workspace: Workspace, model_host: ModelHost
) -> None:
    bad = trusted(TlsFault.EXPIRED)
    wanted = artifact(bad.add(PATH, DATA), mirrors=(model_host.add(PATH, DATA),))
    fetcher.fetch(wanted)
    assert target_of(workspace, wanted).read_bytes() == DATA


def test_a_hub_that_names_another_digest_than_the_preset_is_refused_before_its_bytes_are_taken(
    fetcher: Fetcher, workspace: Workspace, model_host: ModelHost
) -> None:
    model_host.add("/store", DATA)
    headers = {"X-Linked-ETag": f'"{"0" * 64}"'}
    model_host.behave("/o/r/resolve/main/a.safetensors", redirect="/store", headers=headers)
    hub = replace(fetcher.sources, hf_endpoint=model_host.address)
    url = "https://huggingface.co/o/r/resolve/main/a.safetensors"
    with pytest.raises(DownloadFailed, match=r"has the sha256 0000.*the preset says") as failed:
        replace(fetcher, sources=hub).fetch(artifact(url))
    assert failed.value.permanent
    assert not target_of(workspace, artifact(url)).exists()


def test_a_host_that_brings_next_to_nothing_is_given_up_for_now(
    fetcher: Fetcher, model_host: ModelHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetchers, "LEAST_SECONDS", 0.5)
    wanted = artifact(model_host.add(PATH, DATA, throttle=1000), DATA)
    with pytest.raises(DownloadFailed, match="brought less than 64 KiB") as failed:
        fetcher.fetch(wanted)
    assert not failed.value.permanent


def test_partial_data_nobody_can_use_makes_room_for_the_file(
    fetcher: Fetcher, watcher: Watcher, workspace: Workspace, model_host: ModelHost
) -> None:
    wanted = artifact(model_host.add(PATH, DATA), DATA)
    part = journal.part_file(target_of(workspace, wanted))
    part.write_bytes(bytes(900_000))
    sizes: list[int] = []
    watcher.on_report = lambda _: sizes.append(part.stat().st_size if part.exists() else 0)
    fetcher.fetch(wanted)
    assert sizes[0] == 0


def test_a_length_that_does_not_fit_is_believed_by_nobody_else(
    workspace: Workspace, watcher: Watcher, raw_host: Callable[..., RawHost]
) -> None:
    host = raw_host(answer(b"", Content_Length=str(2**52), ETag='"one"'))
    wanted = Artifact(host.url("/a.pt"), "checkpoints", "a.pt")
    with pytest.raises(NotEnoughSpace):
        fetcher_for(workspace, watcher).fetch(wanted)
    assert {report.bytes_total for report in watcher.reports} == {None}
