import time
from pathlib import Path
from typing import Any

import pytest

from bootstrap import model_paths
from services import yaml_files
from services.model_folders import KNOWN_FOLDERS
from services.volume import State, VolumeReport
from services.workspace import Workspace
from tests.bootstrap.conftest import MakeSettings
from tests.fakes.faulty_volume import MountedVolume


def report(workspace: Workspace, state: State = "ok") -> VolumeReport:
    return VolumeReport(state, str(workspace.root), "")


def section(workspace: Workspace, state: State = "ok") -> dict[str, Any]:
    content = yaml_files.parse(model_paths.content(workspace, KNOWN_FOLDERS, report(workspace, state)), "written")
    assert list(content) == ["workspace"]
    found: dict[str, Any] = content["workspace"]
    return found


@pytest.mark.parametrize("state", ["ok", "read_only", "full"])
def test_every_model_folder_is_named(state: State, workspace: Workspace) -> None:
    written = section(workspace, state)
    assert {name: written[name] for name in KNOWN_FOLDERS} == {name: f"models/{name}" for name in KNOWN_FOLDERS}


def test_the_volumes_folders_come_before_comfyuis_own(workspace: Workspace) -> None:
    assert section(workspace)["is_default"] is True
    assert section(workspace)["base_path"] == str(workspace.root)


def test_every_value_is_a_text(workspace: Workspace) -> None:
    # ComfyUI does not start with a list or nothing as a value.
    assert {type(value) for name, value in section(workspace).items() if name != "is_default"} == {str}


def test_a_plain_comfyuis_models_stand_in_a_section_of_their_own(workspace: Workspace) -> None:
    for name in ("loras", "unet", "diffusion_models", "unknown"):
        (workspace.root / "ComfyUI" / "models" / name).mkdir(parents=True)
    content = yaml_files.parse(model_paths.content(workspace, KNOWN_FOLDERS, report(workspace)), "written")
    assert content["plain_comfyui"] == {
        "base_path": str(workspace.root / "ComfyUI" / "models"),
        "loras": "loras",
        "diffusion_models": "diffusion_models\nunet",
    }


def test_old_names_of_folders_stand_beside_the_new(workspace: Workspace) -> None:
    (workspace.models / "unet").mkdir()
    assert section(workspace)["diffusion_models"] == "models/diffusion_models\nmodels/unet"


def test_output_and_input_do_not_belong_there(workspace: Workspace) -> None:
    assert not {"output", "input", "lora", "unet", "clip"} & set(section(workspace))


def test_custom_nodes_are_named_while_there_are_any(workspace: Workspace) -> None:
    assert section(workspace)["custom_nodes"] == "custom_nodes"
    workspace.custom_nodes.rmdir()
    # ComfyUI does not start when the folder is missing.
    assert "custom_nodes" not in section(workspace)


@pytest.mark.parametrize("state", ["hung", "missing"])
def test_a_volume_that_cannot_be_read_is_not_searched_for_models(state: State, workspace: Workspace) -> None:
    assert section(workspace, state) == {"base_path": str(workspace.root), "is_default": True}


def test_the_file_is_written_for_everyone_to_read(make_settings: MakeSettings, workspace: Workspace) -> None:
    config = make_settings(WORKSPACE=str(workspace.root))
    assert model_paths.write(workspace.model_paths_file, config, None, KNOWN_FOLDERS, report(workspace)) == ""
    assert workspace.model_paths_file.read_bytes() == model_paths.content(workspace, KNOWN_FOLDERS, report(workspace))
    assert workspace.model_paths_file.stat().st_mode & 0o777 == 0o644


def test_a_file_that_cannot_be_written_is_a_problem_with_a_name(
    make_settings: MakeSettings, workspace: Workspace, tmp_path: Path
) -> None:
    file = tmp_path / "nowhere" / "extra_model_paths.yaml"
    problem = model_paths.write(file, make_settings(), None, KNOWN_FOLDERS, report(workspace))
    assert str(file.parent) in problem


def test_a_full_volume_is_a_problem_with_a_name(
    make_settings: MakeSettings, workspace: Workspace, full_folder: Path
) -> None:
    problem = model_paths.write(full_folder / "a.yaml", make_settings(), None, KNOWN_FOLDERS, report(workspace))
    assert "no space left" in problem


def test_a_volume_that_hangs_meanwhile_is_a_problem_and_no_wait(
    make_settings: MakeSettings, workspace: Workspace, faulty_volume: MountedVolume, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_paths, "DEADLINE_SECONDS", 0.3)
    faulty_volume.fault("hang")
    started = time.monotonic()
    problem = model_paths.write(faulty_volume.root / "a", make_settings(), None, KNOWN_FOLDERS, report(workspace))
    assert time.monotonic() - started < 10
    assert "could not be written" in problem


def link(workspace: Workspace, make_settings: MakeSettings, switch: str = "on", state: State = "ok") -> None:
    config = make_settings(WORKSPACE=str(workspace.root), LEGACY_SYMLINKS=switch)
    file = workspace.model_paths_file
    assert model_paths.write(file, config, None, KNOWN_FOLDERS, report(workspace, state)) == ""


def test_the_old_places_lead_to_the_new_ones(workspace: Workspace, make_settings: MakeSettings) -> None:
    link(workspace, make_settings)
    old = workspace.root / "ComfyUI"
    assert {name: (old / name).resolve() for name in ("models", "output", "input")} == {
        "models": workspace.models,
        "output": workspace.output,
        "input": workspace.input,
    }


def test_the_links_lead_there_from_another_mount_point_too(workspace: Workspace, make_settings: MakeSettings) -> None:
    link(workspace, make_settings)
    moved = workspace.root.rename(workspace.root.with_name("elsewhere"))
    assert (moved / "ComfyUI" / "models").resolve() == moved / "models"


def test_links_are_made_only_when_they_are_wanted(workspace: Workspace, make_settings: MakeSettings) -> None:
    link(workspace, make_settings, switch="off")
    assert not (workspace.root / "ComfyUI").exists()


def test_a_real_folder_in_an_old_place_is_left_alone(workspace: Workspace, make_settings: MakeSettings) -> None:
    mine = workspace.root / "ComfyUI" / "models" / "mine.safetensors"
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"mine")
    link(workspace, make_settings)
    link(workspace, make_settings)
    assert mine.read_bytes() == b"mine"
    assert not mine.parent.is_symlink()


def test_a_link_someone_else_made_is_left_alone(
    workspace: Workspace, make_settings: MakeSettings, tmp_path: Path
) -> None:
    (workspace.root / "ComfyUI").mkdir()
    (workspace.root / "ComfyUI" / "models").symlink_to(tmp_path / "theirs")
    link(workspace, make_settings)
    assert (workspace.root / "ComfyUI" / "models").readlink() == tmp_path / "theirs"
