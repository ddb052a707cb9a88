import contextlib
import hashlib
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from services import http_stream, journal
from services.artifacts import Artifact
from services.downloads import Fetcher
from services.downloads.transfer import MAX_ATTEMPTS
from services.errors import DownloadFailed, DownloadStopped, NotEnoughSpace
from services.journal import Journal
from services.model_folders import KNOWN_FOLDERS
from services.progress import FileProgress
from services.workspace import NAME_MAX_BYTES, Workspace
from tests.fakes.faulty_volume import MountedVolume
from tests.fakes.model_host import PIECE_BYTES, ModelHost
from tests.services.downloads.scene import (
    DATA,
    PATH,
    SHA256,
    Watcher,
    artifact,
    fetcher_for,
    left_behind,
    model,
    target_of,
)
from tests.services.raw_host import RawHost, answer

MakeHost = Callable[..., RawHost]


def test_a_file_comes_in_whole_and_leaves_nothing_else(
    fetcher: Fetcher, workspace: Workspace, model_host: ModelHost
) -> None:
    wanted = artifact(model_host.add(PATH, DATA))
    fetcher.fetch(wanted)
    assert target_of(workspace, wanted).read_bytes() == DATA
    assert left_behind(workspace) == ["model.safetensors"]


def test_the_record_of_a_download_holds_for_the_file(
    fetcher: Fetcher, workspace: Workspace, model_host: ModelHost
) -> None:
    wanted = artifact(model_host.add(PATH, DATA))
    record = fetcher.fetch(wanted)
    assert (record.folder, record.name, record.size_bytes) == ("checkpoints", "model.safetensors", len(DATA))
    assert (record.sha256, record.checked_against) == (SHA256, "sha256")
    assert record.holds_for(target_of(workspace, wanted).stat())


def test_a_file_may_lie_in_a_folder_of_its_own(fetcher: Fetcher, workspace: Workspace, model_host: ModelHost) -> None:
    wanted = artifact(model_host.add(PATH, DATA), name="sub/folder/model.safetensors")
    fetcher.fetch(wanted)
    assert target_of(workspace, wanted).read_bytes() == DATA


def test_a_name_of_the_greatest_length_can_be_downloaded(
    fetcher: Fetcher, workspace: Workspace, model_host: ModelHost
) -> None:
    name = "a" * (NAME_MAX_BYTES - len(".safetensors")) + ".safetensors"
    wanted = artifact(model_host.add(PATH, DATA), name=name)
    fetcher.fetch(wanted)
    assert target_of(workspace, wanted).read_bytes() == DATA


@pytest.mark.parametrize(
    ("known", "with_length", "checked_against"),
    [
        ({"size_bytes": None}, True, "sha256"),
        ({"sha256": None}, True, "size"),
        ({"sha256": None}, False, "size"),
        ({"sha256": None, "size_bytes": None}, True, "size"),
        ({"sha256": None, "size_bytes": None}, False, "nothing"),
    ],
)
def test_the_record_says_what_the_file_was_held_to(
    known: dict[str, None], with_length: bool, checked_against: str, fetcher: Fetcher, model_host: ModelHost
) -> None:
    record = fetcher.fetch(artifact(model_host.add(PATH, DATA, length=with_length), **known))
    assert (record.checked_against, record.sha256) == (checked_against, SHA256)


def test_a_redirect_leads_to_the_file(fetcher: Fetcher, workspace: Workspace, model_host: ModelHost) -> None:
    model_host.add("/elsewhere", DATA)
    wanted = artifact(model_host.add(PATH, b"", redirect="/elsewhere?signature=x"))
    fetcher.fetch(wanted)
    assert target_of(workspace, wanted).read_bytes() == DATA


# Lines that break


def test_after_a_broken_line_only_the_rest_is_fetched(
    fetcher: Fetcher, workspace: Workspace, model_host: ModelHost
) -> None:
    wanted = artifact(model_host.add(PATH, DATA, break_after=500_000, breaks=1))
    fetcher.fetch(wanted)
    assert target_of(workspace, wanted).read_bytes() == DATA
    assert model_host.bytes_sent(PATH) == len(DATA)
    assert [request.status for request in model_host.requests] == [206, 206]


