import os
import time
from pathlib import Path

import pytest

from bootstrap import model_paths, volume
from bootstrap.users import Users
from services.model_folders import KNOWN_FOLDERS
from services.volume import VolumeReport
from services.workspace import Workspace
from tests.bootstrap.conftest import MakeSettings
from tests.fakes.faulty_volume import MountedVolume


def test_a_new_volume_gets_the_whole_tree(make_settings: MakeSettings, nobody: Users) -> None:
    config = make_settings()
    report = volume.check(config, nobody, KNOWN_FOLDERS)
    assert report.state == "ok"
    for folder in Workspace(config.workspace).folders(KNOWN_FOLDERS):
        assert (config.workspace / folder.path).stat().st_mode & 0o7777 == folder.mode, folder.path


def test_a_volume_that_is_there_keeps_what_is_on_it(make_settings: MakeSettings, nobody: Users) -> None:
    config = make_settings()
    model = config.workspace / "models" / "loras" / "mine.safetensors"
    model.parent.mkdir(parents=True)
    model.write_bytes(b"mine")
    volume.check(config, nobody, KNOWN_FOLDERS)
    assert model.read_bytes() == b"mine"


def test_a_model_folder_that_is_a_link_stays_one(make_settings: MakeSettings, nobody: Users, tmp_path: Path) -> None:
    config = make_settings()
    (config.workspace / "models").mkdir(parents=True)
    (config.workspace / "models" / "loras").symlink_to(tmp_path)
    volume.check(config, nobody, KNOWN_FOLDERS)
    assert (config.workspace / "models" / "loras").is_symlink()


Figures = tuple[int, int, int]


def figures(path: Path) -> Figures:
    """(owner, group, mode)"""
    found = path.stat()
    return found.st_uid, found.st_gid, found.st_mode & 0o7777


@pytest.mark.parametrize("place", ["models", "models/loras", "output/images", "cache/.cache", "config/secrets"])
def test_a_folder_behind_a_link_keeps_its_owner_and_its_mode(
    place: str, make_settings: MakeSettings, real_users: Users, open_folder: Path
) -> None:
    config = make_settings()
    target = open_folder / "elsewhere"
    target.mkdir(mode=0o700)
    (config.workspace / place).parent.mkdir(parents=True)
    (config.workspace / place).symlink_to(target)
    before = figures(target)
    volume.check(config, real_users, KNOWN_FOLDERS)
    assert (config.workspace / place).readlink() == target
    assert figures(target) == before


def test_a_planted_link_does_not_open_the_secrets(make_settings: MakeSettings, real_users: Users) -> None:
    config = make_settings()
    volume.check(config, real_users, KNOWN_FOLDERS)
    planted = config.workspace / "models" / "gligen"
    planted.rmdir()
    planted.symlink_to("../config/secrets")
    before = figures(config.workspace / "config" / "secrets")
    volume.check(config, real_users, KNOWN_FOLDERS)
    assert figures(config.workspace / "config" / "secrets") == before


def test_every_folder_is_made_right_for_its_user(make_settings: MakeSettings, real_users: Users) -> None:
    config = make_settings()
    wrong = config.workspace / "output" / "images"
    wrong.mkdir(parents=True)
    wrong.chmod(0o700)
    volume.check(config, real_users, KNOWN_FOLDERS)
    for folder in Workspace(config.workspace).folders(KNOWN_FOLDERS):
        owner = real_users.owner(folder.owner)
        uid, gid = (owner.uid, owner.gid) if owner else (os.geteuid(), os.getegid())
        assert figures(config.workspace / folder.path) == (uid, gid, folder.mode), folder.path


def test_what_is_missing_in_models_on_another_disk_is_made_by_the_suite(
    make_settings: MakeSettings, real_users: Users, open_folder: Path
) -> None:
    config = make_settings()
    disk = open_folder / "disk"
    disk.mkdir()
    disk.chmod(0o777)
    config.workspace.mkdir()
    (config.workspace / "models").symlink_to(disk)
    volume.check(config, real_users, KNOWN_FOLDERS)
    made = (disk / "loras").stat()
    assert made.st_uid == (real_users.suite.uid if real_users.suite else os.geteuid())


def test_the_old_places_can_be_linked_by_the_suites_user(make_settings: MakeSettings, real_users: Users) -> None:
    config = make_settings(LEGACY_SYMLINKS="on")
    config.workspace.mkdir(mode=0o755)
    report = volume.check(config, real_users, KNOWN_FOLDERS)
    workspace = Workspace(config.workspace)
    assert model_paths.write(workspace.model_paths_file, config, real_users.suite, KNOWN_FOLDERS, report) == ""
    assert (workspace.root / "ComfyUI" / "models").resolve() == workspace.models


