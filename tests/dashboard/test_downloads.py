"""Pausing, resuming, ordering and dropping downloads; what a worker would do is done by the tests."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
import redis

import dashboard.library
import dashboard.suite
from services import journal
from services.artifacts import Artifact, model_id
from services.connections import redis_client
from services.errors import DownloadFailed, NotEnoughSpace
from services.installs import Installs
from services.journal import Journal
from services.progress import FileProgress, ProgressBoard, stop_key
from services.schedule import ScheduleRecords
from services.settings import Settings
from services.workspace import Workspace
from tests.dashboard.conftest import ORIGIN, OpenDashboard
from tests.running import PASSWORD

A = Artifact("https://host.example/a", "checkpoints", "a.ckpt", size_bytes=100)
B = Artifact("https://host.example/b", "vae", "b.ckpt", size_bytes=50)
C = Artifact("https://host.example/c", "loras", "c.ckpt", size_bytes=10)
PRESETS = {"ONE": (A, B), "TWO": (A, C), "THREE": (C,)}


@pytest.fixture(autouse=True)
def presets(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    # What looks after the volume is a program of its own.
    monkeypatch.setenv("WORKSPACE", str(settings.workspace))
    monkeypatch.setenv("STATE_DIR", str(settings.state_dir))
    listed = [
        {
            "id": id_,
            "name": id_.title(),
            "kind": "image",
            "description": "For tests.",
            "files": [
                {"url": file.url, "folder": file.folder, "name": file.name, "size_bytes": file.size_bytes}
                for file in files
            ],
        }
        for id_, files in PRESETS.items()
    ]
    (settings.workspace / "config" / "presets.yaml").write_bytes(msgspec.json.encode({"presets": listed}))


@pytest.fixture
def records(workspace: Workspace) -> Installs:
    return Installs(workspace)


@pytest.fixture
def connection(settings: Settings) -> Iterator[redis.Redis]:
    client = redis_client(settings)
    yield client
    client.close()


def stopped(connection: redis.Redis) -> set[str]:
    return {file.name[0] for file in (A, B, C) if connection.exists(stop_key(file.id))}


def ids(*files: Artifact) -> list[str]:
    return [file.id for file in files]


def keep_partial(workspace: Workspace, artifact: Artifact, done: int) -> Path:
    """As a download that was stopped leaves it; its file."""
    target = workspace.model_file(artifact.folder, artifact.name)
    journal.part_file(target).write_bytes(bytes(done))
    journal.save(target, Journal(artifact.url, artifact.size_bytes, "x", ((0, done),)))
    return journal.part_file(target)


async def install(browser: httpx.AsyncClient, *presets: str) -> None:
    for id_ in presets:
        assert (await browser.post(f"/api/presets/{id_}/install")).status_code == 202


async def states(browser: httpx.AsyncClient, preset: str) -> list[str]:
    """Of the preset, then of its files."""
    status = (await browser.get(f"/api/presets/{preset}/status")).json()
    return [status["state"], *(file["state"] for file in status["files"])]


async def post(browser: httpx.AsyncClient, path: str) -> dict[str, Any]:
    answer = await browser.post(f"/api/downloads/{path}")
    assert answer.status_code == 200, answer.text
    answered: dict[str, Any] = answer.json()
    return answered


async def test_a_preset_is_paused_and_resumed(browser: httpx.AsyncClient, connection: redis.Redis) -> None:
    await install(browser, "ONE")
    assert await post(browser, "ONE/pause") == {"paused": ids(A, B)}
    assert await states(browser, "ONE") == ["paused", "paused", "paused"]
    assert stopped(connection) == {"a", "b"}
    assert await post(browser, "ONE/resume") == {"resumed": ids(A, B), "all_paused": False}
    assert await states(browser, "ONE") == ["queued", "queued", "queued"]
    assert stopped(connection) == set()


async def test_a_file_is_paused_and_resumed(browser: httpx.AsyncClient, connection: redis.Redis) -> None:
    await install(browser, "ONE")
    assert await post(browser, f"{A.id}/pause") == {"paused": ids(A)}
    assert await states(browser, "ONE") == ["queued", "paused", "queued"]
    assert stopped(connection) == {"a"}
    assert await post(browser, f"{A.id}/resume") == {"resumed": ids(A), "all_paused": False}
    assert await states(browser, "ONE") == ["queued", "queued", "queued"]
    assert stopped(connection) == set()


@pytest.mark.parametrize("target", ["ONE", A.id])
@pytest.mark.parametrize("action", ["pause", "resume", "retry"])
async def test_an_action_twice_is_the_action_once(
    action: str, target: str, browser: httpx.AsyncClient, records: Installs
) -> None:
    await install(browser, "ONE")
    first = await post(browser, f"{target}/{action}")
    before = records.all(), records.holds()
    assert await post(browser, f"{target}/{action}") == first
    assert (records.all(), records.holds()) == before


async def test_pausing_leaves_what_another_preset_waits_for(
    browser: httpx.AsyncClient, connection: redis.Redis
) -> None:
    await install(browser, "ONE", "TWO")
    assert await post(browser, "ONE/pause") == {"paused": ids(B)}
    assert stopped(connection) == {"b"}
    assert await states(browser, "TWO") == ["queued", "queued", "queued"]


async def test_a_paused_file_keeps_its_bytes_whatever_redis_knows(
    browser: httpx.AsyncClient, connection: redis.Redis, workspace: Workspace
) -> None:
    keep_partial(workspace, A, 60)
    await install(browser, "ONE")
    await post(browser, "ONE/pause")
    ProgressBoard(connection).publish(FileProgress(A.id, "cancelled"))
    connection.flushall()
    status = (await browser.get("/api/presets/ONE/status")).json()
    assert (status["bytes_done"], status["progress"]) == (60, 40.0)


@pytest.fixture
def always_fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a worker writes is seen at once, although no worker says that it did."""
    monkeypatch.setattr(dashboard.library, "FRESH_SECONDS", 0.0)


