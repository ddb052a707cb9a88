import errno
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs

import services.models
from services import journal
from services.artifacts import Artifact, model_id
from services.errors import InvalidName
from services.journal import Journal
from services.models import FOLDER_SETTLED_SECONDS, RESCAN_SECONDS, ModelFile, ModelIndex, folder_sizes
from services.verified import Verified, VerifiedFiles
from services.workspace import Workspace


@pytest.fixture
def index(workspace: Workspace) -> ModelIndex:
    return ModelIndex(workspace)


def put(workspace: Workspace, path: str, data: bytes = b"x") -> Path:
    file = workspace.models / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)
    return file


def names(index: ModelIndex) -> list[str]:
    return sorted(f"{file.folder}/{file.name}" for file in index.scan().values())


HOUR_AGO = time.time() - 3600


def make_old(*paths: Path) -> None:
    """As if nothing had happened to them for an hour."""
    for path in paths:
        os.utime(path, (HOUR_AGO, HOUR_AGO))


def test_models_are_found_with_their_figures(index: ModelIndex, workspace: Workspace) -> None:
    file = put(workspace, "loras/a.safetensors", b"12345")
    (found,) = index.scan().values()
    id_ = model_id("loras", "a.safetensors")
    at = file.stat()
    assert found == ModelFile(
        id=id_,
        folder="loras",
        name="a.safetensors",
        size_bytes=5,
        mtime_ns=at.st_mtime_ns,
        lies_in="models/loras",
        device=at.st_dev,
        inode=at.st_ino,
        links=1,
    )


def test_models_in_sub_folders_are_found(index: ModelIndex, workspace: Workspace) -> None:
    put(workspace, "loras/flux/dev/a.safetensors")
    assert names(index) == ["loras/flux/dev/a.safetensors"]


def test_models_in_folders_nobody_knows_are_found(index: ModelIndex, workspace: Workspace) -> None:
    put(workspace, "my_models/a.safetensors")
    assert names(index) == ["my_models/a.safetensors"]


@pytest.mark.parametrize(
    "path",
    [
        "loras/a.safetensors.part",
        "loras/a.safetensors.part.json",
        "loras/.hidden.safetensors",
        "loras/.cache/a.safetensors",
        ".trash/a.safetensors",
        "loras/notes.txt",
        "loras/put_loras_here",
        "a.safetensors",
    ],
)
def test_what_is_no_model_is_not_listed(path: str, index: ModelIndex, workspace: Workspace) -> None:
    put(workspace, path)
    assert names(index) == []


def test_a_configuration_is_listed_in_its_folder_only(index: ModelIndex, workspace: Workspace) -> None:
    put(workspace, "configs/v1.yaml")
    put(workspace, "loras/v1.yaml")
    assert names(index) == ["configs/v1.yaml"]


def test_a_workspace_without_models_has_none(tmp_path: Path) -> None:
    assert ModelIndex(Workspace(tmp_path / "nowhere")).scan() == {}


def test_a_new_model_is_seen_at_once(index: ModelIndex, workspace: Workspace) -> None:
    put(workspace, "loras/a.safetensors")
    assert names(index) == ["loras/a.safetensors"]
    put(workspace, "loras/b.safetensors")
    assert names(index) == ["loras/a.safetensors", "loras/b.safetensors"]


def test_a_second_model_under_the_same_time_stamp_is_seen(index: ModelIndex, workspace: Workspace) -> None:
    first = put(workspace, "loras/a.safetensors")
    make_old(first)
    stamp = first.parent.stat().st_mtime_ns
    assert names(index) == ["loras/a.safetensors"]
    make_old(put(workspace, "loras/b.safetensors"))
    os.utime(first.parent, ns=(stamp, stamp))
    assert names(index) == ["loras/a.safetensors", "loras/b.safetensors"]


def test_a_folder_that_does_not_change_is_not_read_again(index: ModelIndex, workspace: Workspace) -> None:
    first = put(workspace, "loras/a.safetensors")
    make_old(first, first.parent)
    assert names(index) == ["loras/a.safetensors"]
    # Behind the folder's back.
    put(workspace, "loras/b.safetensors")
    make_old(first.parent)
    assert names(index) == ["loras/a.safetensors"]


