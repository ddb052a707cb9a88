"""Graphs that someone made to do harm, or that chance made: a sentence or a prompt comes of each, soon."""

import copy
import json
import math
import random
from typing import Any

import pytest

from services.errors import InvalidRequest
from services.workflows.convert import classes_of, convert, with_choices
from tests.services.workflows.editor_graphs import DEFINITIONS, graph, linked, node, output, subgraph
from tests.services.workflows.test_convert import INNER, with_encoder

JUNK: list[Any] = [
    *(None, True, -1, 0, 1, 2, 4, 10**30, 1e308, -1.5, math.nan, math.inf, "", "a", "1", "-10", "-20", "*"),
    *([], {}, [[]], {"a": 1}, ["a", "b"], "{a|{b}", "%date:yyyy%", "PrimitiveNode", "Reroute", "GetNode", "SetNode"),
    *("workflow>both", "x" * 300, INNER, [1, 2, 0, 1, 0, "*"], {"id": 1, "name": "x", "type": "*", "link": 1}),
]

SAVE = {"input": {"required": {"images": ["IMAGE"], "filename_prefix": ["STRING", {}]}}, "output": []}


def test_subgraphs_that_double_at_each_step_are_refused() -> None:
    definitions = [subgraph(f"s{n}", [node(1, f"s{n + 1}"), node(2, f"s{n + 1}")], []) for n in range(60)]
    value = graph([node(1, "s0")], definitions={"subgraphs": [*definitions, subgraph("s60", [], [])]})
    with pytest.raises(InvalidRequest, match="more than 5000 nodes"):
        convert(value, {})


def test_group_nodes_that_multiply_at_each_step_are_refused() -> None:
    groups = {f"g{n}": {"nodes": [{"type": f"workflow>g{n + 1}"}] * 30, "links": []} for n in range(9)}
    with pytest.raises(InvalidRequest, match="more than 5000 nodes"):
        convert(graph([node(1, "workflow>g0")], extra={"groupNodes": groups}), {})


def test_a_subgraph_within_itself_is_refused() -> None:
    definitions = [subgraph("a", [node(1, "b")], []), subgraph("b", [node(1, "a")], [])]
    with pytest.raises(InvalidRequest, match="the subgraph 'a' contains itself"):
        convert(graph([node(1, "a")], definitions={"subgraphs": definitions}), {})


def test_a_group_node_within_itself_is_a_problem() -> None:
    groups = {"g": {"nodes": [{"type": "workflow>g"}], "links": []}}
    assert len(convert(graph([node(1, "workflow>g")], extra={"groupNodes": groups}), {}).problems) == 1


def test_subgraphs_too_deep_in_one_another_are_refused() -> None:
    definitions = [subgraph(f"s{n}", [node(1, f"s{n + 1}")], []) for n in range(300)]
    with pytest.raises(InvalidRequest, match="deep"):
        convert(graph([node(1, "s0")], definitions={"subgraphs": definitions}), {})


def test_a_chain_as_long_as_a_workflow_may_be_is_followed() -> None:
    count = 4_000
    nodes = [node(n, "Reroute", inputs=[linked("", n)], outputs=[output("*", n + 1)]) for n in range(1, count)]
    nodes += [node(0, "Empty"), node(count, "Save", inputs=[linked("latent", count)])]
    value = graph(nodes, [[n, n - 1, 0, n, 0, "*"] for n in range(1, count + 1)])
    assert convert(value, DEFINITIONS).prompt[str(count)]["inputs"] == {"latent": ["0", 0]}


@pytest.mark.parametrize("text", ["{" * 60_000, "/*" * 100_000, "{a|" * 60_000, "\\" * 100_001, "{a|b}" * 500_000])
def test_a_text_made_of_signs_ends(text: str) -> None:
    assert isinstance(convert(graph([node(1, "Encode", [text])]), DEFINITIONS).prompt["1"]["inputs"]["text"], str)


def test_many_texts_made_of_signs_end() -> None:
    text = "{" * 20 + "a|b" * 30_000 + "}" * 20
    value = graph([node(number, "Encode", [text]) for number in range(1, 9)])
    prompt = convert(value, DEFINITIONS).prompt
    assert [prompt[number]["inputs"]["text"] for number in ("1", "8")] == ["a", text]
    written = convert(value, DEFINITIONS, choose=None)
    with_chosen = with_choices(written.prompt, written.texts, lambda _count: 0)
    assert [with_chosen[number]["inputs"]["text"] for number in ("1", "8")] == ["a", text]


