import hashlib
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

import services.uploads.book
import services.uploads.upload
from services.artifacts import model_id
from services.errors import Conflict, InvalidName, InvalidRequest, NotEnoughSpace, NotFound
from services.uploads import Upload, UploadBook, Wish, content_digest
from services.uploads.book import STALE_SECONDS
from services.verified import VerifiedFiles
from services.workspace import Workspace
from tests.fakes import tiny_upscaler
from tests.fakes.faulty_volume import MountedVolume

CHUNK = 1000
DATA = os.urandom(3 * CHUNK + 7)
DIGEST = hashlib.sha256(DATA).hexdigest()
WISH = Wish("loras", "mine.ckpt", len(DATA))


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (services.uploads.book, services.uploads.upload):
        monkeypatch.setattr(module, "CHUNK_BYTES", CHUNK)


@pytest.fixture
def book(workspace: Workspace) -> UploadBook:
    return open_book(workspace)


@pytest.fixture
def target(workspace: Workspace) -> Path:
    return workspace.models / "loras" / "mine.ckpt"


def open_book(workspace: Workspace, reserve_bytes: int = 0) -> UploadBook:
    return UploadBook(workspace, Path("/nonexistent"), reserve_bytes)


def data_of(target: Path) -> Path:
    return target.with_name(target.name + ".upload")


def begin(book: UploadBook, wish: Wish = WISH) -> Upload:
    return book.begin(wish, (), 0)[0]


def piece(number: int, data: bytes = DATA) -> bytes:
    return data[number * CHUNK : (number + 1) * CHUNK]


def send(book: UploadBook, upload: Upload, *numbers: int, data: bytes = DATA) -> Upload:
    for number in numbers:
        chunk = book.open_chunk(upload, number, None)
        chunk.write(piece(number, data))
        chunk.finish()
        chunk.close()
        upload = book.note(upload.id, number)
    return upload


def send_all(book: UploadBook, wish: Wish = WISH, data: bytes = DATA) -> Upload:
    upload = begin(book, wish)
    return book.complete(send(book, upload, *range(upload.chunks), data=data).id)


def check(book: UploadBook, upload: Upload, *named: str) -> Upload:
    ended = book.check(upload.id, named, lambda done: None)
    book.end(ended)
    return ended


def test_chunks_in_any_order_become_the_file(book: UploadBook, workspace: Workspace, target: Path) -> None:
    upload = send(book, begin(book), 3, 0, 2, 0, 1)
    assert (upload.received, upload.bytes_done) == (((0, 4),), len(DATA))
    assert check(book, book.complete(upload.id)).state == "done"
    assert target.read_bytes() == DATA
    assert [file.name for file in target.parent.iterdir()] == ["mine.ckpt"]
    (record,) = VerifiedFiles(workspace).all().values()
    assert (record.sha256, record.checked_against) == (DIGEST, "nothing")
    assert record.holds_for(target.stat())


def test_what_is_not_complete_has_no_model_of_its_name(book: UploadBook, target: Path) -> None:
    send(book, begin(book), 0, 1)
    assert not target.exists()
    assert data_of(target).stat().st_mode & 0o777 & ~0o022 == 0o644


def test_a_pipe_in_place_of_what_was_sent_is_not_waited_for(book: UploadBook, target: Path) -> None:
    upload = send_all(book)
    data_of(target).unlink()
    os.mkfifo(data_of(target))
    ended = check(book, upload)
    assert ended.state == "failed"
    assert "gone from the volume" in str(ended.error)


@pytest.mark.parametrize("known_by", ["who sends it", "a preset"])
def test_a_digest_that_someone_named_is_what_the_file_was_held_to(
    known_by: str, book: UploadBook, workspace: Workspace
) -> None:
    wish = replace(WISH, sha256=DIGEST) if known_by == "who sends it" else WISH
    named = (DIGEST,) if known_by == "a preset" else ()
    check(book, send_all(book, wish), *named)
    assert [record.checked_against for record in VerifiedFiles(workspace).all().values()] == ["sha256"]


def test_a_record_names_what_is_here_after_a_restart(book: UploadBook, workspace: Workspace) -> None:
    upload = send(book, begin(book), 0, 3)
    again, joined = open_book(workspace).begin(WISH, (), 0)
    assert (again, joined) == (upload, True)
    assert again.received == ((0, 1), (3, 4))
    assert again.bytes_done == CHUNK + 7


