import json
import os
from pathlib import Path
from typing import Any

import pytest

from services.artifacts import Artifact
from services.errors import Conflict, InvalidName, InvalidRequest, NotFound
from services.presets import Preset
from services.workflows import Workflows
from services.workflows.document import MAX_JSON_BYTES, Document, read_document_file
from services.workflows.saved import MAX_PICTURE_BYTES
from services.workspace import Workspace

NODE = {"class_type": "EmptyImage", "inputs": {"width": 64}}
GRAPH: dict[str, Any] = {"nodes": [{"id": 1}, {"id": 2}], "links": [], "version": 0.4}
ONE, OTHER = Document(prompt={"1": NODE}), Document(prompt={"2": NODE})


@pytest.fixture
def workflows(workspace: Workspace) -> Workflows:
    return Workflows(workspace)


@pytest.fixture
def own(workspace: Workspace) -> Path:
    """The folder of the user's own."""
    return workspace.workflows / "user"


def preset_with_workflow() -> Preset:
    file = Artifact("https://example.com/a", "vae", "a.safetensors")
    return Preset(id="P", name="P", kind="image", description="", files=(file,), workflow={"9": NODE})


def names(workflows: Workflows) -> list[str]:
    return [known.name for known in workflows.all()]


# Saved and read


def test_a_saved_workflow_comes_back(workflows: Workflows) -> None:
    assert workflows.save("my flow", ONE) == "prompt"
    assert workflows.save("my graph", Document(graph=GRAPH)) == "graph"
    assert workflows.get("my flow") == ONE
    assert workflows.get("my graph") == Document(graph=GRAPH)


def test_of_one_that_is_both_the_graph_is_saved(workflows: Workflows, own: Path) -> None:
    workflows.save("both", Document(GRAPH, {"1": NODE}))
    # As ComfyUI's editor opens it.
    assert json.loads((own / "both.json").read_bytes()) == GRAPH


def test_a_workflow_saved_twice_is_the_second(workflows: Workflows) -> None:
    workflows.save("a", ONE)
    workflows.save("a", OTHER)
    assert workflows.get("a") == OTHER
    assert len(workflows.all()) == 1


def test_a_name_that_is_taken_can_be_kept(workflows: Workflows) -> None:
    workflows.save("a", ONE, replace=False)
    with pytest.raises(Conflict, match="'a' already"):
        workflows.save("a", OTHER, replace=False)
    assert workflows.get("a") == ONE


@pytest.mark.parametrize("name", ["../a", "a/b", "", ".hidden", "a\0", "x" * 300])
def test_a_name_that_is_a_path_is_refused(name: str, workflows: Workflows) -> None:
    workflows.save("a", ONE)
    with pytest.raises(InvalidName):
        workflows.save(name, ONE)
    with pytest.raises(InvalidName):
        workflows.get(name)
    with pytest.raises(InvalidName):
        workflows.delete(name)
    with pytest.raises(InvalidName):
        workflows.rename("a", name)
    with pytest.raises(InvalidName):
        workflows.rename(name, "b")
    with pytest.raises(InvalidName):
        workflows.picture(name)


def test_an_unknown_workflow_is_not_found(workflows: Workflows) -> None:
    with pytest.raises(NotFound, match="nope"):
        workflows.get("nope")


def test_a_file_that_is_no_workflow_says_what_it_is(workflows: Workflows, own: Path) -> None:
    (own / "notes.json").write_text('{"a": "b"}')
    with pytest.raises(InvalidRequest, match=r"'notes' cannot be read: .*class_type"):
        workflows.get("notes")


def test_an_empty_document_is_not_saved(workflows: Workflows) -> None:
    with pytest.raises(InvalidRequest, match="no workflow"):
        workflows.save("a", Document())
    assert workflows.all() == []


# Listed


def test_workflows_are_listed_by_source_and_title(workflows: Workflows, workspace: Workspace) -> None:
    workflows.save_of_preset(preset_with_workflow())
    workflows.save("b_flow", Document(graph=GRAPH))
    workflows.save("A flow", ONE)
    (workspace.workflows / "templates" / "1st.json").write_text(json.dumps(GRAPH))
    assert [(known.name, known.title, known.source, known.format, known.nodes) for known in workflows.all()] == [
        ("A flow", "A flow", "user", "prompt", 1),
        ("b_flow", "b flow", "user", "graph", 2),
        ("P", "P", "presets", "prompt", 1),
        ("1st", "1st", "templates", "graph", 2),
    ]


def test_what_is_no_workflow_is_not_listed(workflows: Workflows, own: Path) -> None:
    (own / "broken.json").write_bytes(b"\xff")
    (own / "empty.json").write_text('{"nodes": []}')
    (own / "other.json").write_text('{"nodes": [{}], "edges": []}')
    (own / "notes.txt").write_text("{}")
    (own / ".hidden.json").write_text(json.dumps(GRAPH))
    (own / "what?.json").write_text(json.dumps(GRAPH))
    (own / "folder.json").mkdir()
    (own / "nowhere.json").symlink_to(own / "none")
    (own / "circle.json").symlink_to(own / "circle.json")
    os.mkfifo(own / "pipe.json")
    with (own / "huge.json").open("wb") as huge:
        huge.truncate(MAX_JSON_BYTES * 100)
    workflows.save("good", ONE)
    assert names(workflows) == ["good"]
    # And once more, by what is remembered.
    assert names(workflows) == ["good"]


def test_a_volume_without_folders_has_no_workflows(tmp_path: Path) -> None:
    assert Workflows(Workspace(tmp_path / "none")).all() == []


