"""Other model names in prompts and graphs, proven by converting the graphs."""

from typing import Any

import msgspec
import pytest

from services.errors import InvalidRequest
from services.workflows.convert import convert
from services.workflows.document import Document
from services.workflows.remedies import Replacement, use

LOADER: dict[str, Any] = {
    "input": {"required": {"ckpt_name": [["new.safetensors"]]}},
    "input_order": {"required": ["ckpt_name"]},
    "output": ["MODEL", "CLIP", "VAE"],
}
CLASSES: dict[str, Any] = {
    "CheckpointLoaderSimple": LOADER,
    "VAELoader": {
        "input": {"required": {"vae_name": [["new.safetensors"]]}},
        "input_order": {"required": ["vae_name"]},
        "output": ["VAE"],
    },
    "Save": {"input": {"required": {"model": ["MODEL"]}}, "output": [], "output_node": True},
}
OLD, NEW = "old.safetensors", "sub/new.safetensors"
INNER = "aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee"


def replacement(node_id: str = "1", input_: str = "ckpt_name", old: str = OLD, new: str = NEW) -> Replacement:
    return msgspec.convert({"node_id": node_id, "input": input_, "from": old, "to": new}, Replacement)


def loader(id_: int, value: Any = OLD, kind: str = "CheckpointLoaderSimple", **more: Any) -> dict[str, Any]:
    outputs = [{"name": "MODEL", "type": "MODEL", "links": []}]
    return {"id": id_, "type": kind, "inputs": [], "outputs": outputs, "mode": 0, "widgets_values": value, **more}


def graph(*nodes: dict[str, Any], subgraph: dict[str, Any] | None = None) -> dict[str, Any]:
    definitions = {"definitions": {"subgraphs": [subgraph]}} if subgraph else {}
    return {"nodes": list(nodes), "links": [], "last_node_id": 99, "version": 0.4, **definitions}


def value(document: Document, node_id: str, input_: str = "ckpt_name") -> Any:
    assert document.graph is not None
    return convert(document.graph, CLASSES).prompt[node_id]["inputs"][input_]


def test_a_prompt_gets_the_other_name_wherever_the_same_folder_is_read() -> None:
    prompt: dict[str, Any] = {
        "1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": OLD}},
        "2": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": OLD}},
        "3": {"class_type": "VAELoader", "inputs": {"vae_name": OLD}},
    }
    used = use(Document(prompt=prompt), (replacement(),), CLASSES).prompt
    assert used is not None
    assert [next(iter(node["inputs"].values())) for node in used.values()] == [NEW, NEW, OLD]
    assert prompt["1"]["inputs"]["ckpt_name"] == OLD


@pytest.mark.parametrize("values", [[OLD], {"ckpt_name": OLD}])
def test_a_graph_gets_the_other_name_among_the_values_of_its_node(values: Any) -> None:
    before: dict[str, Any] = graph(loader(1, values), loader(2, [OLD], "VAELoader"))
    used = use(Document(before), (replacement(),), CLASSES)
    assert (value(used, "1"), value(used, "2", "vae_name")) == (NEW, OLD)
    assert before["nodes"][0]["widgets_values"] == values


def test_every_node_of_a_graph_that_reads_the_same_file_gets_the_other_name() -> None:
    used = use(Document(graph(loader(1, [OLD]), loader(2, [OLD]))), (replacement(),), CLASSES)
    assert (value(used, "1"), value(used, "2")) == (NEW, NEW)


def inner(*, promoted: bool) -> dict[str, Any]:
    """A subgraph of one loader, whose widget is one of its own if it is `promoted`."""
    widget = {"name": "ckpt_name", "type": "COMBO", "widget": {"name": "ckpt_name"}, "link": 1 if promoted else None}
    link = {"id": 1, "origin_id": -10, "origin_slot": 0, "target_id": 12, "target_slot": 0, "type": "COMBO"}
    return {
        "id": INNER,
        "name": "Loading",
        "inputNode": {"id": -10},
        "outputNode": {"id": -20},
        "inputs": [{"id": "x", "name": "ckpt_name", "type": "COMBO", "linkIds": [1]}] if promoted else [],
        "outputs": [],
        "widgets": [],
        "nodes": [loader(12, [OLD]) | {"inputs": [widget]}],
        "links": [link] if promoted else [],
    }


def test_a_node_in_a_subgraph_gets_the_other_name() -> None:
    host = {"id": 57, "type": INNER, "inputs": [], "outputs": [], "mode": 0, "widgets_values": []}
    used = use(Document(graph(host, subgraph=inner(promoted=False))), (replacement("57:12"),), CLASSES)
    assert value(used, "57:12") == NEW


def test_the_value_at_a_subgraphs_host_counts_before_the_inner_one() -> None:
    socket = {"name": "ckpt_name", "type": "COMBO", "widget": {"name": "ckpt_name"}, "link": None}
    host = {"id": 57, "type": INNER, "inputs": [socket], "outputs": [], "mode": 0, "widgets_values": [OLD]}
    before = graph(host, subgraph=inner(promoted=True))
    assert value(Document(before), "57:12") == OLD
    used = use(Document(before), (replacement("57:12"),), CLASSES)
    assert used.graph is not None
    assert value(used, "57:12") == NEW
    assert used.graph["definitions"]["subgraphs"][0]["nodes"][0]["widgets_values"] == [OLD]


def test_the_value_of_a_primitive_node_is_changed_there() -> None:
    primitive = {
        "id": 3,
        "type": "PrimitiveNode",
        "inputs": [],
        "outputs": [{"name": "COMBO", "type": "COMBO", "links": [5], "widget": {"name": "ckpt_name"}}],
        "mode": 0,
        "widgets_values": [OLD, "fixed"],
    }
    socket = {"name": "ckpt_name", "type": "COMBO", "widget": {"name": "ckpt_name"}, "link": 5}
    before = graph(primitive, loader(1, [OLD]) | {"inputs": [socket]})
    before["links"] = [[5, 3, 0, 1, 0, "COMBO"]]
    assert value(use(Document(before), (replacement(),), CLASSES), "1") == NEW


@pytest.mark.parametrize(
    "wrong", [replacement("7"), replacement(input_="vae_name"), replacement(old="other.safetensors")]
)
def test_an_input_that_has_not_the_name_is_refused(wrong: Replacement) -> None:
    for document in (Document(graph(loader(1, [OLD]))), Document(prompt={"1": {"class_type": "A", "inputs": {}}})):
        with pytest.raises(InvalidRequest, match="check the workflow again"):
            use(document, (wrong,), CLASSES)


def test_several_are_replaced_at_once() -> None:
    document = Document(graph(loader(1, [OLD]), loader(2, [OLD], "VAELoader")))
    used = use(document, (replacement(), replacement("2", "vae_name")), CLASSES)
    assert (value(used, "1"), value(used, "2", "vae_name")) == (NEW, NEW)


@pytest.mark.parametrize("wrong", [{"to": ""}, {"to": "x" * 2_000}, {"node_id": 7}, {"more": 1}])
def test_a_replacement_that_is_none_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"node_id": "1", "input": "a", "from": OLD, "to": NEW, **wrong}, Replacement)