def test_a_chunk_that_was_only_written_does_not_count(book: UploadBook, workspace: Workspace) -> None:
    upload = begin(book)
    chunk = book.open_chunk(upload, 0, None)
    chunk.write(piece(0))
    chunk.close()
    assert open_book(workspace).get(upload.id).received == ()


@pytest.mark.parametrize("change", [{"size_bytes": 5}, {"version": "later"}, {"sha256": "0" * 64}], ids=str)
def test_another_file_of_that_name_begins_anew(change: dict[str, object], book: UploadBook) -> None:
    first = send(book, begin(book, replace(WISH, sha256=DIGEST)), 0)
    second, joined = book.begin(replace(WISH, **change), (), 0)
    assert not joined
    assert second.received == ()
    with pytest.raises(NotFound):
        book.get(first.id)


def test_a_digest_may_be_said_later(book: UploadBook) -> None:
    first = send(book, begin(book), 0)
    second, joined = book.begin(replace(WISH, sha256=DIGEST), (), 0)
    assert joined
    assert (second.id, second.received, second.sha256) == (first.id, ((0, 1),), DIGEST)


def test_data_that_someone_removed_is_asked_for_again(book: UploadBook, target: Path) -> None:
    upload = send(book, begin(book), 0)
    data_of(target).unlink()
    with pytest.raises(Conflict, match="begin again"):
        book.open_chunk(upload, 1, None)
    assert begin(book).received == ()


@pytest.mark.parametrize("digest", [None, hashlib.sha256(piece(0)).digest()])
@pytest.mark.parametrize("length", [0, CHUNK - 1, CHUNK + 1])
def test_a_chunk_of_another_length_is_refused(book: UploadBook, length: int, digest: bytes | None) -> None:
    chunk = book.open_chunk(begin(book), 0, digest)
    with pytest.raises(InvalidRequest, match="must have 1000 bytes"):
        send_pieces(chunk.write, chunk.finish, bytes(length))
    chunk.close()


def test_a_chunk_with_another_digest_is_refused(book: UploadBook) -> None:
    chunk = book.open_chunk(begin(book), 0, hashlib.sha256(b"other").digest())
    with pytest.raises(InvalidRequest, match="Content-Digest"):
        send_pieces(chunk.write, chunk.finish, piece(0))
    chunk.close()


def send_pieces(write: Callable[[bytes], None], finish: Callable[[], None], data: bytes) -> None:
    for start in range(0, len(data), 300):
        write(data[start : start + 300])
    finish()


@pytest.mark.parametrize("number", [4, 10**9])
def test_there_are_no_more_chunks_than_the_file_has(book: UploadBook, number: int) -> None:
    with pytest.raises(NotFound, match="numbered 0 to 3"):
        book.open_chunk(begin(book), number, None)


def test_a_file_that_is_there_is_not_sent_again(book: UploadBook, target: Path) -> None:
    target.write_bytes(b"mine")
    with pytest.raises(Conflict, match="lies in loras/ already"):
        begin(book)


def test_a_file_that_is_being_downloaded_is_not_sent(book: UploadBook) -> None:
    with pytest.raises(Conflict, match="being downloaded"):
        book.begin(WISH, {model_id("loras", "mine.ckpt")}, 0)


@pytest.mark.parametrize(
    ("folder", "name", "reason"),
    [
        ("loras", "../a.ckpt", "dot"),
        ("..", "a.ckpt", "dot"),
        ("loras", "a.txt", "not a model file"),
        ("loras", "a.ckpt.upload", "not a model file"),
        ("clip", "a.ckpt", "called 'text_encoders'"),
        ("lora", "a.ckpt", "no model folder 'lora'"),
        ("loras", "\x00.ckpt", "control"),
    ],
)
def test_a_place_that_is_none_is_refused(book: UploadBook, folder: str, name: str, reason: str) -> None:
    with pytest.raises(InvalidName, match=reason):
        begin(book, Wish(folder, name, 5))


def test_a_folder_that_a_custom_node_made_is_a_place(book: UploadBook, workspace: Workspace) -> None:
    (workspace.models / "sams").mkdir()
    assert begin(book, Wish("sams", "a.pth", 5)).state == "receiving"


def test_a_file_may_go_into_a_folder_below(book: UploadBook, workspace: Workspace) -> None:
    check(book, send_all(book, replace(WISH, name="flux/mine.ckpt")))
    assert (workspace.models / "loras" / "flux" / "mine.ckpt").read_bytes() == DATA


