import os
import time
from pathlib import Path

import pytest

from bootstrap import volume
from bootstrap.users import Users
from services.model_folders import KNOWN_FOLDERS
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
    assert time.monotonic() - started < 1.5
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