@pytest.mark.usefixtures("always_fresh")
async def test_a_failed_file_is_tried_again_at_once(browser: httpx.AsyncClient, records: Installs) -> None:
    await install(browser, "ONE")
    records.fail(A.id, DownloadFailed("no such file", permanent=True))
    records.fail(B.id, NotEnoughSpace("needs 24.0 GB more, 11.2 GB are free"))
    assert await states(browser, "ONE") == ["failed", "failed", "paused"]
    assert await post(browser, "ONE/retry") == {"resumed": ids(A, B), "all_paused": False}
    assert records.holds() == {}


@pytest.mark.usefixtures("always_fresh")
async def test_a_full_volume_reads_as_paused_with_its_reason(browser: httpx.AsyncClient, records: Installs) -> None:
    await install(browser, "THREE")
    records.fail(C.id, NotEnoughSpace("needs 24.0 GB more, 11.2 GB are free"))
    status = (await browser.get("/api/presets/THREE/status")).json()
    assert (status["state"], status["error"]) == ("paused", "needs 24.0 GB more, 11.2 GB are free")


@pytest.mark.parametrize("action", ["pause", "resume", "retry"])
@pytest.mark.parametrize("id_", ["ONE", "NOPE", A.id])
async def test_what_is_not_being_installed_cannot_be_steered(id_: str, action: str, browser: httpx.AsyncClient) -> None:
    assert (await browser.post(f"/api/downloads/{id_}/{action}")).status_code == 404


# All of them


async def test_everything_is_paused_what_is_asked_for_later_too_and_after_a_restart(
    browser: httpx.AsyncClient, open_dashboard: OpenDashboard, connection: redis.Redis
) -> None:
    await install(browser, "ONE")
    assert await post(browser, "pause") == await post(browser, "pause") == {"paused": True, "order": []}
    assert stopped(connection) == {"a", "b"}
    again = await open_dashboard()
    again.headers["Origin"] = ORIGIN
    await again.post("/login", data={"password": PASSWORD})
    await install(again, "THREE")
    listed = (await again.get("/api/downloads/")).json()
    assert listed["paused"] is True
    assert [found["state"] for found in listed["downloads"]] == ["paused", "paused"]
    assert await post(again, "resume") == {"paused": False, "order": []}
    assert [await states(again, "ONE"), await states(again, "THREE")] == [["queued"] * 3, ["queued"] * 2]
    assert stopped(connection) == set()


async def test_what_was_paused_by_itself_stays_so_when_everything_is_resumed(browser: httpx.AsyncClient) -> None:
    await install(browser, "ONE", "THREE")
    await post(browser, "THREE/pause")
    await post(browser, "pause")
    await post(browser, "resume")
    assert [await states(browser, "ONE"), await states(browser, "THREE")] == [["queued"] * 3, ["paused"] * 2]


