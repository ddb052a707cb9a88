from datetime import datetime
from typing import Any

import pytest

from services.errors import InvalidRequest
from services.workflows.convert import Conversion, classes_of, convert, with_choices
from tests.services.workflows.editor_graphs import DEFINITIONS, graph, linked, node, output, subgraph

INNER = "11111111-1111-4111-8111-111111111111"


def inputs(value: dict[str, Any], id_: str = "1", **options: Any) -> dict[str, Any]:
    found: dict[str, Any] = convert(value, DEFINITIONS, **options).prompt[id_]["inputs"]
    return found


def reasons(conversion: Conversion) -> dict[str, str]:
    return {problem.node_id: problem.reason for problem in conversion.problems}


def test_values_go_to_the_widgets_in_the_order_of_the_class() -> None:
    sent = inputs(graph([node(1, "Sampler", [7, "randomize", 30, 2.5, "heun"])]))
    assert sent == {"seed": 7, "steps": 30, "cfg": 2.5, "sampler": "heun"}


def test_values_that_are_missing_are_those_of_the_class() -> None:
    assert inputs(graph([node(1, "Sampler", [7])])) == {"seed": 7, "steps": 20, "cfg": 8, "sampler": "euler"}
    assert inputs(graph([node(1, "Sampler")])) == {"seed": 0, "steps": 20, "cfg": 8, "sampler": "euler"}


def test_a_choice_of_nothing_is_the_first_one() -> None:
    assert inputs(graph([node(1, "Loader", [None])])) == {"name": "a.safetensors"}


def test_a_choice_that_is_not_offered_is_sent_as_it_is() -> None:
    assert inputs(graph([node(1, "Loader", ["gone.safetensors"])])) == {"name": "gone.safetensors"}


def test_the_button_that_uploads_takes_a_place_and_is_not_sent() -> None:
    assert inputs(graph([node(1, "LoadImage", ["y.png", "image"])])) == {"image": "y.png"}


def test_values_of_inputs_that_are_always_sockets_are_passed_over_where_old_files_have_them() -> None:
    definitions = {"A": {"input": {"required": {"x": ["INT", {"forceInput": True}], "y": ["INT", {}]}}, "output": []}}
    assert convert(graph([node(1, "A", [3, 4])]), definitions).prompt["1"]["inputs"] == {"y": 4}
    assert convert(graph([node(1, "A", [4])]), definitions).prompt["1"]["inputs"] == {"y": 4}


def test_values_with_names_go_by_them() -> None:
    assert inputs(graph([node(1, "Sampler", {"cfg": 3, "seed": 9})]))["cfg"] == 3


def test_the_order_of_widgets_is_the_one_that_the_class_names() -> None:
    definition = {
        "input": {"required": {"b": ["INT", {}], "a": ["STRING", {}]}},
        "input_order": {"required": ["a", "b"]},
        "output": [],
    }
    assert convert(graph([node(1, "A", ["x", 5])]), {"A": definition}).prompt["1"]["inputs"] == {"a": "x", "b": 5}


def test_lists_that_are_values_are_wrapped_since_lists_are_links() -> None:
    sent = inputs(graph([node(1, "Curve", [[[0, 0], [1, 1]], ["#fff"]])]))
    assert sent["points"] == {"__type__": "CURVE", "__value__": [[0, 0], [1, 1]]}
    assert sent["colors"] == {"__value__": ["#fff"]}


def test_numbers_are_sent_as_a_browser_has_them() -> None:
    assert inputs(graph([node(1, "Sampler", [2**64 - 1])]))["seed"] == 18446744073709552000
    assert repr(inputs(graph([node(1, "Sampler", [1, "", 20.0])]))["steps"]) == "20"


def test_inputs_are_found_by_name_and_not_by_the_slot_in_the_link() -> None:
    nodes = [
        node(1, "Sampler", [7], [linked("latent", 1)]),
        node(2, "Empty", [64], outputs=[output("LATENT", 1)]),
    ]
    assert inputs(graph(nodes, [[1, 2, 0, 1, 9, "LATENT"]]))["latent"] == ["2", 0]


