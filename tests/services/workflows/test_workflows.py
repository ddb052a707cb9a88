import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from starlette.responses import PlainTextResponse

from services.artifacts import Artifact
from services.catalogue import Catalogue
from services.errors import ComfyUIUnavailable, InvalidName, InvalidRequest, NotFound, WorkflowRefused
from services.presets import Preset
from services.workflows import MAX_NODES, Workflows, check, check_shape, parse
from services.workspace import Workspace
from tests.services.fake_comfyui import FakeComfyUI

NODE = {"class_type": "EmptyImage", "inputs": {"width": 64}}
EDITOR = {"nodes": [{"id": 1, "type": "EmptyImage"}], "links": [], "version": 0.4}

WRONG: dict[str, tuple[Any, str]] = {
    "the editor's format": (EDITOR, r"Export \(API\)"),
    "an empty object": ({}, "not an empty one"),
    "a list": ([NODE], "an object of nodes"),
    "a text": ("workflow", "an object of nodes"),
    "nothing": (None, "an object of nodes"),
    "a node that is no object": ({"7": "x"}, "node '7'"),
    "a node without a class": ({"7": {"inputs": {}}}, "node '7'"),
    "a node without inputs": ({"7": {"class_type": "A"}}, "node '7'"),
    "a class without a name": ({"7": {"class_type": "", "inputs": {}}}, "node '7'"),
    "a class with an endless name": ({"7": {"class_type": "A" * 100_000, "inputs": {}}}, "node '7'"),
    "a class that is no text": ({"7": {"class_type": 1, "inputs": {}}}, "node '7'"),
    "inputs that are a list": ({"7": {"class_type": "A", "inputs": []}}, "node '7'"),
    "one bad node among good ones": ({"1": NODE, "7": None}, "node '7'"),
    "too many nodes": ({str(n): NODE for n in range(MAX_NODES + 1)}, str(MAX_NODES)),
}


@pytest.fixture
def workflows(workspace: Workspace) -> Workflows:
    return Workflows(workspace)


@pytest.mark.parametrize(("value", "words"), WRONG.values(), ids=WRONG)
def test_what_is_no_prompt_is_refused_with_a_sentence(value: Any, words: str) -> None:
    with pytest.raises(InvalidRequest, match=words) as caught:
        check_shape(value)
    assert len(caught.value.message) < 300


@pytest.mark.parametrize("data", [b"", b"{", b"\xff", b'{"a": "\xff"}', b"[" * 200_000, b"{'1': 2}", b"{} {}"])
def test_what_is_no_json_is_refused_with_a_sentence(data: bytes) -> None:
    with pytest.raises(InvalidRequest, match="not JSON"):
        parse(data)


def test_a_prompt_is_taken_as_it_is() -> None:
    prompt = {"1": {**NODE, "_meta": {"title": "Größe"}}, "2": NODE}
    assert parse(json.dumps(prompt).encode()) == prompt


# Kept on the volume


def test_a_saved_workflow_comes_back(workflows: Workflows) -> None:
    workflows.save("my flow", {"1": NODE})
    assert workflows.get("my flow") == {"1": NODE}


def test_a_workflow_saved_twice_is_the_second(workflows: Workflows) -> None:
    workflows.save("a", {"1": NODE})
    workflows.save("a", {"2": NODE})
    assert workflows.get("a") == {"2": NODE}
    assert len(workflows.all()) == 1


def test_workflows_are_listed_by_their_titles(workflows: Workflows) -> None:
    workflows.save("b_flow", {"1": NODE, "2": NODE})
    workflows.save("A flow", {"1": NODE})
    assert [(known.name, known.title, known.source, known.nodes) for known in workflows.all()] == [
        ("A flow", "A flow", "user", 1),
        ("b_flow", "b flow", "user", 2),
    ]


@pytest.mark.parametrize("name", ["../a", "a/b", "", ".hidden", "a\0", "x" * 300])
def test_a_name_that_is_a_path_is_refused(name: str, workflows: Workflows) -> None:
    with pytest.raises(InvalidName):
        workflows.save(name, {"1": NODE})
    with pytest.raises(InvalidName):
        workflows.get(name)
    with pytest.raises(InvalidName):
        workflows.delete(name)


