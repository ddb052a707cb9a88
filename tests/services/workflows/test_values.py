"""What ComfyUI would refuse of a prompt's values and links."""

from typing import Any

import pytest

from services.comfyui import Prompt
from services.workflows.report import CHOICES_MAX
from services.workflows.values import TOLD_MAX, Judged, judge

SAMPLERS = ["euler", "euler_ancestral", "dpmpp_2m"]
SIZES = {"min": 1, "max": 100}
CLASSES: dict[str, Any] = {
    "Source": {"input": {"required": {}}, "output": ["IMAGE", "MASK"]},
    "Numbers": {
        "input": {"required": {"width": ["INT", SIZES]}, "optional": {"strength": ["FLOAT", {}]}},
        "output": ["LATENT"],
        "output_node": True,
    },
    "Choice": {"input": {"required": {"sampler": [SAMPLERS]}}, "output": [], "output_node": True},
    "NewChoice": {
        "input": {"required": {"sampler": ["COMBO", {"options": SAMPLERS}]}},
        "output": [],
        "output_node": True,
    },
    "Several": {
        "input": {"required": {"s": [SAMPLERS, {"multiselect": True}]}},
        "output": [],
        "output_node": True,
    },
    "Remote": {"input": {"required": {"s": ["COMBO", {"remote": {"route": "/x"}}]}}, "output_node": True, "output": []},
    "Save": {"input": {"required": {"images": ["IMAGE"]}}, "output": [], "output_node": True},
    "Any": {"input": {"required": {"anything": ["*", {}]}}, "output": [], "output_node": True},
    "Union": {"input": {"required": {"x": ["MASK,IMAGE"]}}, "output": [], "output_node": True},
    "LoadImage": {
        "input": {"required": {"image": [["here.png"], {"image_upload": True}]}},
        "output": ["IMAGE", "MASK"],
        "output_node": True,
    },
    "Custom": {
        "input": {"required": {"sampler": [SAMPLERS]}},
        "output": [],
        "output_node": True,
        "python_module": "custom_nodes.x",
    },
    "Dynamic": {
        "input": {
            "required": {
                "mode": [
                    "COMFY_DYNAMICCOMBO_V3",
                    {"options": [{"key": "size", "inputs": {"required": {"width": ["INT", SIZES]}}}, {"key": "none"}]},
                ],
                "group": ["COMFY_AUTOGROW_V3", {"template": {}}],
            }
        },
        "output": [],
        "output_node": True,
    },
    "Loop": {"input": {"required": {"a": ["IMAGE"]}}, "output": ["IMAGE"]},
}


def judged(**nodes: tuple[str, dict[str, Any]]) -> Judged:
    """Of nodes by id: (class, inputs)."""
    prompt: Prompt = {id_: {"class_type": class_type, "inputs": inputs} for id_, (class_type, inputs) in nodes.items()}
    titles = {id_: class_type for id_, (class_type, _) in nodes.items()}
    return judge(prompt, CLASSES, titles, lambda name: name == "sub/there.png [output]", lambda *_: False)


@pytest.mark.parametrize(
    ("class_type", "inputs"),
    [
        ("Numbers", {"width": 1, "strength": -5}),
        ("Numbers", {"width": "100"}),
        ("Numbers", {"width": 99.9}),
        ("Numbers", {"width": True}),
        ("Numbers", {"width": {"__value__": 5}}),
        ("Choice", {"sampler": "euler", "unheard_of": object}),
        ("Several", {"s": {"__value__": ["euler", "dpmpp_2m"]}}),
        ("Remote", {"s": "whatever"}),
        ("LoadImage", {"image": "here.png"}),
        ("LoadImage", {"image": "sub/there.png [output]"}),
        ("Dynamic", {"mode": "size", "mode.width": 5}),
        ("Dynamic", {"mode": "none"}),
    ],
)
def test_what_comfyui_takes_is_not_told(class_type: str, inputs: dict[str, Any]) -> None:
    assert judged(one=(class_type, inputs)) == Judged((), True, ("one",))


@pytest.mark.parametrize(
    ("class_type", "inputs", "input_", "words"),
    [
        ("Numbers", {}, "width", "neither"),
        ("Numbers", {"width": "wide"}, "width", "must be a whole number, and is 'wide'"),
        ("Numbers", {"width": None}, "width", "must be a whole number"),
        ("Numbers", {"width": 0}, "width", "at least 1, and is 0"),
        ("Numbers", {"width": 101}, "width", "at most 100, and is 101"),
        ("Numbers", {"width": 5, "strength": "strong"}, "strength", "must be a number"),
        ("Choice", {"sampler": "eulr"}, "sampler", "'eulr' is not one of the 3 choices"),
        ("Choice", {"sampler": None}, "sampler", "not one of the 3 choices"),
        ("Several", {"s": {"__value__": ["euler", "x"]}}, "s", "'x' is not one"),
        ("LoadImage", {"image": "gone.png"}, "image", "'gone.png' is not among ComfyUI's inputs"),
        ("LoadImage", {"image": ""}, "image", "choose one"),
        ("LoadImage", {"image": True}, "image", "names no file"),
        ("Save", {"images": ["nobody", 0]}, "images", "node nobody, which is not in the workflow"),
        ("Save", {"images": ["one", 0, 0]}, "images", "a link is"),
        ("Save", {"images": [1, 0]}, "images", "not in the workflow"),
        ("Dynamic", {"mode": "size"}, "mode.width", "neither"),
        ("Dynamic", {"mode": "size", "mode.width": 500}, "mode.width", "at most 100"),
    ],
)
def test_what_comfyui_refuses_is_told_with_the_input_and_why(
    class_type: str, inputs: dict[str, Any], input_: str, words: str
) -> None:
    found = judged(one=(class_type, inputs))
    (wrong,) = found.wrong
    assert (wrong.node_id, wrong.class_type, wrong.input, wrong.refused) == ("one", class_type, input_, True)
    assert words in wrong.message
    assert not found.can_run