def test_links_may_be_lists_and_objects() -> None:
    link = {"id": 1, "origin_id": 2, "origin_slot": 0, "target_id": 1, "target_slot": 0}
    nodes = [node(1, "Save", inputs=[linked("latent", 1)]), node("2", "Empty")]
    assert inputs({"version": 1, "nodes": nodes, "links": [link]})["latent"] == ["2", 0]


def test_a_link_comes_before_the_value_of_its_widget() -> None:
    nodes = [node(1, "Encode", ["text"], [linked("text", 1, widget=True)]), node(2, "Other")]
    assert inputs(graph(nodes, [[1, 2, 0, 1, 0, "STRING"]]))["text"] == ["2", 0]


def test_an_input_that_the_class_does_not_know_is_sent_if_it_is_linked() -> None:
    nodes = [node(1, "Save", inputs=[linked("more", 1), linked("less", None)]), node(2, "Empty")]
    assert inputs(graph(nodes, [[1, 2, 0, 1, 0, "*"]])) == {"more": ["2", 0]}


def test_of_doubled_links_the_one_that_the_input_names_stays() -> None:
    nodes = [node(1, "Save", inputs=[linked("latent", 2)]), node(2, "Empty", outputs=[output("LATENT", 1, 2, 3)])]
    assert inputs(graph(nodes, [[n, 2, 0, 1, 0, "LATENT"] for n in (1, 2, 3)])) == {"latent": ["2", 0]}


def test_the_choices_of_a_custom_combo_are_sent_with_the_place_of_the_one_that_is_set() -> None:
    definitions = {"CustomCombo": {"input": {"required": {"choice": ["COMBO", {"options": []}]}}, "output": []}}
    sent = convert(graph([node(1, "CustomCombo", ["b", 1, "a", "b", ""])]), definitions).prompt["1"]["inputs"]
    assert sent == {"choice": "b", "index": 1, "option1": "a", "option2": "b", "option3": ""}


def test_a_3d_view_sends_where_its_camera_stands() -> None:
    definitions = {"Preview3DAdvanced": {"input": {"required": {"viewport_state": ["LOAD_3D", {}]}}, "output": []}}
    value = graph([node(1, "Preview3DAdvanced", [""], properties={"Camera Config": {"state": {"zoom": 2}}})])
    assert convert(value, definitions).prompt["1"]["inputs"]["viewport_state"]["camera_info"] == {"zoom": 2}


def test_notes_are_not_sent() -> None:
    assert convert(graph([node(1, "Note", ["a"]), node(2, "MarkdownNote", ["b"])]), DEFINITIONS).prompt == {}


def test_a_node_of_an_unknown_class_is_sent_with_its_links_only() -> None:
    nodes = [node(1, "Unknown", [5], [linked("x", 1)], title="Mine"), node(2, "Empty")]
    sent = convert(graph(nodes, [[1, 2, 0, 1, 0, "*"]]), DEFINITIONS).prompt["1"]
    assert sent == {"inputs": {"x": ["2", 0]}, "class_type": "Unknown", "_meta": {"title": "Mine"}}


def test_titles_are_the_nodes_own_or_those_of_their_class() -> None:
    prompt = convert(graph([node(1, "Loader", title="Mine"), node(2, "Loader")]), DEFINITIONS).prompt
    assert [sent["_meta"]["title"] for sent in prompt.values()] == ["Mine", "Load Model"]


def reroutes(type_: str = "LATENT") -> dict[str, Any]:
    nodes = [
        node(1, "Save", inputs=[linked("latent", 3)]),
        node(2, "Reroute", inputs=[linked("", 2)], outputs=[output("*", 3)]),
        node(3, "Reroute", inputs=[linked("", 1)], outputs=[output("*", 2)]),
        node(4, "Empty" if type_ == "LATENT" else "Loader", outputs=[output(type_, 1)]),
    ]
    return graph(nodes, [[1, 4, 0, 3, 0, "*"], [2, 3, 0, 2, 0, "*"], [3, 2, 0, 1, 0, "*"]])


