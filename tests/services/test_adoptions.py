import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from services.adoptions import ATTEMPTS, Adoptions, StillChanging, digests_named, hash_file
from services.artifacts import Artifact, model_id
from services.catalogue import Catalogue
from services.errors import NotFound
from services.models import ModelFile, ModelIndex
from services.presets import Preset
from services.verified import VerifiedFiles
from services.workspace import Workspace

DATA = os.urandom(5000)
DIGEST = hashlib.sha256(DATA).hexdigest()
ID = model_id("loras", "mine.ckpt")


@pytest.fixture
def copied(workspace: Workspace) -> ModelFile:
    return copy(workspace, "models/loras/mine.ckpt")


def copy(workspace: Workspace, path: str) -> ModelFile:
    """As a user does, and as the library finds it."""
    (workspace.root / path).parent.mkdir(parents=True, exist_ok=True)
    (workspace.root / path).write_bytes(DATA)
    (found,) = ModelIndex(workspace).scan().values()
    return found


def nothing(_done: int) -> None:
    pass


@pytest.mark.parametrize(
    "path",
    [
        "models/loras/mine.ckpt",
        "models/loras/-a [copy].ckpt",
        "models/unet/mine.ckpt",
        "ComfyUI/models/loras/a/mine.ckpt",
        "ComfyUI/models/unet/mine.ckpt",
    ],
)
def test_a_file_is_hashed_where_it_lies(workspace: Workspace, path: str) -> None:
    file = copy(workspace, path)
    record = hash_file(workspace, file, (), nothing)
    assert (record.sha256, record.size_bytes, record.checked_against) == (DIGEST, len(DATA), "nothing")
    VerifiedFiles(workspace).put(record)
    assert set(ModelIndex(workspace).verified({file.id: file})) == {file.id}


def test_a_digest_that_a_preset_names_is_what_it_was_held_to(workspace: Workspace, copied: ModelFile) -> None:
    assert hash_file(workspace, copied, {DIGEST}, nothing).checked_against == "sha256"
    assert hash_file(workspace, copied, {"0" * 64}, nothing).checked_against == "nothing"


def test_a_preset_whose_file_was_copied_in_is_there(workspace: Workspace, copied: ModelFile) -> None:
    wanted = Artifact("https://host.example/a", "loras", "mine.ckpt", len(DATA), DIGEST)
    VerifiedFiles(workspace).put(hash_file(workspace, copied, (), nothing))
    assert set(VerifiedFiles(workspace).holding_for([wanted])) == {wanted.id}


def append(file: Path) -> None:
    with file.open("ab") as opened:
        opened.write(b"more")


def touch(file: Path) -> None:
    os.utime(file, ns=(0, file.stat().st_mtime_ns + 1))


def shorten(file: Path) -> None:
    os.truncate(file, 10)


def replace_by_another(file: Path) -> None:
    figures = file.stat()
    file.rename(file.with_name("old"))
    file.write_bytes(DATA)
    os.utime(file, ns=(0, figures.st_mtime_ns))


