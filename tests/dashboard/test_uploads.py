"""Uploads through the API."""

import asyncio
import base64
import hashlib
import os
import threading
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import msgspec
import pytest

import dashboard.api.uploads
import dashboard.uploads
import services.uploads.book
import services.uploads.upload
from dashboard.library import Library
from dashboard.live.downloads import DownloadsFeed
from dashboard.live.hub import Hub
from dashboard.suite import cancel
from dashboard.uploads import UploadDesk
from dashboard.volume import Volume
from services.artifacts import Artifact, model_id
from services.connections import async_redis_client
from services.installs import Installs
from services.presets import Preset
from services.settings import Settings
from services.uploads import Wish
from services.uploads.chunk import Chunk
from services.volume import VolumeReport
from services.workspace import Workspace
from tests.dashboard.conftest import ORIGIN, OpenDashboard
from tests.running import PASSWORD

CHUNK = 1000
DATA = os.urandom(3 * CHUNK + 7)
WISH = {"folder": "loras", "name": "mine.ckpt", "size_bytes": len(DATA)}
WANTED = Artifact("https://host.example/a", "loras", "mine.ckpt", len(DATA), hashlib.sha256(DATA).hexdigest())
PRESET = Preset(id="ONE", name="One", kind="image", description="For tests.", files=(WANTED,))
ENTRY = {"id": "ONE", "name": "One", "kind": "image", "description": "For tests.", "files": [WANTED]}


