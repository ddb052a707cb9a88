"""Which model files workflows name, in each form that they are saved in."""

import json
from typing import Any

import pytest

from services.named_models import MAX_VALUES, NamedModel, named_models, read_named_models


def graph_node(**more: Any) -> dict[str, Any]:
    return {"id": 1, "type": "SomeLoader", **more}


def test_a_prompt_names_what_its_loaders_load_with_their_folder() -> None:
    prompt = {
        "1": {"class_type": "UNETLoader", "inputs": {"unet_name": "wan/a.safetensors", "weight_dtype": "default"}}
    }
    assert named_models(prompt) == {NamedModel("diffusion_models", "wan/a.safetensors")}


def test_an_unknown_node_of_a_prompt_names_a_file_without_a_folder() -> None:
    prompt = {"1": {"class_type": "SomebodysLoader", "inputs": {"file": "a.gguf", "other": ["2", 0]}}}
    assert named_models(prompt) == {NamedModel(None, "a.gguf")}


@pytest.mark.parametrize("values", [["a.safetensors", 8, None], {"name": "a.safetensors", "strength": 1.0}])
def test_a_graph_names_what_stands_in_its_widgets(values: Any) -> None:
    assert named_models({"nodes": [graph_node(widgets_values=values)]}) == {NamedModel(None, "a.safetensors")}


def test_a_graph_names_what_its_nodes_say_they_need() -> None:
    models = [{"name": "a.safetensors", "url": "https://host.example/a", "directory": "clip"}, "no model", {"name": 5}]
    graph = {"nodes": [graph_node(properties={"models": models})]}
    assert named_models(graph) == {NamedModel("text_encoders", "a.safetensors")}


def test_subgraphs_and_groups_are_searched_at_any_depth() -> None:
    inner = {"nodes": [graph_node(widgets_values=["inner.pth"])]}
    middle = {"nodes": [], "definitions": {"subgraphs": [inner]}}
    group = {"nodes": [graph_node(widgets_values=["group.ckpt"])]}
    graph = {"nodes": [], "definitions": {"subgraphs": [middle]}, "extra": {"groupNodes": {"G": group}}}
    assert {model.name for model in named_models(graph)} == {"inner.pth", "group.ckpt"}


def test_a_graph_nested_without_end_is_given_up() -> None:
    graph: dict[str, Any] = {"nodes": [graph_node(widgets_values=["deep.pt"])]}
    for _ in range(500):
        graph = {"nodes": [], "definitions": {"subgraphs": [graph]}}
    assert named_models(graph) == frozenset()


def test_a_name_from_windows_is_the_same_file() -> None:
    assert named_models({"nodes": [graph_node(widgets_values=["wan\\a.safetensors"])]}) == {
        NamedModel(None, "wan/a.safetensors")
    }


@pytest.mark.parametrize(
    "workflow",
    [None, [], "text", {}, {"nodes": "none"}, {"nodes": [1, None, {"widgets_values": 5, "properties": []}]}, {"1": 3}],
)
def test_what_is_no_workflow_names_nothing(workflow: Any) -> None:
    assert named_models(workflow) == frozenset()


@pytest.mark.parametrize("data", [b"", b"\xff\xfe", b"[" * 100_000, b"{"])
def test_a_file_that_is_no_json_names_nothing(data: bytes) -> None:
    assert read_named_models(data) == frozenset()


def test_a_file_with_more_values_than_any_workflow_names_nothing() -> None:
    nodes = b'{"nodes": [{"widgets_values": ["a.sft"]}, %s 0]}'
    assert read_named_models(nodes % (b"[]," * (MAX_VALUES // 4))) == {NamedModel(None, "a.sft")}
    assert read_named_models(nodes % (b"[]," * MAX_VALUES)) == frozenset()


def test_a_file_is_read_as_the_workflow_in_it() -> None:
    data = json.dumps({"nodes": [graph_node(widgets_values=["a.sft"])]}).encode()
    assert read_named_models(data) == {NamedModel(None, "a.sft")}
