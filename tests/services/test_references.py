"""Which saved workflows name which model files."""

import json
import os
import stat
from pathlib import Path

import msgspec
import pytest

from services.references import MAX_BYTES, References, SavedWorkflows
from services.workspace import Workspace


def save(path: Path, *names: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"nodes": [{"id": 1, "type": "X", "widgets_values": list(names)}]}))


def test_a_workflow_of_the_user_and_one_of_the_editor_name_a_file(workspace: Workspace) -> None:
    save(workspace.workflows / "user" / "mine.json", "a.safetensors")
    save(workspace.user / "default" / "workflows" / "wan" / "test.json", "a.safetensors", "sub/b.pth")
    found = SavedWorkflows(workspace).references()
    assert found.of("loras", "a.safetensors") == ("mine", "wan/test")
    assert found.of("vae", "sub/b.pth") == ("wan/test",)
    assert found.of("vae", "b.pth") == ()


def test_a_presets_own_workflow_is_no_reason_to_keep_its_files(workspace: Workspace) -> None:
    save(workspace.workflows / "presets" / "P.json", "a.safetensors")
    assert SavedWorkflows(workspace).references().of("loras", "a.safetensors") == ()


def test_a_loader_that_is_known_names_a_file_of_its_folder_only(workspace: Workspace) -> None:
    prompt = {"1": {"class_type": "VAELoader", "inputs": {"vae_name": "a.safetensors"}}}
    file = workspace.workflows / "user" / "mine.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(prompt))
    found = SavedWorkflows(workspace).references()
    assert found.of("vae", "a.safetensors") == ("mine",)
    assert found.of("loras", "a.safetensors") == ()


def test_a_changed_and_a_deleted_workflow_are_noticed(workspace: Workspace) -> None:
    saved, file = SavedWorkflows(workspace), workspace.workflows / "user" / "mine.json"
    save(file, "a.safetensors")
    before = saved.references()
    assert saved.references() is before
    file.unlink()
    save(file, "b.safetensors", "c.safetensors")
    after = saved.references()
    assert after.of("loras", "a.safetensors") == ()
    assert after.of("loras", "b.safetensors") == ("mine",)
    file.unlink()
    assert saved.references() == References()


@pytest.mark.parametrize("name", [b"\xff\xfe", b"\x1b[2J", b"a\nb"])
def test_a_workflow_whose_name_cannot_be_shown_counts_under_another(name: bytes, workspace: Workspace) -> None:
    folder = workspace.user / "default" / "workflows"
    save(folder / os.fsdecode(name + b".json"), "a.safetensors")
    (shown,) = SavedWorkflows(workspace).references().of("loras", "a.safetensors")
    assert shown.isprintable()
    assert msgspec.json.encode(shown)


def test_broken_huge_and_strange_files_hide_no_other(workspace: Workspace) -> None:
    folder = workspace.workflows / "user"
    save(folder / "good.json", "a.safetensors")
    (folder / "broken.json").write_text("{")
    (folder / "dangling.json").symlink_to("nowhere")
    (folder / "folder.json").mkdir()
    with (folder / "huge.json").open("wb") as huge:
        huge.truncate(MAX_BYTES + 1)
    assert SavedWorkflows(workspace).references().of("loras", "a.safetensors") == ("good",)


def test_a_volume_without_any_workflow_has_no_references(tmp_path: Path) -> None:
    assert SavedWorkflows(Workspace(tmp_path / "none")).references() == References()


@pytest.mark.parametrize("kind", ["pipe", "socket", "device", "link in a circle", "link to nothing", "folder"])
def test_what_is_no_file_is_passed_over(kind: str, workspace: Workspace) -> None:
    """Custom nodes write to the editor's folder: the library must neither wait for a pipe nor fail."""
    saved = workspace.user / "default" / "workflows"
    save(saved / "good.json", "a.safetensors")
    bad = saved / "bad.json"
    if kind == "pipe":
        os.mkfifo(bad)
    elif kind == "socket":
        os.mknod(bad, stat.S_IFSOCK | 0o600)
    elif kind == "folder":
        (saved / "sub").mkdir()
        bad.symlink_to("sub")
    else:
        bad.symlink_to({"device": "/dev/zero", "link in a circle": "bad.json"}.get(kind, "/nonexistent"))
    assert SavedWorkflows(workspace).references().of("loras", "a.safetensors") == ("good",)