def test_an_unknown_workflow_is_not_found(workflows: Workflows) -> None:
    with pytest.raises(NotFound, match="nope"):
        workflows.get("nope")


def preset_with_workflow() -> Preset:
    file = Artifact("https://example.com/a", "vae", "a.safetensors")
    return Preset(id="P", name="P", kind="image", description="", files=(file,), workflow={"9": NODE})


def test_a_preset_brings_its_workflow(workflows: Workflows) -> None:
    workflows.save_of_preset(preset_with_workflow())
    assert [(known.name, known.source) for known in workflows.all()] == [("P", "presets")]
    assert workflows.get("P") == {"9": NODE}


def test_a_users_workflow_hides_a_presets(workflows: Workflows) -> None:
    workflows.save_of_preset(preset_with_workflow())
    workflows.save("P", {"1": NODE})
    assert [(known.name, known.source) for known in workflows.all()] == [("P", "user")]
    assert workflows.get("P") == {"1": NODE}


def test_deleting_ones_own_brings_the_presets_back(workflows: Workflows) -> None:
    workflows.save_of_preset(preset_with_workflow())
    workflows.save("P", {"1": NODE})
    workflows.delete("P")
    assert workflows.get("P") == {"9": NODE}


def test_a_presets_workflow_is_not_ones_own_to_delete(workflows: Workflows) -> None:
    workflows.save_of_preset(preset_with_workflow())
    with pytest.raises(NotFound, match="of yours"):
        workflows.delete("P")
    assert workflows.get("P") == {"9": NODE}


def test_a_presets_workflow_goes_with_it(workflows: Workflows) -> None:
    workflows.save_of_preset(preset_with_workflow())
    workflows.delete_of_preset(preset_with_workflow())
    workflows.delete_of_preset(preset_with_workflow())
    assert workflows.all() == []


def test_a_file_that_is_no_prompt_is_not_listed(workflows: Workflows, workspace: Workspace) -> None:
    (workspace.workflows / "user" / "editor.json").write_text(json.dumps(EDITOR))
    (workspace.workflows / "user" / "broken.json").write_bytes(b"\xff")
    (workspace.workflows / "user" / "notes.txt").write_text("{}")
    workflows.save("good", {"1": NODE})
    assert [known.name for known in workflows.all()] == ["good"]


def test_a_file_that_is_no_prompt_says_what_it_is(workflows: Workflows, workspace: Workspace) -> None:
    (workspace.workflows / "user" / "editor.json").write_text(json.dumps(EDITOR))
    with pytest.raises(InvalidRequest, match=r"Export \(API\)"):
        workflows.get("editor")


# Checked against ComfyUI


@pytest.fixture
def fake() -> FakeComfyUI:
    made = FakeComfyUI()
    made.object_info = {
        "UpscaleModelLoader": {
            "input": {"required": {"model_name": ["COMBO", {"options": ["here.safetensors", "sub/here.pth"]}]}}
        },
        "LoraLoader": {"input": {"required": {"lora_name": [["here.safetensors"]], "strength": ["FLOAT", {}]}}},
        "VAELoader": {"input": {"required": {}, "optional": {"vae_name": [["here.safetensors"], {}]}}},
        "LoadImage": {"input": {"required": {"image": [["example.png"], {"image_upload": True}]}}},
        "CustomLoader": {"input": {"required": {"file": [["here.gguf"]]}}},
        "NoInputs": {"input": {}},
        "NothingAtAll": {"input": None},
        "NoOptionals": {"input": {"required": {"count": ["INT", {"max": float("inf")}]}, "optional": None}},
    }
    return made


@pytest.fixture
def catalogue() -> Catalogue:
    file = Artifact("https://example.com/a", "upscale_models", "missing.safetensors")
    return Catalogue([Preset(id="UPSCALER", name="U", kind="upscale", description="", files=(file,))])


def node(class_type: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs}