def test_reroutes_lead_to_where_they_come_from() -> None:
    conversion = convert(reroutes(), DEFINITIONS)
    assert conversion.prompt["1"]["inputs"] == {"latent": ["4", 0]}
    assert set(conversion.prompt) == {"1", "4"}


def test_reroutes_do_not_join_what_does_not_fit() -> None:
    assert inputs(reroutes("MODEL")) == {}


def primitive(value: Any, target: dict[str, Any], type_: str = "INT") -> dict[str, Any]:
    return graph(
        [target, node(2, "PrimitiveNode", [value, "randomize"], outputs=[output(type_, 1)])], [[1, 2, 0, 1, 0, type_]]
    )


def test_a_primitive_writes_its_value_into_the_widget() -> None:
    value = primitive(99, node(1, "Sampler", [7, "fixed"], [linked("seed", 1, "INT", widget=True)]))
    conversion = convert(value, DEFINITIONS)
    assert conversion.prompt["1"]["inputs"]["seed"] == 99
    assert set(conversion.prompt) == {"1"}


def test_a_primitive_keeps_to_the_limits_and_the_step_of_what_it_is_for() -> None:
    steps = linked("steps", 1, "INT", widget=True)
    assert inputs(primitive(1000, node(1, "Sampler", [7, "", 5], [steps])))["steps"] == 100
    assert inputs(primitive(1001, node(1, "Empty", [512], [linked("width", 1, "INT", widget=True)])))["width"] == 1000
    cfg = linked("cfg", 1, "FLOAT", widget=True)
    assert inputs(primitive(2.349, node(1, "Sampler", [7], [cfg]), "FLOAT"))["cfg"] == 2.3


def test_a_primitive_behind_a_reroute_has_no_say() -> None:
    nodes = [
        node(1, "Sampler", [7], [linked("seed", 2, "INT", widget=True)]),
        node(2, "Reroute", inputs=[linked("", 1)], outputs=[output("*", 2)]),
        node(3, "PrimitiveNode", [99], outputs=[output("INT", 1)]),
    ]
    assert inputs(graph(nodes, [[1, 3, 0, 2, 0, "*"], [2, 2, 0, 1, 0, "*"]]))["seed"] == 7


def behind(mode: int, *, slot: int = 0, second: bool = True) -> dict[str, Any]:
    """A node that saves what a Blend of two in `mode` gives."""
    nodes = [
        node(1, "Save", inputs=[linked("latent", 3, "LATENT")]),
        node(
            2,
            "Blend",
            inputs=[linked("a", 1), linked("b", 2 if second else None), linked("model", None)],
            outputs=[output("LATENT", 3), output("MODEL")],
            mode=mode,
        ),
        node(3, "Empty", outputs=[output("LATENT", 1)]),
        node(4, "Empty", outputs=[output("LATENT", 2)]),
    ]
    return graph(nodes, [[1, 3, 0, 2, 0, "LATENT"], [2, 4, 0, 2, 1, "LATENT"], [3, 2, slot, 1, 0, "LATENT"]])


def test_what_is_muted_is_left_out_with_all_links_to_it() -> None:
    conversion = convert(behind(2), DEFINITIONS)
    assert set(conversion.prompt) == {"1", "3", "4"}
    assert conversion.prompt["1"]["inputs"] == {}


def test_a_link_from_a_muted_node_leaves_the_widgets_own_value() -> None:
    nodes = [node(1, "Encode", ["own"], [linked("text", 1, widget=True)]), node(2, "Empty", mode=2)]
    assert inputs(graph(nodes, [[1, 2, 0, 1, 0, "STRING"]])) == {"text": "own"}


def test_what_is_bypassed_passes_on_the_input_in_the_outputs_place() -> None:
    assert inputs(behind(4)) == {"latent": ["3", 0]}


def test_what_is_bypassed_passes_on_the_first_input_of_the_type() -> None:
    # The second output is a MODEL: its own place does not fit, and the first LATENT does.
    assert inputs(behind(4, slot=1)) == {"latent": ["3", 0]}


