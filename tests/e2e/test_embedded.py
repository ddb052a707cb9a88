"""What the real ComfyUI writes into the files it saves, read back: the graph that was sent with the prompt, and the
prompt itself."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from services.workflows.document import Document, read_document, read_document_file
from tests.running import RunningSuite

FOLDER = "embedded"
# What no alphabet of a file format can hold by itself, and a text as long as a large workflow.
NOTE = 'München 東京 "quoted" \\ \n{"not": "json"' + "x" * 200_000
GRAPH = {
    "nodes": [{"id": 1, "type": "EmptyImage", "widgets_values": [64, 64, 3, 255], "title": NOTE}],
    "links": [],
    "version": 0.4,
}
PROMPT: dict[str, Any] = {
    "1": {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 64, "batch_size": 3, "color": 255}},
    "2": {"class_type": "EmptyAudio", "inputs": {"duration": 0.5, "sample_rate": 48000, "channels": 2}},
    "3": {"class_type": "EmptyLatentImage", "inputs": {"width": 64, "height": 64, "batch_size": 1}},
    "4": {"class_type": "CreateVideo", "inputs": {"images": ["1", 0], "fps": 10.0, "audio": ["2", 0]}},
    "10": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": f"{FOLDER}/png"}},
    "11": {
        "class_type": "SaveAnimatedWEBP",
        "inputs": {
            "images": ["1", 0],
            "filename_prefix": f"{FOLDER}/webp",
            "fps": 6.0,
            "lossless": True,
            "quality": 80,
            "method": "fastest",
        },
    },
    "12": {
        "class_type": "SaveAnimatedPNG",
        "inputs": {"images": ["1", 0], "filename_prefix": f"{FOLDER}/apng", "fps": 6.0, "compress_level": 4},
    },
    "13": {
        "class_type": "SaveVideo",
        "inputs": {"video": ["4", 0], "filename_prefix": f"{FOLDER}/mp4", "format": "mp4", "codec": "h264"},
    },
    "14": {
        "class_type": "SaveWEBM",
        "inputs": {"images": ["1", 0], "filename_prefix": f"{FOLDER}/webm", "codec": "vp9", "fps": 10.0, "crf": 40.0},
    },
    "15": {"class_type": "SaveAudio", "inputs": {"audio": ["2", 0], "filename_prefix": f"{FOLDER}/flac"}},
    "16": {
        "class_type": "SaveAudioMP3",
        "inputs": {"audio": ["2", 0], "filename_prefix": f"{FOLDER}/mp3", "quality": "128k"},
    },
    "17": {
        "class_type": "SaveAudioOpus",
        "inputs": {"audio": ["2", 0], "filename_prefix": f"{FOLDER}/opus", "quality": "128k"},
    },
    "18": {"class_type": "SaveLatent", "inputs": {"samples": ["3", 0], "filename_prefix": f"{FOLDER}/latent"}},
}
KINDS = {
    "png": ".png",
    "webp": ".webp",
    "apng": ".png",
    "mp4": ".mp4",
    "webm": ".webm",
    "flac": ".flac",
    "mp3": ".mp3",
    "opus": ".opus",
    "latent": ".latent",
}


@pytest.fixture(scope="module")
def saved(suite: RunningSuite) -> Iterator[dict[str, Path]]:
    """The file of each kind, made by one call to ComfyUI itself."""
    address, folder = f"http://127.0.0.1:{suite.ports[2]}", suite.workspace / "output" / FOLDER
    call = {"prompt": PROMPT, "extra_data": {"extra_pnginfo": {"workflow": GRAPH, "another": {"a": 1}}}}
    answer = httpx.post(f"{address}/prompt", json=call)
    assert answer.is_success, answer.text
    id_ = answer.json()["prompt_id"]
    ended = suite.wait_for(lambda: httpx.get(f"{address}/history/{id_}").json().get(id_), "the files")
    assert ended["status"]["status_str"] == "success", ended["status"]
    yield {kind: next(folder.glob(f"{kind}_*{suffix}")) for kind, suffix in KINDS.items()}
    shutil.rmtree(folder)


@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_file_carries_graph_and_prompt(kind: str, saved: dict[str, Path]) -> None:
    assert read_document_file(saved[kind]) == Document(graph=GRAPH, prompt=PROMPT)


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_is_read_the_same_from_memory(kind: str, saved: dict[str, Path]) -> None:
    assert read_document(saved[kind].read_bytes()) == Document(graph=GRAPH, prompt=PROMPT)
