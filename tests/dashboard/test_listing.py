"""What duplicates waste is what making them one frees."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from dashboard.listing import Listing
from dashboard.shelf import Shelf
from services.catalogue import Catalogue
from services.errors import InvalidRequest
from services.installs import View
from services.models import ModelFile, ModelIndex
from services.placing import Placing
from services.references import References
from services.verified import Verified
from services.workspace import Workspace

SHA256 = "a" * 64


def put(path: Path, age_seconds: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"12345")
    os.utime(path, (10_000 - age_seconds, 10_000 - age_seconds))
    return path


def two_copies(workspace: Workspace) -> None:
    put(workspace.models / "loras" / "a.pt")
    put(workspace.models / "vae" / "a.pt")


def three_copies(workspace: Workspace) -> None:
    two_copies(workspace)
    put(workspace.models / "checkpoints" / "a.pt")


def one_in_a_plain_comfyui(workspace: Workspace) -> None:
    put(workspace.models / "loras" / "a.pt")
    put(workspace.root / "ComfyUI" / "models" / "vae" / "a.pt")


def a_link_out_of_the_volume(workspace: Workspace) -> None:
    put(workspace.models / "loras" / "a.pt")
    (workspace.models / "vae" / "a.pt").symlink_to(put(workspace.root.parent / "elsewhere" / "a.pt"))


def a_link_to_the_other(workspace: Workspace) -> None:
    (workspace.models / "vae" / "a.pt").symlink_to(put(workspace.models / "loras" / "a.pt"))


def two_names_of_one_file(workspace: Workspace) -> None:
    (workspace.models / "vae" / "a.pt").hardlink_to(put(workspace.models / "loras" / "a.pt"))


def a_copy_with_a_name_elsewhere(workspace: Workspace) -> None:
    two_copies(workspace)
    put(workspace.models / "loras" / "a.pt", age_seconds=100)
    (workspace.root / "kept").hardlink_to(workspace.models / "vae" / "a.pt")


def an_older_copy_with_a_name_elsewhere(workspace: Workspace) -> None:
    two_copies(workspace)
    (workspace.root / "kept").hardlink_to(put(workspace.models / "vae" / "a.pt", age_seconds=100))


def a_copy_with_two_names(workspace: Workspace) -> None:
    two_names_of_one_file(workspace)
    put(workspace.models / "checkpoints" / "a.pt", age_seconds=100)


def look(workspace: Workspace) -> dict[str, tuple[ModelFile, Verified]]:
    files = ModelIndex(workspace).scan()
    return {
        id_: (file, Verified(file.folder, file.name, file.size_bytes, file.mtime_ns, SHA256, "sha256"))
        for id_, file in files.items()
    }


@pytest.mark.parametrize(
    ("arrange", "wasted"),
    [
        (two_copies, 5),
        (three_copies, 10),
        (one_in_a_plain_comfyui, 0),
        (a_link_out_of_the_volume, 0),
        (a_link_to_the_other, 0),
        (two_names_of_one_file, 0),
        (a_copy_with_a_name_elsewhere, 0),
        (an_older_copy_with_a_name_elsewhere, 5),
        (a_copy_with_two_names, 5),
    ],
)
def test_duplicates_waste_what_making_them_one_frees(
    arrange: Callable[[Workspace], None], wasted: int, workspace: Workspace
) -> None:
    arrange(workspace)
    found = look(workspace)
    assert len(found) > 1
    models = {id_: file for id_, (file, _) in found.items()}
    view = View({}, frozenset(), {}, {id_: record for id_, (_, record) in found.items()}, {})
    shelf = Shelf(1, Catalogue(), view, models, (), References(), {})
    assert sum(group.wasted_bytes for group in Listing(shelf).duplicates()) == wasted
    try:
        assert Placing(workspace).unite(found.values()) == wasted
    except InvalidRequest:
        assert wasted == 0
