"""A library of 10,000 model files: how long its first page takes warm and cold, what it costs in memory, and whether a
volume that takes 5 ms for each look at a file holds anyone else up."""

import asyncio
import os
import re
import statistics
import struct
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec

from dashboard.app import create_app
from services import settings
from services.artifacts import model_id
from services.model_folders import KNOWN_FOLDERS
from services.verified import Verified
from services.workspace import Workspace
from tests.fakes.faulty_volume import mounted
from tests.running import RunningSuite

MODELS = 10_000
FOLDERS = 25
STARTS = 20
CHANGES = 20
REQUESTS = 200
PAGE = "/api/models/?limit=100"
SLOW_MODELS = 2_000
SLOW_SECONDS = 0.005
LAG_SECONDS = 0.005
DAY_SECONDS = 86_400


def measure() -> dict[str, Any]:
    return {**_fast(), "slow": asyncio.run(_slow())}


def _fast() -> dict[str, Any]:
    suite = RunningSuite(COMFYUI_PYTHON="/nonexistent/python", LOG_LEVEL="warning")
    try:
        suite.start()
        fill(Workspace(suite.workspace), MODELS)
        with suite.client() as client:
            first = _first_after_start(suite, client)
            heads_seconds = _until_all_is_kept(suite)
            starts = [_first_after_start(suite, client) for _ in range(STARTS)]
            _warm(client)
            before = resident_megabytes(suite.pid_of("dashboard"))
            warm = _warm(client)
            changes = [_first_after_change(suite, client, number) for number in range(CHANGES)]
            after = resident_megabytes(suite.pid_of("dashboard"))
        return {
            "models": MODELS,
            "warm_ms": spread(warm),
            "first_start_ms": round(first, 1),
            "after_start_ms": spread(starts),
            "after_change_ms": spread(changes),
            "resident_megabytes": [before, after],
            "heads_seconds": heads_seconds,
        }
    finally:
        suite.remove()


def fill(workspace: Workspace, count: int) -> None:
    """Verified models in many folders, a third of them nested, a day old; all of them heads without weights."""
    at = time.time() - DAY_SECONDS
    fields = {
        f"blocks.{n}.attn.qkv.weight": {"dtype": "F16", "shape": [0, 64], "data_offsets": [0, 0]} for n in range(50)
    }
    header = msgspec.json.encode(fields)
    data = struct.pack("<Q", len(header)) + header
    for number in range(count):
        folder, name = KNOWN_FOLDERS[number % FOLDERS], f"model-{number:05}.safetensors"
        name = name if number % 3 else f"sub-{number % 7}/{name}"
        file = workspace.models / folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
        os.utime(file, (at, at))
        record = Verified(folder, name, len(data), file.stat().st_mtime_ns, f"{number:064x}", "sha256")
        records = workspace.config / "verified"
        records.mkdir(parents=True, exist_ok=True)
        (records / f"{model_id(folder, name)}.json").write_bytes(msgspec.json.encode(record))


def _first_after_start(suite: RunningSuite, client: httpx.Client) -> float:
    """The first page that comes at all, asked for again and again from before the dashboard listens."""
    with ThreadPoolExecutor(1) as thread:
        restart = thread.submit(suite.supervisorctl, "restart", "suite:dashboard")
        while client.get("/healthz").status_code == 200:
            time.sleep(0.001)
        while True:
            took, found = _timed(client, PAGE)
            if "total" in found:
                break
            time.sleep(0.002)
        restart.result()
    assert found["total"] == MODELS
    return took


def _first_after_change(suite: RunningSuite, client: httpx.Client, number: int) -> float:
    """One file more, and one change through the API, after which nothing old may be shown."""
    (suite.workspace / "models" / "loras" / f"new-{number}.safetensors").write_bytes(b"x")
    workflow = {"1": {"class_type": "EmptyImage", "inputs": {}}}
    assert client.put("/api/workflows/bench", json=workflow).status_code < 300
    took, found = _timed(client, PAGE)
    assert found["total"] == MODELS + number + 1
    return took