def test_what_is_bypassed_without_a_fitting_input_passes_nothing_on() -> None:
    nodes = [
        node(1, "Save", inputs=[linked("latent", 1, "LATENT")]),
        node(2, "Empty", outputs=[output("LATENT", 1)], mode=4),
    ]
    assert inputs(graph(nodes, [[1, 2, 0, 1, 0, "LATENT"]])) == {}


def encoder(*, inner_mode: int = 0) -> dict[str, Any]:
    """A subgraph of one node that encodes a text."""
    nodes = [
        node(
            5,
            "Encode",
            ["inside"],
            [linked("clip", 1), linked("text", 2, widget=True)],
            [output("CONDITIONING", 3)],
            mode=inner_mode,
        )
    ]
    links = [(1, -10, 0, 5, 0), (2, -10, 1, 5, 1), (3, 5, 0, -20, 0)]
    ports = [("clip", "CLIP", [1]), ("text", "STRING", [2])]
    return subgraph(INNER, nodes, links, ports, [("CONDITIONING", "CONDITIONING", [3])])


def with_encoder(values: list[Any] | None, *, mode: int = 0, **more: Any) -> dict[str, Any]:
    nodes = [
        node(1, "Sampler", [7], [linked("positive", 2, "CONDITIONING")]),
        node(
            2,
            INNER,
            values,
            [linked("clip", 1, "CLIP"), linked("text", None, "STRING", widget=True)],
            [output("CONDITIONING", 2)],
            mode=mode,
            **more,
        ),
        node(3, "Loader", outputs=[output("MODEL"), output("CLIP", 1)]),
    ]
    links = [[1, 3, 1, 2, 0, "CLIP"], [2, 2, 0, 1, 0, "CONDITIONING"]]
    return graph(nodes, links, definitions={"subgraphs": [encoder()]})


def test_a_subgraph_is_written_out_under_the_id_of_the_node_that_stands_for_it() -> None:
    prompt = convert(with_encoder(["outside"]), DEFINITIONS).prompt
    assert set(prompt) == {"1", "2:5", "3"}
    assert prompt["2:5"]["inputs"] == {"text": "outside", "clip": ["3", 1]}
    assert prompt["1"]["inputs"]["positive"] == ["2:5", 0]


def test_a_value_outside_comes_before_the_one_inside_and_only_if_there_is_one() -> None:
    assert inputs(with_encoder(["outside"]), "2:5")["text"] == "outside"
    assert inputs(with_encoder(None), "2:5")["text"] == "inside"


def test_two_nodes_that_stand_for_one_subgraph_have_values_of_their_own() -> None:
    value = with_encoder(["one"])
    value["nodes"].append(node(4, INNER, ["other"]))
    assert inputs(value, "2:5")["text"] == "one"
    assert inputs(value, "4:5")["text"] == "other"


def test_a_bypassed_subgraph_is_passed_through_and_a_muted_one_is_left_out() -> None:
    assert set(convert(with_encoder(["x"], mode=4), DEFINITIONS).prompt) == {"1", "3"}
    assert "positive" not in inputs(with_encoder(["x"], mode=2))


def test_subgraphs_within_subgraphs_pass_values_down() -> None:
    outer = "22222222-2222-4222-8222-222222222222"
    nodes = [node(6, INNER, ["middle"], [linked("text", 1, widget=True)])]
    definition = subgraph(outer, nodes, [(1, -10, 0, 6, 1)], [("words", "STRING", [1])])
    value = graph([node(1, outer, ["top"])], definitions={"subgraphs": [definition, encoder()]})
    assert inputs(value, "1:6:5") == {"text": "top"}
    value["nodes"][0]["widgets_values"] = None
    assert inputs(value, "1:6:5") == {"text": "middle"}


def test_a_value_outside_is_no_prompt_with_choices() -> None:
    assert inputs(with_encoder(["{a|b}"]), "2:5")["text"] == "{a|b}"
    assert inputs(graph([node(1, "Encode", ["{a|b}"])])) == {"text": "a"}