def test_the_rest_is_asked_for_only_if_the_file_is_still_the_same(fetcher: Fetcher, model_host: ModelHost) -> None:
    fetcher.fetch(artifact(model_host.add(PATH, DATA, break_after=500_000, breaks=1, etag='"one"')))
    first, second = model_host.requests
    assert "if-range" not in first.headers
    assert second.headers["range"] == f"bytes={first.bytes_sent}-{len(DATA) - 1}"
    assert second.headers["if-range"] == '"one"'


def test_a_line_may_break_as_often_as_it_likes_while_bytes_come(
    fetcher: Fetcher, workspace: Workspace, model_host: ModelHost
) -> None:
    wanted = artifact(model_host.add(PATH, DATA, break_after=PIECE_BYTES * 8))
    fetcher.fetch(wanted)
    assert len(model_host.requests) > MAX_ATTEMPTS
    assert target_of(workspace, wanted).read_bytes() == DATA


def test_a_truncated_download_is_never_published(fetcher: Fetcher, workspace: Workspace, model_host: ModelHost) -> None:
    wanted = artifact(model_host.add(PATH, DATA, break_after=500_000, ranges=False), sha256=None)
    with pytest.raises(DownloadFailed, match=f"after [0-9]+ of {len(DATA)} bytes") as caught:
        fetcher.fetch(wanted)
    assert not caught.value.permanent
    assert not target_of(workspace, wanted).exists()


def test_a_host_without_lengths_cannot_pass_off_half_a_file(
    fetcher: Fetcher, workspace: Workspace, model_host: ModelHost
) -> None:
    wanted = artifact(model_host.add(PATH, DATA, length=False, break_after=500_000, breaks=1), sha256=None)
    fetcher.fetch(wanted)
    assert target_of(workspace, wanted).read_bytes() == DATA


def test_a_host_that_cannot_resume_is_asked_for_everything(
    fetcher: Fetcher, workspace: Workspace, model_host: ModelHost
) -> None:
    wanted = artifact(model_host.add(PATH, DATA, break_after=500_000, breaks=1, ranges=False))
    fetcher.fetch(wanted)
    assert target_of(workspace, wanted).read_bytes() == DATA
    assert [request.status for request in model_host.requests] == [200, 200]


def test_a_host_that_goes_back_and_forth_is_given_up_for_now(fetcher: Fetcher, raw_host: MakeHost) -> None:
    half = answer(b"a" * 500, Content_Length="1000", ETag='"one"')
    changed = answer(b"b" * 500, "206 Partial Content", Content_Length="500", ETag='"two"')
    host = raw_host(*[half, changed] * MAX_ATTEMPTS)
    with pytest.raises(DownloadFailed) as caught:
        fetcher.fetch(artifact(host.url("/a.pt"), name="a.pt", size_bytes=1000, sha256=None))
    assert not caught.value.permanent
    assert len(host.requests) == MAX_ATTEMPTS


def test_a_host_may_send_the_rest_in_parts(fetcher: Fetcher, workspace: Workspace, raw_host: MakeHost) -> None:
    data = bytes(range(250)) * 4

    def part(first: int, end: int) -> bytes:
        span = f"bytes {first}-{end - 1}/1000"
        return answer(
            data[first:end], "206 Partial Content", Content_Length=str(end - first), Content_Range=span, ETag='"one"'
        )

    host = raw_host(answer(data[:500], Content_Length="1000", ETag='"one"'), part(500, 700), part(700, 1000))
    wanted = artifact(host.url("/a.pt"), name="a.pt", size_bytes=None, sha256=None)
    fetcher.fetch(wanted)
    assert target_of(workspace, wanted).read_bytes() == data


def test_a_line_that_stalls_is_left_and_the_download_resumed(
    fetcher: Fetcher, workspace: Workspace, model_host: ModelHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_stream, "STALL_SECONDS", 1.0)
    wanted = artifact(model_host.add(PATH, DATA, stall_after=800_000, stall_seconds=30.0, stalls=1))
    fetcher.fetch(wanted)
    assert target_of(workspace, wanted).read_bytes() == DATA
    assert model_host.requests[1].status == 206