def _warm(client: httpx.Client) -> list[float]:
    """Page after page, as someone who turns them."""
    return [_timed(client, f"{PAGE}&offset={50 * number}")[0] for number in range(REQUESTS)]


def _timed(client: httpx.Client, path: str) -> tuple[float, dict[str, Any]]:
    started = time.monotonic()
    answer = client.get(path)
    took = 1000 * (time.monotonic() - started)
    return took, answer.json() if answer.status_code == 200 else {}


def _until_all_is_kept(suite: RunningSuite) -> float:
    """Seconds until every head was read, and what was read is on the volume."""
    started, config = time.monotonic(), suite.workspace / "config"

    def is_done() -> bool:
        facts = config / "model_facts.json"
        is_read = facts.exists() and len(msgspec.json.decode(facts.read_bytes())["facts"]) >= MODELS
        return is_read and (config / "verified.json").exists()

    suite.wait_for(is_done, "the heads of the models", 300)
    return round(time.monotonic() - started, 1)


def resident_megabytes(pid: int) -> float:
    found = re.search(r"^VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return round(int(found[1]) * 1024 / 1e6, 1) if found else 0.0


def spread(values: list[float]) -> dict[str, float]:
    ordered = sorted(values)
    return {
        "p50": round(statistics.median(ordered), 2),
        "p95": round(ordered[int(0.95 * (len(ordered) - 1))], 2),
        "max": round(ordered[-1], 2),
    }


async def _slow() -> dict[str, Any]:
    """The dashboard in this process, so that its event loop can be watched."""
    with tempfile.TemporaryDirectory(prefix="slow-", dir="/tmp") as folder, mounted(Path(folder)) as volume:
        fill(Workspace(Path(folder) / "backing"), SLOW_MODELS)
        state = Path(folder) / "state"
        (state / "dashboard").mkdir(parents=True)
        volume.fault(f"slow {SLOW_SECONDS}")
        environment = {"WORKSPACE": str(volume.root), "STATE_DIR": str(state), "AUTH": "off"}
        with _environment(environment):
            app = create_app(settings.load(environment))
            async with app.router.lifespan_context(app) as held:

                async def served(scope: Any, receive: Any, send: Any) -> None:
                    await app({**scope, "state": dict(held or {})}, receive, send)

                transport = httpx.ASGITransport(served)
                async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
                    return await _while_scanned(client)


async def _while_scanned(client: httpx.AsyncClient) -> dict[str, Any]:
    lags: list[float] = []
    watching = asyncio.create_task(_watch_lag(lags))
    started, answers = time.monotonic(), []
    shown_seconds: float | None = None
    while True:
        asked = time.monotonic()
        found = (await client.get(PAGE)).json()
        answers.append(1000 * (time.monotonic() - asked))
        if found["total"] and shown_seconds is None:
            shown_seconds = round(time.monotonic() - started, 1)
        if found["is_complete"]:
            break
        await asyncio.sleep(0.05)
    watching.cancel()
    return {
        "models": SLOW_MODELS,
        "scan_seconds": round(time.monotonic() - started, 1),
        "first_shown_seconds": shown_seconds,
        # The first waits until there is something to show.
        "answers_ms": spread(answers[1:]),
        "loop_lag_ms": spread(lags),
    }


async def _watch_lag(lags: list[float]) -> None:
    while True:
        asleep = time.monotonic()
        await asyncio.sleep(LAG_SECONDS)
        lags.append(1000 * (time.monotonic() - asleep - LAG_SECONDS))


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    """What looks after the volume is a program of its own, and reads its settings there."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            _restore(name, value)


def _restore(name: str, value: str | None) -> None:
    if value is None:
        os.environ.pop(name)
    else:
        os.environ[name] = value
