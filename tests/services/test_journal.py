import fcntl
from pathlib import Path

import pytest

from services import journal
from services.errors import DownloadFailed
from services.journal import Journal

URL = "https://example.com/a.safetensors"
NEGATIVE = f'{{"url": "{URL}", "bytes_done": -1, "bytes_total": null, "etag": null}}'.encode()


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "a.safetensors"


def begun(target: Path, bytes_done: int, length: int) -> Journal:
    made = Journal(URL, bytes_done, 1000, '"etag"')
    journal.part_file(target).write_bytes(bytes(length))
    journal.save(target, made)
    return made


def test_a_journal_comes_back_as_it_was_saved(target: Path) -> None:
    assert journal.load(target, URL) is None
    saved = begun(target, 500, 500)
    assert journal.load(target, URL) == saved


def test_bytes_behind_the_journal_do_not_matter(target: Path) -> None:
    begun(target, 500, 700)
    assert journal.bytes_kept(target, URL) == 500


def test_a_journal_that_is_ahead_of_its_data_is_not_believed(target: Path) -> None:
    begun(target, 500, 499)
    assert journal.load(target, URL) is None


def test_a_journal_without_data_is_not_believed(target: Path) -> None:
    begun(target, 500, 500)
    journal.part_file(target).unlink()
    assert journal.bytes_kept(target, URL) == 0


def test_a_journal_of_another_address_is_not_believed(target: Path) -> None:
    begun(target, 500, 500)
    assert journal.load(target, URL + "?v=2") is None


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"\xff", b'{"url": "\xff"}', b'{"url": "x"}', NEGATIVE])
def test_a_journal_nobody_can_read_is_not_believed(data: bytes, target: Path) -> None:
    begun(target, 500, 500)
    target.with_name(target.name + ".part.json").write_bytes(data)
    assert journal.load(target, URL) is None


def test_discarding_leaves_nothing_but_the_file_itself(target: Path) -> None:
    begun(target, 500, 500)
    target.write_bytes(b"finished")
    journal.discard(target)
    journal.discard(target)
    assert [entry.name for entry in target.parent.iterdir()] == [target.name]


def test_what_is_forgotten_is_not_believed(target: Path) -> None:
    begun(target, 500, 500)
    journal.forget(target)
    journal.forget(target)
    assert journal.bytes_kept(target, URL) == 0
    assert journal.part_file(target).exists()


def test_a_part_is_held_by_one_at_a_time(target: Path) -> None:
    with (
        journal.held_part(target),
        pytest.raises(DownloadFailed, match="already") as caught,
        journal.held_part(target),
    ):
        pass
    assert not caught.value.permanent
    with journal.held_part(target):
        pass


def test_a_part_that_holds_something_stays(target: Path) -> None:
    begun(target, 500, 500)
    with journal.held_part(target):
        pass
    assert journal.bytes_kept(target, URL) == 500


def test_a_part_that_holds_nothing_goes(target: Path) -> None:
    with journal.held_part(target):
        assert journal.part_file(target).exists()
    assert list(target.parent.iterdir()) == []


def test_a_part_that_became_the_file_is_not_held(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = fcntl.flock

    def lock_late(descriptor: int, operation: int) -> None:
        journal.part_file(target).replace(target)
        lock(descriptor, operation)

    begun(target, 500, 500)
    monkeypatch.setattr(fcntl, "flock", lock_late)
    with pytest.raises(DownloadFailed, match="already"), journal.held_part(target):
        pass
    assert target.stat().st_size == 500
