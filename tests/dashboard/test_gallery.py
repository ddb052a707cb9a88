import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from dashboard.gallery import Gallery
from dashboard.volume import Volume
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
    listed: list[Path] = []
    scandir = os.scandir

    def noted(path: Path) -> object:
        listed.append(path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", noted)
    assert await gallery.newest(10) == before
    assert listed == []
    (output / "images" / "new.png").write_bytes(b"x")
    assert [found.filename for found in await gallery.newest(1)] == ["new.png"]
    assert len(listed) == 1


async def test_a_file_that_grows_is_shown_with_its_size(gallery: Gallery, output: Path) -> None:
    video = output / "videos" / "long.mp4"
    for size in (1, 2):
        video.write_bytes(b"x" * size)
        assert [found.size_bytes for found in await gallery.newest(1)] == [size]


async def test_a_volume_without_outputs_has_none(gallery: Gallery, output: Path) -> None:
    for folder in (output / "images", output / "videos", output):
        folder.rmdir()
    assert await gallery.newest(10) == []
