"""From a workflow that lacks things to one that runs: on the real ComfyUI, with a hub that answers as Hugging Face."""

import copy
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.test_install_and_run import messages_until, open_socket
from tests.fakes import tiny_upscaler
from tests.fakes.internet import Internet
from tests.running import RunningSuite

NAME = "tiny_esrgan_x4.safetensors"
MODEL = tiny_upscaler.make()
URL = f"https://huggingface.co/tiny/model/resolve/main/{NAME}"
GATED_URL = "https://huggingface.co/gated/model/resolve/main/gated.safetensors"


def link(name: str, type_: str, id_: int) -> dict[str, Any]:
    return {"name": name, "type": type_, "link": id_}


def out(type_: str, *links: int) -> dict[str, Any]:
    return {"name": type_, "type": type_, "links": list(links)}


def graph(name: str = NAME, url: str = URL) -> dict[str, Any]:
    """As the editor saves it: a small picture, enlarged and saved."""
    models = [{"name": name, "url": url, "directory": "upscale_models"}] if url else []
    nodes = [
        {"id": 1, "type": "EmptyImage", "outputs": [out("IMAGE", 1)], "widgets_values": [16, 16, 1, 255]},
        {
            "id": 2,
            "type": "UpscaleModelLoader",
            "title": "The upscaler",
            "outputs": [out("UPSCALE_MODEL", 2)],
            "widgets_values": [name],
            "properties": {"models": models},
        },
        {
            "id": 3,
            "type": "ImageUpscaleWithModel",
            "inputs": [link("upscale_model", "UPSCALE_MODEL", 2), link("image", "IMAGE", 1)],
            "outputs": [out("IMAGE", 3)],
        },
        {"id": 4, "type": "SaveImage", "inputs": [link("images", "IMAGE", 3)], "widgets_values": ["images/large"]},
    ]
    links = [[1, 1, 0, 3, 1, "IMAGE"], [2, 2, 0, 3, 0, "UPSCALE_MODEL"], [3, 3, 0, 4, 0, "IMAGE"]]
    return {"nodes": nodes, "links": links, "last_node_id": 4, "last_link_id": 3, "version": 0.4}


PROMPT: dict[str, Any] = {
    "1": {"class_type": "EmptyImage", "inputs": {"width": 16, "height": 16, "batch_size": 1, "color": 255}},
    "2": {
        "class_type": "ImageScale",
        "inputs": {"image": ["1", 0], "upscale_method": "area", "width": 8, "height": 8, "crop": "disabled"},
    },
    "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "images/x"}},
}


@pytest.fixture(scope="module")
def internet() -> Iterator[Internet]:
    with Internet(hf=("hf_of_a_test",)) as internet:
        internet.hugging_face.add("tiny/model", NAME, MODEL)
        internet.hugging_face.add("gated/model", "gated.safetensors", MODEL, gated=True)
        yield internet


@pytest.fixture(scope="module")
def running(internet: Internet) -> Iterator[RunningSuite]:
    suite = RunningSuite(COMFYUI_ARGS="--disable-api-nodes", HTTPS_PROXY=f"http://127.0.0.1:{internet.proxy.port}")
    try:
        # Where the suite's own user can read it.
        suite.settings["SSL_CERT_FILE"] = str(shutil.copy(internet.ca_file, suite.folder / "authority.crt"))
        suite.start()
        suite.wait_until_ready()
        yield suite
    finally:
        suite.remove()


@pytest.fixture
def client(running: RunningSuite) -> Iterator[httpx.Client]:
    with running.client() as client:
        yield client


@pytest.fixture
def models(running: RunningSuite) -> Iterator[Path]:
    """The folder of models, without one of these when the test is over."""
    folder = running.workspace / "models"
    yield folder
    for file in folder.rglob("*.safetensors"):
        file.unlink()


