"""A ComfyUI that was on the volume before: its models are used where they lie."""

import hashlib
import os
from pathlib import Path

import pytest

from bootstrap.deadline import run_within
from bootstrap.users import User, as_user
from services import plain_tree
from services.artifacts import Artifact
from services.downloads import Fetcher
from services.errors import Conflict
from services.models import ModelIndex
from services.settings import Secret
from services.sources import Sources
from services.verified import VerifiedFiles
from services.workspace import Workspace
from tests.fakes.model_host import ModelHost

DATA = b"weights" * 1000


def put(workspace: Workspace, path: str, data: bytes = DATA) -> Path:
    file = workspace.root / plain_tree.ROOT / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)
    return file


def wanted(host: ModelHost, name: str = "a.ckpt", folder: str = "loras") -> Artifact:
    return Artifact(host.add(f"/{name}", DATA), folder, name, len(DATA), hashlib.sha256(DATA).hexdigest())


@pytest.fixture
def fetcher(workspace: Workspace) -> Fetcher:
    sources = Sources(Secret(""), Secret(""), "", private_hosts=True)
    return Fetcher(workspace, sources, 0, lambda progress: None, lambda id_: None)


def test_a_volume_without_one_has_none(workspace: Workspace) -> None:
    assert plain_tree.models_of(workspace) is None
    assert plain_tree.folders(workspace, ("loras",)) == {}


@pytest.mark.parametrize("link", ["ComfyUI", "ComfyUI/models"])
def test_a_link_to_our_own_models_is_none(workspace: Workspace, tmp_path: Path, link: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "models" / "loras").mkdir(parents=True)
    (workspace.root / link).parent.mkdir(exist_ok=True)
    (workspace.root / link).symlink_to(elsewhere)
    assert plain_tree.models_of(workspace) is None


def test_old_names_of_folders_are_known(workspace: Workspace) -> None:
    put(workspace, "unet/a.safetensors")
    put(workspace, "diffusion_models/b.safetensors")
    put(workspace, "clip/c.safetensors")
    put(workspace, "odd/d.safetensors")
    found = plain_tree.folders(workspace, ("diffusion_models", "text_encoders", "loras"))
    assert found == {"diffusion_models": ("diffusion_models", "unet"), "text_encoders": ("clip",)}
    files = {(file.folder, file.name): file.root for file in ModelIndex(workspace).scan().values()}
    assert files[("diffusion_models", "a.safetensors")] == plain_tree.ROOT
    assert files[("text_encoders", "c.safetensors")] == plain_tree.ROOT


def test_old_names_in_our_own_tree_are_known_too(workspace: Workspace, fetcher: Fetcher, model_host: ModelHost) -> None:
    old = workspace.models / "unet"
    old.mkdir()
    (old / "a.ckpt").write_bytes(DATA)
    assert plain_tree.old_folders(workspace) == {"diffusion_models": ("unet",)}
    [file] = ModelIndex(workspace).scan().values()
    assert (file.folder, file.root) == ("diffusion_models", "models/unet")
    fetcher.fetch(wanted(model_host, folder="diffusion_models"))
    assert not model_host.requests
    (workspace.models / "diffusion_models" / "a.ckpt").write_bytes(b"newer")
    [file] = ModelIndex(workspace).scan().values()
    assert (file.root, file.size_bytes) == ("models", 5)


def test_our_own_file_of_that_name_goes_before(workspace: Workspace) -> None:
    put(workspace, "loras/a.ckpt")
    (workspace.models / "loras" / "a.ckpt").write_bytes(b"ours")
    [file] = ModelIndex(workspace).scan().values()
    assert (file.root, file.size_bytes) == ("models", 4)


def test_a_link_in_the_tree_leads_nowhere(workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "a.ckpt").write_bytes(DATA)
    put(workspace, "vae/b.ckpt")
    (workspace.root / plain_tree.ROOT / "loras").symlink_to(tmp_path / "secret")
    assert [file.name for file in ModelIndex(workspace).scan().values()] == ["b.ckpt"]
    assert "loras" not in plain_tree.folders(workspace, ("loras", "vae"))


