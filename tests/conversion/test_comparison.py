"""What counts as a difference between two prompts."""

from typing import Any

import pytest

from tests.conversion.comparison import differences, explanation_of, is_same


def prompt(class_type: str = "KSampler", **inputs: Any) -> dict[str, dict[str, Any]]:
    return {"5": {"class_type": class_type, "inputs": inputs}}


@pytest.mark.parametrize(
    ("theirs", "ours"), [(8, 8.0), (18446744073709552000, 18446744073709551615), ([1, {"a": 2}], [1.0, {"a": 2}])]
)
def test_numbers_are_compared_as_javascript_reads_them(theirs: Any, ours: Any) -> None:
    assert is_same(theirs, ours)


@pytest.mark.parametrize(
    ("theirs", "ours"), [(1, True), (1, "1"), (None, 0), ("a", "A"), ([1], [1, 2]), ({"a": 1}, {"b": 1}), ({}, [])]
)
def test_values_of_another_kind_differ(theirs: Any, ours: Any) -> None:
    assert not is_same(theirs, ours)


def test_prompts_that_are_the_same_have_no_difference() -> None:
    assert differences(prompt(seed=1, model=["1", 0]), prompt(model=["1", 0], seed=1)) == []


def test_a_difference_names_the_node_the_input_and_both_values() -> None:
    [found] = differences(prompt(seed=1), prompt(seed=2))
    assert str(found) == "node 5 (KSampler), seed: theirs 1, ours 2"


def test_an_input_that_one_lacks_is_a_difference() -> None:
    assert [str(one) for one in differences(prompt(seed=1), prompt(steps=2))] == [
        "node 5 (KSampler), seed: theirs 1, ours nothing",
        "node 5 (KSampler), steps: theirs nothing, ours 2",
    ]


def test_a_node_that_one_lacks_is_a_difference() -> None:
    assert [one.what for one in differences(prompt(), {})] == ["node"]
    assert [one.what for one in differences({}, prompt())] == ["node"]


def test_another_class_is_a_difference() -> None:
    assert [one.what for one in differences(prompt("KSampler"), prompt("SaveImage"))] == ["class"]


def test_of_a_class_that_comfyui_lacks_only_the_links_count() -> None:
    theirs: dict[str, dict[str, Any]] = {"5": {"inputs": {"UNKNOWN": 3, "image": ["1", 0]}}}
    assert differences(theirs, prompt("NoSuchNode", image=["1", 0])) == []
    assert [one.what for one in differences(theirs, prompt("NoSuchNode", image=["2", 0]))] == ["image"]


def test_the_pictures_of_a_3d_scene_are_explained_and_nothing_else_of_it() -> None:
    image, width = differences(prompt("Load3D", image={"image": "x"}, width=1), prompt("Load3D", image="", width=2))
    assert explanation_of({"nodes": []}, image)
    assert explanation_of({"nodes": []}, width) is None