def test_a_workflow_that_did_not_change_is_not_read_again(
    workflows: Workflows, own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workflows.save("kept", ONE)
    workflows.save("changed", ONE)
    (own / "broken.json").write_bytes(b"{")
    before = workflows.all()
    read: list[str] = []

    def noted(file: Path) -> Document:
        read.append(file.name)
        return read_document_file(file)

    monkeypatch.setattr("services.workflows.saved.read_document_file", noted)
    assert workflows.all() == before
    assert read == []
    workflows.save("changed", Document(prompt={"1": NODE, "2": NODE}))
    assert {found.name: found.nodes for found in workflows.all()} == {"kept": 1, "changed": 2}
    assert read == ["changed.json"]


# Renamed and deleted


def test_a_workflow_is_renamed(workflows: Workflows) -> None:
    workflows.save("a", ONE)
    workflows.rename("a", "b")
    assert names(workflows) == ["b"]
    assert workflows.get("b") == ONE


def test_a_name_that_is_taken_is_not_given_again(workflows: Workflows, own: Path) -> None:
    workflows.save("a", ONE)
    workflows.save("b", OTHER)
    (own / "dangling.json").symlink_to(own / "none")
    for taken in ("b", "dangling"):
        with pytest.raises(Conflict, match=f"'{taken}' already"):
            workflows.rename("a", taken)
    assert (workflows.get("a"), workflows.get("b")) == (ONE, OTHER)


def test_a_workflow_keeps_its_name_where_that_is_asked_for(workflows: Workflows) -> None:
    workflows.save("a", ONE)
    workflows.rename("a", "a")
    assert workflows.get("a") == ONE


def test_only_ones_own_is_renamed_or_deleted(workflows: Workflows) -> None:
    workflows.save_of_preset(preset_with_workflow())
    with pytest.raises(NotFound, match="of yours"):
        workflows.rename("P", "mine")
    with pytest.raises(NotFound, match="of yours"):
        workflows.delete("P")
    assert workflows.get("P") == Document(prompt={"9": NODE})


def test_a_workflow_that_was_deleted_is_not_listed(workflows: Workflows) -> None:
    workflows.save("gone", ONE)
    assert names(workflows) == ["gone"]
    workflows.delete("gone")
    assert workflows.all() == []


# Of presets


def test_a_preset_brings_its_workflow(workflows: Workflows) -> None:
    workflows.save_of_preset(preset_with_workflow())
    assert [(known.name, known.source) for known in workflows.all()] == [("P", "presets")]
    assert workflows.get("P") == Document(prompt={"9": NODE})


def test_a_users_workflow_hides_a_presets(workflows: Workflows) -> None:
    workflows.save_of_preset(preset_with_workflow())
    workflows.save("P", ONE, replace=False)
    assert [(known.name, known.source) for known in workflows.all()] == [("P", "user")]
    assert workflows.get("P") == ONE


def test_deleting_ones_own_brings_the_presets_back(workflows: Workflows) -> None:
    workflows.save_of_preset(preset_with_workflow())
    workflows.save("P", ONE)
    workflows.delete("P")
    assert workflows.get("P") == Document(prompt={"9": NODE})


def test_a_presets_workflow_goes_with_it(workflows: Workflows) -> None:
    workflows.save_of_preset(preset_with_workflow())
    workflows.delete_of_preset(preset_with_workflow())
    workflows.delete_of_preset(preset_with_workflow())
    assert workflows.all() == []


# Pictures


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    (tmp_path / "small.webp").write_bytes(b"a picture")
    return tmp_path / "small.webp"


def test_a_picture_is_kept_beside_its_workflow(workflows: Workflows, picture: Path) -> None:
    workflows.save("a", ONE)
    assert workflows.picture("a") is None
    assert [known.picture_modified for known in workflows.all()] == [None]
    workflows.save_picture("a", picture)
    kept = workflows.picture("a")
    assert kept is not None
    assert kept.read_bytes() == b"a picture"
    assert [known.picture_modified for known in workflows.all()] == [kept.stat().st_mtime]


def test_a_picture_goes_with_its_workflow(workflows: Workflows, picture: Path, own: Path) -> None:
    workflows.save("a", ONE)
    workflows.save_picture("a", picture)
    workflows.rename("a", "b")
    assert sorted(file.name for file in own.iterdir()) == ["b.json", "b.webp"]
    workflows.delete("b")
    assert list(own.iterdir()) == []


def test_another_workflow_does_not_keep_the_picture_unless_told(workflows: Workflows, picture: Path) -> None:
    workflows.save("a", ONE)
    workflows.save_picture("a", picture)
    workflows.save("a", OTHER, keep_picture=True)
    assert workflows.picture("a") is not None
    workflows.save("a", OTHER)
    assert workflows.picture("a") is None


def test_a_picture_that_was_left_behind_is_not_taken_over(workflows: Workflows, picture: Path, own: Path) -> None:
    workflows.save("a", ONE)
    (own / "b.webp").write_bytes(picture.read_bytes())
    workflows.rename("a", "b")
    assert workflows.picture("b") is None


def test_only_ones_own_gets_a_picture(workflows: Workflows, picture: Path) -> None:
    workflows.save_of_preset(preset_with_workflow())
    with pytest.raises(NotFound):
        workflows.save_picture("P", picture)


def test_what_was_put_in_a_pictures_place_is_not_shown(workflows: Workflows, own: Path) -> None:
    workflows.save("a", ONE)
    (own / "a.webp").symlink_to("/etc/hostname")
    assert workflows.picture("a") is None
    (own / "a.webp").unlink()
    with (own / "a.webp").open("wb") as huge:
        huge.truncate(MAX_PICTURE_BYTES + 1)
    assert workflows.picture("a") is None
