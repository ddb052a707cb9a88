"""Official templates and single models, from hubs that answer as Hugging Face and Civitai do, through the public API.

The addresses are the real ones: a proxy leads their names to hosts of the tests' own, which have certificates for them.
"""

import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from tests.fakes import safetensors
from tests.fakes.internet import Internet
from tests.running import RunningSuite

HF_TOKEN = "hf_of_a_test"
CIVITAI_TOKEN = "civitai_of_a_test"
GATED = "gated/model"


class Hubs:
    """What they offer, by address."""

    def __init__(self, internet: Internet) -> None:
        self.internet = internet
        self.contents: dict[str, bytes] = {}

    def offer(self, url: str, size_bytes: int = 4000, **more: Any) -> bytes:
        """The content that Hugging Face has at `url` from now on."""
        if url not in self.contents:
            self.contents[url] = safetensors.make(size_bytes, url)
            repository, _, rest = urlsplit(url).path.removeprefix("/").partition("/resolve/")
            self.internet.hugging_face.add(repository, rest.partition("/")[2], self.contents[url], **more)
        return self.contents[url]

    def sent_bytes(self) -> int:
        """Of files, not of what the hubs say about them."""
        return sum(request.bytes_sent for request in self.internet.store.requests)


@pytest.fixture(scope="module")
def hubs() -> Iterator[Hubs]:
    with Internet(hf=(HF_TOKEN,), civitai=(CIVITAI_TOKEN,)) as internet:
        yield Hubs(internet)


@pytest.fixture(scope="module")
def running(hubs: Hubs) -> Iterator[RunningSuite]:
    """A suite that reaches nothing but the hubs; without ComfyUI."""
    suite = RunningSuite(
        COMFYUI_PYTHON="/nonexistent/python", HTTPS_PROXY=f"http://127.0.0.1:{hubs.internet.proxy.port}"
    )
    try:
        # Where the suite's own user can read it.
        authority = str(shutil.copy(hubs.internet.ca_file, suite.folder / "authority.crt"))
        suite.settings["SSL_CERT_FILE"] = authority
        yield suite.start()
    finally:
        suite.remove()


@pytest.fixture
def client(running: RunningSuite) -> Iterator[httpx.Client]:
    with running.client() as client:
        yield client


def asked(client: httpx.Client, path: str) -> Any:
    answer = client.get(path)
    assert answer.status_code == 200, answer.text
    return answer.json()


def wait_until(running: RunningSuite, client: httpx.Client, preset_id: str, state: str) -> Any:
    def status() -> Any:
        found = asked(client, f"/api/presets/{preset_id}/status")
        return found if found["state"] == state else None

    return running.wait_for(status, f"{preset_id} {state}", 60)


def install(running: RunningSuite, client: httpx.Client, preset_id: str) -> None:
    answer = client.post(f"/api/presets/{preset_id}/install", json={})
    assert answer.status_code == 202, answer.text
    wait_until(running, client, preset_id, "installed")


def official(client: httpx.Client) -> list[dict[str, Any]]:
    found = asked(client, "/api/presets/")["presets"]
    return [preset for preset in found if preset["origin"] == "official"]


@pytest.fixture
def pair(client: httpx.Client, hubs: Hubs) -> tuple[dict[str, Any], dict[str, Any]]:
    """Two official presets that share files and have some of their own; the hub has all of them."""
    details = [asked(client, f"/api/presets/{preset['id']}") for preset in official(client)[:80]]
    for first in details:
        for second in details:
            ids, others = ({file["id"]: file["url"] for file in preset["files"]} for preset in (first, second))
            shared = ids.keys() & others.keys()
            same = all(ids[id_] == others[id_] for id_ in shared)
            unknown = all(file["sha256"] is None for preset in (first, second) for file in preset["files"])
            if shared and same and unknown and ids.keys() - others.keys() and others.keys() - ids.keys():
                for preset in (first, second):
                    for file in preset["files"]:
                        hubs.offer(file["url"])
                return first, second
    raise AssertionError("no two official presets share a file")


def on_disk(running: RunningSuite, file: dict[str, Any]) -> Path:
    return running.workspace / "models" / str(file["folder"]) / str(file["name"])


def test_every_official_template_with_files_is_a_preset(client: httpx.Client) -> None:
    assert len(official(client)) > 200