async def test_resuming_one_while_everything_is_paused_says_that_it_waits(
    browser: httpx.AsyncClient, connection: redis.Redis
) -> None:
    await install(browser, "ONE")
    await post(browser, "pause")
    assert await post(browser, "ONE/resume") == {"resumed": ids(A, B), "all_paused": True}
    assert stopped(connection) == {"a", "b"}


async def test_the_pages_say_that_everything_is_paused(browser: httpx.AsyncClient) -> None:
    await install(browser, "ONE")
    await post(browser, "pause")
    page = (await browser.get("/", headers={"Accept": "text/html"})).text
    assert "All downloads are paused" in page


# The order


async def order_of(browser: httpx.AsyncClient) -> list[str]:
    return [found["preset_id"] for found in (await browser.get("/api/downloads/")).json()["downloads"]]


async def test_the_list_follows_the_order_and_keeps_it(browser: httpx.AsyncClient, workspace: Workspace) -> None:
    await install(browser, "ONE", "TWO", "THREE")
    answer = await browser.put("/api/downloads/order", json={"ids": ["TWO", "ONE", "THREE"]})
    assert answer.json() == {"paused": False, "order": ["TWO", "ONE", "THREE"]}
    assert await order_of(browser) == ["TWO", "ONE", "THREE"]
    assert ScheduleRecords(workspace).get().preset_ids == ("TWO", "ONE", "THREE")


async def test_a_list_of_some_puts_these_first_and_leaves_the_others_as_they_were(browser: httpx.AsyncClient) -> None:
    await install(browser, "ONE", "TWO", "THREE")
    await browser.put("/api/downloads/order", json={"ids": ["TWO", "ONE"]})
    for _ in range(2):
        await browser.put("/api/downloads/order", json={"ids": ["ONE", "ONE"]})
        assert await order_of(browser) == ["ONE", "TWO", "THREE"]


async def test_a_preset_that_does_not_exist_has_no_place(browser: httpx.AsyncClient) -> None:
    await install(browser, "ONE")
    answer = await browser.put("/api/downloads/order", json={"ids": ["ONE", "NOPE"]})
    assert answer.status_code == 404
    assert "NOPE" in answer.json()["error"]["message"]


async def test_what_is_not_being_installed_needs_no_place(browser: httpx.AsyncClient) -> None:
    await install(browser, "ONE")
    assert (await browser.put("/api/downloads/order", json={"ids": ["TWO", "ONE"]})).json()["order"] == ["ONE"]


# Cancelling, with what is here kept or dropped


async def test_cancelling_keeps_what_is_here(browser: httpx.AsyncClient, workspace: Workspace) -> None:
    part = keep_partial(workspace, A, 60)
    await install(browser, "ONE")
    for _ in range(2):
        assert (await browser.delete("/api/downloads/ONE")).json() == {"cancelled": ids(A, B)}
    assert await states(browser, "ONE") == ["cancelled", "cancelled", "cancelled"]
    assert part.exists()


async def test_cancelling_without_keeping_leaves_nothing(
    browser: httpx.AsyncClient, workspace: Workspace, records: Installs
) -> None:
    part = keep_partial(workspace, A, 60)
    await install(browser, "ONE")
    assert (await browser.delete("/api/downloads/ONE?keep=false")).json() == {"cancelled": ids(A, B)}
    assert (await browser.delete("/api/downloads/ONE?keep=false")).json() == {"cancelled": []}
    assert list(part.parent.iterdir()) == []
    assert await states(browser, "ONE") == ["available", "missing", "missing"]
    assert records.all() == {}


async def test_what_a_paused_preset_has_is_not_dropped_with_another(
    browser: httpx.AsyncClient, workspace: Workspace
) -> None:
    shared, own = keep_partial(workspace, A, 60), keep_partial(workspace, B, 20)
    await install(browser, "ONE", "TWO")
    await post(browser, "TWO/pause")
    await browser.delete("/api/downloads/ONE?keep=false")
    assert (shared.exists(), own.exists()) == (True, False)


async def test_a_file_can_be_dropped_by_itself(browser: httpx.AsyncClient, workspace: Workspace) -> None:
    part = keep_partial(workspace, A, 60)
    await install(browser, "ONE")
    for _ in range(2):
        assert (await browser.delete(f"/api/downloads/{A.id}?keep=false")).json() == {"cancelled": ids(A)}
    assert not part.exists()
    assert await states(browser, "ONE") == ["queued", "cancelled", "queued"]


