from pathlib import Path

import pytest

from services.errors import InvalidName, NotEnoughSpace
from services.input_files import InputFile
from services.workspace import Workspace


def store(workspace: Workspace, name: str, data: bytes) -> str:
    file = InputFile(workspace, name, len(data), 0)
    try:
        file.write(data)
        return file.publish()
    finally:
        file.close()


def names(workspace: Workspace) -> list[str]:
    return sorted(path.name for path in workspace.input.iterdir())


def test_a_file_is_where_comfyui_looks_for_it(workspace: Workspace) -> None:
    assert store(workspace, "my cat.png", b"data") == "my cat.png"
    assert (workspace.input / "my cat.png").read_bytes() == b"data"
    assert (workspace.input / "my cat.png").stat().st_mode & 0o777 == 0o664


def test_another_file_of_the_same_name_gets_a_new_one(workspace: Workspace) -> None:
    assert [store(workspace, "a.png", data) for data in (b"1", b"2", b"3")] == ["a.png", "a (1).png", "a (2).png"]
    assert (workspace.input / "a.png").read_bytes() == b"1"


def test_the_same_file_is_kept_once(workspace: Workspace) -> None:
    assert [store(workspace, "a.png", data) for data in (b"1", b"2", b"2", b"1")] == [
        "a.png",
        "a (1).png",
        "a (1).png",
        "a.png",
    ]
    assert names(workspace) == ["a (1).png", "a.png"]


def test_a_link_of_that_name_is_not_followed(workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "outside").write_bytes(b"1")
    (workspace.input / "a.png").symlink_to(tmp_path / "outside")
    assert store(workspace, "a.png", b"1") == "a (1).png"
    assert (tmp_path / "outside").read_bytes() == b"1"


def test_what_was_not_finished_leaves_nothing(workspace: Workspace) -> None:
    file = InputFile(workspace, "a.png", None, 0)
    file.write(b"data")
    assert all(name.startswith(".") for name in names(workspace))
    file.close()
    assert names(workspace) == []


@pytest.mark.parametrize("name", ["", "..", "../a.png", "a/b.png", ".hidden", "a\nb.png", "x" * 300])
def test_a_name_that_leads_elsewhere_is_refused(name: str, workspace: Workspace) -> None:
    with pytest.raises(InvalidName):
        store(workspace, name, b"data")
    assert names(workspace) == []


def test_what_does_not_fit_is_refused_before_it_is_sent(workspace: Workspace) -> None:
    with pytest.raises(NotEnoughSpace, match=r"'a\.png': needs"):
        InputFile(workspace, "a.png", 10**18, 0)
    assert names(workspace) == []


def test_what_others_took_meanwhile_is_not_taken_twice(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    file = InputFile(workspace, "a.png", None, 100)
    file.write(b"data")
    monkeypatch.setattr(Workspace, "free_bytes", lambda _workspace: 103)
    with pytest.raises(NotEnoughSpace, match=r"'a\.png': needs .* in reserve"):
        file.write(b"data")
    file.close()
    assert names(workspace) == []
