"""What a workflow lacks, by definitions, a catalogue and files made by hand."""

from collections.abc import Collection
from typing import Any, cast

import pytest
from msgspec.structs import replace
from starlette.responses import PlainTextResponse

from services.artifacts import Artifact, model_id
from services.catalogue import Catalogue
from services.errors import ComfyUIUnavailable, InvalidRequest
from services.installs import View
from services.models import ModelFile
from services.node_packs import NodePack, NodePacks
from services.presets import Origin, Preset
from services.workflows.check import Definitions, definitions_of, examine
from services.workflows.convert import Unconverted
from services.workflows.document import Document
from services.workflows.models import Known
from services.workflows.report import MissingModel, MissingNode, Report
from tests.services.fake_comfyui import FakeComfyUI
from tests.services.views import CANCELLED, DIGEST, RETRIED, here, install, preset, view

OTHER_DIGEST = "1" * 64
CLASSES: dict[str, Any] = {
    "UpscaleModelLoader": {
        "input": {"required": {"model_name": ["COMBO", {"options": ["here.safetensors", "sub/Deep.pth"]}]}},
        "output": ["UPSCALE_MODEL"],
    },
    "LoraLoader": {
        "input": {"required": {"lora_name": [["here.safetensors"]], "strength": ["FLOAT", {}]}},
        "output": ["MODEL"],
        "display_name": "Load LoRA",
    },
    "DualCLIPLoader": {"input": {"required": {"clip_name1": [[]], "clip_name2": [[]]}}, "output": ["CLIP"]},
    "CustomLoader": {
        "input": {"required": {"file": [["one.gguf", "two.gguf"]]}},
        "output": ["MODEL"],
        "python_module": "custom_nodes.some",
    },
    "Save": {"input": {"required": {}, "optional": None}, "output": [], "output_node": True},
}


def node(class_type: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs}


def prompt(*nodes: dict[str, Any]) -> dict[str, Any]:
    """The nodes as 1, 2, …, and an output that needs all of them."""
    made = {str(number): found for number, found in enumerate(nodes, 1)}
    return {**made, "9": node("Save", **{f"in{id_}": [id_, 0] for id_ in made})}


def upscaler(name: str = "gone.pth") -> dict[str, Any]:
    return prompt(node("UpscaleModelLoader", model_name=name))


def on_disk(folder: str, name: str, size_bytes: int = 5, root: str = "models") -> ModelFile:
    return ModelFile(model_id(folder, name), folder, name, size_bytes, 1, root)


def known(
    *files: ModelFile, presets: tuple[Preset, ...] = (), seen: View | None = None, sizes: dict[str, int] | None = None
) -> Known:
    return Known(
        Catalogue(presets), seen or view(), {file.id: file for file in files}, sizes=sizes if sizes is not None else {}
    )


def graph(*models: dict[str, str], **properties: str) -> dict[str, Any]:
    """A graph of one node, which names files."""
    said = {"models": list(models), **properties}
    return {"nodes": [{"id": 1, "type": "UpscaleModelLoader", "title": "My upscaler", "properties": said}]}


def named(name: str = "gone.pth", **changes: str) -> dict[str, str]:
    return {
        "name": name,
        "url": f"https://huggingface.co/a/b/resolve/main/{name}",
        "directory": "upscale_models",
    } | changes


def report(
    wanted: dict[str, Any],
    found: Known | None = None,
    said: dict[str, Any] | None = None,
    definitions: Definitions | None = None,
) -> Report:
    definitions = definitions or Definitions(CLASSES)
    return examine(Document(said, wanted), wanted, definitions, found or known()).report


def missing(*arguments: Any) -> MissingModel:
    (model,) = report(*arguments).missing_models
    return model


def bringing(id_: str, *files: Artifact, origin: Origin = "curated") -> Preset:
    return replace(preset(id_, *files), origin=origin)


WANTED = Artifact("https://example.com/gone.pth", "upscale_models", "gone.pth", size_bytes=40, sha256=DIGEST)


def test_a_workflow_that_lacks_nothing_can_run() -> None:
    found = report(prompt(node("UpscaleModelLoader", model_name="here.safetensors")))
    assert found == Report(can_run=True, fetch_bytes=0)


def test_a_missing_model_is_told_with_its_folder_and_what_to_do() -> None:
    found = report(upscaler())
    (model,) = found.missing_models
    assert not found.can_run
    assert (model.node_id, model.input, model.folder, model.name) == ("1", "model_name", "upscale_models", "gone.pth")
    assert (model.verdict, model.presets, model.url, model.candidates) == ("unknown", (), None, ())
    assert "upscale_models/gone.pth" in model.message
    assert "by its address" in model.message
    assert "upscale_models/gone.pth" in found.summary


