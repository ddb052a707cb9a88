import io
import json
import os
import random
import tracemalloc
from pathlib import Path
from typing import Any

import msgspec
import pytest
from PIL import Image, PngImagePlugin

from services.errors import InvalidRequest
from services.named_models import MAX_VALUES
from services.workflows.document import (
    MAX_NESTING,
    Document,
    from_value,
    node_count,
    plain_of,
    read_document,
    read_document_file,
)
from services.workflows.shape import MAX_NODES
from tests.fakes import carriers
from tests.fakes.carriers import CARRIERS

GRAPH: dict[str, Any] = {"nodes": [{"id": 1, "type": "EmptyImage", "title": "Größe"}], "links": [], "version": 0.4}
PROMPT: dict[str, Any] = {"1": {"class_type": "EmptyImage", "inputs": {"width": 64}}}
BOTH = {"workflow": json.dumps(GRAPH), "prompt": json.dumps(PROMPT)}


def refusal(data: bytes) -> str:
    with pytest.raises(InvalidRequest) as caught:
        read_document(data)
    assert len(caught.value.message) < 400
    return caught.value.message


# JSON


def test_a_graph_and_a_prompt_are_told_apart() -> None:
    assert from_value(GRAPH) == Document(graph=GRAPH)
    assert from_value(PROMPT) == Document(prompt=PROMPT)


WRAPPED: dict[str, tuple[Any, Document]] = {
    "a call to ComfyUI": ({"prompt": PROMPT, "client_id": "x"}, Document(prompt=PROMPT)),
    "a call to ComfyUI by its editor": (
        {"prompt": PROMPT, "extra_data": {"extra_pnginfo": {"workflow": GRAPH}}},
        Document(GRAPH, PROMPT),
    ),
    "what the editor's own function gives": ({"output": PROMPT, "workflow": GRAPH}, Document(GRAPH, PROMPT)),
    "a call to a serverless worker": ({"input": {"workflow": PROMPT, "images": []}}, Document(prompt=PROMPT)),
    "texts within": (BOTH, Document(GRAPH, PROMPT)),
    "one that is broken beside one that is not": (
        {"workflow": {"nodes": []}, "prompt": PROMPT},
        Document(None, PROMPT),
    ),
    "nodes with what Civitai adds": ({**PROMPT, "extra": {"airs": []}, "extraMetadata": "{}"}, Document(prompt=PROMPT)),
    "a graph beside nothing": ({"workflow": GRAPH, "prompt": {}}, Document(graph=GRAPH)),
}


@pytest.mark.parametrize(("value", "document"), WRAPPED.values(), ids=WRAPPED)
def test_what_is_wrapped_is_unwrapped(value: Any, document: Document) -> None:
    assert from_value(value) == document


@pytest.mark.parametrize("name", ["prompt", "workflow", "input", "output", "nodes", "extra_data"])
def test_a_node_may_be_called_anything(name: str) -> None:
    prompt = {name: PROMPT["1"]}
    assert from_value(prompt) == Document(prompt=prompt)


WRONG: dict[str, tuple[Any, str]] = {
    "a list": ([GRAPH], "JSON object"),
    "a text": ("workflow", "JSON object"),
    "an empty object": ({}, "not an empty one"),
    "a graph without nodes": ({"nodes": [], "links": []}, "no nodes"),
    "nodes that are none": ({"nodes": [1]}, "objects"),
    "a workflow of another program": ({"nodes": [{"id": "a"}], "edges": []}, "another program"),
    "one of yet another": ({"nodes": [{"name": "a"}], "connections": {}}, "another program"),
    "too many nodes": ({"nodes": [{}] * (MAX_NODES + 1)}, str(MAX_NODES)),
    "too many nodes in subgraphs": (
        {"nodes": [{}], "definitions": {"subgraphs": [{"nodes": [{}] * MAX_NODES}]}},
        str(MAX_NODES),
    ),
    "too many nodes in group nodes": (
        {"nodes": [{}], "extra": {"groupNodes": {"a": {"nodes": [{}] * MAX_NODES}}}},
        str(MAX_NODES),
    ),
    "too many values": ({"nodes": [{"widgets_values": [0] * MAX_VALUES}]}, "values"),
    "wrappers without end": ({"input": {"input": {"input": {"input": {"input": {"input": PROMPT}}}}}}, "class_type"),
    "settings of a program": ({"prompt": "a cat", "steps": 20}, "class_type"),
}


@pytest.mark.parametrize(("value", "words"), WRONG.values(), ids=WRONG)
def test_what_is_no_workflow_is_refused_with_a_sentence(value: Any, words: str) -> None:
    assert words in refusal(json.dumps(value).encode())


@pytest.mark.parametrize("data", [b"{", b'{"a": "\xff"}', b"[" * 200_000, b"{'1': 2}", b"{} {}", b'{"a": "\\ud800"}'])
def test_what_is_no_json_is_refused_with_a_sentence(data: bytes) -> None:
    assert "not JSON" in refusal(data)


def test_what_is_nested_too_deep_is_refused() -> None:
    value: Any = PROMPT
    for _ in range(MAX_NESTING):
        value = {"nodes": [value]}
    assert "nested" in refusal(json.dumps(value).encode())


def test_numbers_that_are_none_become_nothing() -> None:
    data = b'{"1": {"class_type": "A", "inputs": {"a": Infinity, "b": -Infinity}, "is_changed": [NaN]}}'
    expected = {"1": {"class_type": "A", "inputs": {"a": None, "b": None}, "is_changed": [None]}}
    assert read_document(data) == Document(prompt=expected)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_a_text_editors_way_of_writing_does_not_matter(encoding: str) -> None:
    assert read_document(json.dumps(GRAPH, ensure_ascii=False).encode(encoding)) == Document(graph=GRAPH)