def test_a_host_that_brings_nothing_is_given_up_for_now(fetcher: Fetcher, model_host: ModelHost) -> None:
    with pytest.raises(DownloadFailed, match="HTTP 503") as caught:
        fetcher.fetch(artifact(model_host.add(PATH, DATA, status=503)))
    assert not caught.value.permanent
    assert len(model_host.requests) == MAX_ATTEMPTS


def test_a_host_that_fails_twice_is_asked_a_third_time(
    fetcher: Fetcher, workspace: Workspace, model_host: ModelHost
) -> None:
    wanted = artifact(model_host.add(PATH, DATA, status=503, status_times=2))
    fetcher.fetch(wanted)
    assert target_of(workspace, wanted).read_bytes() == DATA
    assert len(model_host.requests) == 3


def test_a_host_is_not_asked_again_before_it_said_so(fetcher: Fetcher, model_host: ModelHost) -> None:
    url = model_host.add(PATH, DATA, status=429, status_times=1, headers={"Retry-After": "1"})
    started = time.monotonic()
    fetcher.fetch(artifact(url))
    assert time.monotonic() - started > 1


@pytest.mark.parametrize("wait", ["9" * 400, "9" * 5000, "\xb2", "-1", "soon"])
def test_a_wait_that_makes_no_sense_stops_nobody(
    wait: str, fetcher: Fetcher, workspace: Workspace, raw_host: MakeHost
) -> None:
    refusal = answer(b"", "503 Service Unavailable", Content_Length="0", Retry_After=wait)
    host = raw_host(refusal, answer(b"a" * 1000, Content_Length="1000"))
    wanted = artifact(host.url("/a.pt"), name="a.pt", size_bytes=1000, sha256=None)
    fetcher.fetch(wanted)
    assert target_of(workspace, wanted).exists()


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_a_refusal_for_good_is_not_tried_again(status: int, fetcher: Fetcher, model_host: ModelHost) -> None:
    with pytest.raises(DownloadFailed) as caught:
        fetcher.fetch(artifact(model_host.add(PATH, DATA, status=status)))
    assert caught.value.permanent
    assert len(model_host.requests) == 1


def test_a_download_goes_on_from_its_journal(fetcher: Fetcher, workspace: Workspace, model_host: ModelHost) -> None:
    wanted = artifact(model_host.add(PATH, DATA, etag='"one"'))
    target = target_of(workspace, wanted)
    # What lies behind the journal was never certain.
    journal.part_file(target).write_bytes(DATA[:600_000] + bytes(len(DATA)))
    journal.save(target, Journal(wanted.url, len(DATA), '"one"', ((0, 600_000),), wanted.sha256))
    fetcher.fetch(wanted)
    assert target.read_bytes() == DATA
    assert model_host.bytes_sent(PATH) == len(DATA) - 600_000


def test_bytes_from_another_address_are_not_built_upon(
    fetcher: Fetcher, workspace: Workspace, model_host: ModelHost
) -> None:
    wanted = artifact(model_host.add(PATH, DATA, etag='"one"'))
    target = target_of(workspace, wanted)
    journal.part_file(target).write_bytes(b"x" * 600_000)
    journal.save(target, Journal("https://elsewhere.example/a", len(DATA), '"one"', ((0, 600_000),), "0" * 64))
    fetcher.fetch(wanted)
    assert target.read_bytes() == DATA


# Files that change, hosts that lie


def test_a_file_that_changed_on_its_host_is_fetched_anew(
    fetcher: Fetcher, watcher: Watcher, workspace: Workspace, model_host: ModelHost
) -> None:
    wanted = artifact(model_host.add(PATH, DATA, throttle=3_000_000), sha256=None)
    watcher.stop_when = lambda progress: progress.bytes_done > 0
    with pytest.raises(DownloadStopped):
        fetcher.fetch(wanted)
    changed = model(len(DATA), seed=1)
    model_host.add(PATH, changed, throttle=None)
    watcher.stop_when = lambda _: False
    fetcher.fetch(wanted)
    assert target_of(workspace, wanted).read_bytes() == changed


