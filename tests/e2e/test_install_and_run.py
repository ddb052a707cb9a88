"""From an empty volume to a picture, on the real ComfyUI: what the whole suite is for."""

import contextlib
import hashlib
import io
import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from PIL import Image
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin

from tests.fakes import tiny_upscaler
from tests.fakes.model_host import ModelHost
from tests.running import RunningSuite

MODEL = tiny_upscaler.make()
WORKFLOW = {
    "1": {"class_type": "LoadImage", "inputs": {"image": "in.png"}},
    "2": {"class_type": "UpscaleModelLoader", "inputs": {"model_name": "tiny_esrgan_x4.safetensors"}},
    "3": {"class_type": "ImageUpscaleWithModel", "inputs": {"upscale_model": ["2", 0], "image": ["1", 0]}},
    "4": {"class_type": "SaveImage", "inputs": {"images": ["3", 0], "filename_prefix": "images/upscaled"}},
}


def tiny_preset(host: ModelHost, preset_id: str = "TINY_UPSCALER", **behaviour: Any) -> dict[str, Any]:
    return {
        "id": preset_id,
        "name": "Tiny upscaler",
        "kind": "upscale",
        "description": "Enlarges four times, badly.",
        "files": [
            {
                "url": host.add("/tiny.safetensors", MODEL, **behaviour),
                "folder": "upscale_models",
                "name": "tiny_esrgan_x4.safetensors",
                "size_bytes": len(MODEL),
                "sha256": hashlib.sha256(MODEL).hexdigest(),
            }
        ],
        "workflow": WORKFLOW,
    }


def picture(width: int, height: int) -> bytes:
    data = io.BytesIO()
    Image.new("RGB", (width, height), (200, 80, 40)).save(data, "PNG")
    return data.getvalue()


@contextlib.contextmanager
def open_socket(suite: RunningSuite, client: httpx.Client, *channels: str) -> Iterator[ClientConnection]:
    cookies = "; ".join(f"{name}={value}" for name, value in client.cookies.items())
    with connect(
        suite.address.replace("http", "ws") + "/ws",
        additional_headers={"Cookie": cookies},
        origin=Origin(suite.address),
    ) as socket:
        socket.send(json.dumps({"type": "subscribe", "channels": channels}))
        yield socket


def messages_until(socket: ClientConnection, wanted: Any, seconds: float = 60) -> list[dict[str, Any]]:
    """Every message up to and including the first for which `wanted` is true."""
    seen, until = [], time.monotonic() + seconds
    while time.monotonic() < until:
        seen.append(json.loads(socket.recv(timeout=seconds)))
        if wanted(seen[-1]):
            return seen
    raise AssertionError(f"it did not come within {seconds} s: {seen[-3:]}")


def slow_branch(first: int, seed: int) -> dict[str, Any]:
    """Three nodes that take about a second, and are not in ComfyUI's cache for a new seed."""
    one, two, three = str(first), str(first + 1), str(first + 2)
    return {
        one: {"class_type": "EmptyImage", "inputs": {"width": 2000, "height": 2000, "batch_size": 1, "color": seed}},
        two: {"class_type": "ImageBlur", "inputs": {"image": [one, 0], "blur_radius": 15, "sigma": 5.0}},
        three: {"class_type": "SaveImage", "inputs": {"images": [two, 0], "filename_prefix": "images/blur"}},
    }


def upload(suite: RunningSuite, client: httpx.Client, name: str, data: bytes) -> None:
    """Through ComfyUI's own port, as its editor does."""
    answer = client.post(
        f"{suite.comfyui_address}/upload/image",
        files={"image": (name, data, "image/png")},
        # Else ComfyUI keeps the one that an earlier test left under that name.
        data={"overwrite": "true"},
        headers={"Origin": suite.comfyui_address},
    )
    assert answer.status_code == 200, answer.text


@pytest.fixture
def client(suite: RunningSuite) -> Any:
    with suite.client() as client:
        yield client


