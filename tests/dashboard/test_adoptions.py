"""Hashing what was copied in by hand, through the API and as the socket tells of it."""

import asyncio
import hashlib
import os
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

import dashboard.live.adoption
import services.hashing
from dashboard.library import Library
from dashboard.live.adoption import TICK_SECONDS, AdoptionFeed
from dashboard.live.downloads import DownloadsFeed
from dashboard.live.hub import Hub, Listener
from dashboard.suite import cancel
from dashboard.volume import Volume
from services.adoptions import Adoptions
from services.artifacts import Artifact, model_id
from services.connections import async_redis_client
from services.models import ModelIndex
from services.settings import Settings
from services.verified import VerifiedFiles
from services.volume import VolumeReport
from services.workspace import Workspace
from tests.dashboard.conftest import OpenDashboard

DATA = os.urandom(2000)
DIGEST = hashlib.sha256(DATA).hexdigest()
WANTED = Artifact("https://host.example/a", "loras", "a.ckpt", len(DATA), DIGEST)
ENTRY = {"id": "ONE", "name": "One", "kind": "image", "description": "For tests.", "files": [WANTED]}


@pytest.fixture(autouse=True)
def a_preset(settings: Settings, workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    # What looks after the volume is a program of its own.
    monkeypatch.setenv("WORKSPACE", str(settings.workspace))
    monkeypatch.setenv("STATE_DIR", str(settings.state_dir))
    workspace.user_presets_file.write_bytes(msgspec.json.encode({"presets": [ENTRY]}))


class Gate:
    """What every piece that is hashed has to pass."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.open = threading.Event()
        self.passed = 0
        self.reached = threading.Semaphore(0)
        hash_ = services.hashing.sha256_of

        def slowly(descriptor: int, length: int, progress: Callable[[int], None]) -> str:
            def pass_(done: int) -> None:
                self.reached.release()
                self.open.wait(20)
                self.passed += 1
                progress(done)

            return hash_(descriptor, length, pass_)

        monkeypatch.setattr("services.adoptions.sha256_of", slowly)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    return Gate(monkeypatch)


def copy(workspace: Workspace, *names: str, data: bytes = DATA) -> list[str]:
    """As a user does; their ids."""
    for name in names:
        (workspace.models / "loras" / name).write_bytes(data)
    return [model_id("loras", name) for name in names]


async def wait_for(condition: Callable[[], Awaitable[Any]]) -> Any:
    until = time.monotonic() + 20
    while not (found := await condition()):
        assert time.monotonic() < until
        await asyncio.sleep(0.02)
    return found


async def adopt(browser: httpx.AsyncClient, **body: object) -> dict[str, Any]:
    answer = await browser.post("/api/models/adopt", json=body)
    assert answer.status_code == 202, answer.text
    queued: dict[str, Any] = answer.json()
    return queued


async def status(browser: httpx.AsyncClient) -> dict[str, Any]:
    answered: dict[str, Any] = (await browser.get("/api/models/adopt")).json()
    return answered


async def is_idle(browser: httpx.AsyncClient) -> bool:
    return not (await status(browser))["files"]


async def verified(browser: httpx.AsyncClient) -> dict[str, Any]:
    return {model["name"]: model["verified"] for model in (await browser.get("/api/models/")).json()["models"]}


async def test_a_preset_whose_file_was_copied_in_becomes_installed(
    browser: httpx.AsyncClient, workspace: Workspace
) -> None:
    ids = copy(workspace, "a.ckpt")
    assert (await browser.get("/api/presets/ONE/status")).json()["state"] != "installed"
    assert await adopt(browser, ids=ids) == {"queued": 1, "not_found": []}
    await wait_for(lambda: is_idle(browser))
    assert (await browser.get("/api/presets/ONE/status")).json()["state"] == "installed"
    assert await verified(browser) == {"a.ckpt": {"sha256": DIGEST, "checked_against": "sha256"}}


async def test_another_file_under_a_presets_name_is_known_and_leaves_the_preset_as_it_is(
    browser: httpx.AsyncClient, workspace: Workspace
) -> None:
    await adopt(browser, ids=copy(workspace, "a.ckpt", data=b"another"))
    await wait_for(lambda: is_idle(browser))
    digest = hashlib.sha256(b"another").hexdigest()
    assert await verified(browser) == {"a.ckpt": {"sha256": digest, "checked_against": "nothing"}}
    assert (await browser.get("/api/presets/ONE/status")).json()["state"] != "installed"


async def test_all_are_those_whose_digest_is_not_known(browser: httpx.AsyncClient, workspace: Workspace) -> None:
    await adopt(browser, ids=copy(workspace, "a.ckpt"))
    await wait_for(lambda: is_idle(browser))
    copy(workspace, "b.ckpt", "c.ckpt")
    assert (await adopt(browser, all=True))["queued"] == 2
    await wait_for(lambda: is_idle(browser))
    assert all((await verified(browser)).values())
    assert (await adopt(browser, all=True))["queued"] == 0


async def test_what_is_no_model_is_named(browser: httpx.AsyncClient) -> None:
    assert await adopt(browser, ids=["nothing"]) == {"queued": 0, "not_found": ["nothing"]}


@pytest.mark.parametrize("body", [{}, {"ids": []}, {"all": False}, {"ids": ["a"], "all": True}, {"ids": ["x" * 65]}])
async def test_what_is_to_be_hashed_has_to_be_said(browser: httpx.AsyncClient, body: dict[str, object]) -> None:
    assert (await browser.post("/api/models/adopt", json=body)).status_code == 422


async def test_what_waits_and_how_far_it_is_is_shown(
    browser: httpx.AsyncClient, workspace: Workspace, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services.hashing, "PIECE_BYTES", 500)
    copy(workspace, "a.ckpt", "b.ckpt")
    await adopt(browser, all=True)
    await asyncio.to_thread(gate.reached.acquire)
    shown = await status(browser)
    assert [(file["name"], file["state"], file["bytes_total"]) for file in shown["files"]] == [
        ("a.ckpt", "hashing", 2000),
        ("b.ckpt", "waiting", 2000),
    ]
    assert (shown["bytes_done"], shown["bytes_total"]) == (0, 4000)
    gate.open.set()
    await wait_for(lambda: is_idle(browser))


async def test_asking_twice_is_asking_once(browser: httpx.AsyncClient, workspace: Workspace, gate: Gate) -> None:
    copy(workspace, "a.ckpt", "b.ckpt")
    assert [(await adopt(browser, all=True))["queued"] for _ in range(2)] == [2, 0]
    gate.open.set()
    await wait_for(lambda: is_idle(browser))
    assert gate.passed == 2


@pytest.mark.parametrize("which", ["all", "the one that is read", "one that waits"])
async def test_it_can_be_cancelled(which: str, browser: httpx.AsyncClient, workspace: Workspace, gate: Gate) -> None:
    a, b = copy(workspace, "a.ckpt", "b.ckpt")
    await adopt(browser, ids=[a, b])
    await asyncio.to_thread(gate.reached.acquire)
    query = {"all": "", "the one that is read": f"?id={a}", "one that waits": f"?id={b}"}[which]
    answer = (await browser.delete(f"/api/models/adopt{query}")).json()
    assert answer == {"cancelled": 1 if query else 2}
    gate.open.set()
    await wait_for(lambda: is_idle(browser))
    known = {name for name, checked in (await verified(browser)).items() if checked}
    assert known == {"all": set(), "the one that is read": {"b.ckpt"}, "one that waits": {"a.ckpt"}}[which]
    assert Adoptions(workspace).unfinished() == ()


async def test_what_was_left_is_hashed_by_the_next_dashboard(
    open_dashboard: OpenDashboard, workspace: Workspace
) -> None:
    copy(workspace, "a.ckpt", "b.ckpt")
    Adoptions(workspace).put(ModelIndex(workspace).scan().values())
    browser = await open_dashboard(auth=False)
    await wait_for(lambda: both_are_known(browser))
    await wait_for(lambda: is_idle(browser))
    # The record goes after the last file is told to be known.
    await wait_for(lambda: nothing_is_left(workspace))


async def nothing_is_left(workspace: Workspace) -> bool:
    return list((workspace.config / "adoptions").iterdir()) == []


async def both_are_known(browser: httpx.AsyncClient) -> bool:
    return all((await verified(browser)).values())


async def test_a_file_that_is_gone_is_dropped(browser: httpx.AsyncClient, workspace: Workspace, gate: Gate) -> None:
    a, b = copy(workspace, "a.ckpt", "b.ckpt")
    await adopt(browser, ids=[a, b])
    (workspace.models / "loras" / "b.ckpt").unlink()
    gate.open.set()
    await wait_for(lambda: is_idle(browser))
    assert (await status(browser))["failed"] == []
    assert set(VerifiedFiles(workspace).all()) == {a}


async def test_a_file_that_keeps_changing_is_given_up_and_the_next_is_hashed(
    browser: httpx.AsyncClient, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    changing = workspace.models / "loras" / "a.ckpt"
    hash_ = services.hashing.sha256_of

    def change(descriptor: int, length: int, progress: Callable[[int], None]) -> str:
        os.utime(changing, ns=(0, changing.stat().st_mtime_ns + 1))
        return hash_(descriptor, length, progress)

    monkeypatch.setattr("services.adoptions.sha256_of", change)
    a, b = copy(workspace, "a.ckpt", "b.ckpt")
    await adopt(browser, ids=[a, b])
    await wait_for(lambda: is_idle(browser))
    ((failed),) = (await status(browser))["failed"]
    assert failed["id"] == a
    assert "changes while it is read" in failed["reason"]
    assert set(VerifiedFiles(workspace).all()) == {b}


async def test_a_file_that_cannot_be_read_is_given_up_with_the_reason(
    browser: httpx.AsyncClient, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(descriptor: int, length: int, progress: Callable[[int], None]) -> str:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("services.adoptions.sha256_of", refuse)
    await adopt(browser, ids=copy(workspace, "a.ckpt"))
    await wait_for(lambda: is_idle(browser))
    (failed,) = (await status(browser))["failed"]
    assert failed["reason"] == "Input/output error"


@pytest.fixture
def listener() -> Listener:
    made = Listener(None)
    made.channels.add("downloads")
    return made


@pytest.fixture
def volume(settings: Settings) -> Volume:
    return Volume(settings)


@pytest.fixture
async def feed(settings: Settings, volume: Volume, listener: Listener) -> AsyncIterator[AdoptionFeed]:
    """At work; someone listens."""
    pool, hub = async_redis_client(settings), Hub()
    hub.join(listener)
    downloads = DownloadsFeed(pool, hub)
    library, made = Library(settings, volume, {}), AdoptionFeed(settings, volume, hub)
    task = asyncio.create_task(made.follow(library, downloads))
    yield made
    await cancel([task])
    made.close()
    volume.close()
    await pool.aclose()


async def heard_until_idle(listener: Listener) -> list[dict[str, Any]]:
    heard: list[dict[str, Any]] = []
    while not heard or heard[-1]["files_left"]:
        mail = await asyncio.wait_for(listener.take(), 20)
        said = [msgspec.json.decode(text) for text in mail or []]
        heard += [message["data"] for message in said if message["type"] == "adoption_progress"]
    return heard


async def test_watchers_hear_four_times_a_second_and_always_the_last_word(
    feed: AdoptionFeed, listener: Listener, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services.hashing, "PIECE_BYTES", 20)
    hash_ = services.hashing.sha256_of

    def slowly(descriptor: int, length: int, progress: Callable[[int], None]) -> str:
        def after_a_while(done: int) -> None:
            time.sleep(0.01)
            progress(done)

        return hash_(descriptor, length, after_a_while)

    monkeypatch.setattr("services.adoptions.sha256_of", slowly)
    copy(workspace, "a.ckpt", "b.ckpt")
    started = time.monotonic()
    await feed.ask(ModelIndex(workspace).scan().values())
    heard = await heard_until_idle(listener)
    assert 3 <= len(heard) <= 2 + (time.monotonic() - started) / TICK_SECONDS
    assert heard[0]["file"]["name"] == "a.ckpt"
    done = [said["bytes_done"] for said in heard]
    assert done == sorted(done)
    assert (heard[-1]["file"], heard[-1]["bytes_done"], heard[-1]["bytes_total"]) == (None, 4000, 4000)


async def test_a_volume_that_is_away_is_waited_for(
    feed: AdoptionFeed, listener: Listener, volume: Volume, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dashboard.live.adoption, "RETRY_SECONDS", 0.05)
    (a,) = copy(workspace, "a.ckpt")
    good = volume.report
    await feed.ask(ModelIndex(workspace).scan().values())
    volume.report = VolumeReport("read_only", "/workspace", "it cannot be written")
    await asyncio.sleep(0.3)
    assert VerifiedFiles(workspace).all() == {}
    volume.report = good
    await heard_until_idle(listener)
    assert set(VerifiedFiles(workspace).all()) == {a}


async def test_ten_thousand_files_are_asked_for_in_one_record(feed: AdoptionFeed, workspace: Workspace) -> None:
    copy(workspace, "a.ckpt")
    (file,) = ModelIndex(workspace).scan().values()
    files = [msgspec.structs.replace(file, id=f"{number:020}", name=f"{number}.ckpt") for number in range(10_000)]
    assert await feed.ask(files) == 10_000
    assert len(list(Path(workspace.config / "adoptions").iterdir())) == 1
    await feed.cancel(None)
