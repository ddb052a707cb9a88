"""The library of models through the API: what is told of each, and how they are searched, sorted and filtered."""

import asyncio
import os
import time
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from services.artifacts import Artifact, model_id
from services.model_folders import KNOWN_FOLDERS
from services.settings import Settings
from services.verified import Verified, VerifiedFiles
from services.workspace import Workspace
from tests.dashboard.conftest import OpenDashboard
from tests.fakes.faulty_volume import mounted
from tests.services.test_model_headers import tensor, write

BROUGHT = Artifact("https://host.example/a", "loras", "brought.ckpt", 3)
PRESET = {"id": "ONE", "name": "One", "kind": "image", "description": "For tests.", "files": [BROUGHT]}
WORKFLOW = {"1": {"class_type": "LoraLoader", "inputs": {"lora_name": "flux/named.ckpt"}}}
HEADER = {"__metadata__": {"modelspec.architecture": "flux-1-dev/lora"}, "a": tensor("BF16", [2, 3], 0, 12)}


@pytest.fixture(autouse=True)
def models(settings: Settings, workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    # What looks after the volume is a program of its own.
    monkeypatch.setenv("WORKSPACE", str(settings.workspace))
    monkeypatch.setenv("STATE_DIR", str(settings.state_dir))
    workspace.user_presets_file.write_bytes(msgspec.json.encode({"presets": [PRESET]}))
    workspace.workflow_file("user", "mine").write_bytes(msgspec.json.encode(WORKFLOW))
    put(workspace, "loras/brought.ckpt", 3, 300)
    put(workspace, "loras/flux/named.ckpt", 5, 200)
    put(workspace, "vae/Alone.ckpt", 4, 100)


@pytest.fixture
async def browser(models: None, open_dashboard: OpenDashboard) -> httpx.AsyncClient:
    return await open_dashboard(auth=False)


def put(workspace: Workspace, path: str, size: int = 1, age_seconds: float = 100) -> Path:
    file = workspace.models / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"x" * size)
    at = time.time() - age_seconds
    os.utime(file, (at, at))
    return file


def verify(workspace: Workspace, folder: str, name: str, digest: str) -> None:
    figures = (workspace.models / folder / name).stat()
    record = Verified(folder, name, figures.st_size, figures.st_mtime_ns, digest, "sha256")
    VerifiedFiles(workspace).put(record)


async def change_something(browser: httpx.AsyncClient) -> None:
    """After which nothing old is shown."""
    assert (await browser.put("/api/workflows/other", json={"1": {"class_type": "A", "inputs": {}}})).is_success


async def names(browser: httpx.AsyncClient, query: str = "") -> list[str]:
    answer = await browser.get(f"/api/models/?{query}")
    assert answer.status_code == 200, answer.text
    return [model["name"] for model in answer.json()["models"]]


async def model(browser: httpx.AsyncClient, name: str) -> dict[str, Any]:
    found = (await browser.get("/api/models/?limit=1000")).json()["models"]
    return next(model for model in found if model["name"] == name)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", ["brought.ckpt", "flux/named.ckpt", "Alone.ckpt"]),
        ("order=desc", ["Alone.ckpt", "flux/named.ckpt", "brought.ckpt"]),
        ("sort=name", ["Alone.ckpt", "brought.ckpt", "flux/named.ckpt"]),
        ("sort=size", ["brought.ckpt", "Alone.ckpt", "flux/named.ckpt"]),
        ("sort=size&order=desc", ["flux/named.ckpt", "Alone.ckpt", "brought.ckpt"]),
        ("sort=modified", ["brought.ckpt", "flux/named.ckpt", "Alone.ckpt"]),
        ("folder=vae", ["Alone.ckpt"]),
        ("search=ALONE", ["Alone.ckpt"]),
        ("search=flux+ckpt", ["flux/named.ckpt"]),
        ("search=lora+brought", ["brought.ckpt"]),
        ("search=lora+alone", []),
        ("filter=orphans", ["Alone.ckpt"]),
        ("filter=orphans&folder=loras", []),
        ("limit=1&offset=1", ["flux/named.ckpt"]),
        ("offset=7", []),
    ],
)
async def test_models_are_searched_filtered_sorted_and_paged(
    query: str, expected: list[str], browser: httpx.AsyncClient
) -> None:
    assert await names(browser, query) == expected


async def test_the_totals_are_of_all_that_match(browser: httpx.AsyncClient) -> None:
    answer = (await browser.get("/api/models/?folder=loras&limit=1")).json()
    assert (answer["total"], answer["total_bytes"], answer["is_complete"]) == (2, 8, True)


@pytest.mark.parametrize(
    ("query", "allowed"),
    [
        ("sort=colour", "folder, name, size, modified, last_used"),
        ("order=up", "asc, desc"),
        ("filter=big", "all, orphans, duplicates, unverified"),
        ("limit=0", "from 1 to 1000"),
        ("offset=-1", "from 0 to"),
    ],
)
async def test_a_value_that_is_not_known_is_refused_with_those_that_are(
    query: str, allowed: str, browser: httpx.AsyncClient
) -> None:
    answer = await browser.get(f"/api/models/?{query}")
    assert answer.status_code == 422
    assert allowed in answer.json()["error"]["message"]