def test_a_model_that_is_gone_is_seen_at_once(index: ModelIndex, workspace: Workspace) -> None:
    file = put(workspace, "loras/a.safetensors")
    make_old(file, file.parent)
    assert names(index) == ["loras/a.safetensors"]
    file.unlink()
    assert names(index) == []


def test_a_model_that_grows_is_seen_growing(index: ModelIndex, workspace: Workspace) -> None:
    file = put(workspace, "loras/a.safetensors", b"1")
    make_old(file.parent)
    assert [found.size_bytes for found in index.scan().values()] == [1]
    with file.open("ab") as opened:
        opened.write(b"2345")
    make_old(file.parent)
    assert [found.size_bytes for found in index.scan().values()] == [5]


def test_a_link_to_a_model_is_listed_with_the_size_of_its_target(
    index: ModelIndex, workspace: Workspace, tmp_path: Path
) -> None:
    (tmp_path / "big.safetensors").write_bytes(b"12345")
    (workspace.models / "loras" / "a.safetensors").symlink_to(tmp_path / "big.safetensors")
    assert [found.size_bytes for found in index.scan().values()] == [5]


def test_a_link_that_leads_nowhere_is_not_listed(index: ModelIndex, workspace: Workspace) -> None:
    (workspace.models / "loras" / "a.safetensors").symlink_to("nowhere")
    assert names(index) == []


def test_a_link_to_a_folder_cannot_send_the_search_in_circles(index: ModelIndex, workspace: Workspace) -> None:
    put(workspace, "loras/a.safetensors")
    (workspace.models / "loras" / "again").symlink_to(".")
    assert names(index) == ["loras/a.safetensors"]


@pytest.mark.parametrize("path", ["loop", "loras/loop", "loras/loop.safetensors"])
def test_a_link_to_itself_hides_only_itself(path: str, index: ModelIndex, workspace: Workspace) -> None:
    put(workspace, "loras/a.safetensors")
    (workspace.models / path).symlink_to(workspace.models / path)
    assert names(index) == ["loras/a.safetensors"]


@pytest.mark.parametrize(
    "path", [b"loras/caf\xe9.safetensors", b"loras/caf\xe9/b.safetensors", b"caf\xe9/b.safetensors"]
)
def test_a_name_that_is_no_text_hides_only_itself(path: bytes, index: ModelIndex, workspace: Workspace) -> None:
    put(workspace, "loras/a.safetensors")
    put(workspace, os.fsdecode(path))
    assert names(index) == ["loras/a.safetensors"]


