import math
from typing import Any

import pytest

from services.errors import InvalidRequest
from services.workflows.inputs import MAX_INPUTS, MAX_VALUES, FormInput, apply, form

HIGHEST = 2**64 - 1


def number(type_: str, **options: Any) -> list[Any]:
    return [type_, options]


DEFINITIONS: dict[str, dict[str, Any]] = {
    "CheckpointLoaderSimple": {"input": {"required": {"ckpt_name": [["a.safetensors", "b.safetensors"], {}]}}},
    "CLIPTextEncode": {"input": {"required": {"text": ["STRING", {"multiline": True}], "clip": ["CLIP"]}}},
    "ConditioningZeroOut": {"input": {"required": {"conditioning": ["CONDITIONING"]}}},
    "KSampler": {
        "input": {
            "required": {
                "model": ["MODEL"],
                "seed": number("INT", min=0, max=HIGHEST, control_after_generate=True),
                "steps": number("INT", min=1, max=10_000),
                "cfg": number("FLOAT", min=0.0, max=100.0, step=0.1),
                "sampler_name": [["euler", "dpmpp_2m"], {}],
                "positive": ["CONDITIONING"],
                "negative": ["CONDITIONING"],
                "denoise": number("FLOAT", min=0.0, max=1.0),
            }
        }
    },
    "EmptyLatentImage": {
        "input": {"required": {"width": number("INT", min=16, max=16_384, step=8), "batch_size": number("INT", min=1)}}
    },
    "LoadImage": {"input": {"required": {"image": [["x.png"], {"image_upload": True}]}}},
    "LoadVideo": {"input": {"required": {"file": ["COMBO", {"options": ["x.mp4"], "video_upload": True}]}}},
    "PrimitiveInt": {"input": {"required": {"value": number("INT", control_after_generate=True)}}},
    "PrimitiveString": {"input": {"required": {"value": ["STRING", {}]}}},
    "SaveImage": {"input": {"required": {"images": ["IMAGE"], "filename_prefix": ["STRING", {}]}}},
    "Switch": {"input": {"required": {"on": ["BOOLEAN", {}]}}},
    "Other": {"input": {"required": {"mode": [["a", "b"], {}], "strange": ["WEIRD", {}]}}},
}


def node(class_type: str, title: str | None = None, **inputs: Any) -> dict[str, Any]:
    made: dict[str, Any] = {"class_type": class_type, "inputs": inputs}
    return {**made, "_meta": {"title": title}} if title else made


def usual(**sampler: Any) -> dict[str, dict[str, Any]]:
    return {
        "4": node("CheckpointLoaderSimple", ckpt_name="a.safetensors"),
        "5": node("EmptyLatentImage", width=512, batch_size=1),
        "7": node("CLIPTextEncode", text="blurry", clip=["4", 1]),
        "6": node("CLIPTextEncode", "Say it", text="a cat", clip=["4", 1]),
        "3": node(
            "KSampler",
            **{
                "model": ["4", 0],
                "seed": 7,
                "steps": 20,
                "cfg": 8.0,
                "sampler_name": "euler",
                "positive": ["6", 0],
                "negative": ["7", 0],
                "denoise": 1.0,
                **sampler,
            },
        ),
        "9": node("SaveImage", images=["8", 0], filename_prefix="ComfyUI"),
    }


def found(prompt: dict[str, dict[str, Any]], key: str) -> FormInput:
    return next(one for one in form(prompt, DEFINITIONS) if one.key == key)


def test_what_people_change_is_offered_best_first() -> None:
    assert [one.key for one in form(usual(), DEFINITIONS)] == [
        "6.text",
        "7.text",
        "3.seed",
        "5.width",
        "5.batch_size",
        "3.steps",
        "3.cfg",
        "3.denoise",
        "3.sampler_name",
        "4.ckpt_name",
    ]


def test_an_input_says_what_it_takes() -> None:
    assert found(usual(), "6.text") == FormInput(
        "6.text", "6", "text", "Say it", "Prompt", "text", "a cat", multiline=True
    )
    assert found(usual(), "7.text").label == "Negative prompt"
    assert found(usual(), "5.width") == FormInput(
        "5.width", "5", "width", "EmptyLatentImage", "Width", "integer", 512, 16, 16_384, 8
    )
    sampler = found(usual(), "3.sampler_name")
    assert (sampler.kind, sampler.label, sampler.choices) == ("choice", "Sampler", ("euler", "dpmpp_2m"))


def test_the_largest_seed_is_one_that_a_browser_can_hold() -> None:
    assert (found(usual(), "3.seed").kind, found(usual(), "3.seed").maximum) == ("seed", 2**53 - 1)


def test_what_is_linked_is_not_offered() -> None:
    prompt = {**usual(seed=["1", 0]), "1": node("PrimitiveInt", "The seed", value=3)}
    keys = [one.key for one in form(prompt, DEFINITIONS)]
    assert "3.seed" not in keys
    assert (found(prompt, "1.value").kind, found(prompt, "1.value").label) == ("seed", "Seed")