def test_a_preset_that_brings_it_is_named_and_can_be_installed() -> None:
    found = report(upscaler(), known(presets=(bringing("P", WANTED),)))
    (model,) = found.missing_models
    assert (model.verdict, model.presets, model.url, model.size_bytes) == ("preset", ("P",), WANTED.url, 40)
    assert (found.installable, found.fetch_bytes) == (1, 40)


def test_ones_own_presets_come_first_then_those_with_the_fewest_other_bytes() -> None:
    large, small = (Artifact(f"https://example.com/{size}", "vae", f"{size}.pth", size_bytes=size) for size in (99, 1))
    presets = (
        bringing("OFFICIAL", WANTED, origin="official"),
        bringing("LARGE", WANTED, large),
        bringing("SMALL", WANTED, small),
        bringing("OWN", WANTED, large, origin="user"),
    )
    assert missing(upscaler(), known(presets=presets)).presets == ("SMALL", "LARGE", "OWN", "OFFICIAL")


def test_an_address_that_the_workflow_itself_names_is_enough() -> None:
    found = report(upscaler(), known(), graph(named(hash=OTHER_DIGEST.upper(), hash_type="SHA256")))
    (model,) = found.missing_models
    assert (model.verdict, model.url) == ("url", "https://huggingface.co/a/b/resolve/main/gone.pth")
    assert "huggingface.co" in model.message
    assert (found.installable, found.fetch_bytes) == (1, None)


def test_the_size_of_an_address_is_known_once_its_host_said_it() -> None:
    sizes = {"https://huggingface.co/a/b/resolve/main/gone.pth": 7}
    found = report(upscaler(), known(sizes=sizes), graph(named()))
    assert (found.missing_models[0].size_bytes, found.fetch_bytes) == (7, 7)


@pytest.mark.parametrize(
    "wrong",
    [
        named(url="http://example.com/gone.pth"),
        named(url="file:///etc/passwd"),
        named(url="https://example.com/a b"),
        named(directory="../.."),
        named(directory="somewhere"),
        named(name="../gone.pth"),
        {"name": "gone.pth"},
    ],
)
def test_an_address_that_is_not_to_be_trusted_is_none(wrong: dict[str, str]) -> None:
    assert missing(upscaler(), known(), graph(wrong)).verdict == "unknown"


def test_a_file_that_an_install_brings_is_on_its_way() -> None:
    wanted = preset("P", WANTED)
    model = missing(upscaler(), known(presets=(wanted,), seen=view(install(wanted), holds={WANTED.id: RETRIED})))
    assert model.verdict == "downloading"
    assert "wait" in model.message


def test_a_file_that_an_install_gave_up_can_be_asked_for_again() -> None:
    wanted = preset("P", WANTED)
    seen = view(install(wanted), holds={WANTED.id: CANCELLED})
    assert missing(upscaler(), known(presets=(wanted,), seen=seen)).verdict == "preset"


def test_a_file_in_another_subfolder_is_to_be_used() -> None:
    model = missing(upscaler("deep.pth"), known(on_disk("upscale_models", "sub/Deep.pth")))
    (candidate,) = model.candidates
    assert (model.verdict, candidate.how, candidate.name, candidate.size_bytes) == (
        "elsewhere",
        "use",
        "sub/Deep.pth",
        5,
    )
    assert "use that" in model.message


def test_the_backslashes_of_windows_are_slashes_here() -> None:
    (candidate,) = missing(upscaler("sub\\Deep.pth")).candidates
    assert (candidate.how, candidate.name) == ("use", "sub/Deep.pth")


def test_a_file_in_another_folder_is_to_be_linked() -> None:
    (candidate,) = missing(upscaler(), known(on_disk("vae", "GONE.pth", root="ComfyUI/models"))).candidates
    assert (candidate.how, candidate.folder, candidate.name, candidate.root) == (
        "link",
        "vae",
        "GONE.pth",
        "ComfyUI/models",
    )


def test_a_file_with_the_same_digest_is_the_missing_one_whatever_its_name() -> None:
    other = Artifact("https://example.com/x", "loras", "x.pth", size_bytes=5)
    found = known(on_disk("loras", "x.pth"), presets=(bringing("P", WANTED),), seen=view(verified=here(other)))
    (candidate,) = missing(upscaler(), found).candidates
    assert (candidate.how, candidate.folder, candidate.name) == ("link", "loras", "x.pth")