def test_a_file_that_is_a_link_is_known_while_it_stays_on_the_volume(workspace: Workspace, tmp_path: Path) -> None:
    blob = put(workspace, "../blobs/1")
    outside = tmp_path / "outside.ckpt"
    outside.write_bytes(DATA)
    loras = workspace.root / plain_tree.ROOT / "loras"
    loras.mkdir(parents=True)
    (loras / "inside.ckpt").symlink_to(blob)
    (loras / "outside.ckpt").symlink_to(outside)
    assert [file.name for file in ModelIndex(workspace).scan().values()] == ["inside.ckpt"]
    assert plain_tree.find(workspace, "loras", "inside.ckpt") == loras / "inside.ckpt"
    assert plain_tree.find(workspace, "loras", "outside.ckpt") is None


def test_a_file_behind_a_linked_folder_is_not_taken(
    workspace: Workspace, fetcher: Fetcher, model_host: ModelHost, tmp_path: Path
) -> None:
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "a.ckpt").write_bytes(DATA)
    put(workspace, "vae/b.ckpt")
    (workspace.root / plain_tree.ROOT / "loras").symlink_to(tmp_path / "secret")
    fetcher.fetch(wanted(model_host))
    assert (workspace.models / "loras" / "a.ckpt").read_bytes() == DATA


@pytest.mark.parametrize("closed", ["ComfyUI", "ComfyUI/models"])
def test_a_tree_that_is_closed_to_us_is_none(open_folder: Path, closed: str) -> None:
    workspace = Workspace(open_folder)
    put(workspace, "loras/a.ckpt")
    (open_folder / closed).chmod(0o000)

    def look() -> bytes:
        listed = ModelIndex(workspace).scan()
        return str((plain_tree.models_of(workspace), plain_tree.folders(workspace, ("loras",)), listed)).encode()

    nobody = User("nobody", 65534, 65534) if os.geteuid() == 0 else None
    try:
        assert run_within(20, as_user(nobody, look)) == b"(None, {}, {})"
    finally:
        (open_folder / closed).chmod(0o755)


def test_a_file_that_is_closed_to_us_is_not_taken(open_folder: Path) -> None:
    workspace = Workspace(open_folder)
    put(workspace, "loras/a.ckpt").chmod(0o000)
    nobody = User("nobody", 65534, 65534) if os.geteuid() == 0 else None
    found = as_user(nobody, lambda: str(plain_tree.find(workspace, "loras", "a.ckpt")).encode())
    assert run_within(20, found) == b"None"


def test_the_right_file_is_taken_where_it_lies(workspace: Workspace, fetcher: Fetcher, model_host: ModelHost) -> None:
    file = put(workspace, "loras/a.ckpt")
    artifact = wanted(model_host)
    record = fetcher.fetch(artifact)
    assert (record.sha256, record.mtime_ns) == (artifact.sha256, file.stat().st_mtime_ns)
    assert not model_host.requests
    assert not (workspace.models / "loras" / "a.ckpt").exists()
    records = VerifiedFiles(workspace)
    records.put(record)
    assert list(records.holding_for([artifact])) == [artifact.id]
    os.utime(file, (1, 1))
    assert records.holding_for([artifact]) == {}


@pytest.mark.parametrize("other", [b"x" * len(DATA), b"short"])
def test_another_file_of_that_name_is_fetched_into_our_own(
    workspace: Workspace, fetcher: Fetcher, model_host: ModelHost, other: bytes
) -> None:
    file = put(workspace, "loras/a.ckpt", other)
    fetcher.fetch(wanted(model_host))
    assert (workspace.models / "loras" / "a.ckpt").read_bytes() == DATA
    assert file.read_bytes() == other


def test_nothing_in_the_tree_is_ever_deleted(workspace: Workspace, model_host: ModelHost) -> None:
    file, index = put(workspace, "loras/a.ckpt"), ModelIndex(workspace)
    own = workspace.models / "loras" / "b.ckpt"
    own.write_bytes(DATA)
    with pytest.raises(Conflict, match=r"ComfyUI/models/…/a\.ckpt: lies in a tree"):
        index.delete(list(index.scan()))
    assert own.exists()
    assert index.delete_artifact(wanted(model_host)) == 0
    assert file.read_bytes() == DATA
