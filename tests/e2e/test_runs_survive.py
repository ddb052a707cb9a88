"""What becomes of runs when ComfyUI or the dashboard dies under them, on the real ones."""

import contextlib
import io
import json
import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from PIL import Image

from tests.e2e.test_install_and_run import MODEL, WORKFLOW, picture
from tests.running import RunningSuite

Workflow = dict[str, Any]


def slow(seed: int, seconds: int) -> Workflow:
    """Of nodes that take about a second each, on two cores, and are not in ComfyUI's cache for a new seed."""
    empty = {"width": 2000, "height": 2000, "batch_size": 1, "color": seed}
    nodes: Workflow = {"1": {"class_type": "EmptyImage", "inputs": empty}}
    for number in range(2, seconds + 2):
        inputs = {"image": [str(number - 1), 0], "blur_radius": 15, "sigma": 5.0}
        nodes[str(number)] = {"class_type": "ImageBlur", "inputs": inputs}
    save = {"images": [str(seconds + 1), 0], "filename_prefix": "images/slow"}
    return {**nodes, "99": {"class_type": "SaveImage", "inputs": save}}


def small(color: int = 0) -> Workflow:
    empty = {"width": 32, "height": 32, "batch_size": 1, "color": color}
    return {
        "1": {"class_type": "EmptyImage", "inputs": empty},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "images/small"}},
    }


@pytest.fixture(scope="module")
def suite() -> Iterator[RunningSuite]:
    """Its own: here ComfyUI is killed more often than the shared one may be."""
    running = RunningSuite(COMFYUI_ARGS="--disable-api-nodes")
    try:
        running.start()
        running.wait_until_ready()
        yield running
    finally:
        running.remove()


@pytest.fixture
def client(suite: RunningSuite) -> Iterator[httpx.Client]:
    with suite.client() as client:
        yield client


def execute(client: httpx.Client, **body: Any) -> dict[str, Any]:
    answer = client.post("/api/comfyui/execute", json=body)
    assert answer.status_code == 202, answer.text
    started: dict[str, Any] = answer.json()
    return started


def run_of(client: httpx.Client, prompt_id: str) -> dict[str, Any]:
    """Empty while the dashboard does not answer."""
    with contextlib.suppress(httpx.HTTPError):
        answer = client.get(f"/api/runs/{prompt_id}")
        if answer.status_code == 200:
            found: dict[str, Any] = answer.json()
            return found
    return {}


def wait_for_state(suite: RunningSuite, client: httpx.Client, prompt_id: str, *states: str) -> dict[str, Any]:
    def there() -> dict[str, Any] | None:
        run = run_of(client, prompt_id)
        return run if run.get("state") in states else None

    found: dict[str, Any] = suite.wait_for(there, f"run {prompt_id} to be {states}")
    return found


def kill(suite: RunningSuite, program: str) -> None:
    """Returns when supervisord has started another one."""
    pid = suite.pid_of(program)
    os.kill(pid, signal.SIGKILL)

    def is_another() -> bool:
        with contextlib.suppress(ValueError):
            return suite.pid_of(program) not in {0, pid}
        return False

    suite.wait_for(is_another, f"another {program}")


def wait_until_ready(suite: RunningSuite, client: httpx.Client) -> None:
    """The next ComfyUI, of which the last look at the machine may not know yet."""
    suite.wait_for(lambda: client.get("/api/comfyui/queue").status_code == 503, "ComfyUI to be missed")
    suite.wait_for(lambda: client.get("/api/comfyui/queue").status_code == 200, "ComfyUI to be there again")


def pixels(client: httpx.Client, run: dict[str, Any]) -> bytes:
    image = client.get(run["outputs"][0]["url"])
    assert image.status_code == 200, image.text
    return Image.open(io.BytesIO(image.content)).convert("RGB").tobytes()


def test_runs_are_lost_with_comfyui_and_can_be_run_again(suite: RunningSuite, client: httpx.Client) -> None:
    running = execute(client, prompt=slow(1, seconds=30), title="The long one")["prompt_id"]
    waiting = execute(client, prompt=small(1))["prompt_id"]
    assert wait_for_state(suite, client, running, "running")["can_run_again"] is True
    assert run_of(client, waiting)["position"] == 1
    kill(suite, "comfyui")
    # Before the next ComfyUI has loaded its libraries.
    assert wait_for_state(suite, client, running, "lost")["error"] == "ComfyUI restarted while this ran"
    assert wait_for_state(suite, client, waiting, "lost")["error"] == "ComfyUI restarted before this ran"
    wait_until_ready(suite, client)
    queue = client.get("/api/comfyui/queue").json()
    assert (queue["running"], queue["pending"]) == ([], [])
    again = execute(client, run=waiting)
    assert (again["state"] in {"pending", "running", "success"}) is True
    assert wait_for_state(suite, client, again["prompt_id"], "success")["outputs"]
    assert client.get(f"/api/runs/{running}/prompt").json() == slow(1, seconds=30)


