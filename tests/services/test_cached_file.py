import os
import time
from pathlib import Path

import pytest

from services import cached_file
from services.cached_file import CachedFile, read_small


class Counted:
    """Reads numbers, and counts how often."""

    def __init__(self) -> None:
        self.times = 0

    def read(self, data: bytes) -> int:
        self.times += 1
        return int(data)


@pytest.fixture
def counted() -> Counted:
    return Counted()


def settle(file: Path) -> None:
    """As if it was written a while ago."""
    os.utime(file, (time.time() - 60,) * 2)


def test_a_file_that_is_not_there_has_its_own_value(tmp_path: Path, counted: Counted) -> None:
    assert CachedFile(tmp_path / "a", counted.read, 0).get() == 0


def test_a_file_is_read_once_while_it_stays_the_same(tmp_path: Path, counted: Counted) -> None:
    (tmp_path / "a").write_text("5")
    settle(tmp_path / "a")
    file = CachedFile(tmp_path / "a", counted.read, 0)
    assert [file.get() for _ in range(3)] == [5, 5, 5]
    assert counted.times == 1


def test_a_file_that_just_changed_is_read_again(tmp_path: Path, counted: Counted) -> None:
    (tmp_path / "a").write_text("5")
    file = CachedFile(tmp_path / "a", counted.read, 0)
    figures = (tmp_path / "a").stat()
    assert file.get() == 5
    (tmp_path / "a").write_text("6")
    os.utime(tmp_path / "a", ns=(figures.st_atime_ns, figures.st_mtime_ns))
    assert file.get() == 6


def test_another_file_of_the_name_is_read(tmp_path: Path, counted: Counted) -> None:
    for name, text in (("a", "5"), ("b", "6")):
        (tmp_path / name).write_text(text)
        settle(tmp_path / name)
    file = CachedFile(tmp_path / "a", counted.read, 0)
    assert file.get() == 5
    os.replace(tmp_path / "b", tmp_path / "a")
    assert file.get() == 6


def test_a_file_that_was_removed_has_its_own_value_again(tmp_path: Path, counted: Counted) -> None:
    (tmp_path / "a").write_text("5")
    settle(tmp_path / "a")
    file = CachedFile(tmp_path / "a", counted.read, 0)
    assert file.get() == 5
    (tmp_path / "a").unlink()
    assert file.get() == 0


@pytest.mark.parametrize("what", ["a pipe", "a device"])
def test_what_is_no_file_is_not_waited_for(what: str, tmp_path: Path, counted: Counted) -> None:
    file = tmp_path / "number"
    if what == "a pipe":
        os.mkfifo(file)
    else:
        file.symlink_to("/dev/zero")
    with pytest.raises(ValueError, match="it is no file"):
        CachedFile(file, counted.read, 0).get()


def test_a_file_that_was_not_written_here_is_not_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cached_file, "MAX_BYTES", 10)
    file = tmp_path / "number"
    file.write_bytes(b"1" * 10)
    assert read_small(file) == b"1" * 10
    file.write_bytes(b"1" * 11)
    with pytest.raises(ValueError, match="larger than 10 bytes"):
        read_small(file)
