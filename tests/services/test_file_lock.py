import errno
import fcntl
import os
from pathlib import Path

import pytest

import services.file_lock
from services.file_lock import held


def test_only_one_holds_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services.file_lock, "WAIT_SECONDS", 0.05)
    file = tmp_path / "a.json"
    with held(file) as mine, held(file) as other, held(tmp_path / "b.json") as another:
        assert (mine, other, another) == (True, False, True)
    with held(file) as mine:
        assert mine


def test_a_volume_without_locks_goes_on_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_descriptor: int, _operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with held(tmp_path / "a.json") as is_held:
        assert not is_held


def test_a_folder_that_takes_no_file_goes_on_without(tmp_path: Path) -> None:
    with held(tmp_path / "nowhere" / "a.json") as is_held:
        assert not is_held


def test_a_link_in_its_place_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / ".a.json.lock").symlink_to(tmp_path / "elsewhere")
    with held(tmp_path / "a.json") as is_held:
        assert not is_held
    assert not (tmp_path / "elsewhere").exists()
