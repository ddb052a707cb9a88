"""The JSON API through nginx: what it answers, and what it does with nonsense."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from PIL import Image, PngImagePlugin

from dashboard.api import ENDPOINTS
from dashboard.endpoint import Endpoint
from services.artifacts import model_id
from tests.fakes import tiny_upscaler
from tests.fakes.model_host import ModelHost
from tests.running import RunningSuite

MODEL = tiny_upscaler.make(seed=5)
HOSTILE_NAMES = [
    "..",
    "../../etc/passwd",
    "%2e%2e%2fetc%2fpasswd",
    "..%2f..%2fconfig%2fsecrets%2fdashboard_password",
    "%00",
    "a%00.json",
    "..%5c..%5cx",
    "%ef%bc%8e%ef%bc%8e",
    "*",
    "x" * 5000,
    "%0d%0aSet-Cookie:%20x=y",
    "~root",
    "-rf",
    "trailing.",
]


@pytest.fixture
def client(suite: RunningSuite) -> Iterator[httpx.Client]:
    with suite.client() as client:
        yield client


def fingerprint(folder: Path) -> str:
    """Changes when anything below `folder` does; logs and the queue's own files come and go."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and "logs" not in path.parts and "user" not in path.parts:
            digest.update(f"{path}{path.stat().st_size}{path.stat().st_mtime_ns}".encode())
    return digest.hexdigest()


def wait_until_installed(suite: RunningSuite, client: httpx.Client, preset_id: str) -> None:
    path = f"/api/presets/{preset_id}"
    suite.wait_for(lambda: client.get(path).json()["state"] == "installed", preset_id, 30)


def error_of(answer: httpx.Response) -> dict[str, Any]:
    error: dict[str, Any] = answer.json()["error"]
    assert set(error) == {"type", "message", "details"}
    assert error["message"]
    assert "Traceback" not in answer.text
    return error


@pytest.mark.parametrize(
    "path",
    [
        "/api/presets/{}",
        "/api/presets/{}/status",
        "/api/workflows/{}",
        "/api/workflows/{}/thumbnail",
        "/api/runs/{}",
        "/api/runs/{}/preview",
        "/api/system/logs/{}",
        "/outputs/{}",
        "/temp/{}",
    ],
)
@pytest.mark.parametrize("name", HOSTILE_NAMES, ids=lambda name: name[:20])
def test_a_hostile_name_finds_nothing(client: httpx.Client, path: str, name: str) -> None:
    answer = client.get(path.format(name))
    # Plain dots never leave the client: it asks for the folder above, which here is a page.
    assert 400 <= answer.status_code < 500 or name == ".."
    assert "root:" not in answer.text
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/presets/{}/install"),
        ("DELETE", "/api/presets/{}"),
        ("DELETE", "/api/downloads/{}"),
        ("DELETE", "/api/downloads/{}?keep=false"),
        ("POST", "/api/downloads/{}/pause"),
        ("POST", "/api/downloads/{}/resume"),
        ("POST", "/api/downloads/{}/retry"),
        ("DELETE", "/api/workflows/{}"),
        ("PUT", "/api/workflows/{}"),
        ("POST", "/api/workflows/{}/rename"),
        ("DELETE", "/api/tokens/{}"),
        ("POST", "/api/system/processes/{}/restart"),
    ],
)
@pytest.mark.parametrize("name", [*HOSTILE_NAMES, "no-such-thing-"], ids=lambda name: name[:20])
def test_a_hostile_name_changes_nothing(
    suite: RunningSuite, client: httpx.Client, method: str, path: str, name: str
) -> None:
    body = {"1": {"class_type": "EmptyImage", "inputs": {}}} if method == "PUT" else {}
    before = fingerprint(suite.workspace)
    answer = client.request(method, path.format(name), json=body)
    if method == "PUT" and answer.status_code == 201:
        # A harmless name after all: it is kept as the one file it names.
        assert (suite.workspace / "workflows" / "user" / f"{answer.json()['name']}.json").is_file()
        client.delete(path.format(name))
    else:
        assert 400 <= answer.status_code < 500
    assert fingerprint(suite.workspace) == before


WITH_BODY = [endpoint for endpoint in ENDPOINTS if endpoint.body is not None]
BROKEN_BODIES = [
    b"",
    b"{",
    b"[1, 2",
    b"nul",
    b"\xff\xfe",
    b"{'a': 1}",
    b'{"a": 1} x',
    b"[" * 100_000,
    b'{"a":' * 50_000,
]


