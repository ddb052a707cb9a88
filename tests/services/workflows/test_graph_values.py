import copy
from typing import Any

from services.workflows.convert import convert
from services.workflows.graph_values import GraphValues

Workflow = dict[str, Any]

DEFINITIONS: dict[str, dict[str, Any]] = {
    "Sampler": {
        "input": {
            "required": {
                "seed": ["INT", {"default": 0, "min": 0, "max": 2**64 - 1, "control_after_generate": True}],
                "steps": ["INT", {"default": 5, "min": 1, "max": 100}],
                "text": ["STRING", {}],
            }
        },
        "input_order": {"required": ["seed", "steps", "text"]},
        "output": ["IMAGE"],
        "output_name": ["IMAGE"],
        "output_is_list": [False],
        "output_node": True,
    }
}


def graph() -> Workflow:
    sampler = {
        "id": 1,
        "type": "Sampler",
        "mode": 0,
        "inputs": [],
        "outputs": [{"name": "IMAGE", "type": "IMAGE", "links": []}],
        "properties": {},
        "widgets_values": [5, "fixed", 5, "a cat"],
    }
    return {"last_node_id": 1, "last_link_id": 0, "nodes": [sampler], "links": [], "version": 0.4}


def changed(**values: Any) -> Workflow:
    prompt = convert(graph(), DEFINITIONS).prompt
    return {"1": {**prompt["1"], "inputs": {**prompt["1"]["inputs"], **values}}}


def values_in(found: Workflow | None) -> list[Any] | None:
    return found["nodes"][0]["widgets_values"] if found else None


def made() -> GraphValues:
    return GraphValues(graph(), convert(graph(), DEFINITIONS).prompt, DEFINITIONS)


def test_a_value_stands_where_the_editor_has_it() -> None:
    assert values_in(made().graph_of(changed(steps=9, text="a dog"))) == [5, "fixed", 9, "a dog"]


def test_a_batch_has_each_of_its_seeds_in_turn() -> None:
    values = made()
    assert [values_in(values.graph_of(changed(seed=seed))) for seed in (7,)] == [[7, "fixed", 5, "a cat"]]
    assert values_in(values.graph_of(changed(seed=8))) == [8, "fixed", 5, "a cat"]
    assert values_in(values.graph_of(changed())) == [5, "fixed", 5, "a cat"]


def test_what_was_not_changed_stays_as_it_was() -> None:
    assert made().graph_of(changed()) == graph()


def test_a_value_without_a_place_leaves_no_graph() -> None:
    prompt = convert(graph(), DEFINITIONS).prompt
    other = {"1": {**prompt["1"], "inputs": {**prompt["1"]["inputs"], "seed": 77}}}
    # The prompt beside a graph may have been made of another one.
    assert GraphValues(graph(), other, DEFINITIONS).graph_of(changed(seed=78)) is None


def test_a_text_with_choices_stands_there_with_the_one_that_was_taken() -> None:
    definitions = copy.deepcopy(DEFINITIONS)
    definitions["Sampler"]["input"]["required"]["text"] = ["STRING", {"dynamicPrompts": True}]
    chosen = graph()
    chosen["nodes"][0]["widgets_values"][3] = "a {cat|dog}"
    prompt = convert(chosen, definitions, choose=None).prompt
    values = GraphValues(chosen, prompt, definitions)
    for text in ("a dog", "a cat"):
        run = {"1": {**prompt["1"], "inputs": {**prompt["1"]["inputs"], "text": text}}}
        assert values_in(values.graph_of(run)) == [5, "fixed", 5, text]