def test_what_does_not_fit_is_refused_before_a_byte(workspace: Workspace) -> None:
    book, free = open_book(workspace, reserve_bytes=1000), workspace.free_bytes()
    with pytest.raises(NotEnoughSpace) as caught:
        begin(book, replace(WISH, size_bytes=free * 2))
    details = caught.value.details
    assert (details["needed_bytes"], details["reserve_bytes"]) == (free * 2, 1000)
    assert book.all() == {}


def test_other_uploads_and_downloads_keep_their_room(book: UploadBook, workspace: Workspace) -> None:
    half = workspace.free_bytes() * 2 // 3
    begin(book, Wish("vae", "other.ckpt", half))
    for promised in (0, half):
        with pytest.raises(NotEnoughSpace) as caught:
            book.begin(replace(WISH, size_bytes=half), (), promised)
        assert caught.value.details["promised_bytes"] == half + promised


def test_a_dropped_upload_leaves_nothing(book: UploadBook, workspace: Workspace, target: Path) -> None:
    upload = send(book, begin(book), 0)
    book.delete(upload.id)
    assert list(target.parent.iterdir()) == list((workspace.config / "uploads").iterdir()) == []
    with pytest.raises(NotFound):
        book.note(upload.id, 1)


def test_what_is_missing_is_said(book: UploadBook) -> None:
    upload = send(book, begin(book), 1)
    with pytest.raises(Conflict, match=r"1000 of 3007 bytes") as caught:
        book.complete(upload.id)
    assert caught.value.details == {"received": ((1, 2),), "chunks": 4}


def test_a_file_with_another_digest_is_removed(book: UploadBook, target: Path) -> None:
    ended = check(book, send_all(book, replace(WISH, sha256="0" * 64)))
    assert ended.state == "failed"
    assert DIGEST in str(ended.error)
    assert list(target.parent.iterdir()) == []
    assert book.get(ended.id) == ended
    assert begin(book).received == ()


def test_what_is_no_model_is_removed(book: UploadBook, workspace: Workspace) -> None:
    page = b"<!doctype html>" + DATA
    ended = check(book, send_all(book, Wish("loras", "a.safetensors", len(page)), page))
    assert (ended.state, str(ended.error)) == (
        "failed",
        "a.safetensors: it is a web page that begins with <!doctype; what was sent was removed",
    )
    assert list((workspace.models / "loras").iterdir()) == []


def test_a_model_is_taken_for_one(book: UploadBook) -> None:
    model = tiny_upscaler.make(seed=1)
    assert check(book, send_all(book, Wish("upscale_models", "a.safetensors", len(model)), model)).state == "done"


@pytest.mark.parametrize("kind", ["file", "dangling link"])
def test_what_appeared_meanwhile_is_not_overwritten(kind: str, book: UploadBook, target: Path) -> None:
    upload = send_all(book)
    if kind == "file":
        target.write_bytes(b"another")
    else:
        target.symlink_to("/nonexistent")
    ended = check(book, upload)
    assert ended.state == "failed"
    assert "appeared meanwhile" in str(ended.error)
    assert os.readlink(target) == "/nonexistent" if kind != "file" else target.read_bytes() == b"another"
    target.unlink()
    assert check(book, book.complete(upload.id)).state == "done"
    assert target.read_bytes() == DATA


class Killed(Exception):
    pass


def test_a_check_that_was_interrupted_begins_again(book: UploadBook, workspace: Workspace, target: Path) -> None:
    upload = send_all(book)

    def die(_done: int) -> None:
        raise Killed

    with pytest.raises(Killed):
        book.check(upload.id, (), die)
    after = open_book(workspace)
    assert after.get(upload.id).state == "checking"
    assert check(after, upload).state == "done"
    assert target.read_bytes() == DATA


def test_a_check_that_was_killed_at_its_very_end_is_done(book: UploadBook, workspace: Workspace, target: Path) -> None:
    upload = send_all(book)
    record = (workspace.config / "uploads" / f"{upload.id}.json").read_bytes()
    check(book, upload)
    (workspace.config / "uploads" / f"{upload.id}.json").write_bytes(record)
    assert check(open_book(workspace), upload).state == "done"
    assert target.read_bytes() == DATA


def test_a_check_that_was_killed_between_name_and_clean_up_is_done(
    book: UploadBook, workspace: Workspace, target: Path
) -> None:
    upload = send_all(book)
    os.link(data_of(target), target)
    assert check(open_book(workspace), upload).state == "done"
    assert [file.name for file in target.parent.iterdir()] == ["mine.ckpt"]


