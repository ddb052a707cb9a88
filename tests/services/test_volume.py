import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from services.settings import APP_DIR
from services.volume import VolumeReport, examine, hung, keep_report, last_report
from services.workspace import Workspace
from tests.fakes.faulty_volume import MountedVolume, mounted


def everything_below(root: Path) -> list[str]:
    return sorted(str(path) for path in root.rglob("*"))


def test_a_folder_that_can_be_written_is_in_order(tmp_path: Path) -> None:
    report = examine(tmp_path)
    assert (report.state, report.path, report.remedy) == ("ok", str(tmp_path), "")
    assert report.writable
    assert report.readable


def test_nothing_of_the_probe_is_left_behind(workspace: Workspace) -> None:
    before = everything_below(workspace.root)
    examine(workspace.root)
    assert everything_below(workspace.root) == before


def test_a_missing_folder_is_missing(tmp_path: Path) -> None:
    report = examine(tmp_path / "nowhere")
    assert report.state == "missing"
    assert "does not exist" in report.message
    assert "WORKSPACE" in report.remedy
    assert not report.readable
    assert not (tmp_path / "nowhere").exists()


def test_a_file_is_no_volume(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    report = examine(tmp_path / "file")
    assert report.state == "missing"
    assert "not a folder" in report.message


def test_a_link_that_leads_nowhere_is_missing(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("nowhere")
    assert examine(tmp_path / "link").state == "missing"


def test_a_read_only_volume_is_told_apart(faulty_volume: MountedVolume) -> None:
    faulty_volume.fault("read_only")
    report = examine(faulty_volume.root)
    assert report.state == "read_only"
    assert "Read-only file system" in report.message
    assert report.readable
    assert not report.writable
    assert os.listdir(faulty_volume.root) == []


def test_a_folder_that_nobody_may_write_to_is_read_only() -> None:
    # Not even root can make a file there.
    report = examine(Path("/proc/self"))
    assert report.state == "read_only"
    assert str(os.geteuid()) in report.remedy


def test_a_full_volume_is_told_apart(full_folder: Path) -> None:
    before = os.listdir(full_folder)
    report = examine(full_folder)
    assert report.state == "full"
    assert report.readable
    assert not report.writable
    assert os.listdir(full_folder) == before


def test_a_volume_that_takes_no_more_files_is_full(folder_without_inodes: Path) -> None:
    assert examine(folder_without_inodes).state == "full"


def test_the_probe_lies_where_the_suite_writes(workspace: Workspace, faulty_volume: MountedVolume) -> None:
    shutil.rmtree(workspace.config)
    workspace.config.symlink_to(faulty_volume.root)
    faulty_volume.fault("read_only")
    assert examine(workspace.root).state == "read_only"


@pytest.mark.parametrize("path", ["/", "/proc", "/dev", "/tmp"])
def test_the_file_system_is_the_one_that_is_mounted_there(path: str) -> None:
    command = ["findmnt", "--noheadings", "--output", "FSTYPE,TARGET", "--target", path]
    known = subprocess.run(command, check=False, capture_output=True).stdout.decode().split()
    # In a chroot nobody can tell what / is on.
    filesystem, target = known[-2:] or (None, None)
    report = examine(Path(path))
    assert (report.filesystem, report.mounted) == (filesystem, target == path)


def test_a_mount_point_may_have_an_accent(tmp_path: Path) -> None:
    folder = tmp_path / "modèles"
    folder.mkdir()
    with mounted(folder) as volume:
        report = examine(volume.root)
    assert report.mounted
    assert report.filesystem is not None
    assert report.filesystem.startswith("fuse")


def test_a_mount_point_may_have_a_space(tmp_path: Path) -> None:
    folder = tmp_path / "my models"
    folder.mkdir()
    with mounted(folder) as volume:
        assert examine(volume.root).mounted


def test_the_figures_are_the_file_systems(tmp_path: Path) -> None:
    figures = os.statvfs(tmp_path)
    report = examine(tmp_path)
    assert report.total_bytes == figures.f_blocks * figures.f_frsize
    # Others write to the same disk meanwhile.
    assert report.free_bytes == pytest.approx(figures.f_bavail * figures.f_frsize, abs=2_000_000_000)


def test_a_volume_that_hangs_says_how_long_it_was_waited_for(tmp_path: Path) -> None:
    report: VolumeReport = hung(tmp_path, 4.0)
    assert (report.state, report.readable, report.writable) == ("hung", False, False)
    assert "4 s" in report.message
    assert report.remedy


def test_what_was_found_is_known_to_whoever_starts_later(tmp_path: Path) -> None:
    report = hung(tmp_path, 4.0)
    keep_report(tmp_path, report)
    assert last_report(tmp_path) == report


@pytest.mark.parametrize("data", [None, b"", b"{", b'{"state": "asleep"}', b'{"state": "\xff"}'])
def test_a_report_that_cannot_be_read_is_none(data: bytes | None, tmp_path: Path) -> None:
    if data is not None:
        (tmp_path / "volume.json").write_bytes(data)
    assert last_report(tmp_path) is None


def test_root_alone_is_told_whom_to_start_as(open_folder: Path) -> None:
    is_root = os.geteuid() == 0
    open_folder.chmod(0o755 if is_root else 0o555)
    if is_root:
        os.chown(open_folder, 777, 778)
    drop = ["setpriv", "--bounding-set=-dac_override", "--inh-caps=-dac_override"] if is_root else []
    command = [*drop, sys.executable, "-m", "bootstrap.probe"]
    environ = {"WORKSPACE": str(open_folder)}
    said = subprocess.run(command, cwd=APP_DIR, env=environ, stdout=subprocess.PIPE, text=True, check=True).stdout
    assert "read_only" in said
    assert ("--user 777:778" in said) == is_root
