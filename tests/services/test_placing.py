"""One file under several names."""

import os
from pathlib import Path

import pytest

from services.artifacts import model_id
from services.errors import Conflict, InvalidName, InvalidRequest, NotFound
from services.models import ModelFile, ModelIndex
from services.placing import Placing, path_of
from services.verified import Verified
from services.workspace import Workspace
from tests.fakes.faulty_volume import MountedVolume

DATA = b"x" * 1000


def put(workspace: Workspace, path: str, data: bytes = DATA) -> Path:
    file = workspace.root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)
    return file


def found(workspace: Workspace, folder: str, name: str) -> ModelFile:
    return ModelIndex(workspace).scan()[model_id(folder, name)]


def checked(file: ModelFile, sha256: str = "0" * 64) -> tuple[ModelFile, Verified]:
    return file, Verified(file.folder, file.name, file.size_bytes, file.mtime_ns, sha256, "sha256")


def test_a_linked_file_has_both_names_and_takes_no_more_space(workspace: Workspace) -> None:
    source = put(workspace, "models/loras/a.safetensors")
    target = Placing(workspace).place(
        found(workspace, "loras", "a.safetensors"), None, "vae", "sub/b.safetensors", "link"
    )
    assert target == workspace.models / "vae" / "sub" / "b.safetensors"
    assert os.path.samefile(source, target)
    source.unlink()
    assert target.read_bytes() == DATA


def test_a_moved_file_has_its_new_name_only(workspace: Workspace) -> None:
    source = put(workspace, "models/loras/a.safetensors")
    target = Placing(workspace).place(found(workspace, "loras", "a.safetensors"), None, "vae", "b.safetensors", "move")
    assert target.read_bytes() == DATA
    assert not source.exists()


def test_a_volume_without_hard_links_gets_a_symbolic_one_within_the_models(faulty_volume: MountedVolume) -> None:
    workspace = Workspace(faulty_volume.root)
    source = put(workspace, "models/loras/a.safetensors")
    target = Placing(workspace).place(found(workspace, "loras", "a.safetensors"), None, "vae", "b.safetensors", "link")
    assert os.readlink(target) == "../loras/a.safetensors"
    assert os.path.samefile(source, target)


def test_moving_works_without_hard_links_too(faulty_volume: MountedVolume) -> None:
    workspace = Workspace(faulty_volume.root)
    source = put(workspace, "models/loras/a.safetensors")
    target = Placing(workspace).place(found(workspace, "loras", "a.safetensors"), None, "vae", "b.safetensors", "move")
    assert target.read_bytes() == DATA
    assert not source.exists()


@pytest.mark.parametrize("how", ["link", "move"])
def test_a_name_that_is_taken_stays_what_it_is(workspace: Workspace, how: str) -> None:
    put(workspace, "models/loras/a.safetensors")
    taken = put(workspace, "models/vae/b.safetensors", b"other")
    with pytest.raises(Conflict, match=r"b\.safetensors lies in vae/ already"):
        Placing(workspace).place(found(workspace, "loras", "a.safetensors"), None, "vae", "b.safetensors", how)  # type: ignore[arg-type]
    assert taken.read_bytes() == b"other"


def test_a_name_that_would_leave_the_models_is_refused(workspace: Workspace) -> None:
    put(workspace, "models/loras/a.safetensors")
    with pytest.raises(InvalidName):
        Placing(workspace).place(found(workspace, "loras", "a.safetensors"), None, "vae", "../../b.safetensors", "link")


def test_a_file_of_a_plain_comfyui_is_linked_and_never_moved(workspace: Workspace) -> None:
    source = put(workspace, "ComfyUI/models/loras/a.safetensors")
    model = found(workspace, "loras", "a.safetensors")
    with pytest.raises(Conflict, match="link it instead"):
        Placing(workspace).place(model, None, "vae", "b.safetensors", "move")
    assert os.path.samefile(Placing(workspace).place(model, None, "vae", "b.safetensors", "link"), source)