@pytest.mark.parametrize("change", [append, touch, shorten, replace_by_another])
def test_a_file_that_changes_while_it_is_read_is_read_again(
    change: Callable[[Path], None], workspace: Workspace, copied: ModelFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.hashing.PIECE_BYTES", 100)
    path, changes = workspace.models / "loras" / "mine.ckpt", iter([change])

    def change_once(done: int) -> None:
        if done == 200:
            next(changes, touch_nothing)(path)

    record = hash_file(workspace, copied, (), change_once)
    assert record.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert record.holds_for(path.stat())


def touch_nothing(_file: Path) -> None:
    pass


def test_a_file_that_does_not_stop_changing_is_given_up(workspace: Workspace, copied: ModelFile) -> None:
    reads: list[int] = []

    def change(done: int) -> None:
        reads.append(done)
        touch(workspace.models / "loras" / "mine.ckpt")

    with pytest.raises(StillChanging, match=r"loras/mine\.ckpt changes"):
        hash_file(workspace, copied, (), change)
    assert len(reads) == ATTEMPTS


def test_a_file_that_is_gone_is_said_to_be(workspace: Workspace, copied: ModelFile) -> None:
    (workspace.models / "loras" / "mine.ckpt").unlink()
    with pytest.raises(NotFound):
        hash_file(workspace, copied, (), nothing)


def test_what_was_asked_for_outlives_the_program(workspace: Workspace, copied: ModelFile) -> None:
    Adoptions(workspace).put([copied])
    assert Adoptions(workspace).unfinished() == (copied,)


def test_what_is_hashed_is_asked_for_no_longer(workspace: Workspace, copied: ModelFile) -> None:
    Adoptions(workspace).put([copied])
    VerifiedFiles(workspace).put(hash_file(workspace, copied, (), nothing))
    assert Adoptions(workspace).unfinished() == ()
    touch(workspace.models / "loras" / "mine.ckpt")
    assert Adoptions(workspace).unfinished() == (copied,)


def test_nothing_asked_for_is_no_record(workspace: Workspace, copied: ModelFile) -> None:
    records = Adoptions(workspace)
    records.put([copied])
    records.put([])
    assert list((workspace.config / "adoptions").iterdir()) == []


def test_the_digests_by_which_presets_know_a_file_are_named() -> None:
    def preset(id_: str, sha256: str | None, name: str = "mine.ckpt") -> Preset:
        file = Artifact("https://host.example/a", "loras", name, sha256=sha256)
        return Preset(id=id_, name=id_, kind="image", description="", files=(file,))

    catalogue = Catalogue(
        [preset("A", "a" * 64), preset("B", "b" * 64), preset("C", None), preset("D", "d" * 64, "x.ckpt")]
    )
    assert digests_named(catalogue, ID) == {"a" * 64, "b" * 64}


def test_what_vanished_from_a_plain_comfyui_stops_nothing_else(workspace: Workspace) -> None:
    file = copy(workspace, "ComfyUI/models/loras/mine.ckpt")
    Adoptions(workspace).put([file])
    VerifiedFiles(workspace).put(hash_file(workspace, file, (), nothing))
    (workspace.root / "ComfyUI" / "models" / "loras" / "mine.ckpt").unlink()
    assert Adoptions(workspace).unfinished() == (file,)
    with pytest.raises(NotFound):
        hash_file(workspace, file, (), nothing)


def test_a_pipe_in_its_place_is_not_waited_for(workspace: Workspace, copied: ModelFile) -> None:
    path = workspace.models / "loras" / "mine.ckpt"
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(NotFound, match="no file any more"):
        hash_file(workspace, copied, (), nothing)


def test_a_secret_in_its_place_is_not_hashed(workspace: Workspace, copied: ModelFile, tmp_path: Path) -> None:
    """Its digest would stand where everyone reads it."""
    path, secret = workspace.models / "loras" / "mine.ckpt", tmp_path / "secret"
    path.unlink()
    secret.write_bytes(DATA)
    path.symlink_to(secret)
    assert hash_file(workspace, copied, (), nothing).sha256 == DIGEST
    secret.chmod(0o600)
    with pytest.raises(NotFound, match="a link to what is no model"):
        hash_file(workspace, copied, (), nothing)


@pytest.mark.parametrize("way", ["loras", "loras/mine.ckpt"])
def test_what_is_no_model_is_not_hashed_through_a_link(workspace: Workspace, copied: ModelFile, way: str) -> None:
    (workspace.config / "mine.ckpt").write_bytes(DATA)
    (workspace.models / way).rename(workspace.root / "away")
    (workspace.models / way).symlink_to(workspace.config / Path(way).relative_to("loras"))
    with pytest.raises(NotFound, match="a link to what is no model"):
        hash_file(workspace, copied, (), nothing)


def test_a_file_of_its_own_is_hashed_whoever_may_read_it(workspace: Workspace, copied: ModelFile) -> None:
    (workspace.models / "loras" / "mine.ckpt").chmod(0o600)
    assert hash_file(workspace, copied, (), nothing).sha256 == DIGEST