def test_runs_go_on_while_the_dashboard_is_dead(suite: RunningSuite, client: httpx.Client) -> None:
    short = execute(client, prompt=slow(2, seconds=1), title="Ends meanwhile")["prompt_id"]
    long = execute(client, prompt=slow(3, seconds=3), title="Goes on")["prompt_id"]
    waiting = execute(client, prompt=small(3), title="Waits")["prompt_id"]
    wait_for_state(suite, client, short, "running", "success")
    kill(suite, "dashboard")
    suite.wait_until_answers()
    ended = wait_for_state(suite, client, short, "success")
    assert (ended["title"], len(ended["outputs"])) == ("Ends meanwhile", 1)

    def moves() -> bool:
        # ComfyUI tells how it goes on only to whom submitted it.
        run = run_of(client, long)
        return bool(run.get("node_class") == "ImageBlur" and run["progress"] > 0)

    suite.wait_for(moves, "progress of a run that was begun before")
    assert wait_for_state(suite, client, long, "success")["outputs"]
    assert wait_for_state(suite, client, waiting, "success")["title"] == "Waits"
    known = [run["prompt_id"] for run in client.get("/api/runs/").json()["runs"]]
    assert known.index(waiting) < known.index(long) < known.index(short)


def test_both_die_and_the_truth_is_told_after_it(suite: RunningSuite, client: httpx.Client) -> None:
    running = execute(client, prompt=slow(4, seconds=30))["prompt_id"]
    waiting = execute(client, prompt=small(4))["prompt_id"]
    wait_for_state(suite, client, running, "running")
    os.kill(suite.pid_of("dashboard"), signal.SIGKILL)
    kill(suite, "comfyui")
    suite.wait_until_answers()
    assert wait_for_state(suite, client, running, "lost")["can_run_again"] is True
    assert wait_for_state(suite, client, waiting, "lost")["error"] == "ComfyUI restarted before this ran"
    suite.wait_for(lambda: client.get("/api/comfyui/queue").status_code == 200, "ComfyUI to be there again")


def test_one_that_waits_is_cancelled_while_another_runs(suite: RunningSuite, client: httpx.Client) -> None:
    running = execute(client, prompt=slow(5, seconds=2))["prompt_id"]
    waiting, next_ = (execute(client, prompt=small(color))["prompt_id"] for color in (5, 6))
    wait_for_state(suite, client, running, "running")
    assert client.delete("/api/comfyui/queue", params={"prompt_id": waiting}).json() == {"removed": 1}
    assert run_of(client, waiting)["state"] == "interrupted"
    assert client.get("/api/comfyui/queue").json()["pending"][0]["prompt_id"] == next_
    assert wait_for_state(suite, client, running, "success", "error", "interrupted")["state"] == "success"
    assert wait_for_state(suite, client, next_, "success", "error", "interrupted")["state"] == "success"


def test_a_batch_makes_one_run_of_each_seed(suite: RunningSuite, client: httpx.Client) -> None:
    noise = {
        "1": {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 64, "batch_size": 1, "color": 0}},
        "2": {"class_type": "ImageAddNoise", "inputs": {"image": ["1", 0], "seed": 7, "strength": 0.5}},
        "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "images/noise"}},
    }
    batch = execute(client, prompt=noise, seed=100, count=3)["batch"]
    runs = [wait_for_state(suite, client, id_, "success") for id_ in batch]
    seeds = [client.get(f"/api/runs/{id_}/prompt").json()["2"]["inputs"]["seed"] for id_ in batch]
    assert seeds == [100, 101, 102]
    assert len({pixels(client, run) for run in runs}) == 3
    again = execute(client, run=batch[1])["prompt_id"]
    assert pixels(client, wait_for_state(suite, client, again, "success")) == pixels(client, runs[1])


def node(id_: int, type_: str, inputs: Workflow, outputs: Workflow, widgets: list[Any]) -> Workflow:
    """Of the editor's graph. `inputs`: (type, link) by name; `outputs`: (type, links)."""
    return {
        "id": id_,
        "type": type_,
        "pos": [0, 0],
        "size": [200, 100],
        "flags": {},
        "order": id_,
        "mode": 0,
        "inputs": [{"name": name, "type": kind, "link": link} for name, (kind, link) in inputs.items()],
        "outputs": [{"name": name, "type": kind, "links": links} for name, (kind, links) in outputs.items()],
        "properties": {},
        "widgets_values": widgets,
    }