def shown_by_proxy(*entries: list[str], values: list[Any]) -> dict[str, Any]:
    nodes = [
        node(5, "Sampler", [1, "fixed", 2], [linked("steps", None, "INT", widget=True)]),
        node(6, "Encode", ["inside"], [linked("text", 1, widget=True)]),
    ]
    definition = subgraph(INNER, nodes, [(1, -10, 0, 6, 0)], [("text", "STRING", [1])])
    host = node(1, INNER, values, properties={"proxyWidgets": list(entries)})
    return graph([host], definitions={"subgraphs": [definition]})


def test_widgets_shown_the_older_way_take_the_values_in_their_places() -> None:
    value = shown_by_proxy(["5", "steps"], ["6", "text"], values=[33, "outside"])
    assert inputs(value, "1:5")["steps"] == 33
    assert inputs(value, "1:6")["text"] == "outside"


def test_what_cannot_be_shown_the_older_way_keeps_its_place() -> None:
    entries = [["5", "control_after_generate"], ["9", "gone"], ["5", "$$preview"], ["5", "steps"]]
    assert inputs(shown_by_proxy(*entries, values=["fixed", 1, 2, 44]), "1:5")["steps"] == 44


def test_a_value_without_a_node_goes_to_the_input_of_its_name() -> None:
    assert inputs(shown_by_proxy(["-1", "text"], values=["by name"]), "1:6")["text"] == "by name"


def test_a_list_of_widgets_with_one_of_another_form_is_none() -> None:
    value = shown_by_proxy(["5", "steps"], ["6"], values=[33])
    assert inputs(value, "1:5")["steps"] == 2


def test_an_inner_primitive_becomes_an_input_that_sets_all_it_is_for() -> None:
    nodes = [
        node(5, "Sampler", [1, "fixed", 2], [linked("seed", 1, "INT", widget=True)]),
        node(6, "PrimitiveNode", [8], outputs=[output("INT", 1)]),
    ]
    # The slot in the link counts the sockets as the class has them: those without a widget come first.
    definition = subgraph(INNER, nodes, [(1, 6, 0, 5, 3)])
    host = node(1, INNER, [77], properties={"proxyWidgets": [["6", "value"]]})
    value = graph([host], definitions={"subgraphs": [definition]})
    assert inputs(value, "1:5")["seed"] == 77


def test_values_that_were_set_apart_go_to_the_input_of_their_name() -> None:
    entry = {
        "originalEntry": ["-1", "text"],
        "reason": "missingSourceNode",
        "hostValue": "kept",
        "attemptedAtVersion": 1,
    }
    assert inputs(with_encoder(["x"], properties={"proxyWidgetErrorQuarantine": [entry]}), "2:5")["text"] == "kept"


def test_ids_of_subgraphs_that_are_taken_become_new_ones() -> None:
    value = with_encoder(["outside"])
    value["nodes"].append(node(5, "Empty"))
    value["last_node_id"] = 40
    prompt = convert(value, DEFINITIONS).prompt
    assert set(prompt) == {"1", "2:41", "3", "5"}
    assert prompt["2:41"]["inputs"] == {"text": "outside", "clip": ["3", 1]}


def test_an_input_that_goes_straight_through_a_subgraph_is_followed() -> None:
    through = subgraph(INNER, [], [(1, -10, 0, -20, 0)], [("x", "LATENT", [1])], [("x", "LATENT", [1])])
    nodes = [
        node(1, "Save", inputs=[linked("latent", 2)]),
        node(2, INNER, inputs=[linked("x", 1)], outputs=[output("LATENT", 2)]),
        node(3, "Empty"),
    ]
    links = [[1, 3, 0, 2, 0, "LATENT"], [2, 2, 0, 1, 0, "LATENT"]]
    assert inputs(graph(nodes, links, definitions={"subgraphs": [through]})) == {"latent": ["3", 0]}