def test_a_preset_is_installed_and_its_workflow_makes_a_picture(
    suite: RunningSuite, client: httpx.Client, model_host: ModelHost
) -> None:
    suite.add_preset(tiny_preset(model_host, throttle=400_000))
    refused = client.post("/api/comfyui/execute", json={"prompt": WORKFLOW})
    assert refused.status_code == 422
    missing = refused.json()["error"]["details"]["missing_models"]
    assert missing[0]["name"] == "tiny_esrgan_x4.safetensors"
    assert missing[0]["folder"] == "upscale_models"
    assert missing[0]["presets"] == ["TINY_UPSCALER"]

    with open_socket(suite, client, "downloads", "queue") as socket:
        installed = client.post("/api/presets/TINY_UPSCALER/install")
        assert installed.status_code == 202
        assert client.post("/api/presets/TINY_UPSCALER/install").json()["joined"] is True
        seen = messages_until(
            socket,
            lambda m: m["type"] == "download_progress" and m["data"]["state"] == "installed",
        )
        moving = [m["data"] for m in seen if m["type"] == "download_progress" and m["data"]["state"] == "downloading"]
        assert seen[0]["type"] == "snapshot"
        assert any(0 < data["progress"] < 100 and data["speed"].endswith("/s") and data["eta"] for data in moving)
        assert sorted(data["progress"] for data in moving) == [data["progress"] for data in moving]

        file = suite.workspace / "models" / "upscale_models" / "tiny_esrgan_x4.safetensors"
        assert file.read_bytes() == MODEL
        assert not list(file.parent.glob("*.part*"))
        listed = client.get("/api/models/", params={"folder": "upscale_models"}).json()["models"]
        assert [model["verified"]["sha256"] for model in listed] == [hashlib.sha256(MODEL).hexdigest()]
        own_origin = {"Origin": suite.comfyui_address}
        offered = client.get(f"{suite.comfyui_address}/object_info/UpscaleModelLoader", headers=own_origin).text
        assert "tiny_esrgan_x4.safetensors" in offered

        upload(suite, client, "in.png", picture(600, 560))
        accepted = client.post("/api/comfyui/execute", json={"workflow": "TINY_UPSCALER"})
        assert accepted.status_code == 202, accepted.text
        prompt_id = accepted.json()["prompt_id"]
        seen = messages_until(socket, lambda m: m["type"] == "run_finished" and m["data"]["prompt_id"] == prompt_id)
        nodes = [m["data"]["node_class"] for m in seen if m["type"] == "run_progress"]
        assert "ImageUpscaleWithModel" in nodes
        # Four tiles.
        assert max(m["data"]["steps"] or 0 for m in seen if m["type"] == "run_progress") == 4

    run = client.get(f"/api/runs/{prompt_id}").json()
    assert run["state"] == "success"
    image = client.get(run["outputs"][0]["url"])
    assert image.headers["content-type"] == "image/png"
    assert Image.open(io.BytesIO(image.content)).size == (2400, 2240)
    page = client.get("/", headers={"Accept": "text/html"}).text
    assert run["outputs"][0]["url"] in page

    def uses() -> list[float]:
        models = client.get("/api/models/", params={"folder": "upscale_models"}).json()["models"]
        return [model["last_used"] for model in models if model["last_used"]]

    (used_at,) = suite.wait_for(uses, "when the model was used", 30)
    assert abs(used_at - time.time()) < 300

    removed = client.delete("/api/presets/TINY_UPSCALER").json()
    assert removed["removed"] == ["tiny_esrgan_x4.safetensors"]
    assert (removed["kept"], removed["freed_bytes"]) == ([], len(MODEL))
    assert not file.exists()


def test_a_run_shows_previews_while_it_works(suite: RunningSuite, client: httpx.Client) -> None:
    workflow = {
        "1": {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 64, "batch_size": 2, "color": 255}},
        "2": {"class_type": "SaveImageWebsocket", "inputs": {"images": ["1", 0]}},
        "3": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}},
        **slow_branch(4, seed=7),
    }
    with open_socket(suite, client, "queue") as socket:
        prompt_id = client.post("/api/comfyui/execute", json={"prompt": workflow}).json()["prompt_id"]
        seen = messages_until(socket, lambda m: m["type"] == "run_finished" and m["data"]["prompt_id"] == prompt_id)
    assert any(m["data"]["preview_url"] for m in seen if m["type"] == "run_progress")
    outputs = client.get(f"/api/runs/{prompt_id}").json()["outputs"]
    shown = client.get(next(output["url"] for output in outputs if output["url"].startswith("/temp/")))
    assert Image.open(io.BytesIO(shown.content)).size == (64, 64)


def test_one_run_is_cancelled_without_touching_the_others(suite: RunningSuite, client: httpx.Client) -> None:
    ids = [
        client.post("/api/comfyui/execute", json={"prompt": slow_branch(1, seed)}).json()["prompt_id"]
        for seed in range(3)
    ]
    queue = client.get("/api/comfyui/queue").json()
    assert ids[2] in [item["prompt_id"] for item in queue["pending"]]
    cancelled = client.delete("/api/comfyui/queue", params={"prompt_id": ids[2]})
    assert cancelled.json() == {"removed": 1}
    suite.wait_for(lambda: not {"pending", "running"} & set(_states(client, ids)), "the runs to end")
    assert _states(client, ids) == ["success", "success", "interrupted"]


def _states(client: httpx.Client, ids: list[str]) -> list[str]:
    return [client.get(f"/api/runs/{prompt_id}").json()["state"] for prompt_id in ids]