@pytest.mark.parametrize("long", ["x" * 1_000_000, [1] * 1_000_000, [["x"] * 100_000] * 10])
def test_a_file_name_that_names_much_again_and_again_stays_short(long: Any) -> None:
    named = {**node(1, "Encode", [long]), "title": "A"}
    value = graph([named, node(2, "SaveImage", ["%A.text%" * 500])])
    prefix = convert(value, {**DEFINITIONS, "SaveImage": SAVE}).prompt["2"]["inputs"]["filename_prefix"]
    assert 10_000 < len(prefix) < 20_000


def test_values_nested_too_deep_are_refused() -> None:
    value: Any = 0
    for _ in range(20_000):
        value = [value]
    with pytest.raises(InvalidRequest, match="nested too deep"):
        convert(graph([node(1, "Encode", [value])]), DEFINITIONS)


def test_neither_the_graph_nor_the_definitions_are_changed() -> None:
    for value in GRAPHS:
        before = copy.deepcopy((value, DEFINITIONS))
        convert(value, DEFINITIONS)
        assert (value, DEFINITIONS) == before


def test_whatever_chance_makes_of_a_graph_gives_a_prompt_or_a_sentence() -> None:
    chance = random.Random(6)
    converted = 0
    for _ in range(800):
        value = copy.deepcopy(chance.choice(GRAPHS))
        for _ in range(chance.choice((1, 2, 5, 20))):
            _mutate(value, chance)
        try:
            classes_of(value)
            conversion = convert(value, DEFINITIONS, choose=lambda count: count - 1)
        except InvalidRequest:
            continue
        json.dumps(conversion.prompt, allow_nan=False)
        converted += 1
    assert converted > 150


def test_whatever_chance_makes_of_definitions_gives_a_prompt() -> None:
    """Node packs define what they like."""
    chance = random.Random(7)
    for _ in range(250):
        definitions: dict[str, Any] = copy.deepcopy(DEFINITIONS)
        for _ in range(chance.choice((1, 5, 20))):
            _mutate(definitions, chance)
        known = {name: entry for name, entry in definitions.items() if isinstance(entry, dict)}
        for value in GRAPHS:
            json.dumps(convert(value, known).prompt, allow_nan=False)


def _mutate(value: Any, chance: random.Random) -> None:
    """Goes down anywhere, and changes, removes or doubles what is there."""
    while True:
        keys = list(value) if isinstance(value, dict) else range(len(value))
        if not keys:
            return
        key = chance.choice(keys)
        inner = value[key]
        if not isinstance(inner, dict | list) or not inner or chance.random() < 0.1:
            break
        value = inner
    action = chance.random()
    if action < 0.6:
        value[key] = copy.deepcopy(chance.choice(JUNK))
    elif action < 0.8:
        del value[key]
    elif isinstance(value, list):
        value.insert(key, copy.deepcopy(value[key]))


def _everything() -> dict[str, Any]:
    group = {"nodes": [node(0, "Encode", ["in"]), node(0, "Sampler", [1])], "links": [[0, 0, 1, 0, 1, "*"]]}
    value = with_encoder(["outside"], properties={"proxyWidgets": [["5", "text"], ["-1", "text"]]})
    value["nodes"] += [
        node(10, "Resize", ["to", 640, 480, "area"], [linked("image", 10)]),
        node(11, "Batch", inputs=[linked("images.image0", 11), linked("images.image1", 12)]),
        node(12, "LoadImage", ["x.png", "image"], outputs=[output("IMAGE", 10, 11, 12)]),
        node(13, "PrimitiveNode", [5, "fixed"], outputs=[output("INT", 13)]),
        node(14, "Sampler", [1, "fixed", 20], [linked("seed", 13, "INT", widget=True)]),
        node(15, "workflow>both", ["out", 6], [linked("clip", 14)], [output("CONDITIONING")]),
        node(16, "SaveImage", ["%date:yy%/%Empty.width%"], [linked("images", 15)]),
        node(17, "Reroute", inputs=[linked("", 16)], outputs=[output("IMAGE", 15)]),
        node(18, "Blend", inputs=[linked("a", 17), linked("b", None)], outputs=[output("LATENT", 18)], mode=4),
        node(19, "Save", inputs=[linked("latent", 18)]),
    ]
    value["links"] += [[10, 12, 0, 10, 0, "IMAGE"], [11, 12, 0, 11, 0, "IMAGE"], [12, 12, 0, 11, 1, "IMAGE"]]
    value["links"] += [[13, 13, 0, 14, 1, "INT"], [14, 3, 1, 15, 0, "CLIP"], [15, 17, 0, 16, 0, "IMAGE"]]
    value["links"] += [[16, 12, 0, 17, 0, "*"], [17, 14, 0, 18, 0, "LATENT"], [18, 18, 0, 19, 0, "LATENT"]]
    value["extra"] = {"groupNodes": {"both": group}}
    return value


GRAPHS = [_everything(), with_encoder(["outside"])]