@pytest.mark.parametrize("endpoint", WITH_BODY, ids=lambda endpoint: f"{endpoint.method} {endpoint.path}")
@pytest.mark.parametrize("body", BROKEN_BODIES, ids=lambda body: repr(body[:10]))
def test_what_is_no_json_is_refused(client: httpx.Client, endpoint: Endpoint, body: bytes) -> None:
    path = endpoint.path.replace("{name}", "comfyui")
    if not body and "restart" in path:
        path = path.replace("comfyui", "nothing-of-that-name")
    answer = client.request(endpoint.method, path, content=body, headers={"Content-Type": "application/json"})
    # What fits no type from its first byte on is refused before its end is looked at.
    assert answer.status_code in {400, 404, 422}
    error_of(answer)


@pytest.mark.parametrize("endpoint", WITH_BODY, ids=lambda endpoint: f"{endpoint.method} {endpoint.path}")
@pytest.mark.parametrize(
    "body",
    [
        [],
        "text",
        7,
        None,
        {"ids": "x"},
        {"ids": [1]},
        {"ids": []},
        {"prompt": []},
        {"prompt": {"1": 2}},
        {"name": 5},
        {"safe_mode": "yes"},
    ],
    ids=str,
)
def test_json_that_does_not_fit_is_refused_with_the_reason(client: httpx.Client, endpoint: Endpoint, body: Any) -> None:
    path = endpoint.path.replace("{name}", "nothing-of-that-name")
    headers = {"Content-Type": "application/json"}
    answer = client.request(endpoint.method, path, content=json.dumps(body), headers=headers)
    assert answer.status_code in {404, 422}
    error_of(answer)


def test_another_media_type_is_refused(client: httpx.Client) -> None:
    answer = client.post("/api/workflows/check", content=b"{}", headers={"Content-Type": "text/plain"})
    assert answer.status_code == 415
    error_of(answer)


def test_a_body_that_is_too_large_is_refused_as_json(client: httpx.Client) -> None:
    answer = client.post(
        "/api/workflows/a/rename", content=b"x" * (3 * 1024 * 1024), headers={"Content-Type": "application/json"}
    )
    assert answer.status_code == 413
    assert error_of(answer)["type"] == "too_large"


@pytest.mark.parametrize("path", ["/api/comfyui/execute", "/api/workflows/check", "/api/workflows/inputs"])
def test_a_workflow_may_be_larger_than_other_bodies(client: httpx.Client, path: str) -> None:
    note = {"class_type": "NoSuchNode", "inputs": {"text": "x" * (3 * 1024 * 1024)}}
    answer = client.post(path, json={"prompt": {"1": note}})
    assert answer.status_code == (422 if path.endswith("execute") else 200)


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=-1", "limit=x", "limit=99999", "offset=-5", "offset=1e3", "limit=²"]
)
def test_a_bad_query_is_refused_by_name(client: httpx.Client, query: str) -> None:
    answer = client.get(f"/api/models/?{query}")
    assert answer.status_code == 422
    assert query.partition("=")[0] in error_of(answer)["message"]