async def refusal(prompt: dict[str, Any], fake: FakeComfyUI, catalogue: Catalogue) -> WorkflowRefused:
    with pytest.raises(WorkflowRefused) as caught:
        await check(prompt, fake.comfyui(), catalogue)
    return caught.value


@pytest.mark.parametrize(
    "good",
    [
        node("UpscaleModelLoader", model_name="here.safetensors"),
        node("UpscaleModelLoader", model_name="sub/here.pth"),
        node("UpscaleModelLoader", model_name=["7", 0]),
        node("LoraLoader", lora_name="here.safetensors", strength=1.0),
        node("LoadImage", image="mine.png"),
        node("NoInputs", anything="a.safetensors"),
        node("NothingAtAll", anything="a.safetensors"),
        node("NoOptionals", count=1),
    ],
)
async def test_a_prompt_that_can_run_passes(good: dict[str, Any], fake: FakeComfyUI, catalogue: Catalogue) -> None:
    await check({"1": good}, fake.comfyui(), catalogue)


async def test_a_missing_model_is_named_with_the_presets_that_bring_it(fake: FakeComfyUI, catalogue: Catalogue) -> None:
    error = await refusal({"2": node("UpscaleModelLoader", model_name="missing.safetensors")}, fake, catalogue)
    assert "upscale_models/missing.safetensors" in error.message
    assert json.loads(msgspec.json.encode(error.details["missing_models"])) == [
        {
            "node_id": "2",
            "class_type": "UpscaleModelLoader",
            "input": "model_name",
            "folder": "upscale_models",
            "name": "missing.safetensors",
            "presets": ["UPSCALER"],
        }
    ]
    assert error.details["missing_nodes"] == []


async def test_a_missing_node_is_named(fake: FakeComfyUI, catalogue: Catalogue) -> None:
    error = await refusal({"1": node("NoSuchNode"), "2": node("NoSuchNode")}, fake, catalogue)
    assert error.message == "missing node classes: NoSuchNode"
    assert [found["node_id"] for found in error.details["missing_nodes"]] == ["1", "2"]


async def test_everything_that_is_missing_is_named_at_once(fake: FakeComfyUI, catalogue: Catalogue) -> None:
    prompt = {
        "1": node("LoraLoader", lora_name="one.safetensors"),
        "2": node("VAELoader", vae_name="two.safetensors"),
        "3": node("NoSuchNode"),
        "4": node("CustomLoader", file="three.gguf"),
    }
    error = await refusal(prompt, fake, catalogue)
    for name in ("loras/one.safetensors", "vae/two.safetensors", "NoSuchNode", "three.gguf"):
        assert name in error.message


async def test_a_workflow_is_not_judged_while_comfyui_does_not_answer(fake: FakeComfyUI, catalogue: Catalogue) -> None:
    fake.instead = PlainTextResponse("503", 503)
    with pytest.raises(ComfyUIUnavailable):
        await check({"1": NODE}, fake.comfyui(), catalogue)


def test_a_workflow_that_did_not_change_is_not_read_again(
    workflows: Workflows, monkeypatch: pytest.MonkeyPatch
) -> None:
    workflows.save("kept", {"1": NODE})
    workflows.save("changed", {"1": NODE})
    (workflows._workspace.workflows / "user" / "broken.json").write_bytes(b"{")
    before = workflows.all()
    read: list[str] = []
    read_bytes = Path.read_bytes

    def noted(file: Path) -> bytes:
        read.append(file.name)
        return read_bytes(file)

    monkeypatch.setattr(Path, "read_bytes", noted)
    assert workflows.all() == before
    assert read == []
    workflows.save("changed", {"1": NODE, "2": NODE})
    assert {found.name: found.nodes for found in workflows.all()} == {"kept": 1, "changed": 2}
    assert read == ["changed.json"]


def test_a_workflow_that_was_deleted_is_not_listed(workflows: Workflows) -> None:
    workflows.save("gone", {"1": NODE})
    assert [found.name for found in workflows.all()] == ["gone"]
    workflows.delete("gone")
    assert workflows.all() == []