def test_a_folder_read_right_after_a_change_is_read_again(
    index: ModelIndex, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    # It may have changed once more under the same time stamp, and is looked at again only when that is long ago.
    first = put(workspace, "loras/a.safetensors")
    make_old(first)
    now = time.time()
    monkeypatch.setattr("time.time", lambda: now)
    stamp = int((now - FOLDER_SETTLED_SECONDS + 0.5) * 1e9)
    os.utime(first.parent, ns=(stamp, stamp))
    assert names(index) == ["loras/a.safetensors"]
    make_old(put(workspace, "loras/b.safetensors"))
    os.utime(first.parent, ns=(stamp, stamp))
    monkeypatch.setattr("time.time", lambda: now + 1)
    assert names(index) == ["loras/a.safetensors", "loras/b.safetensors"]


def test_while_nothing_changes_the_models_are_the_same_object(index: ModelIndex, workspace: Workspace) -> None:
    file = put(workspace, "loras/a.safetensors")
    known = index.scan()
    assert index.scan() is known
    assert index.verified(known) is index.verified(known)
    make_old(file)
    assert index.scan() is not known


def test_a_model_that_was_replaced_is_seen_at_once(index: ModelIndex, workspace: Workspace) -> None:
    file = put(workspace, "loras/a.safetensors", b"1")
    make_old(file, file.parent)
    assert [found.size_bytes for found in index.scan().values()] == [1]
    newer = put(workspace, "loras/b", b"123")
    make_old(newer)
    newer.replace(file)
    assert [found.size_bytes for found in index.scan().values()] == [3]


def test_a_model_beside_a_new_one_is_not_looked_at_again(
    index: ModelIndex, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = [put(workspace, f"loras/{name}.safetensors") for name in "abc"]
    make_old(*old, old[0].parent)
    index.scan()
    put(workspace, "loras/new.safetensors")
    looked_at: list[str] = []
    monkeypatch.setattr(services.models, "figures_of", lambda path: looked_at.append(str(path)))
    index.scan()
    assert [Path(path).name for path in looked_at if path.endswith(".safetensors")] == ["new.safetensors"]


def test_a_model_rewritten_in_place_is_seen_when_its_time_comes(
    index: ModelIndex, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = put(workspace, "loras/a.safetensors", b"1")
    make_old(file, file.parent)
    index.scan()
    file.write_bytes(b"123")
    make_old(file)
    assert [found.size_bytes for found in index.scan().values()] == [1]
    later = time.time() + RESCAN_SECONDS
    monkeypatch.setattr("time.time", lambda: later)
    assert [found.size_bytes for found in index.scan().values()] == [3]


def test_one_scan_looks_at_some_of_those_whose_time_came_and_the_next_at_more(
    index: ModelIndex, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services.models, "RESCAN_FILES", 1)
    files = [put(workspace, f"{folder}/a.safetensors") for folder in ("loras", "vae")]
    make_old(*files, *(file.parent for file in files))
    index.scan()
    for file in files:
        file.write_bytes(b"123")
        make_old(file)
    later = time.time() + RESCAN_SECONDS
    monkeypatch.setattr("time.time", lambda: later)
    assert sorted(found.size_bytes for found in index.scan().values()) == [1, 3]
    assert sorted(found.size_bytes for found in index.scan().values()) == [3, 3]


def test_hard_links_are_known_as_one_file(index: ModelIndex, workspace: Workspace) -> None:
    file = put(workspace, "loras/a.safetensors")
    (workspace.models / "vae" / "b.safetensors").hardlink_to(file)
    put(workspace, "vae/c.safetensors")
    found = {model.name: model for model in index.scan().values()}
    same = [(found[f"{name}.safetensors"].device, found[f"{name}.safetensors"].inode) for name in "abc"]
    assert same[0] == same[1] != same[2]
    assert [found[f"{name}.safetensors"].links for name in "abc"] == [2, 2, 1]


def test_a_scan_shows_what_it_found_folder_by_folder(index: ModelIndex, workspace: Workspace) -> None:
    put(workspace, "loras/a.safetensors")
    put(workspace, "vae/b.safetensors")
    shown: list[int] = []
    index.scan(lambda: shown.append(len(index.so_far())))
    assert sorted(set(shown)) == [0, 1, 2]
    assert shown == sorted(shown)


def test_who_waits_for_anothers_scan_shows_what_it_found(index: ModelIndex, workspace: Workspace) -> None:
    put(workspace, "loras/a.safetensors")
    shown = threading.Event()

    def show() -> None:
        if index.so_far():
            second = threading.Thread(target=index.scan, args=(shown.set,))
            second.start()
            assert shown.wait(10)
            threads.append(second)

    threads: list[threading.Thread] = []
    index.scan(lambda: None if threads else show())
    [second] = threads
    second.join(10)
    assert not second.is_alive()


def test_a_scan_that_nobody_waits_for_ends(index: ModelIndex, workspace: Workspace) -> None:
    put(workspace, "loras/a.safetensors")
    put(workspace, "vae/b.safetensors")
    assert len(index.scan(index.close)) < 2


def test_folders_that_are_gone_are_forgotten(index: ModelIndex, workspace: Workspace) -> None:
    file = put(workspace, "loras/sub/a.safetensors")
    index.scan()
    file.unlink()
    file.parent.rmdir()
    assert index.scan() == index.so_far() == {}


def test_deleting_removes_the_file_and_its_record(index: ModelIndex, workspace: Workspace) -> None:
    file = put(workspace, "loras/a.safetensors")
    put(workspace, "loras/b.safetensors")
    id_ = model_id("loras", "a.safetensors")
    VerifiedFiles(workspace).put(Verified("loras", "a.safetensors", 1, file.stat().st_mtime_ns, "0" * 64, "size"))
    removed, unknown = index.delete([id_])
    assert ([found.name for found in removed], unknown) == (["a.safetensors"], [])
    assert names(index) == ["loras/b.safetensors"]
    assert VerifiedFiles(workspace).all() == {}


def test_what_is_named_twice_is_deleted_once(index: ModelIndex, workspace: Workspace) -> None:
    put(workspace, "loras/a.safetensors")
    removed, unknown = index.delete([model_id("loras", "a.safetensors")] * 2)
    assert ([found.name for found in removed], unknown) == (["a.safetensors"], [])


def test_deleting_an_unknown_id_removes_nothing(index: ModelIndex, workspace: Workspace) -> None:
    put(workspace, "loras/a.safetensors")
    assert index.delete(["../../etc/passwd", "0" * 20]) == ([], ["../../etc/passwd", "0" * 20])
    assert names(index) == ["loras/a.safetensors"]


def test_deleting_a_link_leaves_its_target(index: ModelIndex, workspace: Workspace, tmp_path: Path) -> None:
    target = tmp_path / "big.safetensors"
    target.write_bytes(b"precious")
    (workspace.models / "loras" / "a.safetensors").symlink_to(target)
    index.delete([model_id("loras", "a.safetensors")])
    assert target.read_bytes() == b"precious"
    assert names(index) == []


@pytest.mark.parametrize("name", ["model [fp16].safetensors", "-v2.safetensors", "mode\u0301le.safetensors", "a?.pt"])
def test_whatever_is_listed_can_be_deleted(name: str, index: ModelIndex, workspace: Workspace) -> None:
    # Put there by hand, under a name the suite itself would not give.
    put(workspace, f"loras/{name}")
    removed, unknown = index.delete(list(index.scan()))
    assert ([found.name for found in removed], unknown) == ([name], [])
    assert names(index) == []


def test_a_record_is_believed_only_while_the_file_is_the_same(index: ModelIndex, workspace: Workspace) -> None:
    file = put(workspace, "loras/a.safetensors")
    record = Verified("loras", "a.safetensors", 1, file.stat().st_mtime_ns, "0" * 64, "size")
    VerifiedFiles(workspace).put(record)
    assert index.verified(index.scan()) == {model_id("loras", "a.safetensors"): record}
    os.utime(file, ns=(0, record.mtime_ns + 1))
    assert index.verified(index.scan()) == {}


def test_deleting_an_artifact_removes_its_partial_data_too(index: ModelIndex, workspace: Workspace) -> None:
    artifact = Artifact("https://example.com/a", "loras", "a.safetensors")
    target = put(workspace, "loras/a.safetensors", b"12345")
    journal.part_file(target).write_bytes(b"123")
    journal.save(target, Journal(artifact.url, 5, None, ((0, 3),)))
    assert index.delete_artifact(artifact) == 8
    assert list(target.parent.iterdir()) == []


def test_deleting_an_artifact_that_never_came_frees_nothing(index: ModelIndex) -> None:
    assert index.delete_artifact(Artifact("https://example.com/a", "loras", "a.safetensors")) == 0


def test_deleting_an_artifact_that_is_a_link_frees_nothing(
    index: ModelIndex, workspace: Workspace, tmp_path: Path
) -> None:
    (tmp_path / "big.safetensors").write_bytes(b"12345")
    (workspace.models / "loras" / "a.safetensors").symlink_to(tmp_path / "big.safetensors")
    assert index.delete_artifact(Artifact("https://example.com/a", "loras", "a.safetensors")) == 0
    assert (tmp_path / "big.safetensors").exists()


def test_folders_are_counted_and_added_up(index: ModelIndex, workspace: Workspace) -> None:
    put(workspace, "loras/a.safetensors", b"12")
    put(workspace, "loras/sub/b.safetensors", b"345")
    put(workspace, "vae/c.safetensors", b"6")
    assert folder_sizes(index.scan().values()) == {"loras": (2, 5), "vae": (1, 1)}


def test_a_file_that_others_are_links_to_stays_under_their_names(index: ModelIndex, workspace: Workspace) -> None:
    """A volume without hard links has duplicates made one so."""
    file, link = put(workspace, "loras/a.safetensors"), workspace.models / "vae" / "b.safetensors"
    link.parent.mkdir(exist_ok=True)
    link.symlink_to("../loras/a.safetensors")
    index.delete([model_id("loras", "a.safetensors")])
    assert not file.exists()
    assert link.read_bytes() == b"x"
    file.symlink_to("../vae/b.safetensors")
    assert index.delete_artifact(Artifact("https://example.com/b", "vae", "b.safetensors")) == 0
    assert file.read_bytes() == b"x"


def test_a_file_that_has_another_name_frees_nothing(index: ModelIndex, workspace: Workspace) -> None:
    file = put(workspace, "loras/a.safetensors")
    os.link(file, put(workspace, "vae/c.safetensors").with_name("b.safetensors"))
    assert index.delete_artifact(Artifact("https://example.com/a", "loras", "a.safetensors")) == 0
    assert index.delete_artifact(Artifact("https://example.com/b", "vae", "b.safetensors")) == 1


def link_folder(workspace: Workspace, name: str, target: Path | str) -> None:
    """As who may write in `models/` does, whatever lies there."""
    link = workspace.models / name
    if link.is_dir():
        link.rename(workspace.models / f".{name}.away")
    link.symlink_to(target)


@pytest.mark.parametrize("target", ["/", "/proc", "/proc/self/net", "/sys", "/dev", ".", "..", "../.."])
def test_a_model_folder_that_leads_to_everything_hides_only_itself(
    target: str, index: ModelIndex, workspace: Workspace
) -> None:
    put(workspace, "loras/a.safetensors")
    for place in (workspace.models / "vae", workspace.root, workspace.root.parent):
        (place / "b.bin").write_bytes(b"x")
    link_folder(workspace, "zz", target)
    assert names(index) == ["loras/a.safetensors", "vae/b.bin"]


@pytest.mark.parametrize("target", ["config", "logs", "workflows", "config/verified"])
def test_a_model_folder_that_leads_to_the_suites_own_files_is_none(
    target: str, index: ModelIndex, workspace: Workspace
) -> None:
    file = workspace.root / target / "extra_model_paths.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"x")
    link_folder(workspace, "configs", workspace.root / target)
    id_ = model_id("configs", file.name)
    assert (names(index), index.delete([id_])) == ([], ([], [id_]))
    with pytest.raises(InvalidName, match="where no models are"):
        index.delete_artifact(Artifact("https://example.com/a", "configs", file.name))
    assert file.exists()


def test_a_model_folder_leads_into_no_closed_folder(workspace: Workspace, tmp_path: Path) -> None:
    state = tmp_path / "state"
    (state / "logs").mkdir(parents=True)
    (state / "logs" / "a.bin").write_bytes(b"x")
    link_folder(workspace, "zz", state / "logs")
    assert names(ModelIndex(workspace)) == ["zz/a.bin"]
    assert names(ModelIndex(workspace, closed=[state])) == []


def test_a_model_folder_that_leads_to_another_disk_or_other_models_is_one(
    index: ModelIndex, workspace: Workspace, tmp_path: Path
) -> None:
    for folder in (tmp_path / "disk", workspace.root / "ComfyUI" / "models" / "odd", workspace.models / "vae"):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "a.safetensors").write_bytes(b"x")
    link_folder(workspace, "one", tmp_path / "disk")
    link_folder(workspace, "two", workspace.root / "ComfyUI" / "models" / "odd")
    link_folder(workspace, "three", "vae")
    found = [f"{folder}/a.safetensors" for folder in ("odd", "one", "three", "two", "vae")]
    assert names(index) == found


def test_a_folder_that_becomes_a_link_behind_its_parents_back_is_not_followed(
    index: ModelIndex, workspace: Workspace
) -> None:
    sub = put(workspace, "configs/sub/a.yaml").parent
    make_old(sub / "a.yaml", sub, sub.parent)
    assert names(index) == ["configs/sub/a.yaml"]
    (workspace.config / "b.yaml").write_bytes(b"x")
    sub.rename(workspace.models / ".away")
    sub.symlink_to(workspace.config)
    make_old(sub.parent)
    assert names(index) == []


def unreadable(monkeypatch: pytest.MonkeyPatch, *folders: Path) -> None:
    """What a disk with bad blocks says, or a server that is gone."""
    for function in (os.scandir, os.listdir):

        def read(path: str, read: Callable[[str], object] = function) -> object:
            if Path(path) in folders:
                raise OSError(errno.EIO, os.strerror(errno.EIO), path)
            return read(path)

        monkeypatch.setattr(os, function.__name__, read)


def test_a_folder_that_cannot_be_read_hides_only_itself(
    index: ModelIndex, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(workspace, "loras/a.safetensors")
    bad = put(workspace, "vae/b.safetensors").parent
    unreadable(monkeypatch, bad)
    with capture_logs() as logs:
        assert [names(index), names(index)] == [["loras/a.safetensors"]] * 2
    assert [(line["event"], line["folder"]) for line in logs] == [("model_folder_unreadable", f"{bad}/")]


def test_a_volume_of_which_no_folder_can_be_read_is_reported(
    index: ModelIndex, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(workspace, "loras/a.safetensors")
    unreadable(monkeypatch, *workspace.models.iterdir())
    with pytest.raises(OSError, match="Input/output error"):
        index.scan()


def test_a_volume_that_stops_answering_during_a_scan_is_reported(
    index: ModelIndex, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(workspace, "checkpoints/a.safetensors")
    all_of_it = [workspace.models, *workspace.models.iterdir()]
    with pytest.raises(OSError, match="Input/output error"):
        index.scan(lambda: unreadable(monkeypatch, *all_of_it))


@pytest.mark.parametrize("place", ["config", "workflows/user", "logs"])
def test_a_link_to_a_file_of_the_volume_that_is_no_model_is_not_listed(
    place: str, index: ModelIndex, workspace: Workspace
) -> None:
    target = workspace.root / place / "a.json"
    target.write_bytes(b"{}")
    (workspace.models / "loras" / "a.safetensors").symlink_to(target)
    id_ = model_id("loras", "a.safetensors")
    assert (names(index), index.delete([id_])) == ([], ([], [id_]))


@pytest.mark.parametrize("target", ["/proc/self/status", "/proc/self/net/arp", "/sys/kernel/notes"])
def test_a_link_to_what_the_kernel_makes_hides_only_itself(
    target: str, index: ModelIndex, workspace: Workspace
) -> None:
    put(workspace, "loras/b.safetensors")
    (workspace.models / "loras" / "a.safetensors").symlink_to(target)
    assert names(index) == ["loras/b.safetensors"]


def test_a_file_that_only_its_owner_may_read_is_not_listed_through_a_link(
    index: ModelIndex, workspace: Workspace, tmp_path: Path
) -> None:
    secret, own = tmp_path / "disk" / "secret.bin", put(workspace, "loras/own.safetensors")
    secret.parent.mkdir()
    secret.write_bytes(b"canary")
    (workspace.models / "loras" / "a.safetensors").symlink_to(secret)
    link_folder(workspace, "zz", secret.parent)
    assert names(index) == ["loras/a.safetensors", "loras/own.safetensors", "zz/secret.bin"]
    for file in (secret, own):
        file.chmod(0o600)
    assert names(ModelIndex(workspace)) == ["loras/own.safetensors"]
