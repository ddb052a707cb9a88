import asyncio
import io
import os
import struct
import time
import zlib
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from msgspec.structs import replace
from PIL import Image

from dashboard import thumbnailer, thumbnails
from dashboard.thumbnails import ThumbnailFailed, Thumbnails
from dashboard.volume import Volume
from services.errors import NotFound
from services.settings import Settings
from services.workspace import Workspace

NOISE = Image.effect_noise((640, 480), 60).convert("RGB")


@pytest.fixture
async def volume(settings: Settings) -> AsyncIterator[Volume]:
    made = Volume(settings)
    yield made
    made.close()


@pytest.fixture
async def made(settings: Settings, volume: Volume) -> AsyncIterator[Thumbnails]:
    (settings.state_dir / "dashboard").mkdir(exist_ok=True)
    found = Thumbnails(settings, volume)
    yield found
    await found.close()


@pytest.fixture
def output(workspace: Workspace) -> Path:
    return workspace.output


def picture(path: Path, image: Image.Image = NOISE, **options: Any) -> Path:
    image.save(path, **options)
    return path


def processes() -> list[psutil.Process]:
    return [child for child in psutil.Process().children(recursive=True) if is_thumbnailer(child)]


def is_thumbnailer(process: psutil.Process) -> bool:
    try:
        return "dashboard.thumbnailer" in " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        # It ended, or has and nobody asked how: others may have left such ones.
        return False


async def no_picture(of: Callable[[Path], Awaitable[Path]], path: Path) -> None:
    with pytest.raises(NotFound):
        await of(path)


async def test_a_small_picture_is_made_once_and_kept_on_the_volume(
    made: Thumbnails, output: Path, workspace: Workspace
) -> None:
    source = picture(output / "a.png")
    small = await made.of(source)
    assert small.is_relative_to(workspace.root / "cache" / "thumbnails")
    with Image.open(small) as opened:
        assert (opened.size, opened.format) == ((320, 240), "WEBP")
    before = small.stat()
    assert await made.of(source) == small
    assert small.stat().st_mtime_ns == before.st_mtime_ns


async def test_many_who_ask_at_the_same_time_wait_for_one(made: Thumbnails, output: Path) -> None:
    source = picture(output / "a.png")
    found = await asyncio.gather(*(made.of(source) for _ in range(20)))
    assert len(set(found)) == 1
    assert len(processes()) == 1


async def test_a_picture_that_was_replaced_has_another(made: Thumbnails, output: Path) -> None:
    source = picture(output / "a.png")
    first = await made.of(source)
    picture(source, NOISE.resize((100, 100)))
    os.utime(source, (1, 1))
    second = await made.of(source)
    assert second != first
    with Image.open(second) as opened:
        assert opened.size == (100, 100)


@pytest.mark.parametrize(
    ("name", "image", "options"),
    [
        ("palette.png", NOISE.quantize(64), {}),
        ("holes.png", NOISE.quantize(64), {"transparency": 0}),
        ("grey.png", NOISE.convert("L"), {}),
        ("alpha.png", NOISE.convert("LA"), {}),
        ("bits.png", NOISE.convert("1"), {}),
        ("cmyk.jpg", NOISE.convert("CMYK"), {}),
        ("moving.gif", NOISE, {"save_all": True, "append_images": [NOISE.rotate(90)]}),
        ("moving.webp", NOISE, {"save_all": True, "append_images": [NOISE.rotate(90)]}),
        ("moving.png", NOISE, {"save_all": True, "append_images": [NOISE.rotate(90)]}),
        ("plain.bmp", NOISE, {}),
    ],
)
def test_every_kind_of_picture_is_shown(
    output: Path, tmp_path: Path, name: str, image: Image.Image, options: dict[str, Any]
) -> None:
    result = thumbnailer.make(task_of(picture(output / name, image, **options), tmp_path))
    assert result.state == "made"
    with Image.open(result.target) as opened:
        assert opened.size == (320, 240)
        assert opened.n_frames == 1  # type: ignore[attr-defined]


