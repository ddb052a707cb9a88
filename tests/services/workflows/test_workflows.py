from typing import Any

import pytest

from services.errors import InvalidRequest
from services.workflows import MAX_NODES, check_shape

NODE = {"class_type": "EmptyImage", "inputs": {"width": 64}}
EDITOR = {"nodes": [{"id": 1, "type": "EmptyImage"}], "links": [], "version": 0.4}

WRONG: dict[str, tuple[Any, str]] = {
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


@pytest.mark.parametrize(("value", "words"), WRONG.values(), ids=WRONG)
def test_what_is_no_prompt_is_refused_with_a_sentence(value: Any, words: str) -> None:
    with pytest.raises(InvalidRequest, match=words) as caught:
        check_shape(value)
    assert len(caught.value.message) < 300


def test_a_prompt_is_taken_as_it_is() -> None:
    prompt = {"1": {**NODE, "_meta": {"title": "Größe"}}, "2": NODE}
    assert check_shape(prompt) == prompt