def put(file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.parent.chmod(0o777)
    file.write_bytes(MODEL)


def save(client: httpx.Client, name: str, workflow: dict[str, Any]) -> None:
    answer = client.put(f"/api/workflows/{name}", json=workflow)
    assert answer.status_code == 201, answer.text


def check(client: httpx.Client, name: str) -> dict[str, Any]:
    answer = client.get(f"/api/workflows/{name}/check")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def check_prompt(client: httpx.Client, workflow: dict[str, Any]) -> dict[str, Any]:
    answer = client.post("/api/workflows/check", json={"prompt": workflow})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def run(running: RunningSuite, client: httpx.Client, name: str) -> str:
    """How it ended."""
    with open_socket(running, client, "queue") as socket:
        answer = client.post("/api/comfyui/execute", json={"workflow": name})
        assert answer.status_code == 202, answer.text
        id_ = answer.json()["prompt_id"]
        messages_until(socket, lambda told: told["type"] == "run_finished" and told["data"]["prompt_id"] == id_)
    return str(client.get(f"/api/runs/{id_}").json()["state"])


def test_a_missing_model_is_fetched_from_where_the_workflow_says_and_then_it_runs(
    running: RunningSuite, client: httpx.Client, models: Path
) -> None:
    save(client, "enlarge", graph())
    report = check(client, "enlarge")
    (missing,) = report["missing_models"]
    assert (report["can_run"], report["installable"]) == (False, 1)
    assert (missing["verdict"], missing["url"], missing["folder"]) == ("url", URL, "upscale_models")
    assert (missing["title"], missing["node_id"], missing["needed_by"]) == ("The upscaler", "2", ["2"])

    refused = client.post("/api/comfyui/execute", json={"workflow": "enlarge"})
    assert refused.status_code == 422
    assert refused.json()["error"]["type"] == "workflow_refused"
    assert refused.json()["error"]["details"]["missing_models"] == [missing]

    begun = client.post("/api/workflows/enlarge/install")
    assert begun.status_code == 202, begun.text
    install = begun.json()
    assert install["preset_id"].startswith("workflow-")
    assert (install["name"], install["bytes_total"], install["refused"]) == ("Models of enlarge", len(MODEL), [])
    running.wait_for(lambda: check(client, "enlarge")["can_run"], "the model", 60)
    assert (models / "upscale_models" / NAME).read_bytes() == MODEL
    assert client.get(f"/api/presets/{install['preset_id']}/status").json()["state"] == "installed"
    assert client.post("/api/workflows/enlarge/install").status_code == 200
    assert run(running, client, "enlarge") == "success"

    # A file that a workflow asked for is needed by the workflow, not by the install.
    kept = client.delete(f"/api/presets/{install['preset_id']}").json()["kept"]
    assert kept[0]["reason"] == "needed by the workflow enlarge"
    client.delete("/api/workflows/enlarge")
    (model,) = client.get("/api/models/", params={"folder": "upscale_models"}).json()["models"]
    assert (model["installed_by"], model["presets"]) == ([], [])


def test_asking_twice_is_asking_once(
    running: RunningSuite, client: httpx.Client, internet: Internet, models: Path
) -> None:
    assert client.post("/api/downloads/pause").is_success
    try:
        first = client.post("/api/workflows/install", json={"prompt": graph()})
        second = client.post("/api/workflows/install", json={"prompt": graph()})
        assert (first.status_code, second.status_code) == (202, 202)
        assert first.json()["preset_id"] == second.json()["preset_id"]
        assert (first.json()["joined"], second.json()["joined"]) == (False, True)
        (missing,) = check_prompt(client, graph())["missing_models"]
        assert missing["verdict"] == "downloading"
    finally:
        assert client.post("/api/downloads/resume").is_success
    running.wait_for(lambda: check_prompt(client, graph())["can_run"], "the model", 60)
    removed = client.delete(f"/api/presets/{first.json()['preset_id']}").json()["removed"]
    assert removed == [NAME]


def test_what_the_host_does_not_give_is_told_with_the_page_that_helps(client: httpx.Client, models: Path) -> None:
    gated = graph("gated.safetensors", GATED_URL)
    refused = client.post("/api/workflows/install", json={"prompt": gated})
    assert refused.status_code == 422, refused.text
    (told,) = refused.json()["error"]["details"]["refused"]
    assert (told["name"], told["token"]) == ("gated.safetensors", "HF_TOKEN")
    assert "gated/model" in told["page"]

    both = copy.deepcopy(gated)
    both["nodes"].append({**graph()["nodes"][1], "id": 5, "outputs": [out("UPSCALE_MODEL", 4)]})
    both["nodes"].append(
        {
            "id": 6,
            "type": "ImageUpscaleWithModel",
            "inputs": [link("upscale_model", "UPSCALE_MODEL", 4), link("image", "IMAGE", 3)],
            "outputs": [out("IMAGE", 5)],
        }
    )
    both["nodes"].append(
        {"id": 7, "type": "SaveImage", "inputs": [link("images", "IMAGE", 5)], "widgets_values": ["images/larger"]}
    )
    both["links"] += [[4, 5, 0, 6, 0, "UPSCALE_MODEL"], [5, 6, 0, 7, 0, "IMAGE"]]
    begun = client.post("/api/workflows/install", json={"prompt": both})
    assert begun.status_code == 202, begun.text
    assert [file["name"] for file in begun.json()["files"]] == [NAME]
    assert [told["name"] for told in begun.json()["refused"]] == ["gated.safetensors"]
    assert client.delete(f"/api/downloads/{begun.json()['preset_id']}", params={"keep": "false"}).is_success


def test_a_file_in_another_subfolder_is_used(running: RunningSuite, client: httpx.Client, models: Path) -> None:
    put(models / "upscale_models" / "mine" / NAME)
    save(client, "elsewhere", graph(url=""))
    running.wait_for(lambda: check(client, "elsewhere")["missing_models"][0]["candidates"], "the file to be seen")
    (missing,) = check(client, "elsewhere")["missing_models"]
    (candidate,) = missing["candidates"]
    assert (missing["verdict"], candidate["how"], candidate["name"]) == ("elsewhere", "use", f"mine/{NAME}")
    wish = {"node_id": missing["node_id"], "input": missing["input"], "from": NAME, "to": candidate["name"]}
    used = client.post("/api/workflows/elsewhere/use", json={"replacements": [wish]})
    assert (used.status_code, used.json()) == (200, {"name": "elsewhere", "format": "graph", "nodes": 4})
    assert check(client, "elsewhere")["can_run"]
    assert run(running, client, "elsewhere") == "success"
    again = client.post("/api/workflows/elsewhere/use", json={"replacements": [wish]})
    assert again.status_code == 422


def test_a_file_in_another_folder_is_linked(running: RunningSuite, client: httpx.Client, models: Path) -> None:
    put(models / "checkpoints" / NAME)
    save(client, "misplaced", graph(url=""))
    running.wait_for(lambda: check(client, "misplaced")["missing_models"][0]["candidates"], "the file to be seen")
    (missing,) = check(client, "misplaced")["missing_models"]
    (candidate,) = missing["candidates"]
    assert (candidate["how"], candidate["folder"], candidate["size_bytes"]) == ("link", "checkpoints", len(MODEL))
    where = {"folder": missing["folder"], "name": missing["name"], "how": "link"}
    assert client.post(f"/api/models/{candidate['id']}/place", json=where).is_success
    running.wait_for(lambda: check(client, "misplaced")["can_run"], "the link to be seen", 30)
    assert run(running, client, "misplaced") == "success"


def test_a_missing_node_class_is_told_with_its_pack(client: httpx.Client) -> None:
    prompt = copy.deepcopy(PROMPT)
    prompt["2"]["class_type"] = "ImageResize+"
    (lost,) = check_prompt(client, prompt)["missing_nodes"]
    assert lost["pack"]["url"] == "https://github.com/cubiq/ComfyUI_essentials"
    assert "custom_nodes/" in lost["message"]


CHANGES: dict[str, tuple[str, str, Any]] = {
    "nothing": ("1", "width", 16),
    "a number as text": ("1", "width", "16"),
    "a fraction": ("1", "width", 16.7),
    "no number": ("1", "width", "wide"),
    "null": ("1", "width", None),
    "too small": ("1", "width", 0),
    "too large": ("1", "batch_size", 1_000_000),
    "no choice": ("2", "upscale_method", "magic"),
    "a link to nobody": ("2", "image", ["77", 0]),
    "a link to an output that is not there": ("2", "image", ["1", 5]),
    "a link of three parts": ("2", "image", ["1", 0, 0]),
    "a link that does not fit": ("2", "width", ["1", 0]),
    "an input that nobody asked for": ("2", "more", "of it"),
}


@pytest.mark.parametrize(("node_id", "name", "value"), CHANGES.values(), ids=CHANGES)
def test_what_is_told_to_be_wrong_is_what_comfyui_refuses(
    running: RunningSuite, client: httpx.Client, node_id: str, name: str, value: Any
) -> None:
    prompt = copy.deepcopy(PROMPT)
    prompt[node_id]["inputs"][name] = value
    report = check_prompt(client, prompt)
    body = {"prompt": prompt, "client_id": "test"}
    own = {"Origin": running.comfyui_address}
    answer = client.post(f"{running.comfyui_address}/prompt", json=body, headers=own)
    assert report["can_run"] == (answer.status_code == 200), (report, answer.text)
    told = {(wrong["node_id"], wrong["input"]) for wrong in report["wrong_values"] if wrong["refused"]}
    assert told == (set() if report["can_run"] else {(node_id, name)})


def test_a_picture_that_is_not_there_and_an_input_that_is_missing_are_told(
    running: RunningSuite, client: httpx.Client
) -> None:
    prompt = {**copy.deepcopy(PROMPT), "1": {"class_type": "LoadImage", "inputs": {"image": "gone.png"}}}
    del prompt["2"]["inputs"]["crop"]
    wrong = check_prompt(client, prompt)["wrong_values"]
    assert [(one["node_id"], one["input"]) for one in wrong] == [("1", "image"), ("2", "crop")]
    folder = running.workspace / "uploads" / "input" / "sub"
    folder.mkdir()
    (folder / "there.png").write_bytes(b"")
    prompt["1"]["inputs"]["image"] = "sub/there.png"
    assert [one["input"] for one in check_prompt(client, prompt)["wrong_values"]] == ["crop"]
