import os
from pathlib import Path

import pytest

from services.link_targets import LinkTargets
from services.models import ModelIndex
from services.workspace import Workspace


@pytest.fixture
def elsewhere(workspace: Workspace, tmp_path: Path) -> Path:
    """Where an operator had all models moved, and left a link."""
    disk = tmp_path / "disk"
    workspace.models.rename(disk)
    workspace.models.symlink_to(disk)
    return disk


def test_models_that_are_a_link_as_a_whole_are_models(workspace: Workspace, elsewhere: Path) -> None:
    (elsewhere / "vae" / "a.pt").write_bytes(b"x")
    (elsewhere / "zz").symlink_to("vae")
    (elsewhere / "loras" / "b.pt").symlink_to("../vae/a.pt")
    (elsewhere / "all").symlink_to(".")
    found = sorted(f"{file.folder}/{file.name}" for file in ModelIndex(workspace).scan().values())
    assert found == ["loras/b.pt", "vae/a.pt", "zz/a.pt"]


@pytest.mark.parametrize("mode", [0o600, 0o644])
def test_what_was_opened_as_itself_is_taken_whoever_may_read_it(
    workspace: Workspace, elsewhere: Path, mode: int
) -> None:
    file = elsewhere / "vae" / "a.pt"
    file.write_bytes(b"x")
    file.chmod(mode)
    with file.open("rb") as opened:
        assert LinkTargets.of(workspace).takes_opened(opened.fileno(), "models/vae/a.pt")


def test_what_was_opened_through_a_link_is_judged_by_where_it_lies(workspace: Workspace) -> None:
    secret = workspace.secrets / "huggingface.token"
    secret.write_bytes(b"canary")
    secret.chmod(0o644)
    link = workspace.models / "vae" / "a.pt"
    link.symlink_to(secret)
    with link.open("rb") as opened:
        # Too late to hide it.
        link.unlink()
        link.write_bytes(b"x")
        assert not LinkTargets.of(workspace).takes_opened(opened.fileno(), "models/vae/a.pt")


@pytest.mark.parametrize("where", ["ComfyUI/blobs", "ComfyUI/models/vae", "models/vae"])
def test_a_link_in_a_plain_comfyui_leads_within_it_or_to_our_models(workspace: Workspace, where: str) -> None:
    file = workspace.root / where / "a.pt"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"x")
    targets, figures = LinkTargets.of(workspace), os.stat(file)
    assert targets.takes_file(figures, str(file), is_plain=True)
    assert not targets.takes_file(figures, f"{workspace.config}/a.pt", is_plain=True)
    assert targets.takes_file(figures, str(file))