def test_numbers_are_kept_to_the_last_digit() -> None:
    prompt = {"1": {"class_type": "A", "inputs": {"seed": 2**64 - 1, "large": 10**30, "small": 0.1}}}
    assert read_document(json.dumps(prompt).encode()) == Document(prompt=prompt)


# Files that carry one


@pytest.mark.parametrize("kind", CARRIERS)
def test_a_file_that_carries_both_gives_both(kind: str) -> None:
    assert read_document(CARRIERS[kind](BOTH)) == Document(GRAPH, PROMPT)


@pytest.mark.parametrize("kind", CARRIERS)
@pytest.mark.parametrize("key", ["workflow", "prompt"])
def test_a_file_that_carries_one_gives_one(kind: str, key: str) -> None:
    expected = Document(graph=GRAPH) if key == "workflow" else Document(prompt=PROMPT)
    assert read_document(CARRIERS[kind]({key: BOTH[key]})) == expected


def test_a_comment_may_hold_both() -> None:
    comment = json.dumps({"prompt": json.dumps(PROMPT), "workflow": GRAPH})
    assert read_document(carriers.mp4(carriers.itunes_comment(comment))) == Document(GRAPH, PROMPT)


def test_a_jpeg_that_pillow_wrote_gives_both() -> None:
    exif, data = Image.Exif(), io.BytesIO()
    exif[0x010F], exif[0x0110] = f"workflow:{BOTH['workflow']}", f"prompt:{BOTH['prompt']}"
    Image.new("RGB", (8, 8)).save(data, "JPEG", exif=exif)
    assert read_document(data.getvalue()) == Document(GRAPH, PROMPT)


def test_a_broken_prompt_does_not_hide_the_graph() -> None:
    assert read_document(carriers.png_texts({**BOTH, "prompt": "{"})) == Document(graph=GRAPH)


@pytest.mark.parametrize("kind", CARRIERS)
def test_a_file_without_a_workflow_says_what_may_have_happened(kind: str) -> None:
    name = {"APNG": "PNG", "Opus": "Ogg"}.get(kind, kind.partition(" ")[0])
    message = refusal(CARRIERS[kind]({"note": '"nothing"'}))
    assert message.startswith(f"this {name} carries no workflow")
    assert "re-compressed" in message


def test_parameters_of_another_program_are_known_as_such() -> None:
    information, data = PngImagePlugin.PngInfo(), io.BytesIO()
    information.add_text("parameters", "a cat\nNegative prompt: dog\nSteps: 20, Sampler: Euler a, Seed: 1")
    Image.new("RGB", (8, 8)).save(data, "PNG", pnginfo=information)
    assert "another program" in refusal(data.getvalue())


@pytest.mark.parametrize("data", [b"", b"hello", bytes(1000), b"PK\x03\x04" + bytes(100), b"<html></html>"])
def test_a_file_of_no_known_kind_says_what_is_taken(data: bytes) -> None:
    assert "PNG, WebP" in refusal(data)


def test_a_gif_cannot_carry_one() -> None:
    assert refusal(b"GIF89a" + bytes(100)).startswith("this GIF carries no workflow")


def test_a_broken_file_says_that_it_is() -> None:
    assert "broken" in refusal(carriers.png_texts(BOTH)[:60])


def test_a_picture_full_of_json_does_not_fill_the_memory() -> None:
    text = json.dumps({"a": [{}] * 50_000})
    file = carriers.png_texts({f"key {number}": text for number in range(20)})
    tracemalloc.start()
    try:
        assert "carries no workflow" in refusal(file)
        assert tracemalloc.get_traced_memory()[1] < 10 * len(file)
    finally:
        tracemalloc.stop()


# Files


def test_a_file_is_read_as_its_bytes_are(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps(GRAPH))
    assert read_document_file(tmp_path / "a.json") == Document(graph=GRAPH)


def test_a_pipe_and_a_folder_are_no_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(InvalidRequest, match="is no file"):
            read_document_file(path)


def test_a_file_that_is_not_there_is_the_callers_business(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_document_file(tmp_path / "none")


# What it is


def test_a_document_is_saved_as_its_graph() -> None:
    assert plain_of(Document(GRAPH, PROMPT)) == GRAPH
    assert plain_of(Document(prompt=PROMPT)) == PROMPT
    assert (node_count(Document(GRAPH)), node_count(Document(prompt={**PROMPT, "2": {}}))) == (1, 2)


@pytest.mark.parametrize("kind", ["JSON", *CARRIERS])
def test_a_damaged_file_is_a_workflow_or_is_refused(kind: str) -> None:
    """And nothing else happens, whatever was damaged."""
    chance = random.Random(6)
    # A small one: every byte is hit.
    whole = json.dumps(GRAPH).encode() if kind == "JSON" else CARRIERS[kind](BOTH)
    read = refused = 0
    for _ in range(600):
        try:
            document = read_document(damaged(whole, chance))
            msgspec.json.encode(plain_of(document))
            read += 1
        except InvalidRequest:
            refused += 1
    assert read
    assert refused


def damaged(data: bytes, chance: random.Random) -> bytes:
    broken = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 5))):
        at = chance.randrange(len(broken) + 1)
        match chance.randrange(5):
            case 0:
                del broken[at:]
            case 1:
                broken[at : at + 1] = bytes([chance.randrange(256)])
            case 2:
                broken[at : at + 4] = chance.choice((bytes(4), b"\xff" * 4, b"\x7f\xff\xff\xff", b"\x80\0\0\0"))
            case 3:
                del broken[at : at + chance.randrange(40)]
            case _:
                broken[at:at] = broken[at : at + chance.randrange(200)]
        if not broken:
            break
    return bytes(broken)