def task_of(source: Path, folder: Path) -> thumbnailer.Task:
    figures = source.stat()
    target = folder / "small" / "ab" / f"{source.name}.webp"
    return thumbnailer.Task(str(source), figures.st_size, figures.st_mtime_ns, (str(target),))


def test_sixteen_bits_of_grey_keep_their_shade(output: Path, tmp_path: Path) -> None:
    source = picture(output / "depth.png", Image.new("I;16", (64, 64), 40_000))
    with Image.open(thumbnailer.make(task_of(source, tmp_path)).target) as opened:
        shade = opened.convert("L").getpixel((32, 32))
        assert isinstance(shade, int | float)
        assert abs(shade - 40_000 / 256) < 3


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_picture_lies_as_its_camera_was_held(output: Path, tmp_path: Path, mode: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    source = picture(output / "upright.jpg", NOISE.convert(mode), exif=exif)
    with Image.open(thumbnailer.make(task_of(source, tmp_path)).target) as opened:
        assert opened.size == (240, 320)
        assert not opened.getexif()


def test_what_the_picture_carries_does_not_go_into_the_small_one(output: Path, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010F] = 'prompt:{"1": {}}'
    source = picture(output / "a.webp", NOISE, exif=exif)
    assert b"prompt" not in Path(thumbnailer.make(task_of(source, tmp_path)).target).read_bytes()


async def test_what_is_no_picture_is_tried_once(
    made: Thumbnails, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = output / "page.png"
    source.write_bytes(b"<html><script>alert(1)</script>")
    await no_picture(made.of, source)
    asked: list[object] = []
    monkeypatch.setattr(made, "_ask", asked.append)
    await no_picture(made.of, source)
    assert asked == []


async def test_a_picture_that_was_still_being_written_is_shown_when_it_is_whole(made: Thumbnails, output: Path) -> None:
    source = output / "a.png"
    whole = io.BytesIO()
    NOISE.save(whole, "PNG")
    source.write_bytes(whole.getvalue()[:10_000])
    await no_picture(made.of, source)
    source.write_bytes(whole.getvalue())
    assert (await made.of(source)).exists()


@pytest.mark.parametrize("side", [12_000, 60_000])
async def test_a_picture_that_would_fill_the_memory_is_not_opened(made: Thumbnails, output: Path, side: int) -> None:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress(bytes(10_000_000)))
    (output / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + header + body + chunk(b"IEND", b""))
    await no_picture(made.of, output / "bomb.png")
    assert (await made.of(picture(output / "good.png"))).exists()


async def test_a_link_is_not_followed(made: Thumbnails, output: Path, tmp_path: Path) -> None:
    (output / "link.png").symlink_to(picture(tmp_path / "elsewhere.png"))
    await no_picture(made.of, output / "link.png")


async def test_a_process_that_is_killed_is_replaced(made: Thumbnails, output: Path) -> None:
    await made.of(picture(output / "a.png"))
    for process in processes():
        process.kill()
    assert (await made.of(picture(output / "b.png"))).exists()


async def test_a_picture_that_ends_every_process_is_given_up(
    made: Thumbnails, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def deadly() -> asyncio.subprocess.Process:
        command = "read line; kill -KILL $$"
        return await asyncio.create_subprocess_exec("sh", "-c", command, stdin=PIPE, stdout=PIPE)

    monkeypatch.setattr(thumbnails, "_start", deadly)
    await no_picture(made.of, picture(output / "a.png"))


async def test_a_process_that_hangs_is_ended_and_the_picture_tried_again_later(
    made: Thumbnails, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hanging() -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec("sleep", "100", stdin=PIPE, stdout=PIPE)

    with monkeypatch.context() as patched:
        patched.setattr(thumbnails, "_start", hanging)
        patched.setattr(thumbnails, "PICTURE_SECONDS", 0.2)
        with pytest.raises(ThumbnailFailed):
            await made.of(picture(output / "a.png"))
    await made.close()
    assert (await made.of(output / "a.png")).exists()


async def test_the_process_ends_when_there_is_nothing_to_do(
    made: Thumbnails, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(thumbnails, "IDLE_SECONDS", 0.1)
    await made.of(picture(output / "a.png"))
    until = time.monotonic() + 20
    while processes():
        assert time.monotonic() < until, "it is still there"
        await asyncio.sleep(0.02)
    assert (await made.of(picture(output / "b.png"))).exists()


async def test_nobody_left_who_waits_is_no_work(
    made: Thumbnails, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(thumbnails, "PROCESSES", 1)
    sources = [picture(output / f"{number}.png") for number in range(6)]
    asked = [asyncio.create_task(made.of(source)) for source in sources]
    while len(made._jobs) < len(sources):
        await asyncio.sleep(0.001)
    for task in asked[1:]:
        task.cancel()
    await asyncio.gather(*asked, return_exceptions=True)
    last = await made.of(picture(output / "last.png"))
    assert len(list(last.parent.parent.rglob("*.webp"))) < len(sources)


async def test_a_volume_that_cannot_be_written_keeps_them_beside_the_dashboard(
    made: Thumbnails, output: Path, volume: Volume, settings: Settings
) -> None:
    volume.report = replace(volume.report, state="read_only")
    small = await made.of(picture(output / "a.png"))
    assert small.is_relative_to(settings.state_dir / "dashboard" / "thumbnails")
    assert await made.of(output / "a.png") == small


async def test_a_folder_that_cannot_be_written_after_all_is_no_harm(
    made: Thumbnails, output: Path, workspace: Workspace, settings: Settings
) -> None:
    workspace.thumbnails.rmdir()
    workspace.thumbnails.write_bytes(b"in the way")
    small = await made.of(picture(output / "a.png"))
    assert small.is_relative_to(settings.state_dir)
    assert await made.of(output / "a.png") == small


async def test_it_goes_when_the_picture_goes(made: Thumbnails, output: Path) -> None:
    small = await made.of(picture(output / "a.png"))
    made.forget(output / "a.png", (output / "a.png").stat())
    assert not small.exists()


def test_the_oldest_go_when_there_are_too_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thumbnailer, "FEW_FILES", 5)
    monkeypatch.setattr(thumbnailer, "KEEP_FILES", 10)
    (tmp_path / "ab").mkdir()
    for number in range(12):
        (tmp_path / "ab" / f"{number}.webp").write_bytes(b"x")
        os.utime(tmp_path / "ab" / f"{number}.webp", (number, number))
    assert thumbnailer.prune(tmp_path) == 3
    assert {file.name for file in (tmp_path / "ab").iterdir()} == {f"{number}.webp" for number in range(3, 12)}
    assert thumbnailer.prune(tmp_path) == 0


def test_the_oldest_go_when_they_are_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thumbnailer, "FEW_FILES", 1)
    monkeypatch.setattr(thumbnailer, "KEEP_BYTES", 100)
    (tmp_path / "ab").mkdir()
    for number in range(4):
        (tmp_path / "ab" / f"{number}.webp").write_bytes(bytes(30))
        os.utime(tmp_path / "ab" / f"{number}.webp", (number, number))
    assert thumbnailer.prune(tmp_path) == 1
    assert not (tmp_path / "ab" / "0.webp").exists()


def test_only_small_pictures_go_and_none_through_a_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thumbnailer, "FEW_FILES", 1)
    monkeypatch.setattr(thumbnailer, "KEEP_BYTES", 0)
    for folder in ("config", "config/ab", "kept", "kept/ab", "kept/secrets"):
        (tmp_path / folder).mkdir()
    for file in ("config/a.webp", "config/ab/b.yaml", "kept/ab/0.webp", "kept/ab/1.webp", "kept/ab/c.yaml"):
        (tmp_path / file).write_bytes(b"x")
    (tmp_path / "kept" / "secrets" / "d.webp").write_bytes(b"x")
    (tmp_path / "kept" / "cd").symlink_to(tmp_path / "config")
    assert thumbnailer.prune(tmp_path / "kept") == 2
    left = {str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*") if file.is_file()}
    assert left == {"config/a.webp", "config/ab/b.yaml", "kept/ab/c.yaml", "kept/secrets/d.webp"}
    # Whoever may change the folder above may put a link in its place.
    (tmp_path / "link").symlink_to(tmp_path)
    assert thumbnailer.prune(tmp_path / "link") == 0
