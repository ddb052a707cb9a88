import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec import Struct

from services.errors import InvalidName
from services.records import RecordFolder
from tests.fakes.faulty_volume import MountedVolume

DEEP = b'{"text": "x", "more": ' + b"[" * 100_000


class Note(Struct, frozen=True):
    text: str
    number: int = 0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "notes"
    made.mkdir()
    return made


@pytest.fixture
def records(folder: Path) -> RecordFolder[Note]:
    return RecordFolder(folder, Note)


def settle(folder: Path) -> None:
    """As if nothing had happened in `folder` for a minute."""
    then = time.time() - 60
    os.utime(folder, (then, then))


def test_a_record_comes_back_as_it_was_put(records: RecordFolder[Note]) -> None:
    records.put("a", Note("é", 3))
    assert records.get("a") == Note("é", 3)
    assert records.all() == {"a": Note("é", 3)}


def test_there_is_no_record_nobody_put(records: RecordFolder[Note]) -> None:
    assert records.get("a") is None
    assert records.all() == {}


def test_a_folder_that_does_not_exist_holds_no_records(tmp_path: Path) -> None:
    assert RecordFolder(tmp_path / "nowhere", Note).all() == {}


def test_a_record_outlives_its_reader(records: RecordFolder[Note], folder: Path) -> None:
    records.put("a", Note("kept"))
    assert RecordFolder(folder, Note).all() == {"a": Note("kept")}


@pytest.mark.parametrize("key", ["../a", "a/b", "", ".."])
def test_a_key_cannot_lead_out_of_the_folder(records: RecordFolder[Note], key: str) -> None:
    with pytest.raises(InvalidName):
        records.put(key, Note("x"))


def test_deleting_says_whether_there_was_a_record(records: RecordFolder[Note]) -> None:
    records.put("a", Note("x"))
    assert [records.delete("a"), records.delete("a")] == [True, False]
    assert records.all() == {}


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"text": 1}', b'{"text": "\xff"}', b"\0" * 100, DEEP])
def test_a_record_nobody_can_read_is_set_aside_and_the_others_stay(
    data: bytes, records: RecordFolder[Note], folder: Path
) -> None:
    records.put("good", Note("x"))
    (folder / "bad.json").write_bytes(data)
    assert records.all() == {"good": Note("x")}
    assert (folder / "bad.unreadable").read_bytes() == data
    assert not (folder / "bad.json").exists()


def test_a_record_nobody_can_read_stays_where_it_is_on_a_volume_that_cannot_be_written(
    faulty_volume: MountedVolume,
) -> None:
    records = RecordFolder(faulty_volume.root, Note)
    records.put("good", Note("x"))
    (faulty_volume.root / "bad.json").write_bytes(b"{")
    faulty_volume.fault("read_only")
    assert records.all() == {"good": Note("x")}
    assert (faulty_volume.root / "bad.json").exists()


def stray_file(folder: Path) -> None:
    (folder / "notes [copy].json").write_text('{"text": "x"}')


def stray_folder(folder: Path) -> None:
    (folder / "folder.json").mkdir()


@pytest.mark.parametrize("make", [stray_file, stray_folder])
def test_what_someone_left_in_the_folder_does_not_hide_the_records(
    make: Callable[[Path], None], records: RecordFolder[Note], folder: Path
) -> None:
    records.put("good", Note("x"))
    make(folder)
    assert records.all() == {"good": Note("x")}


def test_half_written_files_of_others_are_no_records(records: RecordFolder[Note], folder: Path) -> None:
    (folder / ".a.json.x1y2.tmp").write_bytes(b"{")
    (folder / "notes.txt").write_bytes(b"{")
    assert records.all() == {}
    assert (folder / ".a.json.x1y2.tmp").exists()


def test_a_change_by_someone_else_is_seen(records: RecordFolder[Note], folder: Path) -> None:
    RecordFolder(folder, Note).put("a", Note("first"))
    settle(folder)
    assert records.all()["a"].text == "first"
    RecordFolder(folder, Note).put("a", Note("second"))
    assert records.all()["a"].text == "second"


def test_a_record_deleted_by_someone_else_is_gone(records: RecordFolder[Note], folder: Path) -> None:
    records.put("a", Note("x"))
    settle(folder)
    assert records.all()
    RecordFolder(folder, Note).delete("a")
    assert records.all() == {}


def test_a_second_change_under_the_same_time_stamp_is_seen(records: RecordFolder[Note], folder: Path) -> None:
    records.put("a", Note("first"))
    stamp = folder.stat().st_mtime_ns
    assert records.all()["a"].text == "first"
    records.put("a", Note("second"))
    os.utime(folder, ns=(stamp, stamp))
    assert records.all()["a"].text == "second"


def test_a_record_changed_twice_between_two_looks_is_seen(records: RecordFolder[Note], folder: Path) -> None:
    # The second change may be given the inode of the version that was read: it is free again.
    writer = RecordFolder(folder, Note)
    for round_ in range(10):
        writer.put("a", Note("first", round_))
        assert records.all()["a"] == Note("first", round_)
        writer.put("a", Note("second", round_))
        writer.put("a", Note("third", round_))
        assert records.all()["a"] == Note("third", round_)


def test_a_record_deleted_and_put_again_between_two_looks_is_seen(records: RecordFolder[Note], folder: Path) -> None:
    writer = RecordFolder(folder, Note)
    for round_ in range(10):
        writer.put("a", Note("before", round_))
        assert records.all()["a"] == Note("before", round_)
        writer.delete("a")
        writer.put("a", Note("after", round_))
        assert records.all()["a"] == Note("after", round_)


def test_reading_a_folder_that_does_not_change_opens_no_file(records: RecordFolder[Note], folder: Path) -> None:
    records.put("a", Note("x"))
    settle(folder)
    assert records.all() == {"a": Note("x")}
    # Behind the folder's back: a change in place is what the records' own writer never does.
    (folder / "a.json").write_bytes(b"{")
    assert records.all() == {"a": Note("x")}


def test_a_reader_never_sees_half_a_record(records: RecordFolder[Note], folder: Path) -> None:
    long = "x" * 100_000
    records.put("a", Note(long, -1))
    stop = threading.Event()
    wrong: list[object] = []

    def read() -> None:
        reader = RecordFolder(folder, Note)
        while not stop.is_set():
            note = reader.get("a")
            if note is None or note.text != long:
                wrong.append(note)

    thread = threading.Thread(target=read)
    thread.start()
    for number in range(50):
        records.put("a", Note(long, number))
    stop.set()
    thread.join()
    assert wrong == []
    assert os.listdir(folder) == ["a.json"]
