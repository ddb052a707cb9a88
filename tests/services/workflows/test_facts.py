from typing import Any

from services.workflows.facts import MAX_CHARACTERS, MAX_FACTS, Fact, facts_of


def node(class_type: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs}


def test_texts_are_told_apart_by_the_input_that_they_reach() -> None:
    prompt = {
        "1": node("KSampler", seed=5, positive=["2", 0], negative=["3", 0]),
        "2": node("FluxGuidance", guidance=3.5, conditioning=["4", 0]),
        "3": node("CLIPTextEncode", text="blurred", clip=["9", 1]),
        "4": node("CLIPTextEncode", text=["5", 0], clip=["9", 1]),
        "5": node("PrimitiveStringMultiline", value=" a lake "),
    }
    assert facts_of(prompt)[:2] == (Fact("Prompt", "a lake"), Fact("Negative prompt", "blurred"))
    assert Fact("Guidance", "3.5") in facts_of(prompt)


def test_a_text_that_no_sampler_names_is_found_by_its_node() -> None:
    assert facts_of({"1": node("TextEncodeQwenImageEdit", prompt="a lake")}) == (Fact("Prompt", "a lake"),)


def test_models_are_named_by_their_folder() -> None:
    prompt = {
        "1": node("CheckpointLoaderSimple", ckpt_name="a.safetensors"),
        "2": node("LoraLoader", lora_name="b.safetensors"),
    }
    assert facts_of(prompt) == (Fact("Checkpoint", "a.safetensors"), Fact("LoRA", "b.safetensors"))


def test_links_and_switches_are_no_facts() -> None:
    assert facts_of({"1": node("KSampler", seed=["2", 0], steps=True)}) == ()


def test_nodes_that_lead_in_a_circle_end() -> None:
    prompt = {
        "1": node("A", positive=["2", 0]),
        "2": node("B", conditioning=["1", 0]),
        "3": node("C", positive=["3", 0]),
    }
    assert facts_of(prompt) == ()


def test_there_are_no_more_than_fit_on_a_page() -> None:
    prompt = {str(number): node("KSampler", seed=number) for number in range(500)}
    assert len(facts_of(prompt)) == MAX_FACTS
    (long,) = facts_of({"1": node("CLIPTextEncode", text="a" * 100_000)})
    assert len(long.value) == MAX_CHARACTERS