def test_an_official_preset_has_its_workflow_as_the_editor_opens_it(client: httpx.Client) -> None:
    preset = official(client)[0]
    assert preset["workflow"] == preset["id"]
    graph = asked(client, f"/api/workflows/{preset['workflow']}")
    names = {file["name"] for file in asked(client, f"/api/presets/{preset['id']}")["files"]}
    assert all(name in json.dumps(graph) for name in names)
    assert isinstance(graph["nodes"], list)


def test_an_official_preset_is_planned_installed_and_removed(
    running: RunningSuite, client: httpx.Client, hubs: Hubs, pair: tuple[dict[str, Any], dict[str, Any]]
) -> None:
    first, second = pair
    before = hubs.sent_bytes()
    plan = asked(client, f"/api/presets/{first['id']}/plan")
    for file in plan["files"]:
        content = next(hubs.contents[told["url"]] for told in first["files"] if told["id"] == file["id"])
        assert (file["state"], file["size_bytes"]) == ("missing", len(content))
        assert file["sha256"] == hashlib.sha256(content).hexdigest()
        assert file["commit"]
    assert plan["fits"]
    assert plan["fetch_bytes"] == plan["total_bytes"] == 4000 * len(first["files"])
    assert plan["vram"]["source"] == "weights"
    # A HEAD that is not followed: nothing was asked of the place where the bytes lie.
    assert hubs.sent_bytes() == before

    install(running, client, first["id"])
    assert hubs.sent_bytes() - before == 4000 * len(first["files"])
    for file in first["files"]:
        assert on_disk(running, file).read_bytes() == hubs.contents[file["url"]]
    locked = json.loads((running.workspace / "config" / "presets.lock.json").read_text())["files"]
    assert {file["url"] for file in first["files"]} <= locked.keys()

    shared = {file["id"] for file in first["files"]} & {file["id"] for file in second["files"]}
    plan = asked(client, f"/api/presets/{second['id']}/plan")
    states = {file["id"]: file["state"] for file in plan["files"]}
    assert {id_ for id_, state in states.items() if state == "present"} == shared
    assert plan["fetch_bytes"] == 4000 * (len(second["files"]) - len(shared))
    install(running, client, second["id"])
    assert hubs.sent_bytes() - before == 4000 * len({file["id"] for file in [*first["files"], *second["files"]]})

    tried = client.delete(f"/api/presets/{first['id']}", params={"dry_run": "1"}).json()
    assert tried["dry_run"]
    assert tried["freed_bytes"] == 4000 * (len(first["files"]) - len(shared))
    assert {kept["id"] for kept in tried["kept"]} == shared
    assert all(kept["reason"] == f"needed by {second['name']}" for kept in tried["kept"])
    assert all(on_disk(running, file).exists() for file in first["files"])

    removed = client.delete(f"/api/presets/{first['id']}").json()
    assert {**removed, "dry_run": True} == tried
    assert {file["id"] for file in first["files"] if on_disk(running, file).exists()} == shared
    assert asked(client, f"/api/presets/{second['id']}/status")["state"] == "installed"
    assert client.delete(f"/api/presets/{second['id']}").json()["kept"] == []
    assert not any(on_disk(running, file).exists() for file in second["files"])


def test_a_file_that_a_saved_workflow_names_outlives_its_preset(
    running: RunningSuite, client: httpx.Client, pair: tuple[dict[str, Any], dict[str, Any]]
) -> None:
    preset, kept = pair[0], pair[0]["files"][0]
    install(running, client, preset["id"])
    prompt = {"1": {"class_type": "SomeLoader", "inputs": {"file": kept["name"]}}}
    assert client.put("/api/workflows/mine", json=prompt).status_code == 201
    tried = client.delete(f"/api/presets/{preset['id']}", params={"dry_run": "true"}).json()
    assert [(file["name"], file["reason"]) for file in tried["kept"]] == [(kept["name"], "needed by the workflow mine")]
    client.delete(f"/api/presets/{preset['id']}")
    assert on_disk(running, kept).exists()
    refused = client.request("DELETE", "/api/models/", json={"ids": [kept["id"]]}).json()
    assert (refused["removed"], [file["id"] for file in refused["kept"]]) == ([], [kept["id"]])
    assert client.delete("/api/workflows/mine").status_code == 200
    deleted = client.request("DELETE", "/api/models/", json={"ids": [kept["id"]]}).json()
    assert (deleted["removed"], deleted["freed_bytes"]) == ([kept["name"]], 4000)
    assert not on_disk(running, kept).exists()