@pytest.mark.parametrize(
    ("path", "type_"), [("/api/nothing", "not_found"), ("/api/presets/NOPE", "not_found"), ("/nothing", "not_found")]
)
def test_what_does_not_exist_is_said_in_json(client: httpx.Client, path: str, type_: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 404
    assert error_of(answer)["type"] == type_


def test_a_wrong_method_is_said_in_json(client: httpx.Client) -> None:
    answer = client.patch("/api/presets/")
    assert answer.status_code == 405
    error_of(answer)


PLAIN_GETS = [e for e in ENDPOINTS if e.method == "GET" and "{" not in e.path]
NEEDED = {
    "/api/models/lookup": {"url": "https://127.0.0.1/a.safetensors"},
    "/api/outputs/metadata": {"path": "api.png"},
    "/api/outputs/workflow": {"path": "api.png"},
}


@pytest.fixture
def output(suite: RunningSuite) -> None:
    """A picture that carries what made it."""
    carried = PngImagePlugin.PngInfo()
    carried.add_text("prompt", json.dumps({"1": {"class_type": "EmptyImage", "inputs": {"width": 8}}}))
    Image.new("RGB", (8, 8)).save(suite.workspace / "output" / "api.png", pnginfo=carried)


@pytest.mark.usefixtures("output")
@pytest.mark.parametrize("endpoint", PLAIN_GETS, ids=lambda endpoint: endpoint.path)
def test_every_answer_has_the_type_it_is_documented_with(client: httpx.Client, endpoint: Endpoint) -> None:
    answer = client.get(endpoint.path, params=NEEDED.get(endpoint.path))
    assert answer.status_code == 200
    decoded = msgspec.json.decode(answer.content, type=endpoint.answers[200])
    assert json.loads(msgspec.json.encode(decoded)) == answer.json()


def test_openapi_describes_every_endpoint(client: httpx.Client) -> None:
    document = client.get("/api/openapi.json").json()
    described = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    assert described == {(endpoint.method, endpoint.path) for endpoint in ENDPOINTS}
    references = set(_references(document))
    assert references
    assert references <= {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}


def test_an_unchanged_answer_is_not_sent_again(client: httpx.Client) -> None:
    first = client.get("/api/presets/")
    again = client.get("/api/presets/", headers={"If-None-Match": first.headers["etag"]})
    assert again.status_code == 304
    assert again.content == b""


def test_the_documents_preset_is_there_with_its_sizes(client: httpx.Client) -> None:
    preset = client.get("/api/presets/WAN_22_5B_TIV2").json()
    assert preset["state"] == "available"
    assert preset["size_bytes"] == sum(file["size_bytes"] for file in preset["files"])
    assert {file["folder"] for file in preset["files"]} == {"diffusion_models", "text_encoders", "vae"}


def test_an_install_that_does_not_fit_is_refused_before_a_byte_flows(
    suite: RunningSuite, client: httpx.Client, model_host: ModelHost
) -> None:
    file = {"url": model_host.add("/huge", b"x"), "folder": "checkpoints", "name": "huge.ckpt", "size_bytes": 10**16}
    suite.add_preset({"id": "HUGE", "name": "Huge", "kind": "image", "description": "Too large.", "files": [file]})
    answer = client.post("/api/presets/HUGE/install")
    assert answer.status_code == 507
    details = error_of(answer)["details"]
    assert details["needed_bytes"] == 10**16
    assert 0 < details["free_bytes"] < 10**16
    # It may be asked what the file is.
    assert {request.method for request in model_host.requests} <= {"HEAD"}
    assert client.get("/api/presets/HUGE").json()["state"] == "available"


def test_two_presets_share_a_file_that_is_fetched_once_and_kept_for_the_other(
    suite: RunningSuite, client: httpx.Client, model_host: ModelHost
) -> None:
    file = {
        "url": model_host.add("/shared.safetensors", MODEL, throttle=600_000),
        "folder": "upscale_models",
        "name": "shared.safetensors",
        "size_bytes": len(MODEL),
        "sha256": hashlib.sha256(MODEL).hexdigest(),
    }
    presets = ("FIRST", "SECOND")
    for id_ in presets:
        suite.add_preset({"id": id_, "name": id_, "kind": "upscale", "description": "Shares.", "files": [file]})
    assert [client.post(f"/api/presets/{id_}/install").status_code for id_ in presets] == [202, 202]
    for id_ in presets:
        wait_until_installed(suite, client, id_)
    assert model_host.bytes_sent("/shared.safetensors") == len(MODEL)
    assert client.get("/api/presets/FIRST").json()["files"][0]["shared_with"] == ["SECOND"]
    first = client.delete("/api/presets/FIRST").json()
    assert first["removed"] == []
    assert [(kept["name"], kept["reason"]) for kept in first["kept"]] == [("shared.safetensors", "needed by SECOND")]
    second = client.delete("/api/presets/SECOND").json()
    assert second["removed"] == ["shared.safetensors"]
    assert second["freed_bytes"] == len(MODEL)


def test_cancelling_one_of_two_presets_leaves_the_file_they_share_to_the_other(
    suite: RunningSuite, client: httpx.Client, model_host: ModelHost
) -> None:
    shared = {
        "url": model_host.add("/common.safetensors", MODEL, throttle=len(MODEL) // 3),
        "folder": "upscale_models",
        "name": "common.safetensors",
        "size_bytes": len(MODEL),
    }
    own = {
        "url": model_host.add("/own.safetensors", MODEL, throttle=len(MODEL) // 100),
        "folder": "upscale_models",
        "name": "own.safetensors",
        "size_bytes": len(MODEL),
    }
    suite.add_preset({"id": "STAYS", "name": "Stays", "kind": "upscale", "description": "Shares.", "files": [shared]})
    suite.add_preset(
        {"id": "GOES", "name": "Goes", "kind": "upscale", "description": "Shares.", "files": [shared, own]}
    )
    assert [client.post(f"/api/presets/{id_}/install").status_code for id_ in ("STAYS", "GOES")] == [202, 202]
    assert client.delete("/api/downloads/GOES").json() == {"cancelled": [model_id("upscale_models", "own.safetensors")]}
    assert client.get("/api/presets/GOES/status").json()["state"] == "cancelled"
    assert client.get("/api/presets/STAYS/status").json()["state"] in {"queued", "downloading"}
    wait_until_installed(suite, client, "STAYS")
    goes = client.get("/api/presets/GOES/status").json()
    assert (goes["state"], [file["state"] for file in goes["files"]]) == ("cancelled", ["present", "cancelled"])
    model_host.behave("/own.safetensors", throttle=None)
    answer = client.post("/api/presets/GOES/install")
    assert (answer.status_code, answer.json()["joined"]) == (202, False)
    wait_until_installed(suite, client, "GOES")
    for id_ in ("STAYS", "GOES"):
        client.delete(f"/api/presets/{id_}")


def slow_preset(host: ModelHost, id_: str) -> tuple[dict[str, Any], str]:
    """A preset whose one file takes most of a minute, and the id of that file."""
    name = f"{id_.lower()}.safetensors"
    url = host.add(f"/{name}", MODEL, throttle=len(MODEL) // 50)
    file = {"url": url, "folder": "upscale_models", "name": name, "size_bytes": len(MODEL)}
    preset = {"id": id_, "name": id_, "kind": "upscale", "description": "Takes its time.", "files": [file]}
    return preset, model_id("upscale_models", name)


@pytest.mark.parametrize("one", ["PRESET", "FILE", "ALL"])
def test_a_running_download_is_paused_and_goes_on_from_there(
    suite: RunningSuite, client: httpx.Client, model_host: ModelHost, one: str
) -> None:
    preset, file_id = slow_preset(model_host, f"PAUSED_{one}")
    suite.add_preset(preset)
    status, path = f"/api/presets/{preset['id']}/status", f"/{preset['id'].lower()}.safetensors"
    steer = {"PRESET": f"{preset['id']}/", "FILE": f"{file_id}/", "ALL": ""}[one]
    client.post(f"/api/presets/{preset['id']}/install")
    suite.wait_for(lambda: client.get(status).json()["bytes_done"] > 0, "the first bytes", 60)
    for _ in range(2):
        assert client.post(f"/api/downloads/{steer}pause").status_code == 200
    assert client.get(status).json()["state"] == "paused"
    part = suite.workspace / "models" / "upscale_models" / f"{path[1:]}.part"
    suite.wait_for(lambda: not part.with_name(f"{part.name}.lease").exists(), "the worker to let go", 60)
    kept = suite.wait_for(lambda: client.get(status).json()["bytes_done"], "what was kept", 60)
    assert 0 < kept < len(MODEL)
    with suite.redis() as queue:
        queue.flushall()
    assert client.get(status).json()["bytes_done"] == kept
    model_host.behave(path, throttle=None)
    for _ in range(2):
        assert client.post(f"/api/downloads/{steer}resume").status_code == 200
    wait_until_installed(suite, client, preset["id"])
    assert model_host.bytes_sent(path) < len(MODEL) + kept
    client.delete(f"/api/presets/{preset['id']}")


def test_a_running_download_is_cancelled_and_leaves_nothing(
    suite: RunningSuite, client: httpx.Client, model_host: ModelHost
) -> None:
    preset, file_id = slow_preset(model_host, "DROPPED")
    suite.add_preset(preset)
    client.post("/api/presets/DROPPED/install")
    status = "/api/presets/DROPPED/status"
    suite.wait_for(lambda: client.get(status).json()["bytes_done"] > 0, "the first bytes", 60)
    assert client.delete("/api/downloads/DROPPED?keep=false").json() == {"cancelled": [file_id]}
    assert list((suite.workspace / "models" / "upscale_models").glob("dropped*")) == []
    assert client.get(status).json()["state"] == "available"


@pytest.mark.parametrize(
    ("behaviour", "says"),
    [
        ({"status": 404}, "no such file"),
        ({"status": 401}, "does not allow"),
        ({"content_type": "text/html"}, "login or a licence"),
    ],
)
def test_a_download_that_cannot_work_says_why_and_is_tried_again_when_asked(
    suite: RunningSuite, client: httpx.Client, model_host: ModelHost, behaviour: dict[str, Any], says: str
) -> None:
    name = f"refused-{hashlib.sha256(says.encode()).hexdigest()[:8]}.safetensors"
    url = model_host.add("/refused", MODEL, **behaviour)
    file = {"url": url, "folder": "upscale_models", "name": name, "size_bytes": len(MODEL)}
    preset = {
        "id": f"REFUSED_{says[:2]}",
        "name": "Refused",
        "kind": "upscale",
        "description": "Fails.",
        "files": [file],
    }
    suite.add_preset(preset)
    path = f"/api/presets/{preset['id']}"
    client.post(f"{path}/install")
    suite.wait_for(lambda: client.get(f"{path}/status").json()["state"] == "failed", "the failure", 60)
    assert says in client.get(f"{path}/status").json()["error"]
    model_host.behave("/refused", status=None, content_type="application/octet-stream")
    assert client.post(f"{path}/install").status_code == 202
    suite.wait_for(lambda: client.get(f"{path}/status").json()["state"] == "installed", "the second try", 60)
    client.delete(path)


def test_models_are_listed_filtered_and_deleted(suite: RunningSuite, client: httpx.Client) -> None:
    folder = suite.workspace / "models" / "loras"
    for number in range(3):
        (folder / f"by-hand-{number}.safetensors").write_bytes(os.urandom(1000 + number))
    (folder / "unfinished.safetensors.part").write_bytes(b"x")

    def listed(**query: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = client.get("/api/models/", params=query).json()["models"]
        return found

    suite.wait_for(lambda: len(listed(folder="loras", search="BY-HAND")) == 3, "the models to show", 60)
    assert [model["size_bytes"] for model in listed(folder="loras", search="by-hand", limit="1", offset="1")] == [1001]
    assert {"folder": "loras", "count": 3, "size_bytes": 3003} in client.get("/api/models/types").json()["types"]
    ids = [model["id"] for model in listed(folder="loras")]
    answer = client.request("DELETE", "/api/models/", json={"ids": [*ids, "nonsense"]}).json()
    assert len(answer["removed"]) == 3
    assert answer["not_found"] == ["nonsense"]
    assert [path.name for path in folder.iterdir()] == ["unfinished.safetensors.part"]
    (folder / "unfinished.safetensors.part").unlink()


def test_models_of_a_plain_comfyui_are_used_and_never_changed(
    suite: RunningSuite, client: httpx.Client, model_host: ModelHost
) -> None:
    old = suite.workspace / "ComfyUI" / "models" / "unet" / "plain.safetensors"
    old.parent.mkdir(parents=True)
    old.write_bytes(MODEL)
    model_host.requests.clear()
    file = {
        "url": model_host.add("/plain.safetensors", MODEL),
        "folder": "diffusion_models",
        "name": "plain.safetensors",
        "size_bytes": len(MODEL),
        "sha256": hashlib.sha256(MODEL).hexdigest(),
    }
    suite.add_preset({"id": "PLAIN", "name": "Plain", "kind": "image", "description": "Is there.", "files": [file]})

    def listed() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = client.get("/api/models/", params={"search": "plain"}).json()["models"]
        return found

    suite.wait_for(listed, "the model to show", 60)
    [model] = listed()
    assert (model["root"], model["folder"]) == ("ComfyUI/models", "diffusion_models")
    deleted = client.request("DELETE", "/api/models/", json={"ids": [model["id"]]}).json()
    assert (deleted["removed"], deleted["freed_bytes"]) == ([], 0)
    assert "used and never changed" in deleted["kept"][0]["reason"]
    client.post("/api/presets/PLAIN/install")
    wait_until_installed(suite, client, "PLAIN")
    gone = client.delete("/api/presets/PLAIN").json()
    assert (gone["removed"], gone["freed_bytes"]) == ([], 0)
    assert [(kept["name"], "never changed" in kept["reason"]) for kept in gone["kept"]] == [("plain.safetensors", True)]
    assert client.get("/api/presets/PLAIN/status").json()["state"] == "available"
    assert not model_host.requests
    assert old.read_bytes() == MODEL
    shutil.rmtree(suite.workspace / "ComfyUI")


def test_workflows_are_saved_listed_and_deleted(suite: RunningSuite, client: httpx.Client) -> None:
    workflow = {"1": {"class_type": "EmptyImage", "inputs": {"width": 8}}}
    assert client.put("/api/workflows/my flow", json=workflow).status_code == 201
    assert client.get("/api/workflows/my flow").json() == workflow
    assert "my flow" in [entry["name"] for entry in client.get("/api/workflows/").json()["workflows"]]
    assert client.delete("/api/workflows/my flow").status_code == 200
    assert client.get("/api/workflows/my flow").status_code == 404


def test_a_graph_of_the_editor_is_saved_and_given_out_as_comfyui_runs_it(client: httpx.Client) -> None:
    graph = {
        "nodes": [{"id": 7, "type": "EmptyImage", "inputs": [], "outputs": [], "widgets_values": [16, 8, 1, 255]}],
        "links": [],
        "version": 0.4,
    }
    assert client.put("/api/workflows/graph", json=graph).status_code == 201
    assert client.get("/api/workflows/graph").json() == graph
    prompt = client.get("/api/workflows/graph?format=api").json()
    inputs = {"width": 16, "height": 8, "batch_size": 1, "color": 255}
    assert (prompt["7"]["class_type"], prompt["7"]["inputs"]) == ("EmptyImage", inputs)
    assert client.delete("/api/workflows/graph").status_code == 200


def test_a_graph_without_nodes_is_refused(client: httpx.Client) -> None:
    answer = client.put("/api/workflows/graph", json={"nodes": [], "links": []})
    assert answer.status_code == 422
    assert "no nodes" in error_of(answer)["message"]


def test_a_workflow_with_an_unknown_node_is_refused(client: httpx.Client) -> None:
    prompt = {"1": {"class_type": "NoSuchNode", "inputs": {}}}
    answer = client.post("/api/comfyui/execute", json={"prompt": prompt})
    assert answer.status_code == 422
    (missing,) = error_of(answer)["details"]["missing_nodes"]
    assert (missing["node_id"], missing["class_type"]) == ("1", "NoSuchNode")


def test_a_workflow_with_a_wrong_value_is_refused_in_comfyuis_words(client: httpx.Client) -> None:
    prompt = {
        "1": {"class_type": "EmptyImage", "inputs": {"width": "wide", "height": 8, "batch_size": 1, "color": 0}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "x"}},
    }
    answer = client.post("/api/comfyui/execute", json={"prompt": prompt})
    assert answer.status_code == 422
    assert "width" in error_of(answer)["message"]


def test_a_node_that_fails_ends_the_run_with_its_reason(suite: RunningSuite, client: httpx.Client) -> None:
    broken = suite.workspace / "models" / "upscale_models" / "broken.safetensors"
    broken.write_bytes(b"\x08\x00\x00\x00\x00\x00\x00\x00{}      ")
    prompt = {
        "1": {"class_type": "EmptyImage", "inputs": {"width": 8, "height": 8, "batch_size": 1, "color": 0}},
        "2": {"class_type": "UpscaleModelLoader", "inputs": {"model_name": "broken.safetensors"}},
        "3": {"class_type": "ImageUpscaleWithModel", "inputs": {"upscale_model": ["2", 0], "image": ["1", 0]}},
        "4": {"class_type": "SaveImage", "inputs": {"images": ["3", 0], "filename_prefix": "x"}},
    }
    prompt_id = client.post("/api/comfyui/execute", json={"prompt": prompt}).json()["prompt_id"]
    suite.wait_for(lambda: client.get(f"/api/runs/{prompt_id}").json()["state"] == "error", "the run to fail", 30)
    assert "UpscaleModelLoader" in client.get(f"/api/runs/{prompt_id}").json()["error"]
    broken.unlink()


def test_the_status_names_every_process_and_the_machine(client: httpx.Client) -> None:
    status = client.get("/api/system/status").json()
    names = {process["name"] for process in status["processes"]}
    assert names == {"comfyui", "dashboard", "nginx", "ready", "reconciler", "redis", "worker-1", "worker-2"}
    assert len(status["cpu"]["per_core"]) == os.cpu_count()
    assert 0 < status["memory"]["used_bytes"] < status["memory"]["total_bytes"]
    assert status["disk"]["free_bytes"] > 0
    assert status["workspace"]["state"] == "ok"
    assert [step["name"] for step in status["boot"]][:2] == ["Workspace", "Model paths"]


def test_a_log_is_read_by_its_name(client: httpx.Client) -> None:
    assert client.get("/api/system/logs/supervisord").json()["lines"]
    unknown = client.get("/api/system/logs/passwd")
    assert unknown.status_code == 404
    assert "comfyui" in error_of(unknown)["message"]


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for inner in value.values():
            yield from _references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _references(inner)
