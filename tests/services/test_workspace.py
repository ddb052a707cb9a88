import contextlib
import os
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.errors import InvalidName, NotEnoughSpace
from services.model_folders import KNOWN_FOLDERS
from services.workspace import (
    NAME_MAX_BYTES,
    Workspace,
    check_name,
    check_relative_path,
    figures_of,
    write_atomic,
)

HOSTILE_NAMES = {
    "empty": "",
    "here": ".",
    "up": "..",
    "absolute": "/etc/passwd",
    "slash": "a/b",
    "backslash": "a\\b",
    "up by backslash": "..\\..\\etc",
    "zero byte": "a\0b",
    "two dots that look like one character": "\u2025",
    "wide dots": "\uff0e\uff0e",
    "wide slash": "a\uff0fb",
    "one dot leader": "\u2024\u2024",
    "ligature": "ﬁle",
    "star": "a*b",
    "question mark": "a?b",
    "bracket": "a[b]c",
    "hidden": ".ssh",
    "dot at the end": "name.",
    "space at the end": "name ",
    "space at the start": " name",
    "dash at the start": "-rf",
    "newline": "a\nb",
    "escape": "a\x1b[2Jb",
    "delete": "a\x7fb",
    "right to left": "a\u202etxt.exe",
    "zero width": "a\u200bb",
    "line separator": "a\u2028b",
    "unusual space": "a\u1680b",
    "lone surrogate": "a\udcffb",
    "very long": "a" * 5000,
    "one byte too long": "a" * (NAME_MAX_BYTES + 1),
    "too long in bytes": "é" * (NAME_MAX_BYTES // 2 + 1),
}
PLAIN_NAMES = [
    "model.safetensors",
    "a%2fb",
    "Größe 2 (v1.5).pt",
    "模型",
    "🦊",
    "a-b_c.d,e+f=g@h",
    "a" * NAME_MAX_BYTES,
]


@pytest.mark.parametrize("name", HOSTILE_NAMES.values(), ids=HOSTILE_NAMES)
def test_a_name_that_could_mean_another_place_is_refused(name: str) -> None:
    with pytest.raises(InvalidName) as caught:
        check_name(name)
    assert len(caught.value.message) < 600


@pytest.mark.parametrize("name", PLAIN_NAMES)
def test_a_plain_name_is_taken_as_it_is(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize(
    "path", ["", "/", "/a", "a/", "a//b", "../a", "a/../b", "a/./b", "a/.b", "a/b\\c", "/".join("a" * 9), "a\0/b"]
)
def test_a_path_that_is_not_made_of_names_is_refused(path: str) -> None:
    with pytest.raises(InvalidName):
        check_relative_path(path)


def test_a_path_below_a_folder_comes_apart_into_its_names() -> None:
    assert check_relative_path("flux/dev/a.safetensors") == ("flux", "dev", "a.safetensors")


def test_a_model_lies_below_its_folder(workspace: Workspace) -> None:
    assert workspace.model_file("loras", "flux/a.safetensors") == workspace.root / "models/loras/flux/a.safetensors"


@pytest.mark.parametrize("folder", ["..", "../config", "loras/../../config", "/etc", ""])
def test_a_model_folder_that_leads_elsewhere_is_refused(workspace: Workspace, folder: str) -> None:
    with pytest.raises(InvalidName):
        workspace.model_file(folder, "a.safetensors")


@pytest.mark.parametrize("name", ["a", "a.py", "a.safetensors.part", "a.json", "safetensors", "a.safetensors/b.sh"])
def test_a_file_that_is_no_model_is_refused(workspace: Workspace, name: str) -> None:
    with pytest.raises(InvalidName, match="not a model file"):
        workspace.model_file("checkpoints", name)


def test_the_suffix_of_a_model_may_be_in_capitals(workspace: Workspace) -> None:
    assert workspace.model_file("vae", "A.SAFETENSORS").name == "A.SAFETENSORS"


def test_a_configuration_may_have_another_suffix(workspace: Workspace) -> None:
    assert workspace.model_file("configs", "v1.yaml").name == "v1.yaml"


@pytest.mark.parametrize("name", ["v1.py", "v1", "v1.yaml.part"])
def test_not_everything_is_a_configuration(name: str, workspace: Workspace) -> None:
    with pytest.raises(InvalidName, match="not a model file"):
        workspace.model_file("configs", name)


def test_a_model_folder_may_itself_be_a_link(workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "big-disk").mkdir()
    (workspace.models / "loras").rmdir()
    (workspace.models / "loras").symlink_to(tmp_path / "big-disk")
    assert workspace.model_file("loras", "a.safetensors").parent.resolve() == tmp_path / "big-disk"


def test_a_link_below_a_model_folder_must_not_lead_out_of_it(workspace: Workspace, tmp_path: Path) -> None:
    (workspace.models / "loras" / "out").symlink_to(tmp_path)
    with pytest.raises(InvalidName, match="through a link"):
        workspace.model_file("loras", "out/a.safetensors")


def test_a_link_to_another_model_folder_leads_out_of_this_one(workspace: Workspace) -> None:
    (workspace.models / "loras" / "out").symlink_to(workspace.models / "vae")
    with pytest.raises(InvalidName, match="through a link"):
        workspace.model_file("loras", "out/a.safetensors")


def test_a_link_within_a_model_folder_is_followed(workspace: Workspace) -> None:
    (workspace.models / "loras" / "real").mkdir()
    (workspace.models / "loras" / "alias").symlink_to("real")
    assert workspace.model_file("loras", "alias/a.safetensors").parent.name == "alias"


def test_a_link_to_itself_is_refused(workspace: Workspace) -> None:
    (workspace.models / "loras" / "loop").symlink_to("loop")
    with pytest.raises(InvalidName):
        workspace.model_file("loras", "loop/a.safetensors")


@pytest.mark.parametrize("path", ["../config/secrets/dashboard_password", "/etc/passwd", "images/../../config/a"])
def test_an_output_cannot_lie_elsewhere(workspace: Workspace, path: str) -> None:
    with pytest.raises(InvalidName):
        workspace.output_file(path)


def test_an_output_does_not_follow_a_link_out(workspace: Workspace) -> None:
    (workspace.output / "images" / "out").symlink_to(workspace.config)
    with pytest.raises(InvalidName):
        workspace.output_file("images/out/presets.yaml")


def test_a_workflow_lies_in_the_folder_of_its_source(workspace: Workspace) -> None:
    assert workspace.workflow_file("user", "my flow") == workspace.root / "workflows/user/my flow.json"


def test_a_workflow_name_holds_no_path(workspace: Workspace) -> None:
    with pytest.raises(InvalidName):
        workspace.workflow_file("user", "../presets/a")


def test_the_tree_lists_parents_before_children(workspace: Workspace) -> None:
    paths = [folder.path for folder in workspace.folders(KNOWN_FOLDERS)]
    for number, path in enumerate(paths):
        parent = os.path.dirname(path)
        assert not parent or parent in paths[:number], path


def test_only_secrets_and_runs_are_closed_to_everyone_else(workspace: Workspace) -> None:
    closed = [folder.path for folder in workspace.folders(KNOWN_FOLDERS) if folder.mode & 0o077 == 0]
    assert closed == ["config/runs", "config/runs/prompts", "config/secrets"]


def test_a_file_is_written_whole(tmp_path: Path) -> None:
    write_atomic(tmp_path / "file", b"new", mode=0o640)
    assert (tmp_path / "file").read_bytes() == b"new"
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640


def test_the_mode_of_a_file_does_not_depend_on_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        write_atomic(tmp_path / "file", b"", mode=0o664)
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o664


def test_a_link_is_replaced_and_its_target_left_alone(tmp_path: Path) -> None:
    (tmp_path / "target").write_bytes(b"old")
    (tmp_path / "link").symlink_to(tmp_path / "target")
    write_atomic(tmp_path / "link", b"new")
    assert (tmp_path / "target").read_bytes() == b"old"
    assert (tmp_path / "link").read_bytes() == b"new"


def test_the_longest_allowed_name_can_be_written(workspace: Workspace) -> None:
    file = workspace.workflow_file("user", "a" * NAME_MAX_BYTES)
    write_atomic(file, b"{}")
    assert file.read_bytes() == b"{}"


@contextlib.contextmanager
def small_files() -> Iterator[None]:
    """No file can grow beyond 4 KiB: a write fails halfway, for root as for anyone. Not for longer than that one
    write: pytest's own output may be such a file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_write_that_fails_halfway_leaves_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"old")
    with pytest.raises(OSError, match="File too large"), small_files():
        write_atomic(tmp_path / "file", b"x" * 10_000)
    assert {entry.name: entry.read_bytes() for entry in tmp_path.iterdir()} == {"file": b"old"}


@pytest.mark.parametrize("what", ["missing", "file/below", "loop", "to nowhere"])
def test_nothing_is_there_where_nothing_can_be_reached(what: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "to nowhere").symlink_to("nowhere")
    assert figures_of(tmp_path / what) is None


def test_every_other_reason_is_told(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="File name too long"):
        figures_of(tmp_path / ("a" * 300))


def test_a_full_volume_is_called_that_and_keeps_what_was_there(full_folder: Path) -> None:
    before = {entry.name: entry.read_bytes() for entry in full_folder.iterdir()}
    with pytest.raises(NotEnoughSpace, match=str(full_folder)):
        write_atomic(full_folder / "old", b"x" * 10_000)
    assert {entry.name: entry.read_bytes() for entry in full_folder.iterdir()} == before


def test_a_volume_that_takes_no_more_files_counts_as_full(folder_without_inodes: Path) -> None:
    with pytest.raises(NotEnoughSpace):
        write_atomic(folder_without_inodes / "new", b"x")


def test_a_path_is_refused_by_its_whole_name(workspace: Workspace) -> None:
    with pytest.raises(InvalidName, match=r"the name '\.\./x\.safetensors' cannot be used: '\.\.' is empty or a dot"):
        workspace.model_file("vae", "../x.safetensors")