def test_a_plain_comfyui_that_nobody_may_enter_is_no_fault_of_the_volume(
    make_settings: MakeSettings, real_users: Users
) -> None:
    config = make_settings()
    (config.workspace / "ComfyUI" / "models").mkdir(parents=True)
    (config.workspace / "ComfyUI").chmod(0o000)
    report = volume.check(config, real_users, KNOWN_FOLDERS)
    (config.workspace / "ComfyUI").chmod(0o755)
    assert (report.state, report.plain_comfyui) == ("ok", real_users.suite is None and os.geteuid() == 0)


def test_a_plain_comfyui_is_noticed(make_settings: MakeSettings, real_users: Users) -> None:
    config = make_settings()
    assert not volume.check(config, real_users, KNOWN_FOLDERS).plain_comfyui
    (config.workspace / "ComfyUI" / "models").mkdir(parents=True)
    report = volume.check(config, real_users, KNOWN_FOLDERS)
    assert report.plain_comfyui
    assert volume.verdict(config, report)[1].endswith(", models of ComfyUI/models used in place")


# What the boot says of it


def test_a_container_without_a_volume_is_told_what_it_will_lose(make_settings: MakeSettings) -> None:
    config = make_settings(WORKSPACE="/workspace")
    state, message = volume.verdict(config, VolumeReport("ok", "/workspace", "", filesystem="overlay"))
    assert state == "warning"
    assert "nothing is mounted at /workspace" in message
    assert "models are lost with this container" in message


def test_a_volume_in_the_usual_place_is_in_order(make_settings: MakeSettings) -> None:
    report = VolumeReport("ok", "/workspace", "", filesystem="nfs4", mounted=True, free_bytes=12_000_000_000)
    state, message = volume.verdict(make_settings(WORKSPACE="/workspace"), report)
    assert (state, message) == ("ok", "/workspace, a volume on nfs4, 12 GB free")


def test_a_plain_folder_that_was_chosen_is_in_order(make_settings: MakeSettings) -> None:
    config = make_settings()
    state, message = volume.verdict(config, VolumeReport("ok", str(config.workspace), "", filesystem="ext4"))
    assert (state, message) == ("ok", f"{config.workspace}, a folder on ext4, free space unknown")


def test_a_volume_that_cannot_be_used_is_told_with_its_remedy(make_settings: MakeSettings) -> None:
    report = VolumeReport("full", "/workspace", "/workspace is full", "Remove models")
    assert volume.verdict(make_settings(WORKSPACE="/workspace"), report) == (
        "failed",
        "/workspace is full. Remove models",
    )


def test_the_check_leaves_the_umask_as_it_was(make_settings: MakeSettings, nobody: Users) -> None:
    before = os.umask(0o027)
    volume.check(make_settings(), nobody, KNOWN_FOLDERS)
    assert os.umask(before) == 0o027


@pytest.mark.parametrize("fault", ["read_only", "full"])
def test_a_volume_that_cannot_be_written_is_reported(
    fault: str, make_settings: MakeSettings, nobody: Users, faulty_volume: MountedVolume
) -> None:
    faulty_volume.fault(fault)
    report = volume.check(make_settings(WORKSPACE=str(faulty_volume.root)), nobody, KNOWN_FOLDERS)
    assert (report.state, report.path) == (fault, str(faulty_volume.root))
    assert report.remedy


def test_a_full_disk_is_reported(make_settings: MakeSettings, nobody: Users, full_folder: Path) -> None:
    assert volume.check(make_settings(WORKSPACE=str(full_folder)), nobody, KNOWN_FOLDERS).state == "full"


def test_a_volume_that_hangs_is_reported_at_the_deadline(
    make_settings: MakeSettings, nobody: Users, faulty_volume: MountedVolume, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(volume, "DEADLINE_SECONDS", 0.5)
    config = make_settings(WORKSPACE=str(faulty_volume.root))
    faulty_volume.fault("hang")
    started = time.monotonic()
    report = volume.check(config, nobody, KNOWN_FOLDERS)
    assert time.monotonic() - started < 10
    assert (report.state, report.readable) == ("hung", False)


def test_a_file_in_the_volumes_place_is_reported(make_settings: MakeSettings, nobody: Users, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"mine")
    report = volume.check(make_settings(WORKSPACE=str(tmp_path / "file")), nobody, KNOWN_FOLDERS)
    assert report.state == "missing"
    assert (tmp_path / "file").read_bytes() == b"mine"


def test_a_place_where_nothing_can_be_made_is_reported(make_settings: MakeSettings, nobody: Users) -> None:
    report = volume.check(make_settings(WORKSPACE="/proc/nowhere/workspace"), nobody, KNOWN_FOLDERS)
    assert report.state == "missing"
    assert report.remedy
