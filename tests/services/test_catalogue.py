import json
from pathlib import Path
from typing import Any

import pytest

from services.catalogue import Catalogue, load_catalogue, parse_preset
from services.errors import InvalidRequest, NotFound
from services.presets import Preset
from services.settings import APP_DIR
from services.workspace import Workspace, check_name

CURATED = APP_DIR / "presets"


def entry(**changes: Any) -> dict[str, Any]:
    """A preset that is in order, but for `changes`."""
    return {
        "id": "TINY",
        "name": "Tiny",
        "kind": "image",
        "description": "For tests.",
        "files": [model()],
        **changes,
    }


def model(**changes: Any) -> dict[str, Any]:
    return {
        "url": "https://example.com/tiny.safetensors",
        "folder": "checkpoints",
        "name": "tiny.safetensors",
        "size_bytes": 10,
        "sha256": "0" * 64,
        **changes,
    }


def without(field: str) -> dict[str, Any]:
    return {name: value for name, value in entry().items() if name != field}


def write_users(workspace: Workspace, *entries: Any) -> None:
    workspace.user_presets_file.write_text(json.dumps({"presets": entries}), encoding="utf-8")


@pytest.fixture
def nothing_curated(tmp_path: Path) -> Path:
    folder = tmp_path / "presets"
    folder.mkdir()
    return folder


@pytest.mark.parametrize("file", sorted(CURATED.glob("*/*.yaml")), ids=lambda file: str(file.stem))
def test_a_curated_preset_is_found_under_its_file_name(file: Path, workspace: Workspace) -> None:
    preset = load_catalogue(CURATED, workspace).get(file.stem)
    assert preset.kind == file.parent.name


def test_the_curated_presets_have_no_problems(workspace: Workspace) -> None:
    catalogue = load_catalogue(CURATED, workspace)
    assert catalogue.problems == ()
    assert "WAN_22_5B_TIV2" in catalogue.presets


def test_every_curated_file_comes_over_tls(workspace: Workspace) -> None:
    for preset in load_catalogue(CURATED, workspace):
        for file in preset.files:
            assert file.url.startswith("https://"), f"{preset.id}: {file.name}"


def test_a_users_preset_takes_the_place_of_a_curated_one(workspace: Workspace) -> None:
    write_users(workspace, entry(id="SD15", name="Mine"))
    catalogue = load_catalogue(CURATED, workspace)
    assert catalogue.get("SD15").name == "Mine"
    assert len(catalogue) == len(list(CURATED.glob("*/*.yaml")))


def test_a_users_preset_stands_beside_the_curated_ones(workspace: Workspace) -> None:
    write_users(workspace, entry())
    assert len(load_catalogue(CURATED, workspace)) == len(list(CURATED.glob("*/*.yaml"))) + 1


BROKEN: dict[str, tuple[dict[str, Any], str]] = {
    "no name": (without("name"), "name"),
    "no kind": (without("kind"), "kind"),
    "no files": (without("files"), "files"),
    "an empty list of files": (entry(files=[]), "files"),
    "a kind nobody knows": (entry(kind="hologram"), "kind"),
    "a field nobody knows": (entry(colour="red"), "colour"),
    "text for a number": (entry(vram_bytes="8 GB"), "vram_bytes"),
    "a negative size": (entry(files=[model(size_bytes=-1)]), "size_bytes"),
    "a size of nothing": (entry(files=[model(size_bytes=0)]), "size_bytes"),
    "half a digest": (entry(files=[model(sha256="0" * 32)]), "sha256"),
    "a digest with a line's end": (entry(files=[model(sha256="0" * 64 + "\n")]), "sha256"),
    "an unknown field of a file": (entry(files=[model(sha1="0" * 40)]), "sha1"),
    "a workflow that is a list": (entry(workflow=[]), "workflow"),
    "a file without a suffix": (entry(files=[model(name="tiny")]), "tiny"),
    "an address without a scheme": (entry(files=[model(url="example.com/a.safetensors")]), "example.com/a.safetensors"),
    "an address of another kind": (entry(files=[model(url="ftp://example.com/a.safetensors")]), "ftp://example.com"),
    "an address of a file": (entry(files=[model(url="file:///etc/passwd")]), "file:///etc/passwd"),
    "an address without a host": (entry(files=[model(url="https:///a.safetensors")]), "https:///a.safetensors"),
    "an address with half a bracket": (entry(files=[model(url="https://[half/a.safetensors")]), "https://[half"),
    "an address with a port that is none": (entry(files=[model(url="https://example.com:x/a")]), "example.com:x"),
    "an address of two lines": (entry(files=[model(url="https://example.com/a\nb")]), "https://example.com/a"),
    "an address with a space": (entry(files=[model(url="https://example.com/a b")]), "https://example.com/a b"),
    "an address that is not written out": (entry(files=[model(url="https://example.com/é")]), "https://example.com/é"),
    "the same file twice": (entry(files=[model(), model(url="https://example.com/other")]), "same folder and name"),
}


