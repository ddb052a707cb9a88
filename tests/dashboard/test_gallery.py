import asyncio
import os
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from msgspec.structs import replace

import dashboard.gallery
from dashboard.gallery import Gallery, OutputQuery
from dashboard.volume import Volume
from services import workspace
from services.settings import Settings
from services.workspace import Workspace

ODD_NAMES = ("[1].png", "-dash.png", "star*.png", "why?.png", " space.png", "100% & #1.png", "plain.png", "é ü.webp")


@pytest.fixture
async def gallery(settings: Settings) -> AsyncIterator[Gallery]:
    volume = Volume(settings)
    yield Gallery(volume, Workspace(settings.workspace).output)
    volume.close()


@pytest.fixture
def output(settings: Settings) -> Path:
    return Workspace(settings.workspace).output


def age(path: Path, seconds: float) -> None:
    os.utime(path, (time.time() - seconds,) * 2)


async def test_the_newest_come_first_from_every_folder(gallery: Gallery, output: Path) -> None:
    for seconds, name in ((30, "images/b.png"), (20, "a.png"), (10, "videos/c.mp4"), (5, "notes.txt"), (1, ".x.png")):
        (output / name).write_bytes(b"x")
        age(output / name, seconds)
    assert [found.filename for found in await gallery.newest(10)] == ["c.mp4", "a.png", "b.png"]
    assert [found.url for found in await gallery.newest(1)] == ["/outputs/videos/c.mp4"]


async def test_everything_that_is_listed_opens(browser: httpx.AsyncClient, output: Path) -> None:
    for name in ODD_NAMES:
        (output / name).write_bytes(b"x")
    (output / "[folder]").mkdir()
    (output / "[folder]" / "inside.png").write_bytes(b"x")
    listed = (await browser.get("/api/outputs/")).json()["outputs"]
    assert {found["filename"] for found in listed} == {"100% & #1.png", "plain.png", "é ü.webp"}
    for found in listed:
        assert (await browser.get(found["url"])).status_code == 200


async def test_a_folder_that_did_not_change_is_not_listed_again(
    gallery: Gallery, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a.png", "images/b.png"):
        (output / name).write_bytes(b"x")
        age(output / name, 1000)
    for folder in (output / "images", output / "videos", output):
        age(folder, 1000)
    before = await gallery.newest(10)
    gallery.forget()
    listed: list[Path] = []
    scandir = os.scandir

    def noted(path: Path) -> object:
        listed.append(path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", noted)
    assert await gallery.newest(10) == before
    assert listed == []
    (output / "images" / "new.png").write_bytes(b"x")
    gallery.forget()
    assert [found.filename for found in await gallery.newest(1)] == ["new.png"]
    assert len(listed) == 1


async def test_a_file_that_grows_is_shown_with_its_size(gallery: Gallery, output: Path) -> None:
    video = output / "videos" / "long.mp4"
    for size in (1, 2):
        video.write_bytes(b"x" * size)
        gallery.forget()
        assert [found.size_bytes for found in await gallery.newest(1)] == [size]


async def test_a_volume_without_outputs_has_none(gallery: Gallery, output: Path) -> None:
    for folder in (output / "images", output / "videos", output):
        folder.rmdir()
    assert await gallery.newest(10) == []


async def test_a_file_that_did_not_change_is_not_looked_at_again(
    gallery: Gallery, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(20):
        (output / f"{number}.png").write_bytes(b"x")
        age(output / f"{number}.png", 1000)
    assert len(await gallery.newest(100)) == 20
    (output / "new.png").write_bytes(b"x")
    looked: list[str] = []
    figures_of = workspace.figures_of

    def noted(place: str) -> object:
        looked.append(Path(place).name)
        return figures_of(place)

    monkeypatch.setattr(dashboard.gallery, "figures_of", noted)
    gallery.forget()
    assert len(await gallery.newest(100)) == 21
    assert looked == ["new.png"]


async def test_a_file_that_was_written_over_shows_after_a_while(
    gallery: Gallery, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (output / "a.png").write_bytes(b"x")
    age(output / "a.png", 1000)
    age(output, 1000)
    await gallery.newest(1)
    (output / "a.png").write_bytes(b"xx")
    age(output, 1000)
    monkeypatch.setattr(dashboard.gallery, "RESCAN_SECONDS", 0.0)
    monkeypatch.setattr(dashboard.gallery, "RESCAN_SHARE", 1000.0)
    gallery.forget()
    assert [found.size_bytes for found in await gallery.newest(1)] == [2]


async def test_the_same_files_are_the_same_collection(gallery: Gallery, output: Path) -> None:
    (output / "a.png").write_bytes(b"x")
    before = await gallery.collection()
    gallery.forget()
    assert await gallery.collection() is before
    (output / "b.png").write_bytes(b"x")
    gallery.forget()
    assert (await gallery.collection()).version > before.version


async def test_a_volume_that_is_away_leaves_what_was_known(
    gallery: Gallery, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (output / "a.png").write_bytes(b"x")
    assert len(await gallery.newest(1)) == 1
    gallery._volume.report = replace(gallery._volume.report, state="hung")
    gallery.forget()
    assert [found.filename for found in await gallery.newest(1)] == ["a.png"]


async def test_a_slow_volume_shows_what_was_found_so_far(
    gallery: Gallery, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dashboard.gallery, "PART_SECONDS", 0.1)
    for number in range(5):
        (output / f"{number}.png").write_bytes(b"x")
    figures_of, goes_on, looked = workspace.figures_of, threading.Event(), []

    def slow(place: str) -> object:
        looked.append(place)
        if len(looked) == 3:
            goes_on.wait(30)
        return figures_of(place)

    monkeypatch.setattr(dashboard.gallery, "figures_of", slow)
    while len(await gallery.newest(10)) < 2:
        await asyncio.sleep(0.01)
    assert len(await gallery.newest(10)) == 2
    goes_on.set()
    while len(await gallery.newest(10)) < 5:
        await asyncio.sleep(0.01)


async def test_searches_are_answered_once(gallery: Gallery, output: Path) -> None:
    for name in ("images/Lake.png", "images/tree.png"):
        (output / name).write_bytes(b"x")
    collection = await gallery.collection()
    query = OutputQuery(search="lake images")
    found = await collection.find(query)
    assert [file.path for file in found.files] == ["images/Lake.png"]
    assert await collection.find(query) is found