def test_a_file_of_the_same_name_with_other_bytes_is_another_one() -> None:
    by_digest = Artifact("https://example.com/x", "vae", "gone.pth", size_bytes=40)
    seen = view(verified=here(by_digest, sha256=OTHER_DIGEST))
    assert (
        missing(
            upscaler(), known(on_disk("vae", "gone.pth", 40), presets=(bringing("P", WANTED),), seen=seen)
        ).candidates
        == ()
    )
    by_size = known(on_disk("vae", "gone.pth", 41), presets=(bringing("P", WANTED),))
    assert missing(upscaler(), by_size).verdict == "preset"


def test_names_that_say_nothing_are_not_taken_for_the_same_file() -> None:
    found = known(on_disk("vae", "diffusion_pytorch_model.safetensors"))
    assert missing(upscaler("diffusion_pytorch_model.safetensors"), found).candidates == ()


def test_a_file_that_lies_there_and_is_not_offered_is_not_fetched_again() -> None:
    found = report(upscaler(), known(on_disk("upscale_models", "gone.pth"), presets=(bringing("P", WANTED),)))
    assert found.installable == 0
    assert "does not offer it" in found.missing_models[0].message


def test_a_file_that_several_nodes_need_is_one_row() -> None:
    wanted = prompt(
        node("DualCLIPLoader", clip_name1="a.safetensors", clip_name2="b.safetensors"),
        node("DualCLIPLoader", clip_name1="b.safetensors", clip_name2="b.safetensors"),
    )
    first, second = report(wanted).missing_models
    assert (first.name, first.needed_by) == ("a.safetensors", ("1",))
    assert (second.node_id, second.input, second.needed_by) == ("1", "clip_name2", ("1", "2"))


def test_the_folder_of_an_unknown_node_is_told_by_what_else_it_offers() -> None:
    files = (on_disk("loras", "one.gguf"), on_disk("loras", "two.gguf"), on_disk("vae", "two.gguf"))
    wanted = prompt(node("CustomLoader", file="three.gguf"))
    assert missing(wanted, known(*files)).folder == "loras"
    model = missing(wanted)
    assert (model.folder, model.verdict) == (None, "unknown")
    assert "the folder this node reads" in model.message


def test_the_folder_of_an_unknown_node_is_told_by_the_workflow() -> None:
    said = graph(named("three.gguf", directory="unet"))
    model = missing(prompt(node("CustomLoader", file="three.gguf")), known(), said)
    assert (model.folder, model.verdict) == ("diffusion_models", "url")


def test_what_no_output_needs_is_not_missed() -> None:
    wanted = {**prompt(), "1": node("UpscaleModelLoader", model_name="gone.pth")}
    assert report(wanted).can_run


# Node classes


def test_a_missing_class_anywhere_keeps_a_workflow_from_running() -> None:
    found = report({**prompt(), "1": node("Nobody")})
    (lost,) = found.missing_nodes
    assert not found.can_run
    assert (lost.node_id, lost.class_type, lost.pack) == ("1", "Nobody", None)
    assert "no node class Nobody" in lost.message


def test_models_that_a_missing_class_needs_are_missed_too() -> None:
    wanted = {"1": node("UpscaleModelLoader", model_name="gone.pth"), "2": node("Nobody", model=["1", 0])}
    assert report(wanted).missing_models[0].name == "gone.pth"


@pytest.mark.parametrize(
    ("properties", "id_", "url", "words"),
    [
        ({"cnr_id": "comfyui-kjnodes"}, "comfyui-kjnodes", None, "pack comfyui-kjnodes"),
        ({"aux_id": "kijai/ComfyUI-KJNodes"}, "ComfyUI-KJNodes", "https://github.com/kijai/ComfyUI-KJNodes", "github"),
    ],
)
def test_a_node_itself_says_which_pack_it_is_of(
    properties: dict[str, str], id_: str, url: str | None, words: str
) -> None:
    said = graph(**properties)
    said["nodes"][0]["type"] = "Nobody"
    (lost,) = report(prompt(node("Nobody")), known(), said).missing_nodes
    assert lost.pack is not None
    assert (lost.pack.id, lost.pack.url) == (id_, url)
    assert words in lost.message


def test_a_class_of_a_newer_comfyui_is_told_as_that() -> None:
    said = graph(cnr_id="comfy-core", ver="0.9.1")
    said["nodes"][0]["type"] = "Nobody"
    (lost,) = report(prompt(node("Nobody")), known(), said).missing_nodes
    assert lost.pack is None
    assert "made with 0.9.1" in lost.message
    assert "newer ComfyUI" in lost.message


