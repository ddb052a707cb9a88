"""What watchers hear of downloads, with a real Redis between the workers and them."""

import asyncio
import errno
import threading
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import msgspec
import pytest
import redis

from dashboard.library import Library
from dashboard.live.downloads import TICK_SECONDS, DownloadsFeed
from dashboard.live.hub import Hub, Listener
from dashboard.messages import ScheduleMessage
from dashboard.suite import cancel
from dashboard.volume import Volume
from services.artifacts import Artifact
from services.connections import async_redis_client, redis_client
from services.installs import Installs, added
from services.presets import Preset
from services.progress import SILENT_SECONDS, FileProgress, ProgressBoard
from services.references import References, SavedWorkflows
from services.settings import Settings
from services.workspace import Workspace

A = Artifact("https://host.example/a", "checkpoints", "a.ckpt", size_bytes=100)
B = Artifact("https://host.example/b", "vae", "b.ckpt", size_bytes=100)
PRESET = Preset(id="ONE", name="One", kind="image", description="For tests.", files=(A, B))


@pytest.fixture
def board(settings: Settings) -> Iterator[ProgressBoard]:
    client: redis.Redis = redis_client(settings)
    yield ProgressBoard(client)
    client.close()


@pytest.fixture
def listener() -> Listener:
    made = Listener(None)
    made.channels.add("downloads")
    return made


@pytest.fixture
async def feed(settings: Settings, workspace: Workspace, listener: Listener) -> AsyncIterator[DownloadsFeed]:
    """At work; someone listens."""
    listed = {"presets": [msgspec.to_builtins(PRESET)]}
    workspace.user_presets_file.write_bytes(msgspec.json.encode(listed))
    pool, hub, volume = async_redis_client(settings), Hub(), Volume(settings)
    hub.join(listener)
    made = DownloadsFeed(pool, hub)
    library = Library(settings, volume, made.progress)
    await library.shelf()
    tasks = [asyncio.create_task(made.follow()), asyncio.create_task(made.tell(library))]
    while not await pool.pubsub_numsub("suite:downloads") >= [(b"suite:downloads", 1)]:
        await asyncio.sleep(0.01)
    yield made
    await cancel(tasks)
    volume.close()
    await pool.aclose()


async def next_words(listener: Listener) -> list[dict[str, Any]]:
    """What is said next."""
    return [msgspec.json.decode(text) for text in await asyncio.wait_for(listener.take(), 20) or []]


async def heard_until(listener: Listener, preset_id: str, bytes_done: int) -> list[dict[str, Any]]:
    """What is told of downloads, up to so many bytes of `preset_id`."""
    told: list[dict[str, Any]] = []
    while not any((said["preset_id"], said["bytes_done"]) == (preset_id, bytes_done) for said in told):
        told += [said["data"] for said in await next_words(listener) if said["type"] == "download_progress"]
    return told


@pytest.mark.parametrize("stopped", ["nothing", "pause", "pause_file"])
@pytest.mark.usefixtures("feed")
async def test_a_preset_is_told_of_four_times_a_second_and_always_in_the_end(
    stopped: str, board: ProgressBoard, listener: Listener, workspace: Workspace
) -> None:
    records = Installs(workspace)
    records.request(PRESET)
    if stopped == "pause":
        # Its files come in for another.
        records.request(msgspec.structs.replace(PRESET, id="OTHER"))
        records.pause("ONE")
    elif stopped == "pause_file":
        records.pause_file(B.id)
    started = time.monotonic()
    hearing = asyncio.create_task(heard_until(listener, "ONE", 100))
    for done in range(101):
        board.publish(FileProgress(A.id, "downloading", done, 100))
        await asyncio.sleep(0.01)
    heard = [said for said in await hearing if said["preset_id"] == "ONE"]
    assert 3 <= len(heard) <= 2 + (time.monotonic() - started) / TICK_SECONDS
    assert heard[-1]["bytes_done"] == 100


async def test_a_download_that_fell_silent_does_not_move(
    feed: DownloadsFeed, board: ProgressBoard, monkeypatch: pytest.MonkeyPatch
) -> None:
    board.publish(FileProgress(A.id, "downloading", 5, 100))
    while A.id not in feed.progress:
        await asyncio.sleep(0.01)
    assert feed.is_moving(A.id)
    later = time.time() + SILENT_SECONDS + 1
    monkeypatch.setattr(time, "time", lambda: later)
    assert not feed.is_moving(A.id)


async def test_watchers_hear_of_the_schedule(feed: DownloadsFeed, listener: Listener) -> None:
    feed.tell_schedule(ScheduleMessage(paused=True, order=("ONE",)))
    assert {"type": "downloads_schedule", "data": {"paused": True, "order": ["ONE"]}} in await next_words(listener)


@pytest.mark.usefixtures("feed")
async def test_a_single_file_that_stands_in_no_catalogue_is_told_of(
    board: ProgressBoard, listener: Listener, workspace: Workspace
) -> None:
    file = Artifact("https://host.example/c", "loras", "c.safetensors", size_bytes=100)
    Installs(workspace).request(added(file))
    board.publish(FileProgress(file.id, "downloading", 40, 100))
    told = (await heard_until(listener, f"url-{file.id}", 40))[-1]
    assert (told["preset_id"], told["name"], told["bytes_done"]) == (f"url-{file.id}", "c.safetensors", 40)


@pytest.mark.usefixtures("feed")
async def test_a_last_word_that_the_volume_kept_back_is_told_when_it_answers(
    board: ProgressBoard, listener: Listener, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    look, failed = SavedWorkflows.references, threading.Event()

    def fail_once(saved: SavedWorkflows) -> References:
        if not failed.is_set():
            failed.set()
            raise OSError(errno.EIO, "the volume is away", str(workspace.root))
        return look(saved)

    monkeypatch.setattr(SavedWorkflows, "references", fail_once)
    file = Artifact("https://host.example/c", "loras", "c.safetensors", size_bytes=100)
    Installs(workspace).request(added(file))
    board.publish(FileProgress(file.id, "failed", 40, 100, error="broken"))
    assert (await heard_until(listener, f"url-{file.id}", 40))[-1]["name"] == "c.safetensors"
    assert failed.is_set()
