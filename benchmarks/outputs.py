"""A gallery of 10,000 pictures: pages warm and cold, small pictures made and handed out, and whether the dashboard's
event loop is late meanwhile."""

import asyncio
import io
import os
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
from PIL import Image

from benchmarks.library import resident_megabytes, spread
from dashboard.gallery import Gallery
from dashboard.thumbnails import PROCESSES, Thumbnails
from dashboard.volume import Volume
from services import settings
from services.workspace import Workspace
from tests.running import RunningSuite

PICTURES = 10_000
# So many of them differ: noise takes its time to make.
DIFFERENT = 20
PIXELS = (64, 64)
FOLDERS = 4
STARTS = 5
REQUESTS = 200
CHANGES = 50
# Of those that small pictures are made of.
LARGE = 100
LARGE_PIXELS = (1024, 1024)
CONNECTIONS = 6
LAG_SECONDS = 0.005
DAY_SECONDS = 86_400
PAGE = "/api/outputs/?limit=100"


def measure() -> dict[str, Any]:
    suite = RunningSuite(COMFYUI_PYTHON="/nonexistent/python", LOG_LEVEL="warning")
    try:
        suite.start()
        output = Workspace(suite.workspace).output
        fill(output, PICTURES, PIXELS)
        with suite.client() as client:
            starts = [_first_after_start(suite, client) for _ in range(STARTS)]
            _pages(client)
            before = resident_megabytes(suite.pid_of("dashboard"))
            warm = _pages(client)
            after = resident_megabytes(suite.pid_of("dashboard"))
            searches = [_timed(client, f"{PAGE}&search=picture+{number}") for number in range(CHANGES)]
            changes = [_first_after_change(output, client, number) for number in range(CHANGES)]
            fill(output / "large", LARGE, LARGE_PIXELS)
            small = _small_pictures(client)
        return {
            "pictures": PICTURES,
            "after_start_ms": spread(starts),
            "warm_ms": spread(warm),
            "search_ms": spread(searches),
            "after_change_ms": spread(changes),
            "resident_megabytes": [before, after],
            **small,
            **asyncio.run(_made_in_process()),
        }
    finally:
        suite.remove()


def fill(output: Path, count: int, pixels: tuple[int, int]) -> None:
    """Pictures a day old, in a few folders."""
    at = time.time() - DAY_SECONDS
    kinds = []
    for _ in range(min(count, DIFFERENT)):
        made = io.BytesIO()
        Image.effect_noise(pixels, 40).convert("RGB").save(made, "PNG", compress_level=1)
        kinds.append(made.getvalue())
    for number in range(count):
        file = output / f"folder-{number % FOLDERS}" / f"picture_{number:05}_.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(kinds[number % len(kinds)])
        os.utime(file, (at + number, at + number))
    for folder in output.iterdir():
        os.utime(folder, (at, at))


def _first_after_start(suite: RunningSuite, client: httpx.Client) -> float:
    suite.supervisorctl("restart", "suite:dashboard")
    suite.wait_until_answers()
    started = time.monotonic()
    found = client.get(PAGE).json()
    took = 1000 * (time.monotonic() - started)
    assert found["total"] >= PICTURES, found["total"]
    return took


def _pages(client: httpx.Client) -> list[float]:
    return [_timed(client, f"{PAGE}&offset={50 * number}") for number in range(REQUESTS)]


def _first_after_change(output: Path, client: httpx.Client, number: int) -> float:
    """A picture more, and one deleted, after which nothing old may be shown."""
    for name in ("new", "old"):
        (output / "images" / f"{name}-{number}.png").write_bytes(b"x")
    asked = {"paths": [f"images/old-{number}.png"]}
    client.request("DELETE", "/api/outputs/", json=asked).raise_for_status()
    return _timed(client, PAGE, total=PICTURES + number + 1)


def _timed(client: httpx.Client, path: str, total: int | None = None) -> float:
    started = time.monotonic()
    answer = client.get(path)
    took = 1000 * (time.monotonic() - started)
    assert answer.status_code == 200, answer.text
    assert total is None or answer.json()["total"] == total
    return took


def _small_pictures(client: httpx.Client) -> dict[str, Any]:
    """As a browser asks for them, six at a time: made, then again from where they are kept."""
    shown = client.get(f"/api/outputs/?limit={LARGE}&search=large").json()["outputs"]
    urls = [one["thumbnail_url"] for one in shown]
    with ThreadPoolExecutor(CONNECTIONS) as threads:
        rates = []
        for _ in range(2):
            started = time.monotonic()
            assert all(answer.status_code == 200 for answer in threads.map(client.get, urls))
            rates.append(round(LARGE / (time.monotonic() - started), 1))
    return {"made_per_second": rates[0], "kept_per_second": rates[1], "processes": PROCESSES}


async def _made_in_process() -> dict[str, Any]:
    """Larger ones, with the dashboard's parts in this process, so that its event loop can be watched."""
    with tempfile.TemporaryDirectory(prefix="outputs-", dir="/tmp") as folder:
        config = settings.load({"WORKSPACE": f"{folder}/workspace", "STATE_DIR": f"{folder}/state"})
        workspace = Workspace(config.workspace)
        fill(workspace.output, LARGE, LARGE_PIXELS)
        volume = Volume(config)
        thumbnails, gallery = Thumbnails(config, volume), Gallery(volume, workspace.output)
        lags: list[float] = []
        watching = asyncio.create_task(_watch_lag(lags))
        files = (await gallery.collection()).everything.files
        started = time.monotonic()
        await asyncio.gather(*(thumbnails.of(workspace.output / file.path) for file in files))
        took = time.monotonic() - started
        watching.cancel()
        await thumbnails.close()
        volume.close()
    return {"large_per_second": round(LARGE / took, 1), "loop_lag_ms": spread(lags)}


async def _watch_lag(lags: list[float]) -> None:
    while True:
        asleep = time.monotonic()
        await asyncio.sleep(LAG_SECONDS)
        lags.append(1000 * (time.monotonic() - asleep - LAG_SECONDS))