def test_a_choice_brings_the_inputs_that_follow_it() -> None:
    assert inputs(graph([node(1, "Resize", ["to", 640, 480, "lanczos"])])) == {
        "how": "to",
        "how.width": 640,
        "how.height": 480,
        "method": "lanczos",
    }
    assert inputs(graph([node(1, "Resize", ["by", 2, "lanczos"])]))["how.factor"] == 2
    assert inputs(graph([node(1, "Resize", ["none", "lanczos"])])) == {"how": "none", "method": "lanczos"}


def test_links_into_what_a_choice_brings_stay() -> None:
    nodes = [node(1, "Resize", ["like", "area"], [linked("how.other", 1, "IMAGE")]), node(2, "LoadImage")]
    assert inputs(graph(nodes, [[1, 2, 0, 1, 0, "IMAGE"]]))["how.other"] == ["2", 0]


def test_inputs_that_grow_are_sent_as_far_as_they_are_linked() -> None:
    sockets = [linked(f"images.image{n}", n if n != 1 else None, "IMAGE") for n in range(5)]
    nodes = [node(1, "Batch", inputs=sockets), node(2, "LoadImage")]
    sent = inputs(graph(nodes, [[n, 2, 0, 1, n, "IMAGE"] for n in (0, 2, 3, 4)]))
    assert sent == {f"images.image{n}": ["2", 0] for n in (0, 2, 3, 4)}


def test_dates_and_values_of_other_nodes_go_into_file_names() -> None:
    nodes = [
        node(1, "SaveImage", ["%date:yyyy-MM-dd%/%Empty.width%/%Mine.seed%/%nothing%"]),
        node(2, "Empty", [768]),
        node(3, "Sampler", [5], title="Mine"),
    ]
    sent = inputs(graph(nodes), now=datetime(2026, 2, 3))
    assert sent["filename_prefix"] == "2026-02-03/768/5/%nothing%"


def test_whoever_asks_may_choose_from_the_choices_in_a_prompt() -> None:
    assert inputs(graph([node(1, "Encode", ["{a|b|c}"])]), choose=lambda count: count - 1) == {"text": "c"}


def test_texts_that_are_left_as_they_are_written_can_be_chosen_from_later() -> None:
    conversion = convert(graph([node(1, "Encode", ["{a|b|c} // no"]), node(2, "Sampler")]), DEFINITIONS, choose=None)
    assert conversion.texts == (("1", "text"),)
    assert conversion.prompt["1"]["inputs"]["text"] == "{a|b|c} // no"
    chosen = with_choices(conversion.prompt, conversion.texts, lambda count: count - 1)
    assert chosen["1"]["inputs"]["text"] == "c "
    assert chosen["2"] == conversion.prompt["2"]


def test_a_group_node_is_written_out_with_its_own_values() -> None:
    group = {
        "nodes": [
            node(0, "Encode", ["in"], [linked("clip", None)], [output("CONDITIONING")]),
            node(0, "Sampler", [1, "fixed"], [linked("positive", None)]),
        ],
        "links": [[0, 0, 1, 0, 1, "CONDITIONING"]],
    }
    nodes = [
        node(1, "Loader", outputs=[output("MODEL"), output("CLIP", 1)]),
        node(2, "workflow>both", ["out", 6, "fixed", 30], [linked("clip", 1)], [output("LATENT", 2)]),
        node(3, "Save", inputs=[linked("latent", 2)]),
    ]
    links = [[1, 1, 1, 2, 0, "CLIP"], [2, 2, 0, 3, 0, "LATENT"]]
    value = graph(nodes, links, last_node_id=3, extra={"groupNodes": {"both": group}})
    prompt = convert(value, DEFINITIONS).prompt
    assert prompt["6:4"]["inputs"] == {"text": "out", "clip": ["1", 1]}
    assert prompt["6:5"]["inputs"]["positive"] == ["6:4", 0]
    assert (prompt["6:5"]["inputs"]["seed"], prompt["6:5"]["inputs"]["steps"]) == (6, 30)
    assert prompt["3"]["inputs"] == {"latent": ["6:5", 0]}
    assert classes_of(value) == {"Loader", "Save", "Encode", "Sampler"}


