"""What the log says of everything that changes the volume: who asks at three in the morning finds it there."""

from collections.abc import Iterator
from typing import Any

import httpx
import msgspec
import pytest
import structlog

from services.artifacts import model_id
from services.settings import Settings
from services.workspace import Workspace
from tests.dashboard.conftest import OpenDashboard
from tests.dashboard.test_models_api import put, verify

FILE = {"url": "https://host.example/a", "folder": "vae", "name": "a.ckpt", "size_bytes": 3, "sha256": "a" * 64}
PRESET = {"id": "ONE", "name": "One", "kind": "image", "description": "", "files": [FILE]}


@pytest.fixture
def logged() -> Iterator[list[Any]]:
    with structlog.testing.capture_logs() as entries:
        yield entries


@pytest.fixture
async def browser(settings: Settings, workspace: Workspace, open_dashboard: OpenDashboard) -> httpx.AsyncClient:
    workspace.user_presets_file.write_bytes(msgspec.json.encode({"presets": [PRESET]}))
    put(workspace, "vae/a.ckpt", 3)
    return await open_dashboard(auth=False)


def said(logged: list[Any], event: str) -> dict[str, Any]:
    (entry,) = [entry for entry in logged if entry["event"] == event]
    return {name: value for name, value in entry.items() if name not in {"event", "log_level"}}


async def test_deleted_models_are_named(browser: httpx.AsyncClient, logged: list[Any]) -> None:
    id_ = model_id("vae", "a.ckpt")
    assert (await browser.request("DELETE", "/api/models/", json={"ids": [id_], "force": True})).is_success
    assert said(logged, "models_deleted") == {"ids": [id_], "names": ["vae/a.ckpt"], "freed_bytes": 3, "forced": True}


async def test_an_install_and_its_end_are_told(
    browser: httpx.AsyncClient, workspace: Workspace, logged: list[Any]
) -> None:
    assert (await browser.post("/api/presets/ONE/install")).status_code == 202
    assert said(logged, "install_requested") == {"preset_id": "ONE", "joined": False, "fetch": ["vae/a.ckpt"]}
    assert (await browser.delete("/api/presets/ONE")).is_success
    told = {"preset_id": "ONE", "removed": ["vae/a.ckpt"], "kept": [], "freed_bytes": 3}
    assert said(logged, "preset_uninstalled") == told


async def test_a_file_that_was_placed_and_one_of_two_are_told(
    browser: httpx.AsyncClient, workspace: Workspace, logged: list[Any]
) -> None:
    wanted = {"folder": "loras", "name": "b.ckpt", "how": "link"}
    placed = await browser.post(f"/api/models/{model_id('vae', 'a.ckpt')}/place", json=wanted)
    assert placed.status_code == 201, placed.text
    assert said(logged, "model_placed")["source"] == "vae/a.ckpt"
    put(workspace, "loras/c.ckpt", 3)
    verify(workspace, "loras", "c.ckpt", "a" * 64)
    verify(workspace, "vae", "a.ckpt", "a" * 64)
    assert (await browser.post("/api/models/duplicates", json={"sha256": "a" * 64})).is_success
    assert said(logged, "duplicates_united") == {"sha256": "a" * 64, "freed_bytes": 3}


async def test_an_upload_that_begins_is_told(browser: httpx.AsyncClient, logged: list[Any]) -> None:
    begun = await browser.post("/api/uploads/", json={"folder": "vae", "name": "sent.ckpt", "size_bytes": 5})
    told = {"folder": "vae", "name": "sent.ckpt", "size_bytes": 5, "joined": False}
    assert said(logged, "upload_begun") == {"upload_id": begun.json()["id"], **told}


async def test_a_token_that_was_removed_is_told(browser: httpx.AsyncClient, logged: list[Any]) -> None:
    assert (await browser.delete("/api/credentials/civitai")).is_success
    assert said(logged, "credential_removed") == {"hub": "civitai"}


async def test_files_that_are_to_be_hashed_are_told(browser: httpx.AsyncClient, logged: list[Any]) -> None:
    assert (await browser.post("/api/models/adopt", json={"all": True})).status_code == 202
    assert said(logged, "adoption_asked")["files"] == 1


async def test_a_digest_of_another_form_is_refused_with_a_sentence(browser: httpx.AsyncClient) -> None:
    refused = await browser.post("/api/models/duplicates", json={"sha256": "A" * 64})
    assert refused.status_code == 422
    assert refused.json()["error"]["message"] == (
        "the body does not fit: a sha256 has 64 digits, each 0 to 9 or a to f - at `$.sha256`"
    )
