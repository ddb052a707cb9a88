"""Whoever looks at the outputs sees them appear."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

import dashboard.live.outputs
from dashboard.gallery import Gallery
from dashboard.live.hub import Hub, Listener
from dashboard.live.outputs import OutputsFeed
from dashboard.suite import cancel
from dashboard.volume import Volume
from services.runs import Run, RunOutput
from services.settings import Settings
from services.workspace import Workspace


@pytest.fixture
def output(workspace: Workspace) -> Path:
    return workspace.output


@pytest.fixture
def listener() -> Listener:
    return Listener(None)


@pytest.fixture
async def feed(
    settings: Settings, output: Path, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[OutputsFeed]:
    """Looks when it is touched. `listener` does not listen yet."""
    monkeypatch.setattr(dashboard.live.outputs, "LOOK_SECONDS", 1000.0)
    volume, hub = Volume(settings), Hub()
    hub.join(listener)
    made = OutputsFeed(Gallery(volume, output), hub)
    telling = asyncio.create_task(made.tell())
    yield made
    await cancel([telling])
    volume.close()


async def heard(listener: Listener) -> dict[str, Any]:
    async with asyncio.timeout(30):
        mail = await listener.take()
    assert mail is not None
    (text,) = mail
    return dict(msgspec.json.decode(text))


async def subscribe(feed: OutputsFeed, listener: Listener) -> dict[str, Any]:
    listener.channels.add("outputs")
    return dict(msgspec.json.decode(await feed.snapshot())["data"])


async def test_the_snapshot_has_the_newest(feed: OutputsFeed, listener: Listener, output: Path) -> None:
    for number in range(30):
        (output / f"{number}.png").write_bytes(b"x")
    shown = await subscribe(feed, listener)
    assert (shown["channel"], shown["total"], len(shown["newest"])) == ("outputs", 30, 24)


async def test_a_file_that_appears_is_told_of(
    feed: OutputsFeed, listener: Listener, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dashboard.live.outputs, "LOOK_SECONDS", 0.05)
    feed.touch()
    await subscribe(feed, listener)
    (output / "new.png").write_bytes(b"x")
    told = await heard(listener)
    assert told["type"] == "outputs_changed"
    assert [one["path"] for one in told["data"]["newest"]] == ["new.png"]


async def test_the_end_of_a_run_is_not_waited_for(feed: OutputsFeed, listener: Listener, output: Path) -> None:
    await subscribe(feed, listener)
    (output / "made.png").write_bytes(b"x")
    made = RunOutput("/outputs/made.png", "made.png", "image")
    feed.heard("finished", Run("id", "A title", "success", 1, outputs=(made,)))
    assert (await heard(listener))["data"]["total"] == 1


async def test_a_file_that_goes_is_told_of(feed: OutputsFeed, listener: Listener, output: Path) -> None:
    (output / "old.png").write_bytes(b"x")
    await subscribe(feed, listener)
    (output / "old.png").unlink()
    feed.touch()
    assert (await heard(listener))["data"] == {"channel": "outputs", "total": 0, "newest": []}


async def test_a_file_that_grows_is_told_of_with_its_size(feed: OutputsFeed, listener: Listener, output: Path) -> None:
    (output / "long.mp4").write_bytes(b"x")
    await subscribe(feed, listener)
    (output / "long.mp4").write_bytes(b"xx")
    feed.touch()
    assert [one["size_bytes"] for one in (await heard(listener))["data"]["newest"]] == [2]


async def test_nothing_is_said_while_nothing_changes(feed: OutputsFeed, listener: Listener, output: Path) -> None:
    (output / "a.png").write_bytes(b"x")
    await subscribe(feed, listener)
    for _ in range(3):
        feed.touch()
        await asyncio.sleep(0.05)
    (output / "b.png").write_bytes(b"x")
    feed.touch()
    assert (await heard(listener))["data"]["total"] == 2
