import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from services.artifacts import Artifact
from services.verified import Verified, VerifiedFiles
from services.workspace import Workspace


def artifact(name: str = "a.safetensors") -> Artifact:
    return Artifact("https://example.com/a", "loras", name)


@pytest.fixture
def verified(workspace: Workspace) -> VerifiedFiles:
    return VerifiedFiles(workspace)


def verify(workspace: Workspace, wanted: Artifact, data: bytes = b"0123456789") -> Path:
    """Puts the file there and a record that holds for it."""
    file = workspace.model_file(wanted.folder, wanted.name)
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(data)
    figures = file.stat()
    record = Verified(wanted.folder, wanted.name, figures.st_size, figures.st_mtime_ns, "0" * 64, "sha256")
    VerifiedFiles(workspace).put(record)
    return file


def test_the_record_of_an_unchanged_file_holds(verified: VerifiedFiles, workspace: Workspace) -> None:
    verify(workspace, artifact())
    (record,) = verified.holding_for([artifact()]).values()
    assert (record.folder, record.name, record.size_bytes) == ("loras", "a.safetensors", 10)


def grow(file: Path) -> None:
    times = file.stat()
    file.write_bytes(b"01234567890")
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))


def touch(file: Path) -> None:
    os.utime(file, ns=(0, file.stat().st_mtime_ns + 1))


def remove(file: Path) -> None:
    file.unlink()


@pytest.mark.parametrize("change", [grow, touch, remove])
def test_a_file_that_changed_in_any_way_is_no_longer_verified(
    change: Callable[[Path], None], verified: VerifiedFiles, workspace: Workspace
) -> None:
    file = verify(workspace, artifact())
    change(file)
    assert verified.holding_for([artifact()]) == {}


def test_a_file_without_a_record_is_not_verified(verified: VerifiedFiles, workspace: Workspace) -> None:
    workspace.model_file("loras", "a.safetensors").write_bytes(b"x")
    assert verified.holding_for([artifact()]) == {}


def test_a_deleted_record_holds_no_longer(verified: VerifiedFiles, workspace: Workspace) -> None:
    verify(workspace, artifact())
    verified.delete(artifact().id)
    assert verified.holding_for([artifact()]) == {}
    assert verified.all() == {}


def lead_out(workspace: Workspace, tmp_path: Path) -> None:
    shutil.move(workspace.models / "loras" / "flux", tmp_path / "elsewhere")
    (workspace.models / "loras" / "flux").symlink_to(tmp_path / "elsewhere")


def become_a_file(workspace: Workspace, _tmp_path: Path) -> None:
    shutil.rmtree(workspace.models / "loras" / "flux")
    (workspace.models / "loras" / "flux").write_bytes(b"")


@pytest.mark.parametrize("change", [lead_out, become_a_file])
def test_a_folder_that_turned_into_something_else_hides_only_its_own_files(
    change: Callable[[Workspace, Path], None], verified: VerifiedFiles, workspace: Workspace, tmp_path: Path
) -> None:
    inside, beside = artifact("flux/a.safetensors"), artifact("b.safetensors")
    verify(workspace, inside)
    verify(workspace, beside)
    change(workspace, tmp_path)
    assert set(verified.holding_for([inside, beside])) == {beside.id}