def test_variables_of_a_widespread_node_pack_are_followed() -> None:
    nodes = [
        node(1, "Save", inputs=[linked("latent", 2)]),
        node(2, "GetNode", ["L"], outputs=[output("*", 2)]),
        node(3, "SetNode", ["L"], [linked("LATENT", 1)]),
        node(4, "Empty"),
    ]
    conversion = convert(graph(nodes, [[1, 4, 0, 3, 0, "*"], [2, 2, 0, 1, 0, "*"]]), DEFINITIONS)
    assert conversion.prompt["1"]["inputs"] == {"latent": ["4", 0]}
    assert set(conversion.prompt) == {"1", "4"}


def test_what_is_not_in_the_file_is_a_problem_that_names_the_node() -> None:
    nodes = [
        node(1, INNER, title="My part"),
        node(2, "workflow>mine"),
        node(3, "Save", inputs=[linked("latent", 8)]),
        node(4, "Save", inputs=[linked("latent", 9)]),
        node(5, "GetNode", ["gone"]),
        node(6, "Save", inputs=[linked("latent", 7)]),
    ]
    conversion = convert(graph(nodes, [[9, 99, 0, 4, 0, "*"], [7, 5, 0, 6, 0, "*"]]), DEFINITIONS)
    assert reasons(conversion) == {
        "1": "the subgraph that it stands for is not in the file",
        "2": "the group node 'mine' has no definition in the file",
        "3": "the link of its input 'latent' is not in the file",
        "4": "the node that its input 'latent' is linked to is not in the file",
        "6": "there is no node that sets 'gone'",
    }
    assert conversion.problems[0].title == "My part"


def test_links_in_a_circle_are_a_problem() -> None:
    nodes = [
        node(1, "Save", inputs=[linked("latent", 1)]),
        node(2, "Reroute", inputs=[linked("", 2)], outputs=[output("*", 1, 3)]),
        node(3, "Reroute", inputs=[linked("", 3)], outputs=[output("*", 2)]),
    ]
    value = graph(nodes, [[1, 2, 0, 1, 0, "*"], [2, 3, 0, 2, 0, "*"], [3, 2, 0, 3, 0, "*"]])
    assert reasons(convert(value, DEFINITIONS)) == {"1": "its links lead in a circle back to where they began"}


def test_what_only_a_browser_can_make_is_a_problem() -> None:
    assert "ComfyUI's editor" in reasons(convert(graph([node(1, "Load3D", ["none"])]), DEFINITIONS))["1"]


def test_of_two_nodes_of_one_id_the_second_is_a_problem() -> None:
    conversion = convert(graph([node(1, "Empty", [64]), node(1, "Loader")]), DEFINITIONS)
    assert conversion.prompt["1"]["class_type"] == "Empty"
    assert reasons(conversion) == {"1": "another node has the id 1 too"}


def test_the_classes_that_are_needed_are_those_that_the_server_knows() -> None:
    value = with_encoder(None)
    value["nodes"] += [node(8, "Reroute"), node(9, "Note"), node(10, "workflow>x"), node(11, "Unknown")]
    assert classes_of(value) == {"Sampler", "Loader", "Encode", "Unknown"}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([], "no list of 'nodes'"),
        ({"nodes": {}}, "no list of 'nodes'"),
        (graph([{"id": 1}]), "node 1 of the workflow has no type"),
        (graph([{"type": "A"}]), "a node of the workflow has no id"),
        (graph([node(1, "A", inputs=[{"link": 1}])]), "an input of node 1 of the workflow has no name"),
        ({"nodes": [], "links": [5]}, "a link of the workflow is neither a list of five nor an object"),
        ({"nodes": [], "definitions": {"subgraphs": [{}]}}, "a subgraph of the workflow has no id"),
        (graph([node(n, "A") for n in range(5_001)]), "at most 5000"),
    ],
)
def test_what_is_no_graph_is_refused_and_said_to_be_so(value: Any, message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        convert(value, DEFINITIONS)