def test_a_file_that_lies_elsewhere_is_linked_instead_of_fetched(
    running: RunningSuite, client: httpx.Client, hubs: Hubs, pair: tuple[dict[str, Any], dict[str, Any]]
) -> None:
    preset, file = pair[0], pair[0]["files"][0]
    copy = running.workspace / "models" / "checkpoints" / file["name"]
    if file["folder"] == "checkpoints":
        copy = running.workspace / "models" / "loras" / file["name"]
    copy.write_bytes(hubs.contents[file["url"]])

    def elsewhere() -> list[dict[str, Any]]:
        plan = asked(client, f"/api/presets/{preset['id']}/plan")
        return [other for entry in plan["files"] if entry["state"] == "elsewhere" for other in entry["elsewhere"]]

    (other,) = running.wait_for(elsewhere, "the copy in the plan")
    assert (other["folder"], other["match"]) == (copy.parent.name, "name_and_size")
    answer = client.post(f"/api/models/{other['id']}/place", json={"folder": file["folder"], "name": file["name"]})
    assert answer.status_code == 201, answer.text
    assert on_disk(running, file).samefile(copy)
    before = hubs.sent_bytes()
    install(running, client, preset["id"])
    assert hubs.sent_bytes() - before == 4000 * (len(preset["files"]) - 1)
    client.delete(f"/api/presets/{preset['id']}")
    assert copy.read_bytes() == hubs.contents[file["url"]]
    copy.unlink()


def user_preset(preset_id: str, url: str, **file: Any) -> dict[str, Any]:
    name = url.rsplit("/", 1)[-1]
    files = [{"url": url, "folder": "checkpoints", "name": name, **file}]
    return {"id": preset_id, "name": preset_id, "kind": "image", "description": "", "files": files}


@pytest.mark.parametrize(
    ("path", "kind", "told", "token"),
    [
        (f"{GATED}/resolve/main/gated.safetensors", "gated", f"huggingface.co/{GATED}", "HF_TOKEN"),
        # It may be private: the hub does not tell the two apart.
        ("nobody/nothing/resolve/main/a.safetensors", "missing", "does not exist", "HF_TOKEN"),
        ("somebody/something/resolve/main/b.safetensors", "missing", "has no file 'b.safetensors'", None),
    ],
)
def test_a_refusal_is_explained_before_anything_is_fetched(
    running: RunningSuite, client: httpx.Client, hubs: Hubs, path: str, kind: str, told: str, token: str | None
) -> None:
    hubs.offer(f"https://huggingface.co/{GATED}/resolve/main/gated.safetensors", gated=True)
    hubs.offer("https://huggingface.co/somebody/something/resolve/main/a.safetensors")
    preset_id = f"REFUSED_{hashlib.sha256(path.encode()).hexdigest()[:6]}"
    running.add_preset(user_preset(preset_id, f"https://huggingface.co/{path}"))
    running.wait_for(lambda: client.get(f"/api/presets/{preset_id}").status_code == 200, "the preset")
    (file,) = asked(client, f"/api/presets/{preset_id}/plan")["files"]
    assert file["trouble"]["kind"] == kind
    assert told in file["trouble"]["message"]
    assert file["trouble"]["token"] == token


def test_a_token_opens_what_is_gated_and_is_never_told(running: RunningSuite, client: httpx.Client, hubs: Hubs) -> None:
    url = f"https://huggingface.co/{GATED}/resolve/main/gated.safetensors"
    hubs.offer(url, gated=True)
    running.add_preset(user_preset("GATED", url))
    running.wait_for(lambda: client.get("/api/presets/GATED").status_code == 200, "the preset")
    assert asked(client, "/api/presets/GATED/plan")["files"][0]["trouble"]["kind"] == "gated"
    refused = client.put("/api/credentials/huggingface", json={"token": "hf_of_somebody_else"})
    assert refused.status_code == 422
    saved = client.put("/api/credentials/huggingface", json={"token": HF_TOKEN})
    assert saved.status_code == 200, saved.text
    assert HF_TOKEN not in saved.text + client.get("/api/credentials/").text + client.get("/settings").text
    stored = running.workspace / "config" / "secrets" / "huggingface.token"
    assert stored.stat().st_mode & 0o777 == 0o600
    assert asked(client, "/api/presets/GATED/plan")["files"][0]["trouble"] is None
    install(running, client, "GATED")
    # Nobody but the hub got to see it.
    assert all(HF_TOKEN not in str(request.headers) for request in hubs.internet.store.requests)
    assert client.delete("/api/presets/GATED").status_code == 200
    assert client.delete("/api/credentials/huggingface").status_code == 200
    assert not stored.exists()