async def test_nothing_is_dropped_before_its_worker_has_let_go(
    browser: httpx.AsyncClient, workspace: Workspace, connection: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dashboard.suite, "LET_GO_SECONDS", 30.0)
    board = ProgressBoard(connection)
    await install(browser, "THREE")

    async def work() -> None:
        """As a worker does: it writes until it is told to stop, and leaves what it has."""
        while not board.must_stop(C.id):
            board.publish(FileProgress(C.id, "downloading", 5, 10))
            await asyncio.sleep(0.05)
        for _ in range(4):
            board.publish(FileProgress(C.id, "downloading", 5, 10))
            await asyncio.sleep(0.05)
        keep_partial(workspace, C, 5)
        board.publish(FileProgress(C.id, "cancelled"))

    worker = asyncio.create_task(work())
    while (await states(browser, "THREE"))[0] != "downloading":
        await asyncio.sleep(0.05)
    await browser.delete("/api/downloads/THREE?keep=false")
    assert worker.done()
    assert list(workspace.model_file(C.folder, C.name).parent.iterdir()) == []


async def test_whether_to_keep_is_said_in_so_many_words(browser: httpx.AsyncClient) -> None:
    answer = await browser.delete("/api/downloads/ONE?keep=maybe")
    assert answer.status_code == 422
    assert "'keep' must be true or false" in answer.json()["error"]["message"]


async def test_nothing_is_placed_where_a_file_is_coming_in(
    browser: httpx.AsyncClient, connection: redis.Redis, workspace: Workspace
) -> None:
    """It would be replaced by what comes."""
    other = workspace.model_file("loras", "other.ckpt")
    other.write_bytes(b"x")
    board = ProgressBoard(connection)
    until = time.monotonic() + 20
    while True:
        board.publish(FileProgress(A.id, "downloading", bytes_done=1, bytes_total=100, at=time.time()))
        wanted = {"folder": A.folder, "name": A.name, "how": "move"}
        answer = await browser.post(f"/api/models/{model_id('loras', 'nothing.ckpt')}/place", json=wanted)
        if answer.status_code == 409:
            break
        assert time.monotonic() < until, answer.text
        await asyncio.sleep(0.05)
    answer = await browser.post(f"/api/models/{model_id('loras', 'other.ckpt')}/place", json=wanted)
    assert "is being downloaded" in answer.json()["error"]["message"]
    assert other.exists()


async def test_what_a_preset_needs_is_linked_and_not_moved_away(
    browser: httpx.AsyncClient, workspace: Workspace
) -> None:
    await install(browser, "THREE")
    needed = workspace.model_file(C.folder, C.name)
    needed.write_bytes(b"x" * 10)
    wanted = {"folder": "vae", "name": "other.ckpt", "how": "move"}
    refused = await browser.post(f"/api/models/{C.id}/place", json=wanted)
    assert refused.status_code == 409
    assert refused.json()["error"]["message"] == "loras/c.ckpt: needed by Three; link it instead"
    assert needed.exists()
    assert (await browser.post(f"/api/models/{C.id}/place", json={**wanted, "how": "link"})).status_code == 201


async def test_an_install_goes_by_what_the_users_presets_say_now(
    open_dashboard: OpenDashboard, workspace: Workspace
) -> None:
    def write(host: str) -> None:
        file = {"url": f"https://{host}.example/a.ckpt", "folder": "checkpoints", "name": "a.ckpt"}
        known = {"size_bytes": 10, "sha256": "0" * 64}
        entry = {"id": "MINE", "name": "Mine", "kind": "image", "description": "Of mine.", "files": [{**file, **known}]}
        workspace.user_presets_file.write_bytes(msgspec.json.encode({"presets": [entry]}))

    write("first")
    client = await open_dashboard(auth=False)
    assert (await client.get("/api/presets/MINE")).json()["files"][0]["url"] == "https://first.example/a.ckpt"
    write("other")
    answer = await client.post("/api/presets/MINE/install", headers={"Origin": ORIGIN})
    assert answer.status_code == 202
    assert [file.url for file in Installs(workspace).all()["MINE"].files] == ["https://other.example/a.ckpt"]
