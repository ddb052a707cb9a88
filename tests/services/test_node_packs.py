import json
import os
from pathlib import Path
from typing import Any

import pytest

from services.node_packs import MAX_BYTES, NODE_MAP, PACK_LIST, NodePack, NodePacks, folders_of_manager

KJ = "https://github.com/kijai/ComfyUI-KJNodes"
FORK = "https://github.com/somebody/ComfyUI-KJNodes"
TT = "https://github.com/TinyTerra/nodes"
UNLISTED = "https://github.com/nobody/pack.git"
MAP: dict[str, Any] = {
    FORK: [["GetImageSize", "AddLabel"], {"title_aux": "A fork"}],
    KJ: [["GetImageSize", "AddLabel"], {"title_aux": "KJNodes"}],
    TT: [[], {"title_aux": "tinyterra", "nodename_pattern": "^ttN "}],
    UNLISTED: [["Unlisted"], {"title_aux": "Not listed"}],
    "https://github.com/broken/broken": "no list",
    "javascript:alert(1)": [["Hostile"], {}],
}
LIST: dict[str, Any] = {
    "custom_nodes": [
        {"id": "kjnodes", "title": "KJNodes for ComfyUI", "reference": KJ, "files": [KJ]},
        {"id": 7},
        {"id": "fork", "title": "Fork", "reference": FORK, "files": [FORK]},
        {"id": "tt", "title": "tinyterra", "reference": TT, "files": [TT]},
    ]
}


def write(folder: Path, mapped: Any = MAP, listed: Any = LIST) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / NODE_MAP).write_text(json.dumps(mapped))
    (folder / PACK_LIST).write_text(json.dumps(listed))
    return folder


@pytest.fixture
def packs(tmp_path: Path) -> NodePacks:
    return NodePacks([tmp_path / "nowhere", write(tmp_path / "manager")])


def test_a_class_has_the_pack_that_lists_it_and_of_forks_the_first(packs: NodePacks) -> None:
    assert packs.of({"AddLabel", "Nobody"}) == {"AddLabel": NodePack("kjnodes", "KJNodes for ComfyUI", KJ)}


def test_a_class_is_found_by_the_pattern_of_a_pack(packs: NodePacks) -> None:
    assert packs.of({"ttN text"})["ttN text"].id == "tt"


def test_a_pack_that_is_mapped_and_not_listed_is_named_all_the_same(packs: NodePacks) -> None:
    assert packs.of({"Unlisted"}) == {"Unlisted": NodePack("pack", "Not listed", UNLISTED)}


def test_what_is_no_web_address_is_left_out(packs: NodePacks) -> None:
    assert packs.of({"Hostile"}) == {}


@pytest.mark.parametrize("name", ["KJNodes", "comfyui-kjnodes", "ComfyUI_KJNodes"])
def test_a_pack_is_found_by_its_name_in_the_registry(name: str, packs: NodePacks) -> None:
    assert packs.called({name, "nobody"}) == {name: NodePack(name, "KJNodes for ComfyUI", KJ)}


def test_nothing_is_known_where_there_is_no_manager(tmp_path: Path) -> None:
    assert NodePacks([tmp_path]).of({"AddLabel"}) == {}
    assert NodePacks([tmp_path]).called({"kjnodes"}) == {}


def test_newer_lists_are_read(tmp_path: Path, packs: NodePacks) -> None:
    assert packs.of({"New"}) == {}
    write(tmp_path / "manager", {**MAP, KJ: [["New", "AddLabel"], {}]})
    assert packs.of({"New"})["New"].id == "kjnodes"


@pytest.mark.parametrize("pattern", ["(a+)+$", "(a|a)*b", ".*.*.*x", "(", "a" * 1_000, "(?P<a>.)(?P=a)", r"(.)\1"])
def test_a_pattern_that_could_take_for_ever_is_not_tried(pattern: str, tmp_path: Path) -> None:
    folder = write(tmp_path / "manager", {TT: [[], {"nodename_pattern": pattern}]})
    assert NodePacks([folder]).of({"a" * 60 + "!"}) == {}


@pytest.mark.parametrize("content", ["", "[]", "{", '{"custom_nodes": 7}', '{"a": NaN}', "\xff"])
def test_lists_that_cannot_be_read_say_nothing(content: str, tmp_path: Path) -> None:
    folder = write(tmp_path / "manager")
    (folder / PACK_LIST).write_text(content, encoding="latin-1")
    (folder / NODE_MAP).write_text(content, encoding="latin-1")
    assert NodePacks([folder]).of({"AddLabel"}) == {}


def test_a_pipe_and_a_file_without_end_are_not_read(tmp_path: Path) -> None:
    folder = write(tmp_path / "manager")
    (folder / NODE_MAP).unlink()
    os.mkfifo(folder / NODE_MAP)
    assert NodePacks([folder]).of({"AddLabel"}) == {}
    (folder / NODE_MAP).unlink()
    with (folder / NODE_MAP).open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    assert NodePacks([folder]).of({"AddLabel"}) == {}


def test_the_manager_is_looked_for_where_it_can_be_installed(tmp_path: Path) -> None:
    package = tmp_path / "venv/lib/python3.13/site-packages/comfyui_manager"
    package.mkdir(parents=True)
    python = tmp_path / "venv/bin/python"
    found = folders_of_manager(tmp_path / "comfyui", python, tmp_path / "volume", tmp_path / "app")
    assert found[0] == tmp_path / "volume/ComfyUI-Manager"
    assert tmp_path / "comfyui/custom_nodes/comfyui-manager" in found
    assert found[-2:] == (package, tmp_path / "app/.build/comfyui-manager-lists")
