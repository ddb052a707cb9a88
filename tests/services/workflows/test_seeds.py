from typing import Any

import pytest

from services.workflows.seeds import MAX_SEED, Seed, batch, seed_inputs

DEFINITIONS: dict[str, dict[str, Any]] = {
    "KSampler": {"input": {"required": {"seed": ["INT", {"min": 0, "max": 2**64 - 1}], "steps": ["INT", {}]}}},
    "RandomNoise": {"input": {"required": {"noise_seed": ["INT", {"min": 0, "max": 100}]}}},
    "Cycling": {"input": {"required": {"number": ["INT", {"control_after_generate": True}]}}},
    "Chosen": {"input": {"required": {"seed": [["a", "b"], {"control_after_generate": True}]}}},
    "PrimitiveInt": {"input": {"required": {"value": ["INT", {"control_after_generate": True}]}}},
}


def node(class_type: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs}


SAMPLER = {"1": node("KSampler", seed=5, steps=20)}


def seeds(prompts: list[dict[str, dict[str, Any]]]) -> list[Any]:
    return [prompt["1"]["inputs"]["seed"] for prompt in prompts]


@pytest.mark.parametrize(
    ("class_type", "name"), [("KSampler", "seed"), ("RandomNoise", "noise_seed"), ("Cycling", "number")]
)
def test_seeds_are_told_by_their_name_and_by_what_the_editor_does_with_them(class_type: str, name: str) -> None:
    found = seed_inputs({"1": node(class_type, **{name: 1})}, DEFINITIONS)
    assert [(node_id, one.name) for node_id, one in found] == [("1", name)]


@pytest.mark.parametrize(
    "prompt",
    [
        {"1": node("KSampler", seed=["2", 0])},
        {"1": node("KSampler", steps=3)},
        {"1": node("Chosen", seed="a")},
        {"1": node("Unknown", seed=1)},
        {"1": node("PrimitiveInt", value=512), "2": node("KSampler", steps=["1", 0])},
    ],
)
def test_what_is_no_seed_or_linked_is_left_alone(prompt: dict[str, dict[str, Any]]) -> None:
    assert seed_inputs(prompt, DEFINITIONS) == []
    assert batch(prompt, DEFINITIONS, 9, 1)[0] == prompt


def test_a_number_that_is_linked_to_a_seed_is_one() -> None:
    prompt = {"1": node("PrimitiveInt", value=1), "2": node("KSampler", seed=["1", 0])}
    assert batch(prompt, DEFINITIONS, 9, 1)[0]["1"]["inputs"]["value"] == 9


def test_every_seed_becomes_the_same_and_the_prompt_itself_stays() -> None:
    prompt = {**SAMPLER, "2": node("KSampler", seed=6, steps=20)}
    changed = batch(prompt, DEFINITIONS, 9, 1)[0]
    assert [changed[id_]["inputs"] for id_ in "12"] == [{"seed": 9, "steps": 20}] * 2
    assert prompt["1"]["inputs"]["seed"] == 5


def test_a_seed_that_an_input_cannot_hold_is_what_is_left_of_it() -> None:
    prompt = {"1": node("RandomNoise", noise_seed=1)}
    assert batch(prompt, DEFINITIONS, 250, 1)[0]["1"]["inputs"]["noise_seed"] == 250 % 101


@pytest.mark.parametrize(
    ("seed", "count", "expected"), [(None, 1, [5]), (None, 3, [5, 6, 7]), (100, 1, [100]), (100, 3, [100, 101, 102])]
)
def test_a_batch_has_one_seed_after_the_other(seed: Seed, count: int, expected: list[int]) -> None:
    assert seeds(batch(SAMPLER, DEFINITIONS, seed, count)) == expected


def test_random_seeds_are_distinct_and_can_be_shown() -> None:
    drawn = seeds(batch(SAMPLER, DEFINITIONS, "random", 100))
    assert len(set(drawn)) == 100
    assert all(0 <= seed <= MAX_SEED for seed in drawn)


def test_a_batch_of_what_has_no_seed_is_the_same_over_and_over() -> None:
    prompt = {"1": node("KSampler", steps=3)}
    assert batch(prompt, DEFINITIONS, "random", 2) == [prompt, prompt]
