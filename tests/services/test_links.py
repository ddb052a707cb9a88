"""One file under several names."""

import os
from pathlib import Path

import pytest

from services import links
from tests.fakes.faulty_volume import MountedVolume

DATA = b"x" * 1000


@pytest.fixture
def root(faulty_volume: MountedVolume) -> Path:
    """A volume that has no hard links."""
    return faulty_volume.root


def put(root: Path, path: str, data: bytes = DATA) -> Path:
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)
    return file


def folder(root: Path, path: str) -> Path:
    (root / path).mkdir(parents=True, exist_ok=True)
    return root / path


def test_a_file_is_moved_to_a_name_that_is_free(tmp_path: Path) -> None:
    file, target = put(tmp_path, "a/x"), folder(tmp_path, "b") / "y"
    links.move(file, target)
    assert (target.read_bytes(), file.exists()) == (DATA, False)


def test_what_has_the_name_stays(tmp_path: Path) -> None:
    file, taken = put(tmp_path, "a/x"), put(tmp_path, "b/y", b"other")
    for give in (links.move, links.link):
        with pytest.raises(FileExistsError):
            give(file, taken)
    assert (file.read_bytes(), taken.read_bytes()) == (DATA, b"other")


def test_what_has_the_name_stays_without_hard_links_too(root: Path) -> None:
    file, taken = put(root, "a/x"), put(root, "b/y", b"other")
    for give in (links.move, links.link):
        with pytest.raises(FileExistsError):
            give(file, taken)
    assert (file.read_bytes(), taken.read_bytes()) == (DATA, b"other")


def test_a_link_that_is_moved_leads_to_the_same_file(root: Path) -> None:
    put(root, "a/x")
    link, target = folder(root, "b") / "y", folder(root, "b/deep/er") / "y"
    link.symlink_to("../a/x")
    links.move(link, target)
    assert (target.read_bytes(), os.path.lexists(link)) == (DATA, False)


def test_a_link_in_a_folder_that_is_itself_one_leads_to_the_file(root: Path, tmp_path: Path) -> None:
    file, elsewhere = put(root, "a/x"), folder(tmp_path, "some/other/disk")
    (root / "b").symlink_to(elsewhere)
    links.link(file, root / "b" / "y")
    assert os.path.samefile(elsewhere / "y", file)


def test_a_file_whose_links_are_left_takes_the_place_of_one(root: Path) -> None:
    file, first, second = put(root, "a/x"), folder(root, "b") / "y", folder(root, "c/d") / "z"
    for name in (first, second):
        links.link(file, name)
    assert links.remove(file, [first, second]) == 0
    assert not file.exists()
    assert not first.is_symlink()
    assert second.read_bytes() == first.read_bytes() == DATA


def test_what_becomes_free_is_what_nothing_else_names(tmp_path: Path) -> None:
    file, other = put(tmp_path, "x"), tmp_path / "y"
    os.link(file, other)
    assert (links.remove(file, []), links.remove(other, []), links.remove(other, [])) == (0, len(DATA), 0)


def test_a_link_that_is_removed_frees_nothing(tmp_path: Path) -> None:
    file, link = put(tmp_path, "x"), tmp_path / "y"
    link.symlink_to(file)
    assert links.remove(link, []) == 0
    assert file.read_bytes() == DATA


def test_a_file_becomes_a_link_once(root: Path) -> None:
    kept, other = put(root, "a/x"), put(root, "b/y")
    assert (links.replace_by_link(kept, other), links.replace_by_link(kept, other)) == (len(DATA), 0)
    assert os.path.samefile(kept, other)
    assert sorted(path.name for path in other.parent.iterdir()) == ["y"]
