from pathlib import Path

import pytest

from bootstrap.folders import make_folder


def mode_of(path: Path) -> int:
    return path.stat().st_mode & 0o7777


def test_a_folder_is_made_with_its_mode(tmp_path: Path) -> None:
    make_folder(tmp_path, "new", None, 0o2775)
    assert mode_of(tmp_path / "new") == 0o2775


def test_a_folder_that_is_there_gets_its_mode(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir(mode=0o777)
    make_folder(tmp_path, "old", None, 0o700)
    assert mode_of(tmp_path / "old") == 0o700


def test_a_dot_is_the_base_itself_which_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    make_folder(tmp_path / "link", ".", None, 0o700)
    assert mode_of(tmp_path / "real") == 0o700


def test_a_link_in_its_place_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "target").mkdir(mode=0o755)
    (tmp_path / "link").symlink_to("target")
    make_folder(tmp_path, "link", None, 0o700)
    assert mode_of(tmp_path / "target") == 0o755


def test_nothing_is_made_behind_a_link(tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    (tmp_path / "link").symlink_to("target")
    with pytest.raises(NotADirectoryError):
        make_folder(tmp_path, "link/new", None, 0o700)
    assert list((tmp_path / "target").iterdir()) == []


def test_a_file_in_its_place_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        make_folder(tmp_path, "file", None, 0o700)