class Lists:
    """As NodePacks, of one pack that brings everything."""

    def __init__(self, pack: NodePack) -> None:
        self.pack = pack

    def of(self, classes: Collection[str]) -> dict[str, NodePack]:
        return dict.fromkeys(classes, self.pack)

    def called(self, _ids: Collection[str]) -> dict[str, NodePack]:
        return {}


def lost_by_lists(pack: NodePack, said: dict[str, Any] | None = None) -> MissingNode:
    found = examine(
        Document(graph=said),
        prompt(node("Nobody")),
        Definitions(CLASSES),
        known(),
        packs=cast("NodePacks", Lists(pack)),
    )
    return found.report.missing_nodes[0]


def test_a_class_that_lists_count_as_comfyuis_own_is_of_no_pack() -> None:
    lost = lost_by_lists(NodePack("ComfyUI", "ComfyUI", "https://github.com/comfyanonymous/ComfyUI"))
    assert lost.pack is None
    assert "newer ComfyUI" in lost.message
    assert "custom_nodes" not in lost.message


def test_among_comfyuis_own_nodes_a_class_seems_to_be_a_newer_one_of_them() -> None:
    pack = NodePack("a", "Some pack", "https://github.com/a/b")
    lost = lost_by_lists(pack, graph(cnr_id="comfy-core"))
    assert lost.pack == pack
    assert "It seems to be one of a newer ComfyUI" in lost.message
    assert "Else it is of the pack Some pack (https://github.com/a/b)" in lost.message
    assert "It is of the pack Some pack" in lost_by_lists(pack, graph(cnr_id="another-pack")).message


def test_a_class_that_comfyui_fails_to_describe_is_not_called_missing() -> None:
    classes = {name: found for name, found in CLASSES.items() if name != "UpscaleModelLoader"}
    found = report(upscaler(), known(), None, Definitions(classes, frozenset({"UpscaleModelLoader"})))
    assert (found.can_run, found.missing_nodes) == (False, ())
    assert "fails to describe it" in found.wrong_values[0].message


def test_titles_come_from_the_prompt_then_the_graph_then_the_class() -> None:
    titled = {**node("Nobody"), "_meta": {"title": "Given"}}
    said = graph()
    found = report(
        {"1": node("Nobody"), "2": titled, "3": node("LoraLoader", lora_name="x.pth", strength=1)}, known(), said
    )
    assert [lost.title for lost in found.missing_nodes] == ["My upscaler", "Given"]
    assert "Nobody" in report({"3": node("Nobody")}).missing_nodes[0].title


def test_what_could_not_be_converted_keeps_it_from_running() -> None:
    lost = Unconverted("1", "X", "X", "loops")
    found = examine(Document(), prompt(), Definitions(CLASSES), known(), unconverted=(lost,)).report
    assert (found.can_run, found.unconverted) == (False, (lost,))
    assert "loops" in found.summary


def test_a_file_whose_name_is_no_text_is_never_told() -> None:
    options = ["deep/gone.pth", "\udcff.pth"]
    classes = {**CLASSES, "UpscaleModelLoader": {"input": {"required": {"model_name": [options]}}, "output": []}}
    found = report(upscaler(), known(), None, Definitions(classes))
    assert [candidate.name for candidate in found.missing_models[0].candidates] == ["deep/gone.pth"]
    found = report(upscaler("gone.png"), known(), None, Definitions(classes))
    assert found.wrong_values[0].choices == ("deep/gone.pth",)


# Asking ComfyUI


async def test_definitions_are_asked_for_once_per_class() -> None:
    fake = FakeComfyUI()
    fake.object_info = CLASSES
    found = await definitions_of(fake.comfyui(), ["Save", "Save", "Nobody", "", "x" * 5_000])
    assert found == Definitions({"Save": CLASSES["Save"]})


async def test_a_class_that_fails_is_told_apart_from_a_comfyui_that_does_not_answer() -> None:
    fake = FakeComfyUI()
    fake.instead = PlainTextResponse("500: Internal Server Error", 500)
    assert await definitions_of(fake.comfyui(), ["Save"]) == Definitions({}, frozenset({"Save"}))
    fake.instead = PlainTextResponse("502", 502)
    with pytest.raises(ComfyUIUnavailable):
        await definitions_of(fake.comfyui(), ["Save"])


async def test_comfyui_is_not_asked_thousands_of_questions() -> None:
    with pytest.raises(InvalidRequest, match="1001 kinds of nodes"):
        await definitions_of(FakeComfyUI().comfyui(), [f"Node {number}" for number in range(1001)])