def test_an_upload_that_was_dropped_while_it_was_checked_does_not_come_back(book: UploadBook) -> None:
    upload = send_all(book, replace(WISH, sha256="0" * 64))
    ended = book.check(upload.id, (), lambda done: book.delete(upload.id) if done == len(DATA) else None)
    with pytest.raises(NotFound):
        book.end(ended)
    assert book.all() == {}


def test_a_done_upload_is_told_of_and_keeps_no_record(book: UploadBook, workspace: Workspace) -> None:
    upload = check(book, send_all(book))
    assert book.get(upload.id).state == "done"
    assert open_book(workspace).all() == {}
    book.delete(upload.id)
    assert (workspace.models / "loras" / "mine.ckpt").exists()


def test_nobody_goes_on_with_an_upload_for_a_week_and_it_is_given_up(
    book: UploadBook, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    send(book, begin(book), 0)
    book.remove_stale()
    assert len(book.all()) == 1
    later = time.time() + STALE_SECONDS + 1
    monkeypatch.setattr(time, "time", lambda: later)
    book.remove_stale()
    assert book.all() == {}
    assert list(target.parent.iterdir()) == []


def test_a_volume_without_hard_links_has_the_file_all_the_same(faulty_volume: MountedVolume) -> None:
    workspace = Workspace(faulty_volume.root)
    for folder in ("models/loras", "config/uploads", "config/verified"):
        (workspace.root / folder).mkdir(parents=True)
    book = open_book(workspace)
    (workspace.models / "file").touch()
    with pytest.raises(PermissionError):
        os.link(workspace.models / "file", workspace.models / "link")
    assert check(book, send_all(book)).state == "done"
    assert (workspace.models / "loras" / "mine.ckpt").read_bytes() == DATA


def test_a_volume_that_runs_full_keeps_what_was_sent(faulty_volume: MountedVolume) -> None:
    workspace = Workspace(faulty_volume.root)
    for folder in ("models/loras", "config/uploads", "config/verified"):
        (workspace.root / folder).mkdir(parents=True)
    book = open_book(workspace)
    upload = send(book, begin(book), 0)
    faulty_volume.fault("full")
    chunk = book.open_chunk(upload, 1, None)
    with pytest.raises(NotEnoughSpace, match="what was sent is kept"):
        send_pieces(chunk.write, chunk.finish, piece(1))
    chunk.close()
    faulty_volume.fault("none")
    assert book.complete(send(book, upload, 1, 2, 3).id).state == "checking"
    assert check(book, upload).state == "done"


def test_chunks_noted_at_the_same_time_all_count(book: UploadBook) -> None:
    upload = begin(book, replace(WISH, size_bytes=40 * CHUNK))
    threads = [threading.Thread(target=book.note, args=(upload.id, number)) for number in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert book.get(upload.id).received == ((0, 40),)


@pytest.mark.parametrize(
    ("header", "digest"),
    [
        (None, None),
        ("", None),
        ("sha-512=:AAAA:", None),
        ("sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:", hashlib.sha256(b"").digest()),
        ("md5=:AAAA:, SHA-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:", hashlib.sha256(b"").digest()),
    ],
)
def test_the_digest_of_a_header_is_read(header: str | None, digest: bytes | None) -> None:
    assert content_digest(header) == digest


@pytest.mark.parametrize("value", ["", ":", "::", ":AAAA:", "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=", ":é:"])
def test_a_digest_that_is_none_is_refused(value: str) -> None:
    with pytest.raises(InvalidRequest, match="sha-256=:BASE64:"):
        content_digest(f"sha-256={value}")


def test_what_was_sent_for_a_name_that_was_taken_is_not_sent_again(book: UploadBook, target: Path) -> None:
    upload = send_all(book)
    target.write_bytes(b"another")
    assert check(book, upload).state == "failed"
    target.unlink()
    again = begin(book)
    assert (again.id, again.is_whole) == (upload.id, True)
    assert check(book, book.complete(again.id)).state == "done"
    assert target.read_bytes() == DATA


def test_data_that_is_gone_makes_no_room(
    book: UploadBook, workspace: Workspace, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check(book, send_all(book, replace(WISH, sha256="0" * 64)))
    assert not data_of(target).exists()
    monkeypatch.setattr(Workspace, "free_bytes", lambda _: len(DATA) - 1)
    with pytest.raises(NotEnoughSpace):
        begin(book)