def test_a_number_that_is_linked_to_a_width_is_one() -> None:
    prompt = {
        "1": node("PrimitiveInt", value=3),
        "5": node("EmptyLatentImage", width=["1", 0], batch_size=1),
    }
    assert (found(prompt, "1.value").kind, found(prompt, "1.value").label) == ("integer", "Width")


def test_a_text_that_is_blanked_for_the_negative_side_is_the_prompt() -> None:
    prompt = {**usual(negative=["10", 0]), "10": node("ConditioningZeroOut", conditioning=["6", 0])}
    assert found(prompt, "6.text").label == "Prompt"


def test_a_text_node_in_front_of_the_prompt_is_the_prompt() -> None:
    prompt = {
        **usual(),
        "6": node("CLIPTextEncode", text=["1", 0], clip=["4", 1]),
        "1": node("PrimitiveString", value="x"),
    }
    assert found(prompt, "1.value").label == "Prompt"


def test_a_title_tells_where_links_do_not() -> None:
    prompt = {"1": node("CLIPTextEncode", "Negative", text="x", clip=["4", 1])}
    assert found(prompt, "1.text").label == "Negative prompt"


def test_links_in_a_circle_are_followed_once() -> None:
    prompt = {
        "1": node("CLIPTextEncode", text="x", clip=["2", 0]),
        "2": node("ConditioningZeroOut", conditioning=["3", 0]),
        "3": node("Other", mode=["1", 0], strange=["3", 0]),
    }
    assert found(prompt, "1.text").kind == "text"


def test_files_are_told_by_what_they_hold() -> None:
    prompt = {"1": node("LoadImage", image="mine.png"), "2": node("LoadVideo", file="x.mp4")}
    assert [(one.key, one.kind) for one in form(prompt, DEFINITIONS)] == [("1.image", "image"), ("2.file", "video")]


def test_names_of_files_and_rare_inputs_are_left_out() -> None:
    prompt = {"1": node("SaveImage", images=["2", 0], filename_prefix="x"), "2": node("Other", mode="a", strange=1)}
    assert form(prompt, DEFINITIONS) == ()


def test_nodes_that_comfyui_does_not_know_have_nothing_to_offer() -> None:
    assert form({"1": node("Unknown", text="x")}, DEFINITIONS) == ()


def test_no_more_is_offered_than_anyone_reads() -> None:
    prompt = {str(n): node("CLIPTextEncode", text="x", clip=["4", 1]) for n in range(200)}
    assert len(form(prompt, DEFINITIONS)) == MAX_INPUTS


def test_values_take_their_place_and_the_rest_stays() -> None:
    prompt = usual()
    changed = apply(prompt, DEFINITIONS, {"6.text": "a dog", "3.cfg": 4, "3.seed": HIGHEST})
    assert changed["6"]["inputs"]["text"] == "a dog"
    assert changed["3"]["inputs"] == {**prompt["3"]["inputs"], "cfg": 4, "seed": HIGHEST}
    assert prompt == usual()


def test_inputs_of_inner_nodes_and_of_dynamic_ones_are_found() -> None:
    definitions = {"Model": {"input": {"required": {"model.seed": number("INT")}}}}
    prompt = {"57:3": {"class_type": "Model", "inputs": {"model.seed": 1}}}
    changed = apply(prompt, definitions, {"57:3.model.seed": 5})
    assert changed == {"57:3": {"class_type": "Model", "inputs": {"model.seed": 5}}}


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("6.nothing", "x", "has no input '6.nothing'"),
        ("nothing", "x", "has no input 'nothing'"),
        ("77.text", "x", "has no input"),
        ("", "x", "has no input"),
        ("x" * 5000, "x", "has no input"),
        ("3.model", "x", "linked to another node"),
        ("6.text", 5, "must be a text"),
        ("3.steps", 0, "must be 1 or more"),
        ("3.steps", 2.5, "must be a whole number"),
        ("3.steps", True, "must be a number"),
        ("3.steps", "20", "must be a number"),
        ("3.cfg", 1000, "must be 100.0 or less"),
        ("3.cfg", 10**400, "must be 100.0 or less"),
        ("3.cfg", math.inf, "must be a number"),
        ("3.cfg", None, "must be a number"),
        ("3.sampler_name", "magic", "must be one of euler, dpmpp_2m"),
        ("4.ckpt_name", ["a"], "must be one of a.safetensors"),
        ("6.text", ["4", 0], "must be a text"),
        ("20.on", 1, "must be true or false"),
    ],
)
def test_a_value_that_does_not_fit_is_named(key: str, value: Any, reason: str) -> None:
    with pytest.raises(InvalidRequest, match=reason) as refused:
        apply({**usual(), "20": node("Switch", on=True)}, DEFINITIONS, {key: value})
    assert key[:80] in refused.value.message


def test_a_picture_that_was_just_sent_need_not_be_among_the_choices() -> None:
    prompt = {"1": node("LoadImage", image="x.png")}
    assert apply(prompt, DEFINITIONS, {"1.image": "new.png"})["1"]["inputs"]["image"] == "new.png"


def test_nobody_needs_a_thousand_values() -> None:
    with pytest.raises(InvalidRequest, match="at most"):
        apply(usual(), DEFINITIONS, {str(n): 1 for n in range(MAX_VALUES + 1)})
