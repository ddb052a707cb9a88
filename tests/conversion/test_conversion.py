"""A sample of `make conversion-check`: the real front end and ours make the same prompt of a graph."""

from collections.abc import Iterator

import msgspec
import pytest

from services.templates import Templates
from tests.conversion.comfyui import running_comfyui
from tests.conversion.judge import Judge, sitting
from tests.conversion.mutations import mutate
from tests.conversion.odd_graphs import ODD, text_to_image
from tests.conversion.verdicts import judged

# Of the classes of ComfyUI 0.3.75: subgraphs in one another, bypassed nodes, primitives, reroutes, video, sound, 3D.
TEMPLATES = (
    "flux1_dev_uso_reference_image_gen",
    "flux_depth_lora_example",
    "flux_redux_model_example",
    "hunyuan_video_text_to_video",
    "image_netayume_lumina_t2i",
    "image_qwen_image_instantx_inpainting_controlnet",
    "audio_ace_step_1_t2a_instrumentals",
    "3d_hunyuan3d_multiview_to_model_turbo",
    "video_wan2_2_14B_s2v",
    "video_wan_vace_outpainting",
    "wan2.1_fun_control",
    "basic_mask_operations_and_compositing",
)


@pytest.fixture(scope="module")
def judge() -> Iterator[Judge]:
    with running_comfyui(None, "--disable-api-nodes") as address, sitting(address) as found:
        yield found


@pytest.mark.parametrize("name", TEMPLATES)
def test_an_official_template_becomes_what_the_editor_makes_of_it(judge: Judge, name: str) -> None:
    graph = msgspec.json.decode(Templates().graph(name))
    assert judged(judge, graph).lines == ()


@pytest.mark.parametrize("name", ODD)
def test_an_odd_graph_becomes_what_the_editor_makes_of_it(judge: Judge, name: str) -> None:
    assert judged(judge, ODD[name]()).lines == ()


@pytest.mark.parametrize("seed", range(3))
def test_a_changed_template_becomes_what_the_editor_makes_of_it(judge: Judge, seed: int) -> None:
    graph = msgspec.json.decode(Templates().graph("flux_redux_model_example"))
    assert judged(judge, mutate(graph, judge.definitions, seed)).lines == ()


def test_the_judge_says_when_the_editor_itself_fails(judge: Judge) -> None:
    graph = text_to_image().graph()
    del graph["links"]
    assert judged(judge, graph).kind == "failed"
    assert judged(judge, text_to_image().graph()).kind == "same"