@pytest.mark.parametrize("class_type", ["Custom", "NewChoice"])
def test_what_comfyui_may_take_is_told_and_does_not_keep_it_from_running(class_type: str) -> None:
    found = judged(one=(class_type, {"sampler": "own"}))
    assert [wrong.refused for wrong in found.wrong] == [False]
    assert found.can_run


def test_the_nearest_choices_come_first() -> None:
    (wrong,) = judged(one=("Choice", {"sampler": "Euler_ancestrl"})).wrong
    assert wrong.choices == ("euler_ancestral", "euler", "dpmpp_2m")


def test_no_more_choices_are_told_than_can_be_read() -> None:
    names = [f"sampler {number}" for number in range(10_000)]
    classes = {"C": {"input": {"required": {"s": [names]}}, "output_node": True}}
    prompt = {"1": {"class_type": "C", "inputs": {"s": "sampler 7x"}}}
    (wrong,) = judge(prompt, classes, {"1": "C"}, lambda _: True, lambda *_: False).wrong
    assert len(wrong.choices) == CHOICES_MAX
    assert wrong.choices[0] == "sampler 7"


@pytest.mark.parametrize(
    ("class_type", "input_", "link", "words"),
    [
        ("Save", "images", ["source", 1], "takes IMAGE and is linked to MASK"),
        ("Save", "images", ["source", 2], "output 2, and node source (Source) has 2"),
        ("Save", "images", ["source", "0"], "linked to output 0"),
        ("Choice", "sampler", ["source", 0], "linked to IMAGE"),
    ],
)
def test_a_link_that_does_not_fit_is_told(class_type: str, input_: str, link: list[Any], words: str) -> None:
    (wrong,) = judged(source=("Source", {}), one=(class_type, {input_: link})).wrong
    assert words in wrong.message


@pytest.mark.parametrize(
    ("class_type", "input_", "slot"),
    [("Save", "images", 0), ("Any", "anything", 1), ("Union", "x", 1), ("Union", "x", 0)],
)
def test_a_link_that_fits_is_not_told(class_type: str, input_: str, slot: int) -> None:
    assert judged(source=("Source", {}), one=(class_type, {input_: ["source", slot]})).wrong == ()


def test_what_no_output_needs_is_not_looked_at() -> None:
    found = judged(source=("Source", {}), one=("Save", {"images": ["source", 0]}), idle=("Loop", {}))
    assert (found.wrong, found.can_run) == ((), True)


def test_one_output_that_would_run_is_enough() -> None:
    found = judged(source=("Source", {}), one=("Save", {"images": ["source", 0]}), two=("Choice", {"sampler": "x"}))
    assert (len(found.wrong), found.can_run) == (1, True)


def test_what_an_output_needs_spoils_it() -> None:
    found = judged(bad=("LoadImage", {"image": "gone.png"}), one=("Save", {"images": ["bad", 0]}))
    assert not found.can_run


def test_a_workflow_without_an_output_is_told_so() -> None:
    found = judged(source=("Source", {}))
    assert (found.can_run, found.wrong[0].node_id) == (False, "")
    assert "Save Image" in found.wrong[0].message


def test_links_in_a_circle_are_told_at_the_nodes_that_make_it() -> None:
    found = judged(
        a=("Loop", {"a": ["b", 0]}),
        b=("Loop", {"a": ["a", 0]}),
        before=("Loop", {"a": ["source", 0]}),
        source=("Source", {}),
        one=("Save", {"images": ["a", 0], "more": ["before", 0]}),
    )
    assert [wrong.node_id for wrong in found.wrong] == ["a", "b"]
    assert not found.can_run


def test_thousands_of_nodes_are_judged_at_once() -> None:
    chain = {str(number): ("Loop", {"a": [str(number + 1), 0]}) for number in range(4_000)}
    found = judged(**chain, **{"4000": ("Source", {}), "one": ("Save", {"images": ["0", 0]})})
    assert (found.wrong, found.can_run) == ((), True)


def test_thousands_of_wrong_values_are_told_within_bounds() -> None:
    names = [f"sampler {number}" for number in range(3_000)]
    classes = {"C": {"input": {"required": {"s": [names]}}, "output_node": True}}
    prompt: Prompt = {str(number): {"class_type": "C", "inputs": {"s": "sampler x"}} for number in range(2_000)}
    found = judge(prompt, classes, dict.fromkeys(prompt, "C"), lambda _: True, lambda *_: False)
    assert len(found.wrong) == TOLD_MAX
    assert not found.can_run