@pytest.mark.parametrize(("broken", "named"), BROKEN.values(), ids=BROKEN)
def test_a_broken_preset_is_one_problem_and_the_others_survive(
    broken: dict[str, Any], named: str, workspace: Workspace, nothing_curated: Path
) -> None:
    write_users(workspace, entry(id="BEFORE"), broken, entry(id="AFTER"))
    catalogue = load_catalogue(nothing_curated, workspace)
    assert set(catalogue.presets) == {"BEFORE", "AFTER"}
    (problem,) = catalogue.problems
    assert problem.source == f"{workspace.user_presets_file}, preset 2"
    assert named in problem.message
    assert "'TINY'" in problem.message


@pytest.mark.parametrize("broken", [None, "text", 1, [], {}, {"id": 1}])
def test_an_entry_that_is_no_preset_at_all_is_counted_by_its_number(
    broken: object, workspace: Workspace, nothing_curated: Path
) -> None:
    write_users(workspace, entry(id="BEFORE"), broken)
    catalogue = load_catalogue(nothing_curated, workspace)
    assert set(catalogue.presets) == {"BEFORE"}
    assert [problem.source for problem in catalogue.problems] == [f"{workspace.user_presets_file}, preset 2"]


@pytest.mark.parametrize(
    "text", ["presets: 1\n", "[]\n", "text\n", "", "presets: [\n", "presets:\n  - id: a\n  id: b\n"]
)
def test_a_users_file_that_is_none_is_one_problem_that_names_it(
    text: str, workspace: Workspace, nothing_curated: Path
) -> None:
    workspace.user_presets_file.write_text(text)
    catalogue = load_catalogue(nothing_curated, workspace)
    (problem,) = catalogue.problems
    assert str(workspace.user_presets_file) in problem.message


def test_a_users_file_with_a_tag_that_does_not_fit_leaves_the_curated_presets(workspace: Workspace) -> None:
    workspace.user_presets_file.write_text("presets:\n- {id: A, tags: [!!bool maybe]}\n")
    catalogue = load_catalogue(CURATED, workspace)
    assert len(catalogue) == len(list(CURATED.glob("*/*.yaml")))
    assert len(catalogue.problems) == 1


def test_a_broken_curated_file_is_named_and_the_others_survive(workspace: Workspace, nothing_curated: Path) -> None:
    (nothing_curated / "image").mkdir()
    (nothing_curated / "image" / "GOOD.yaml").write_text(json.dumps(entry(id="GOOD")))
    (nothing_curated / "image" / "BAD.yaml").write_text("id: [")
    catalogue = load_catalogue(nothing_curated, workspace)
    assert set(catalogue.presets) == {"GOOD"}
    assert [problem.source for problem in catalogue.problems] == ["presets/image/BAD.yaml"]