def test_the_journal_of_another_version_ends_before_the_new_one_begins(
    fetcher: Fetcher, watcher: Watcher, workspace: Workspace, model_host: ModelHost
) -> None:
    # A crash in between would take the bytes of one version for those of the other.
    wanted = artifact(model_host.add(PATH, DATA, etag='"two"'))
    target = target_of(workspace, wanted)
    journal.part_file(target).write_bytes(bytes(600_000))
    journal.save(target, Journal(wanted.url, len(DATA), '"one"', ((0, 600_000),), wanted.sha256))
    kept = []
    watcher.on_report = lambda progress: kept.append((progress.state, journal.bytes_kept(target, wanted.url)))
    fetcher.fetch(wanted)
    assert ("downloading", 0) in kept
    assert target.read_bytes() == DATA


def halves(data: bytes) -> tuple[bytes, bytes]:
    return data[: len(data) // 2], data[len(data) // 2 :]


def test_halves_of_two_versions_are_never_put_together(
    fetcher: Fetcher, workspace: Workspace, raw_host: MakeHost
) -> None:
    old, new = b"a" * 1000, b"b" * 1000
    host = raw_host(
        answer(halves(old)[0], Content_Length="1000", ETag='"one"'),
        # A host that does not know If-Range, but is honest about its ETag.
        answer(
            halves(new)[1],
            "206 Partial Content",
            Content_Length="500",
            Content_Range="bytes 500-999/1000",
            ETag='"two"',
        ),
        answer(new, Content_Length="1000", ETag='"two"'),
    )
    wanted = artifact(host.url("/a.pt"), name="a.pt", size_bytes=1000, sha256=None)
    fetcher.fetch(wanted)
    assert target_of(workspace, wanted).read_bytes() == new


@pytest.mark.parametrize("etag", [{}, {"ETag": 'W/"weak"'}])
def test_a_host_that_cannot_vouch_for_its_bytes_is_asked_for_everything(
    etag: dict[str, str], fetcher: Fetcher, workspace: Workspace, raw_host: MakeHost
) -> None:
    data = b"a" * 1000
    host = raw_host(answer(halves(data)[0], Content_Length="1000", **etag), answer(data, Content_Length="1000", **etag))
    wanted = artifact(host.url("/a.pt"), name="a.pt", size_bytes=1000, sha256=None)
    fetcher.fetch(wanted)
    assert target_of(workspace, wanted).read_bytes() == data
    assert b"Range" not in host.requests[1]


@pytest.mark.parametrize(
    "content_range", ["bytes 0-499/1000", "bytes 600-999/1000", "bytes 500-999/1001", "items 500-999/1000", "nonsense"]
)
def test_a_range_that_was_not_asked_for_is_not_taken(
    content_range: str, fetcher: Fetcher, workspace: Workspace, raw_host: MakeHost
) -> None:
    data = bytes(range(250)) * 4
    host = raw_host(
        answer(halves(data)[0], Content_Length="1000", ETag='"one"'),
        answer(b"x" * 500, "206 Partial Content", Content_Length="500", Content_Range=content_range, ETag='"one"'),
        answer(data, Content_Length="1000", ETag='"one"'),
    )
    wanted = artifact(host.url("/a.pt"), name="a.pt", size_bytes=1000, sha256=None)
    fetcher.fetch(wanted)
    assert target_of(workspace, wanted).read_bytes() == data


def test_a_file_with_another_digest_is_removed_and_not_tried_again(
    fetcher: Fetcher, workspace: Workspace, model_host: ModelHost
) -> None:
    wanted = artifact(model_host.add(PATH, model(len(DATA), seed=1)))
    with pytest.raises(DownloadFailed, match=SHA256) as caught:
        fetcher.fetch(wanted)
    assert caught.value.permanent
    assert left_behind(workspace) == []
    assert len(model_host.requests) == 1


def test_a_file_of_another_size_is_refused_before_its_bytes_are_taken(
    fetcher: Fetcher, watcher: Watcher, workspace: Workspace, model_host: ModelHost
) -> None:
    with pytest.raises(DownloadFailed, match=f"offers {len(DATA)} bytes, the preset says 10") as caught:
        fetcher.fetch(artifact(model_host.add(PATH, DATA), size_bytes=10))
    assert caught.value.permanent
    assert left_behind(workspace) == []
    assert {report.bytes_done for report in watcher.reports} == {0}


def test_more_bytes_than_the_preset_says_are_not_taken(
    fetcher: Fetcher, workspace: Workspace, raw_host: MakeHost
) -> None:
    host = raw_host(answer(b"400\r\n" + b"x" * 1024 + b"\r\n0\r\n\r\n", Transfer_Encoding="chunked"))
    wanted = artifact(host.url("/a.pt"), name="a.pt", size_bytes=1000, sha256=None)
    with pytest.raises(DownloadFailed, match="more than the 1000 bytes") as caught:
        fetcher.fetch(wanted)
    assert caught.value.permanent
    assert not target_of(workspace, wanted).exists()


@pytest.mark.parametrize("kind", ["text/html", "text/html; charset=utf-8", "Application/JSON", "application/xml"])
def test_a_page_instead_of_the_file_is_refused(
    kind: str, fetcher: Fetcher, workspace: Workspace, model_host: ModelHost
) -> None:
    page = b"<html>sign in</html>"
    wanted = artifact(model_host.add(PATH, page, content_type=kind), size_bytes=None, sha256=None)
    with pytest.raises(DownloadFailed, match="a page") as caught:
        fetcher.fetch(wanted)
    assert caught.value.permanent
    assert left_behind(workspace) == []


def test_a_file_that_comes_packed_is_refused(fetcher: Fetcher, workspace: Workspace, model_host: ModelHost) -> None:
    url = model_host.add(PATH, DATA, headers={"Content-Encoding": "gzip"})
    with pytest.raises(DownloadFailed, match="gzip") as caught:
        fetcher.fetch(artifact(url, size_bytes=None, sha256=None))
    assert caught.value.permanent
    assert left_behind(workspace) == []


NO_MODELS = {
    "a page": b"<html>" + b" " * 100,
    "nothing": b"",
    "a few bytes": b"1234567",
    "a header that is no JSON": struct.pack("<Q", 2) + b"[]" + bytes(100),
    "a header longer than the file": struct.pack("<Q", 1000) + b"{" + bytes(100),
    "a header longer than any": struct.pack("<Q", 2**60) + b"{" + bytes(100),
    "a header of nothing": struct.pack("<Q", 0) + b"{" + bytes(100),
    "a pickle": b"\x80\x04\x95" + bytes(100),
    "a pointer of Git LFS": b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64,
}


@pytest.mark.parametrize("data", NO_MODELS.values(), ids=NO_MODELS)
def test_what_is_no_safetensors_file_is_not_published_as_one(
    data: bytes, fetcher: Fetcher, workspace: Workspace, model_host: ModelHost
) -> None:
    wanted = artifact(model_host.add(PATH, data), size_bytes=None, sha256=None)
    with pytest.raises(DownloadFailed, match="no safetensors file") as caught:
        fetcher.fetch(wanted)
    assert caught.value.permanent
    assert left_behind(workspace) == []


def test_a_file_of_another_kind_may_hold_anything(
    fetcher: Fetcher, workspace: Workspace, model_host: ModelHost
) -> None:
    wanted = artifact(model_host.add("/a.pth", b"\x80\x04"), name="a.pth", size_bytes=2, sha256=None)
    fetcher.fetch(wanted)
    assert target_of(workspace, wanted).read_bytes() == b"\x80\x04"


# Files that are there already


def test_the_right_file_is_taken_where_it_lies(fetcher: Fetcher, workspace: Workspace, model_host: ModelHost) -> None:
    wanted = artifact(model_host.add(PATH, DATA))
    target_of(workspace, wanted).write_bytes(DATA)
    record = fetcher.fetch(wanted)
    assert (record.sha256, record.checked_against) == (SHA256, "sha256")
    assert model_host.requests == []


@pytest.mark.parametrize(
    ("lying_there", "known"),
    [(model(len(DATA), seed=1), {}), (DATA[:-1], {}), (DATA[:-1], {"sha256": None}), (b"", {"sha256": None})],
)
def test_another_file_of_that_name_is_never_overwritten(
    lying_there: bytes, known: dict[str, None], fetcher: Fetcher, workspace: Workspace, model_host: ModelHost
) -> None:
    wanted = artifact(model_host.add(PATH, DATA), **known)
    target_of(workspace, wanted).write_bytes(lying_there)
    with pytest.raises(DownloadFailed, match="another file named") as caught:
        fetcher.fetch(wanted)
    assert caught.value.permanent
    assert target_of(workspace, wanted).read_bytes() == lying_there
    assert model_host.requests == []


def test_a_file_that_could_be_held_to_nothing_is_recorded_so(
    fetcher: Fetcher, workspace: Workspace, model_host: ModelHost
) -> None:
    wanted = artifact(model_host.add(PATH, DATA), size_bytes=None, sha256=None)
    target_of(workspace, wanted).write_bytes(DATA)
    assert fetcher.fetch(wanted).checked_against == "nothing"


def test_a_file_that_lies_there_and_is_no_model_is_not_taken(
    fetcher: Fetcher, workspace: Workspace, model_host: ModelHost
) -> None:
    wanted = artifact(model_host.add(PATH, DATA), size_bytes=None, sha256=None)
    target_of(workspace, wanted).write_bytes(b"<html>sign in</html>")
    with pytest.raises(DownloadFailed):
        fetcher.fetch(wanted)


def test_a_folder_in_place_of_the_file_is_another_file(
    fetcher: Fetcher, workspace: Workspace, model_host: ModelHost
) -> None:
    wanted = artifact(model_host.add(PATH, DATA))
    target_of(workspace, wanted).mkdir()
    with pytest.raises(DownloadFailed, match="another file named") as caught:
        fetcher.fetch(wanted)
    assert caught.value.permanent


def test_a_file_that_changes_while_it_is_read_is_not_verified(
    fetcher: Fetcher, watcher: Watcher, workspace: Workspace, model_host: ModelHost
) -> None:
    wanted = artifact(model_host.add(PATH, DATA), size_bytes=None, sha256=None)
    target = target_of(workspace, wanted)
    target.write_bytes(DATA)

    def append(_: FileProgress) -> None:
        with target.open("ab") as file:
            file.write(b"more")

    watcher.on_report = append
    assert not fetcher.fetch(wanted).holds_for(target.stat())


def test_what_was_left_of_a_download_goes_when_the_file_came_another_way(
    fetcher: Fetcher, workspace: Workspace, model_host: ModelHost
) -> None:
    wanted = artifact(model_host.add(PATH, DATA))
    target = target_of(workspace, wanted)
    journal.part_file(target).write_bytes(DATA[:600_000])
    journal.save(target, Journal(wanted.url, len(DATA), '"one"', ((0, 600_000),), wanted.sha256))
    target.write_bytes(DATA)
    fetcher.fetch(wanted)
    assert left_behind(workspace) == [target.name]


def test_a_link_in_place_of_the_partial_file_is_not_followed(
    fetcher: Fetcher, workspace: Workspace, model_host: ModelHost, tmp_path: Path
) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    wanted = artifact(model_host.add(PATH, DATA))
    journal.part_file(target_of(workspace, wanted)).symlink_to(victim)
    with pytest.raises(DownloadFailed):
        fetcher.fetch(wanted)
    assert victim.read_bytes() == b"precious"


# Being told to stop


def test_a_stopped_download_keeps_what_it_has(
    fetcher: Fetcher, watcher: Watcher, workspace: Workspace, model_host: ModelHost
) -> None:
    wanted = artifact(model_host.add(PATH, DATA, throttle=3_000_000))
    watcher.stop_when = lambda progress: progress.bytes_done > 0
    with pytest.raises(DownloadStopped, match="told to"):
        fetcher.fetch(wanted)
    target = target_of(workspace, wanted)
    kept = journal.bytes_kept(target, wanted.url)
    assert kept > 0
    assert journal.part_file(target).read_bytes()[:kept] == DATA[:kept]
    assert not target.exists()


def test_a_stopped_download_goes_on_where_it_was(
    fetcher: Fetcher, watcher: Watcher, workspace: Workspace, model_host: ModelHost
) -> None:
    wanted = artifact(model_host.add(PATH, DATA, throttle=3_000_000))
    watcher.stop_when = lambda progress: progress.bytes_done > 0
    with pytest.raises(DownloadStopped):
        fetcher.fetch(wanted)
    kept = journal.bytes_kept(target_of(workspace, wanted), wanted.url)
    watcher.stop_when = lambda _: False
    model_host.behave(PATH, throttle=None)
    fetcher.fetch(wanted)
    assert target_of(workspace, wanted).read_bytes() == DATA
    assert model_host.requests[-1].bytes_sent == len(DATA) - kept


def test_a_wait_between_attempts_can_be_stopped(
    fetcher: Fetcher, watcher: Watcher, model_host: ModelHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = model_host.add(PATH, DATA, status=429, headers={"Retry-After": "30"})
    watcher.stop_when = lambda progress: progress.error is not None
    started = time.monotonic()
    with pytest.raises(DownloadStopped):
        fetcher.fetch(artifact(url))
    assert time.monotonic() - started < 20


def test_a_file_that_is_all_there_is_not_fetched_again_after_a_stop(
    fetcher: Fetcher, watcher: Watcher, workspace: Workspace, model_host: ModelHost
) -> None:
    wanted = artifact(model_host.add(PATH, DATA))
    watcher.stop_when = lambda progress: progress.state == "verifying"
    with pytest.raises(DownloadStopped):
        fetcher.fetch(wanted)
    watcher.stop_when = lambda _: False
    fetcher.fetch(wanted)
    assert target_of(workspace, wanted).read_bytes() == DATA
    assert model_host.bytes_sent(PATH) == len(DATA)


# Space


def test_a_file_that_does_not_fit_is_refused_before_its_bytes_are_taken(
    workspace: Workspace, watcher: Watcher, model_host: ModelHost
) -> None:
    with pytest.raises(NotEnoughSpace) as caught:
        fetcher_for(workspace, watcher, reserve_bytes=10**18).fetch(artifact(model_host.add(PATH, DATA)))
    assert caught.value.details == {"needed_bytes": len(DATA), "free_bytes": 0}
    assert left_behind(workspace) == []


def test_only_what_is_missing_has_to_fit(workspace: Workspace, watcher: Watcher, model_host: ModelHost) -> None:
    wanted = artifact(model_host.add(PATH, DATA, etag='"one"'))
    target = target_of(workspace, wanted)
    journal.part_file(target).write_bytes(DATA[:600_000])
    journal.save(target, Journal(wanted.url, len(DATA), '"one"', ((0, 600_000),), wanted.sha256))
    with pytest.raises(NotEnoughSpace) as caught:
        fetcher_for(workspace, watcher, reserve_bytes=10**18).fetch(wanted)
    assert caught.value.details["needed_bytes"] == len(DATA) - 600_000


@pytest.fixture
def faulty_workspace(faulty_volume: MountedVolume) -> Workspace:
    workspace = Workspace(faulty_volume.root)
    for folder in workspace.folders(KNOWN_FOLDERS):
        (workspace.root / folder.path).mkdir()
    return workspace


def test_a_volume_that_fills_up_on_the_way_is_called_full(
    faulty_workspace: Workspace, faulty_volume: MountedVolume, watcher: Watcher, model_host: ModelHost
) -> None:
    watcher.on_report = lambda progress: faulty_volume.fault("full") if progress.bytes_done else None
    wanted = artifact(model_host.add(PATH, DATA, throttle=3_000_000))
    with pytest.raises(NotEnoughSpace):
        fetcher_for(faulty_workspace, watcher).fetch(wanted)


def test_a_download_goes_on_when_there_is_space_again(
    faulty_workspace: Workspace, faulty_volume: MountedVolume, watcher: Watcher, model_host: ModelHost
) -> None:
    watcher.on_report = lambda progress: faulty_volume.fault("full") if progress.bytes_done else None
    wanted = artifact(model_host.add(PATH, DATA, throttle=3_000_000))
    with pytest.raises((NotEnoughSpace, DownloadFailed)):
        fetcher_for(faulty_workspace, watcher).fetch(wanted)
    watcher.on_report = lambda _: None
    faulty_volume.fault("none")
    model_host.behave(PATH, throttle=None)
    fetcher_for(faulty_workspace, watcher).fetch(wanted)
    assert target_of(faulty_workspace, wanted).read_bytes() == DATA


# What is told meanwhile


def test_progress_is_told_four_times_a_second_at_most(
    fetcher: Fetcher, watcher: Watcher, model_host: ModelHost
) -> None:
    started = time.monotonic()
    fetcher.fetch(artifact(model_host.add(PATH, DATA, throttle=1_500_000)))
    seconds = time.monotonic() - started
    # The first and the one before verifying come whenever they come.
    assert 3 <= len(watcher.reports) <= 4 * seconds + 2


def test_progress_goes_up_and_ends_with_every_byte(fetcher: Fetcher, watcher: Watcher, model_host: ModelHost) -> None:
    fetcher.fetch(artifact(model_host.add(PATH, DATA, throttle=3_000_000)))
    done = [report.bytes_done for report in watcher.reports]
    assert done == sorted(done)
    assert (watcher.reports[-1].state, done[-1]) == ("verifying", len(DATA))
    assert {report.bytes_total for report in watcher.reports} == {len(DATA)}


def test_the_speed_that_is_told_is_the_lines(fetcher: Fetcher, watcher: Watcher, model_host: ModelHost) -> None:
    fetcher.fetch(artifact(model_host.add(PATH, DATA, throttle=1_500_000)))
    report = [report for report in watcher.reports if report.state == "downloading"][-1]
    assert 1_500_000 / 4 < report.bytes_per_second < 1_500_000 * 2
    assert report.eta_seconds == pytest.approx((len(DATA) - report.bytes_done) / report.bytes_per_second, abs=0.2)


def test_a_retry_tells_why(fetcher: Fetcher, watcher: Watcher, model_host: ModelHost) -> None:
    fetcher.fetch(artifact(model_host.add(PATH, DATA, status=503, status_times=1, headers={"Retry-After": "1"})))
    assert "HTTP 503" in str([report.error for report in watcher.reports if report.error])


def test_nobody_ever_sees_part_of_a_file_under_its_name(
    fetcher: Fetcher, workspace: Workspace, model_host: ModelHost
) -> None:
    wanted = artifact(model_host.add(PATH, DATA, throttle=5_000_000))
    target, over, seen = target_of(workspace, wanted), threading.Event(), set[int]()

    def look() -> None:
        while not over.is_set():
            if target.exists():
                seen.add(target.stat().st_size)

    thread = threading.Thread(target=look)
    thread.start()
    fetcher.fetch(wanted)
    over.set()
    thread.join()
    assert seen <= {len(DATA)}


def test_a_second_download_of_the_same_file_does_not_spoil_the_first(
    workspace: Workspace, model_host: ModelHost
) -> None:
    # As when two pods share a volume. The second is slow: it is still writing when the first is done.
    wanted = artifact(model_host.add(PATH, DATA, throttle=2_000_000))
    target = target_of(workspace, wanted)

    def run() -> None:
        with contextlib.suppress(DownloadFailed):
            fetcher_for(workspace, Watcher()).fetch(wanted)

    first, second = threading.Thread(target=run), threading.Thread(target=run)
    first.start()
    while model_host.bytes_sent(PATH) < 600_000:
        time.sleep(0.01)
    model_host.behave(PATH, throttle=1_000_000)
    second.start()
    first.join()
    then = hashlib.sha256(target.read_bytes()).hexdigest()
    second.join()
    assert then == SHA256
    assert hashlib.sha256(target.read_bytes()).hexdigest() == SHA256
    assert left_behind(workspace) == [target.name]


def test_a_folder_that_leads_out_of_the_models_by_now_is_a_failure_that_waits_for_someone(
    fetcher: Fetcher, workspace: Workspace, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    (workspace.models / "loras" / "out").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DownloadFailed, match="leads out") as failed:
        fetcher.fetch(Artifact("https://models.example/a", "loras", "out/a.safetensors"))
    assert failed.value.permanent
    assert not list((tmp_path / "elsewhere").iterdir())