def test_what_does_not_fit_is_refused_before_a_byte(
    running: RunningSuite, client: httpx.Client, hubs: Hubs, tmp_path: Path
) -> None:
    huge = tmp_path / "huge"
    with huge.open("wb") as file:
        file.truncate(10**13)
    hubs.internet.hugging_face.add("somebody/huge", "huge.safetensors", huge, sha256="1" * 64)
    running.add_preset(user_preset("HUGE", "https://huggingface.co/somebody/huge/resolve/main/huge.safetensors"))
    running.wait_for(lambda: client.get("/api/presets/HUGE").status_code == 200, "the preset")
    plan = asked(client, "/api/presets/HUGE/plan")
    assert not plan["fits"]
    assert plan["fetch_bytes"] == 10**13
    assert plan["free_after_bytes"] < 0
    before = hubs.sent_bytes()
    answer = client.post("/api/presets/HUGE/install", json={})
    assert answer.status_code == 507
    assert answer.json()["error"]["details"]["needed_bytes"] == 10**13
    assert hubs.sent_bytes() == before
    assert asked(client, "/api/presets/HUGE/status")["requested_at"] is None


def test_a_model_is_added_from_its_page_on_civitai(running: RunningSuite, client: httpx.Client, hubs: Hubs) -> None:
    content = safetensors.make(5000, "civitai")
    hubs.internet.civitai.add(4711, content, model_type="LORA", about={"name": "a-style.safetensors"})
    page = "https://civitai.com/models/12?modelVersionId=4711"
    found = client.get("/api/models/lookup", params={"url": page}).json()
    assert (found["folder"], found["name"], found["size_bytes"]) == ("loras", "a-style.safetensors", 5000)
    assert found["sha256"] == hashlib.sha256(content).hexdigest()
    answer = client.post("/api/models/", json={"url": page})
    assert answer.status_code == 202, answer.text
    file = running.workspace / "models" / "loras" / "a-style.safetensors"
    running.wait_for(file.exists, "the file")
    assert file.read_bytes() == content
    listed = running.wait_for(lambda: client.get("/api/models/", params={"search": "a-style"}).json()["models"], "it")
    deleted = client.request("DELETE", "/api/models/", json={"ids": [listed[0]["id"]]}).json()
    assert deleted["removed"] == ["a-style.safetensors"]


def test_a_name_that_another_model_has_is_refused_at_once(
    running: RunningSuite, client: httpx.Client, hubs: Hubs
) -> None:
    url = "https://huggingface.co/somebody/plain/resolve/main/taken.safetensors"
    hubs.offer(url)
    taken = running.workspace / "models" / "vae" / "taken.safetensors"
    taken.write_bytes(b"another one")
    running.wait_for(lambda: client.get("/api/models/", params={"search": "taken"}).json()["models"], "the file")
    refused = client.post("/api/models/", json={"url": url, "folder": "vae"})
    assert refused.status_code == 409
    assert "another file named taken.safetensors lies in vae/" in refused.json()["error"]["message"]
    assert taken.read_bytes() == b"another one"
    taken.unlink()


def test_uninstalling_says_nothing_of_files_that_were_never_here(client: httpx.Client) -> None:
    found = client.delete("/api/presets/SD15", params={"dry_run": "1"}).json()
    assert (found["removed"], found["kept"], found["freed_bytes"]) == ([], [], 0)


def test_a_model_without_a_known_kind_needs_a_folder(client: httpx.Client, hubs: Hubs) -> None:
    hubs.offer("https://huggingface.co/somebody/plain/resolve/main/c.safetensors")
    page = "https://huggingface.co/somebody/plain/blob/main/c.safetensors"
    refused = client.post("/api/models/", json={"url": page})
    assert refused.status_code == 422
    assert "choose a folder" in refused.json()["error"]["message"]
    assert "vae" in refused.json()["error"]["details"]["folders"]


def test_hubs_that_cannot_be_reached_leave_the_catalogue_as_it_is(client: httpx.Client) -> None:
    plan = client.get("/api/models/lookup", params={"url": "https://nowhere.example/a.safetensors"}).json()
    assert plan["trouble"]["kind"] == "unreachable"
    assert len(official(client)) > 200