def test_an_id_that_stands_in_the_users_file_twice_is_a_problem(workspace: Workspace, nothing_curated: Path) -> None:
    write_users(workspace, entry(name="first"), entry(name="second"))
    catalogue = load_catalogue(nothing_curated, workspace)
    assert catalogue.get("TINY").name == "first"
    assert "'TINY'" in catalogue.problems[0].message


@pytest.mark.parametrize(("old", "new"), [("unet", "diffusion_models"), ("clip", "text_encoders")])
def test_the_old_name_of_a_folder_is_refused_with_the_new_one(old: str, new: str) -> None:
    with pytest.raises(InvalidRequest, match=f"'{old}' is called '{new}'"):
        parse_preset(entry(files=[model(folder=old)]))


def test_mirrors_are_taken_in_order() -> None:
    mirrors = ["https://one.example/a", "https://two.example/a"]
    assert parse_preset(entry(files=[model(mirrors=mirrors)])).files[0].mirrors == tuple(mirrors)


def test_a_mirror_that_is_no_address_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="'TINY': 'mirror' is not an http address"):
        parse_preset(entry(files=[model(mirrors=["mirror"])]))


def test_a_page_of_hugging_face_is_refused_with_the_address_of_the_file() -> None:
    page = "https://huggingface.co/a/b/blob/main/c.safetensors"
    with pytest.raises(InvalidRequest, match="/resolve/"):
        parse_preset(entry(files=[model(url=page)]))


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("..", "a.safetensors"),
        ("../config", "a.safetensors"),
        ("/etc", "a.safetensors"),
        (".", "a.safetensors"),
        ("", "a.safetensors"),
        ("loras/..", "a.safetensors"),
        ("loras\\..", "a.safetensors"),
        ("\uff0e\uff0e", "a.safetensors"),
        ("loras", "../a.safetensors"),
        ("loras", "../../config/a.safetensors"),
        ("loras", "/etc/a.safetensors"),
        ("loras", "flux/../../a.safetensors"),
        ("loras", "..\\a.safetensors"),
        ("loras", "\u2025/a.safetensors"),
        ("loras", "a\0.safetensors"),
        ("loras", "*.safetensors"),
        ("loras", "a.safetensors/"),
        ("loras", "a" * 5_000 + ".safetensors"),
        ("loras", ".hidden.safetensors"),
        ("loras", "a.safetensors\n"),
        ("loras", "run.py"),
        ("loras", "a.safetensors.part"),
        ("loras", ""),
    ],
)
def test_no_file_of_a_preset_can_lie_outside_the_models(folder: str, name: str) -> None:
    with pytest.raises(InvalidRequest, match="preset 'TINY'"):
        parse_preset(entry(files=[model(folder=folder, name=name)]))


@pytest.mark.parametrize("id_", ["", ".hidden", "-dash", "a b", "a/b", "../a", "a" * 101, "é", "dot.", "line\n"])
def test_an_id_that_cannot_be_a_file_name_is_refused(id_: str) -> None:
    with pytest.raises(InvalidRequest):
        parse_preset(entry(id=id_))


@pytest.mark.parametrize("id_", ["a", "WAN_22_5B_TIV2", "sd-1.5", "a" * 100])
def test_an_id_that_is_taken_can_be_a_file_name(id_: str) -> None:
    assert check_name(parse_preset(entry(id=id_)).id) == id_


def test_the_catalogue_knows_who_brings_a_file() -> None:
    presets: list[Preset] = [parse_preset(entry()), parse_preset(entry(id="B", files=[model(name="b.pt")]))]
    catalogue = Catalogue(presets)
    assert [preset.id for preset in catalogue.presets_with(presets[1].files[0].id)] == ["B"]
    assert [preset.id for preset in catalogue.presets_with_file_name("sub/b.pt")] == ["B"]


def test_an_unknown_preset_is_not_found() -> None:
    with pytest.raises(NotFound, match="NOPE"):
        Catalogue().get("NOPE")