async def test_files_with_the_same_bytes_are_duplicates_and_links_are_not(
    browser: httpx.AsyncClient, workspace: Workspace
) -> None:
    (workspace.models / "vae" / "linked.ckpt").hardlink_to(workspace.models / "vae" / "Alone.ckpt")
    for folder, name in (("vae", "Alone.ckpt"), ("vae", "linked.ckpt")):
        verify(workspace, folder, name, "1" * 64)
    for folder, name in (("loras", "brought.ckpt"), ("loras", "flux/named.ckpt")):
        verify(workspace, folder, name, "2" * 64)
    await change_something(browser)
    assert await names(browser, "filter=duplicates") == ["brought.ckpt", "flux/named.ckpt"]


async def test_what_was_not_verified_is_found(browser: httpx.AsyncClient, workspace: Workspace) -> None:
    verify(workspace, "loras", "brought.ckpt", "1" * 64)
    await change_something(browser)
    assert await names(browser, "filter=unverified") == ["flux/named.ckpt", "Alone.ckpt"]
    found = await model(browser, "brought.ckpt")
    assert found["sha256"] == found["verified"]["sha256"] == "1" * 64


async def test_a_model_names_what_brings_it_and_what_uses_it(browser: httpx.AsyncClient, workspace: Workspace) -> None:
    verify(workspace, "loras", "brought.ckpt", "1" * 64)
    await change_something(browser)
    brought, named = await model(browser, "brought.ckpt"), await model(browser, "flux/named.ckpt")
    assert (brought["presets"], brought["installed_by"], brought["workflows"]) == (["ONE"], ["ONE"], [])
    assert (named["presets"], named["installed_by"], named["workflows"]) == ([], [], ["mine"])


async def test_the_head_of_a_model_is_read_behind_the_scenes(browser: httpx.AsyncClient, workspace: Workspace) -> None:
    write(workspace.models / "loras" / "read.safetensors", HEADER, 12)
    (workspace.models / "loras" / "broken.safetensors").write_bytes(b"half")
    await change_something(browser)
    until = time.monotonic() + 60
    while (found := await model(browser, "read.safetensors"))["dtype"] is None:
        assert time.monotonic() < until, "the head is not read"
        await asyncio.sleep(0.05)
    assert (found["format"], found["dtype"], found["parameters"]) == ("safetensors", "BF16", 6)
    assert (found["base_model"], found["base_model_from"], found["problem"]) == ("FLUX.1", "metadata", None)
    while (broken := await model(browser, "broken.safetensors"))["problem"] is None:
        assert time.monotonic() < until, "the broken head is not read"
        await asyncio.sleep(0.05)
    assert (broken["format"], broken["parameters"]) == ("safetensors", None)
    assert (await model(browser, "Alone.ckpt"))["format"] == "pickle"


async def test_heads_are_not_read_again_after_a_restart(
    open_dashboard: OpenDashboard, workspace: Workspace, models: None
) -> None:
    file = write(workspace.models / "loras" / "read.safetensors", HEADER, 12)
    browser = await open_dashboard(auth=False)
    until = time.monotonic() + 60
    while not (workspace.config / "model_facts.json").exists() or not (await model(browser, file.name))["dtype"]:
        assert time.monotonic() < until, "the facts are not kept"
        await asyncio.sleep(0.05)
    figures = file.stat()
    # Another head under the same figures: who read it again would say so.
    write(file, {**HEADER, "a": tensor("F16", [2, 3], 0, 12)} | {"__metadata__": {"x": "y" * 29}}, 12)
    os.truncate(file, figures.st_size)
    os.utime(file, ns=(0, figures.st_mtime_ns))
    again = await open_dashboard(auth=False)
    while (dtype := (await model(again, file.name))["dtype"]) is None:
        assert time.monotonic() < until, "the facts are not loaded"
        await asyncio.sleep(0.05)
    assert dtype == "BF16"


async def test_while_a_slow_volume_is_read_everything_else_answers(
    open_dashboard: OpenDashboard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "slow").mkdir()
    with mounted(tmp_path / "slow") as volume:
        monkeypatch.setenv("WORKSPACE", str(volume.root))
        backing = Workspace(tmp_path / "slow" / "backing")
        for folder in backing.folders(KNOWN_FOLDERS):
            (backing.root / folder.path).mkdir(parents=True, exist_ok=True)
        for number in range(2000):
            put(backing, f"{KNOWN_FOLDERS[number % 20]}/model-{number}.ckpt")
        volume.fault("slow 0.01")
        browser = await open_dashboard(auth=False, workspace=volume.root)
        totals: list[int] = []
        # Each look at a file takes 10 ms, all of them 20 s: what is answered meanwhile did not wait for it.
        while len(totals) < 6 or not totals[-1]:
            assert (await browser.get("/healthz")).status_code == 200
            assert (await browser.get("/api/presets/")).status_code == 200
            answer = (await browser.get("/api/models/?limit=1")).json()
            assert not answer["is_complete"]
            totals.append(answer["total"])
            await asyncio.sleep(0.5)
        assert totals == sorted(totals)
        assert 0 < totals[-1] < 2000
        volume.fault("none")
        until = time.monotonic() + 60
        while not (answer := (await browser.get("/api/models/?limit=1")).json())["is_complete"]:
            assert time.monotonic() < until, "it is never complete"
            await asyncio.sleep(0.1)
        assert answer["total"] == 2000


async def test_a_model_a_run_used_says_when(browser: httpx.AsyncClient, workspace: Workspace) -> None:
    used = {model_id("vae", "Alone.ckpt"): 1000.5}
    (workspace.config / "last_used.json").write_bytes(msgspec.json.encode(used))
    await change_something(browser)
    assert (await model(browser, "Alone.ckpt"))["last_used"] == 1000.5
    assert await names(browser, "sort=last_used&order=desc") == ["Alone.ckpt", "brought.ckpt", "flux/named.ckpt"]