def inverted(image: str) -> tuple[Workflow, Workflow]:
    """(graph, prompt)"""
    nodes = [
        node(1, "LoadImage", {}, {"IMAGE": ("IMAGE", [1]), "MASK": ("MASK", None)}, [image, "image"]),
        node(2, "ImageInvert", {"image": ("IMAGE", 1)}, {"IMAGE": ("IMAGE", [2])}, []),
        node(3, "SaveImage", {"images": ("IMAGE", 2)}, {}, ["images/inverted"]),
    ]
    links = [[1, 1, 0, 2, 0, "IMAGE"], [2, 2, 0, 3, 0, "IMAGE"]]
    prompt = {
        "1": {"class_type": "LoadImage", "inputs": {"image": image}},
        "2": {"class_type": "ImageInvert", "inputs": {"image": ["1", 0]}},
        "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "images/inverted"}},
    }
    return {"last_node_id": 3, "last_link_id": 2, "nodes": nodes, "links": links, "version": 0.4}, prompt


def upscaled(image: str) -> tuple[Workflow, Workflow]:
    """(graph, prompt)"""
    scaling = {"upscale_model": ("UPSCALE_MODEL", 2), "image": ("IMAGE", 1)}
    nodes = [
        node(1, "LoadImage", {}, {"IMAGE": ("IMAGE", [1]), "MASK": ("MASK", None)}, [image, "image"]),
        node(2, "UpscaleModelLoader", {}, {"UPSCALE_MODEL": ("UPSCALE_MODEL", [2])}, ["tiny_esrgan_x4.safetensors"]),
        node(3, "ImageUpscaleWithModel", scaling, {"IMAGE": ("IMAGE", [3])}, []),
        node(4, "SaveImage", {"images": ("IMAGE", 3)}, {}, ["images/upscaled"]),
    ]
    links = [[1, 1, 0, 3, 1, "IMAGE"], [2, 2, 0, 3, 0, "UPSCALE_MODEL"], [3, 3, 0, 4, 0, "IMAGE"]]
    return {"last_node_id": 4, "last_link_id": 3, "nodes": nodes, "links": links, "version": 0.4}, {
        **WORKFLOW,
        "1": {"class_type": "LoadImage", "inputs": {"image": image}},
    }


@pytest.mark.parametrize("made", [inverted, upscaled])
def test_a_graph_a_prompt_and_a_picture_make_the_same(
    made: Callable[[str], tuple[Workflow, Workflow]], suite: RunningSuite, client: httpx.Client
) -> None:
    (suite.workspace / "models" / "upscale_models" / "tiny_esrgan_x4.safetensors").write_bytes(MODEL)
    stored = client.post("/api/inputs/", params={"name": "my picture.png"}, content=picture(40, 30))
    assert stored.status_code == 201, stored.text
    graph, prompt = made(stored.json()["name"])
    from_graph = wait_for_state(suite, client, execute(client, prompt=graph)["prompt_id"], "success")
    from_prompt = wait_for_state(suite, client, execute(client, prompt=prompt)["prompt_id"], "success")
    file = client.get(from_graph["outputs"][0]["url"]).content
    answer = client.post("/api/comfyui/execute", content=file, headers={"Content-Type": "image/png"})
    assert answer.status_code == 202, answer.text
    from_picture = wait_for_state(suite, client, answer.json()["prompt_id"], "success")
    made_of = pixels(client, from_graph)
    assert made_of == pixels(client, from_prompt)
    assert made_of == pixels(client, from_picture)
    # ComfyUI's editor opens the picture as the graph that it was made of.
    assert json.loads(Image.open(io.BytesIO(file)).info["workflow"]) == graph
    assert client.get(f"/api/runs/{from_graph['prompt_id']}/workflow").json() == graph


def test_what_a_form_gives_is_run(suite: RunningSuite, client: httpx.Client) -> None:
    inputs = client.post("/api/workflows/inputs", json={"prompt": small()}).json()["inputs"]
    assert [(one["key"], one["kind"]) for one in inputs][:2] == [("1.width", "integer"), ("1.height", "integer")]
    started = execute(client, prompt=small(), inputs={"1.width": 48, "1.height": 16})
    run = wait_for_state(suite, client, started["prompt_id"], "success")
    image = client.get(run["outputs"][0]["url"]).content
    assert Image.open(io.BytesIO(image)).size == (48, 16)
