import os
import time
from pathlib import Path

import pytest

from services.cached_file import CachedFile


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