def test_a_file_in_a_folder_with_its_old_name_is_found(workspace: Workspace) -> None:
    source = put(workspace, "models/clip/a.safetensors")
    assert path_of(workspace, found(workspace, "text_encoders", "a.safetensors")) == source


def test_a_file_of_a_plain_comfyui_that_vanished_is_said_to_be_gone(workspace: Workspace) -> None:
    source = put(workspace, "ComfyUI/models/loras/a.safetensors")
    model = found(workspace, "loras", "a.safetensors")
    source.unlink()
    with pytest.raises(NotFound):
        Placing(workspace).place(model, None, "vae", "b.safetensors", "link")


def test_duplicates_become_one_file_under_all_their_names(workspace: Workspace) -> None:
    paths = [put(workspace, f"models/loras/{name}.safetensors") for name in "abc"]
    files = [checked(found(workspace, "loras", f"{name}.safetensors")) for name in "abc"]
    assert Placing(workspace).unite(files) == 2000
    assert len({path.stat().st_ino for path in paths}) == 1
    assert all(path.read_bytes() == DATA for path in paths)


def test_what_was_verified_stays_so_when_duplicates_become_one(workspace: Workspace) -> None:
    for name in "ab":
        put(workspace, f"models/loras/{name}.safetensors")
    Placing(workspace).unite([checked(found(workspace, "loras", f"{name}.safetensors")) for name in "ab"])
    index = ModelIndex(workspace)
    assert model_id("loras", "b.safetensors") in index.verified(index.scan())


def test_what_was_verified_is_so_under_its_new_name_too(workspace: Workspace) -> None:
    put(workspace, "models/loras/a.safetensors")
    file, record = checked(found(workspace, "loras", "a.safetensors"))
    Placing(workspace).place(file, record, "vae", "b.safetensors", "link")
    index = ModelIndex(workspace)
    assert index.verified(index.scan())[model_id("vae", "b.safetensors")].sha256 == record.sha256


def test_files_that_differ_are_never_made_one(workspace: Workspace) -> None:
    for name in "ab":
        put(workspace, f"models/loras/{name}.safetensors")
    a, b = (found(workspace, "loras", f"{name}.safetensors") for name in "ab")
    with pytest.raises(InvalidRequest, match="same sha256"):
        Placing(workspace).unite([checked(a), checked(b, "1" * 64)])


def test_a_file_that_changed_since_it_was_verified_is_left_alone(workspace: Workspace) -> None:
    for name in "ab":
        put(workspace, f"models/loras/{name}.safetensors")
    files = [checked(found(workspace, "loras", f"{name}.safetensors")) for name in "ab"]
    changed = put(workspace, "models/loras/b.safetensors", b"changed")
    with pytest.raises(Conflict, match="changed since it was verified"):
        Placing(workspace).unite(files)
    assert changed.read_bytes() == b"changed"


def test_a_link_that_leads_out_of_the_models_is_no_copy_to_keep(workspace: Workspace, tmp_path: Path) -> None:
    """What it leads to may be gone with the container."""
    outside = put(Workspace(tmp_path / "outside"), "a.safetensors")
    os.utime(outside, (1, 1))
    (workspace.models / "loras").mkdir(parents=True, exist_ok=True)
    (workspace.models / "loras" / "a.safetensors").symlink_to(outside)
    own = put(workspace, "models/loras/b.safetensors")
    files = [checked(found(workspace, "loras", f"{name}.safetensors")) for name in "ab"]
    with pytest.raises(InvalidRequest, match="on one disk"):
        Placing(workspace).unite(files)
    assert not own.is_symlink()
    assert own.stat().st_nlink == 1


def test_a_folder_with_its_old_name_gets_no_file(workspace: Workspace) -> None:
    """Nobody could delete it there."""
    source = put(workspace, "models/loras/a.safetensors")
    with pytest.raises(InvalidName, match="is called 'diffusion_models'"):
        Placing(workspace).place(found(workspace, "loras", "a.safetensors"), None, "unet", "a.safetensors", "move")
    assert source.exists()