@pytest.fixture(autouse=True)
def small_chunks(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    # What looks after the volume is a program of its own.
    monkeypatch.setenv("WORKSPACE", str(settings.workspace))
    monkeypatch.setenv("STATE_DIR", str(settings.state_dir))
    for module in (dashboard.api.uploads, services.uploads.book, services.uploads.upload):
        monkeypatch.setattr(module, "CHUNK_BYTES", CHUNK)
    monkeypatch.setattr(dashboard.uploads, "PIECE_BYTES", 300)


def piece(number: int) -> bytes:
    return DATA[number * CHUNK : (number + 1) * CHUNK]


async def begin(browser: httpx.AsyncClient, status: int = 201, **changes: Any) -> dict[str, Any]:
    answer = await browser.post("/api/uploads/", json=WISH | changes)
    assert answer.status_code == status, answer.text
    begun: dict[str, Any] = answer.json()
    return begun


async def put(
    browser: httpx.AsyncClient, id_: str, number: int, data: bytes | None = None, **headers: str
) -> httpx.Response:
    body = piece(number) if data is None else data
    return await browser.put(f"/api/uploads/{id_}/chunks/{number}", content=body, headers=headers)


async def send_all(browser: httpx.AsyncClient, **changes: Any) -> str:
    """The id of the upload, which is being checked."""
    id_: str = (await begin(browser, **changes))["id"]
    answers = await asyncio.gather(*(put(browser, id_, number) for number in range(4)))
    assert [answer.status_code for answer in answers] == [200] * 4
    assert (await browser.post(f"/api/uploads/{id_}/complete")).status_code == 202
    return id_


async def wait_until_over(browser: httpx.AsyncClient, id_: str) -> dict[str, Any]:
    until = time.monotonic() + 20
    while True:
        upload: dict[str, Any] = (await browser.get(f"/api/uploads/{id_}")).json()
        if upload["state"] not in {"receiving", "checking"}:
            return upload
        assert time.monotonic() < until, upload
        await asyncio.sleep(0.02)


async def test_a_file_is_sent_in_chunks_and_listed_as_a_model(browser: httpx.AsyncClient, workspace: Workspace) -> None:
    done = await wait_until_over(browser, await send_all(browser))
    assert (done["state"], done["bytes_done"], done["bytes_checked"]) == ("done", len(DATA), len(DATA))
    assert (workspace.models / "loras" / "mine.ckpt").read_bytes() == DATA
    (model,) = (await browser.get("/api/models/")).json()["models"]
    assert model["id"] == done["model_id"] == model_id("loras", "mine.ckpt")
    assert model["verified"]["sha256"] == hashlib.sha256(DATA).hexdigest()


async def test_a_preset_whose_file_was_sent_is_installed(browser: httpx.AsyncClient, workspace: Workspace) -> None:
    workspace.user_presets_file.write_bytes(msgspec.json.encode({"presets": [ENTRY]}))
    await wait_until_over(browser, await send_all(browser))
    assert (await browser.get("/api/presets/ONE/status")).json()["state"] == "installed"
    (model,) = (await browser.get("/api/models/")).json()["models"]
    assert model["verified"]["checked_against"] == "sha256"


async def test_who_asks_again_goes_on(browser: httpx.AsyncClient) -> None:
    begun = await begin(browser)
    assert (begun["received"], begun["chunks"], begun["chunk_bytes"], begun["state"]) == ([], 4, CHUNK, "receiving")
    await put(browser, begun["id"], 2)
    again = await begin(browser, 200)
    assert (again["id"], again["received"], again["bytes_done"]) == (begun["id"], [[2, 3]], CHUNK)


async def test_another_dashboard_goes_on_where_the_last_one_ended(
    browser: httpx.AsyncClient, open_dashboard: OpenDashboard, settings: Settings
) -> None:
    begun = await begin(browser)
    await put(browser, begun["id"], 0)
    next_ = await open_dashboard()
    next_.headers["Origin"] = ORIGIN
    await next_.post("/login", data={"password": PASSWORD})
    assert (await begin(next_, 200))["received"] == [[0, 1]]


async def test_what_was_complete_when_the_dashboard_ended_is_checked_by_the_next(
    browser: httpx.AsyncClient, open_dashboard: OpenDashboard, workspace: Workspace
) -> None:
    begun = await begin(browser)
    for number in range(4):
        await put(browser, begun["id"], number)
    record = workspace.config / "uploads" / f"{begun['id']}.json"
    record.write_bytes(record.read_bytes().replace(b'"receiving"', b'"checking"'))
    next_ = await open_dashboard(auth=False)
    assert (await wait_until_over(next_, begun["id"]))["state"] == "done"


@pytest.mark.parametrize("data", [b"", DATA[:999], DATA[:1001], DATA])
async def test_a_chunk_of_another_length_does_not_count(browser: httpx.AsyncClient, data: bytes) -> None:
    begun = await begin(browser)
    answer = await put(browser, begun["id"], 0, data)
    assert answer.status_code == 422
    assert "1000 bytes" in answer.json()["error"]["message"]
    assert (await browser.get(f"/api/uploads/{begun['id']}")).json()["received"] == []


@pytest.mark.parametrize("data", [DATA[:999], DATA[:1001]])
async def test_a_length_that_was_not_announced_is_found_out(browser: httpx.AsyncClient, data: bytes) -> None:
    async def stream() -> AsyncIterator[bytes]:
        for start in range(0, len(data), 70):
            yield data[start : start + 70]

    begun = await begin(browser)
    answer = await browser.put(f"/api/uploads/{begun['id']}/chunks/0", content=stream())
    assert answer.status_code == 422
    assert "1000 bytes" in answer.json()["error"]["message"]


async def test_a_chunk_is_held_to_its_digest(browser: httpx.AsyncClient) -> None:
    begun = await begin(browser)
    digest = base64.b64encode(hashlib.sha256(piece(0)).digest()).decode()
    header: dict[str, Any] = {"Content-Digest": f"sha-256=:{digest}:"}
    wrong = await put(browser, begun["id"], 0, piece(1), **header)
    assert (wrong.status_code, wrong.json()["error"]["type"]) == (422, "invalid")
    right = await put(browser, begun["id"], 0, **header)
    assert (right.status_code, right.json()["received"]) == (200, [[0, 1]])


async def test_a_chunk_that_is_here_is_not_written_again(browser: httpx.AsyncClient) -> None:
    begun = await begin(browser)
    await put(browser, begun["id"], 0)
    again = await put(browser, begun["id"], 0, bytes(CHUNK))
    assert (again.status_code, again.json()["received"]) == (200, [[0, 1]])
    for number in (1, 2, 3):
        await put(browser, begun["id"], number)
    await browser.post(f"/api/uploads/{begun['id']}/complete")
    await wait_until_over(browser, begun["id"])
    (model,) = (await browser.get("/api/models/")).json()["models"]
    assert model["verified"]["sha256"] == hashlib.sha256(DATA).hexdigest()


async def test_one_chunk_twice_at_a_time_counts_once(browser: httpx.AsyncClient) -> None:
    begun = await begin(browser)
    answers = await asyncio.gather(*(put(browser, begun["id"], 1) for _ in range(12)))
    assert {answer.status_code for answer in answers} == {200}
    assert (await browser.get(f"/api/uploads/{begun['id']}")).json()["received"] == [[1, 2]]


@pytest.mark.parametrize("number", ["4", "x", "-1", "1e0", "9" * 5000, "²"])
async def test_a_chunk_that_there_is_not_is_not_found(browser: httpx.AsyncClient, number: str) -> None:
    begun = await begin(browser)
    answer = await browser.put(f"/api/uploads/{begun['id']}/chunks/{number}", content=piece(0))
    assert answer.status_code == 404


@pytest.mark.parametrize(("method", "path"), [("GET", ""), ("DELETE", ""), ("PUT", "/chunks/0"), ("POST", "/complete")])
@pytest.mark.parametrize("id_", ["0123456789abcdef", "..%2f..%2fsecrets", "x" * 5000, "-a", "%00"])
async def test_an_upload_that_there_is_not_is_not_found(
    browser: httpx.AsyncClient, method: str, path: str, id_: str
) -> None:
    assert (await browser.request(method, f"/api/uploads/{id_}{path}")).status_code == 404


async def test_what_is_not_complete_cannot_be_completed(browser: httpx.AsyncClient) -> None:
    begun = await begin(browser)
    await put(browser, begun["id"], 2)
    answer = await browser.post(f"/api/uploads/{begun['id']}/complete")
    assert answer.status_code == 409
    assert answer.json()["error"]["details"] == {"received": [[2, 3]], "chunks": 4}


async def test_a_file_that_is_not_what_was_announced_is_refused_in_the_end(browser: httpx.AsyncClient) -> None:
    ended = await wait_until_over(browser, await send_all(browser, sha256="0" * 64))
    assert ended["state"] == "failed"
    assert "sha256" in ended["error"]
    assert (await browser.get("/api/models/")).json()["models"] == []
    assert (await begin(browser))["received"] == []


async def test_an_upload_is_given_up(browser: httpx.AsyncClient, workspace: Workspace) -> None:
    begun = await begin(browser)
    await put(browser, begun["id"], 0)
    assert (await browser.delete(f"/api/uploads/{begun['id']}")).json() == {"removed": begun["id"]}
    assert (await browser.get("/api/uploads/")).json()["uploads"] == []
    assert list((workspace.models / "loras").iterdir()) == []


async def test_the_list_names_the_folders(browser: httpx.AsyncClient) -> None:
    begun = await begin(browser)
    listed = (await browser.get("/api/uploads/")).json()
    assert [upload["id"] for upload in listed["uploads"]] == [begun["id"]]
    assert {"loras", "checkpoints", "diffusion_models"} <= set(listed["folders"])


@pytest.mark.parametrize(
    "changes",
    [
        {"folder": "../models"},
        {"folder": "no-such-folder"},
        {"name": "../a.ckpt"},
        {"name": "a.exe"},
        {"size_bytes": 0},
        {"size_bytes": 2**60},
        {"sha256": "x"},
        {"version": "x" * 65},
        {"more": 1},
    ],
    ids=str,
)
async def test_what_cannot_be_sent_is_refused(browser: httpx.AsyncClient, changes: dict[str, Any]) -> None:
    await begin(browser, 422, **changes)


async def test_what_does_not_fit_is_refused(browser: httpx.AsyncClient) -> None:
    refused = await begin(browser, 507, size_bytes=2**53)
    assert refused["error"]["details"]["needed_bytes"] == 2**53


async def test_a_file_that_a_preset_is_bringing_in_is_not_sent(
    browser: httpx.AsyncClient, workspace: Workspace
) -> None:
    Installs(workspace).request(PRESET)
    refused = await begin(browser, 409)
    assert "being downloaded" in refused["error"]["message"]


async def test_a_file_that_nobody_can_fetch_is_sent(browser: httpx.AsyncClient, workspace: Workspace) -> None:
    records = Installs(workspace)
    records.request(PRESET)
    records.cancel_file(WANTED.id)
    await begin(browser)


async def test_nobody_sends_anything_without_a_login(stranger: httpx.AsyncClient) -> None:
    assert (await put(stranger, "x", 0)).status_code == 401


async def test_a_page_from_elsewhere_sends_nothing(browser: httpx.AsyncClient) -> None:
    begun = await begin(browser)
    answer = await put(browser, begun["id"], 0, Origin="https://evil.example")
    assert answer.status_code == 403
    assert (await browser.get(f"/api/uploads/{begun['id']}")).json()["received"] == []


class Door:
    """What every write has to pass."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.open, self.reached = threading.Event(), threading.Event()
        write = Chunk.write

        def pass_(chunk: Chunk, data: bytes | bytearray) -> None:
            self.reached.set()
            self.open.wait(20)
            write(chunk, data)

        monkeypatch.setattr(Chunk, "write", pass_)


@pytest.fixture
def door(monkeypatch: pytest.MonkeyPatch) -> Iterator[Door]:
    door = Door(monkeypatch)
    yield door
    door.open.set()


async def test_a_volume_that_takes_its_time_with_data_keeps_nobody_else_waiting(
    browser: httpx.AsyncClient, door: Door
) -> None:
    begun = await begin(browser)
    sending = [asyncio.create_task(put(browser, begun["id"], number)) for number in range(4)]
    await asyncio.to_thread(door.reached.wait)
    for path in ("/healthz", "/api/presets/", "/api/models/", f"/api/uploads/{begun['id']}"):
        assert (await browser.get(path)).status_code == 200
    assert not any(task.done() for task in sending)
    door.open.set()
    assert [(await task).status_code for task in sending] == [200] * 4


async def test_a_chunk_that_a_hanging_volume_does_not_take_is_sent_again(
    browser: httpx.AsyncClient, door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dashboard.uploads, "WRITE_SECONDS", 0.1)
    begun = await begin(browser)
    answer = await put(browser, begun["id"], 0)
    assert (answer.status_code, answer.json()["error"]["type"]) == (503, "workspace_unavailable")
    door.open.set()
    monkeypatch.setattr(dashboard.uploads, "WRITE_SECONDS", 20.0)
    assert (await put(browser, begun["id"], 0)).json()["received"] == [[0, 1]]


async def test_no_more_than_a_few_chunks_of_a_file_are_taken_at_a_time(
    browser: httpx.AsyncClient, door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dashboard.uploads, "CHUNKS_AT_ONCE", 2)
    asked: list[int] = []
    begun = await begin(browser)

    def stream(number: int) -> AsyncIterator[bytes]:
        async def pieces() -> AsyncIterator[bytes]:
            asked.append(number)
            yield piece(number)

        return pieces()

    path = f"/api/uploads/{begun['id']}/chunks/"
    sending = [asyncio.create_task(browser.put(f"{path}{number}", content=stream(number))) for number in range(4)]
    while len(asked) < 2:
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.3)
    assert len(asked) == 2
    door.open.set()
    assert [(await task).status_code for task in sending] == [200] * 4


async def test_a_check_waits_until_the_volume_can_be_written(
    settings: Settings, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dashboard.uploads, "RETRY_SECONDS", 0.05)
    volume, pool = Volume(settings), async_redis_client(settings)
    desk, library, downloads = UploadDesk(settings, volume), Library(settings, volume, {}), DownloadsFeed(pool, Hub())
    upload, _ = await desk.begin(Wish("loras", "a.ckpt", 5), library, downloads)

    async def pieces() -> AsyncIterator[bytes]:
        yield b"01234"

    await desk.receive(upload.id, 0, None, 5, pieces())
    await desk.complete(upload.id)
    good, volume.report = volume.report, VolumeReport("read_only", "/workspace", "it cannot be written")
    checking = asyncio.create_task(desk.follow(library, downloads))
    await asyncio.sleep(0.3)
    assert (await desk.get(upload.id)).state == "checking"
    volume.report = good
    until = time.monotonic() + 20
    while (await desk.get(upload.id)).state != "done":
        assert time.monotonic() < until
        await asyncio.sleep(0.02)
    await cancel([checking])
    desk.close()
    volume.close()
    await pool.aclose()
