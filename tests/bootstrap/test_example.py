import os
import time
from pathlib import Path

import pytest

from bootstrap import example
from bootstrap.users import Users
from tests.fakes.faulty_volume import MountedVolume


@pytest.fixture
def comfyui_dir(open_folder: Path) -> Path:
    """ComfyUI's source tree, as far as it matters here."""
    made = open_folder / "comfyui"
    (made / "input").mkdir(parents=True)
    (made / "input" / "example.png").write_bytes(b"picture")
    return made


@pytest.fixture
def inputs(open_folder: Path) -> Path:
    made = open_folder / "input"
    made.mkdir()
    made.chmod(0o777)
    return made


def test_an_empty_input_folder_gets_comfyuis_example(inputs: Path, comfyui_dir: Path, real_users: Users) -> None:
    assert example.put_into(inputs, comfyui_dir, real_users.comfyui) == ""
    assert (inputs / "example.png").read_bytes() == b"picture"
    owner = real_users.comfyui.uid if real_users.comfyui else os.geteuid()
    assert (inputs / "example.png").stat().st_uid == owner


def test_an_input_folder_with_only_folders_counts_as_empty(inputs: Path, comfyui_dir: Path) -> None:
    (inputs / "3d").mkdir()
    assert example.put_into(inputs, comfyui_dir, None) == ""
    assert (inputs / "example.png").exists()


def test_an_input_folder_in_use_is_left_as_it_is(inputs: Path, comfyui_dir: Path) -> None:
    (inputs / "mine.png").touch()
    assert example.put_into(inputs, comfyui_dir, None) == ""
    assert [entry.name for entry in inputs.iterdir()] == ["mine.png"]


def test_a_comfyui_without_an_example_is_no_problem(inputs: Path, open_folder: Path) -> None:
    assert example.put_into(inputs, open_folder / "nowhere", None) == ""
    assert list(inputs.iterdir()) == []


def test_an_input_folder_that_is_missing_is_named(open_folder: Path, comfyui_dir: Path) -> None:
    assert str(open_folder / "nowhere") in example.put_into(open_folder / "nowhere", comfyui_dir, None)


def test_a_volume_that_hangs_meanwhile_is_not_waited_for(
    faulty_volume: MountedVolume, comfyui_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(example, "DEADLINE_SECONDS", 0.2)
    faulty_volume.fault("hang")
    started = time.monotonic()
    assert example.put_into(faulty_volume.root, comfyui_dir, None) == "no answer"
    assert time.monotonic() - started < 10
