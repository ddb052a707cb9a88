import os
from pathlib import Path

import pytest

from services.errors import InvalidName, NotFound, WorkspaceUnavailable
from services.output_files import OutputFiles


@pytest.fixture
def base(tmp_path: Path) -> Path:
    (tmp_path / "output" / "images").mkdir(parents=True)
    (tmp_path / "output" / "images" / "a.png").write_bytes(b"picture")
    (tmp_path / "secret").write_bytes(b"secret")
    return tmp_path / "output"


@pytest.fixture
def files(base: Path) -> OutputFiles:
    return OutputFiles(base)


def test_a_file_is_opened_by_its_path(files: OutputFiles) -> None:
    with files.open("images/a.png") as file:
        assert file.read() == b"picture"
    assert files.figures("images/a.png").st_size == 7


def test_the_folder_itself_may_be_a_link(base: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(base)
    with OutputFiles(tmp_path / "link").open("images/a.png") as file:
        assert file.read() == b"picture"


@pytest.mark.parametrize(
    "path", ["../secret", "images/../../secret", "/etc/passwd", "", "images//a.png", ".hidden.png"]
)
def test_a_path_that_leads_elsewhere_is_refused(files: OutputFiles, path: str) -> None:
    for use in (files.figures, files.open, files.remove):
        with pytest.raises(InvalidName):
            use(path)


def test_no_link_is_followed(files: OutputFiles, base: Path, tmp_path: Path) -> None:
    (base / "link.png").symlink_to(tmp_path / "secret")
    (base / "folder").symlink_to(tmp_path)
    for use in (files.figures, files.open, files.remove):
        for path in ("link.png", "folder/secret"):
            with pytest.raises(NotFound):
                use(path)
    assert (tmp_path / "secret").read_bytes() == b"secret"


def test_what_is_no_file_is_not_opened(files: OutputFiles, base: Path) -> None:
    os.mkfifo(base / "pipe.png")
    for path in ("images", "pipe.png", "gone.png", "images/a.png/b.png"):
        for use in (files.figures, files.open, files.remove):
            with pytest.raises(NotFound):
                use(path)


def test_removing_a_file_frees_its_bytes(files: OutputFiles, base: Path) -> None:
    assert files.remove("images/a.png") == 7
    assert not (base / "images" / "a.png").exists()


def test_removing_one_of_two_names_frees_nothing(files: OutputFiles, base: Path) -> None:
    os.link(base / "images" / "a.png", base / "b.png")
    assert files.remove("images/a.png") == 0
    assert (base / "b.png").read_bytes() == b"picture"


def test_a_folder_that_is_away_is_not_a_file_that_is_not_there(tmp_path: Path) -> None:
    away = OutputFiles(tmp_path / "away")
    for work in (away.figures, away.open, away.remove):
        with pytest.raises(WorkspaceUnavailable, match="away"):
            work("a.png")
