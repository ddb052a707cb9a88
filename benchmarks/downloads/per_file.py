"""What the queue adds to each of many small files: the whole suite beside our engine alone."""

import os
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import msgspec

from benchmarks.downloads import clients, files, runs
from benchmarks.downloads.files import Served
from benchmarks.downloads.hosts import model_host
from benchmarks.downloads.runs import Plan
from services.artifacts import Artifact
from tests.running import RunningSuite

COUNT = 200
SIZE = 64 * 1024
PRESET = "SMALL"
POLL_SECONDS = 0.02
TIMEOUT_SECONDS = 120.0


def measure(plan: Plan) -> dict[str, Any]:
    work = Path(tempfile.mkdtemp(prefix="files-", dir="/tmp"))
    served = {file.path.name: file for file in (_make(work, number) for number in range(COUNT))}
    suite = RunningSuite(COMFYUI_PYTHON="/nonexistent/python", LOG_LEVEL="info")
    alone, queued, parts = list[float](), list[float](), list[dict[str, float]]()
    try:
        suite.start()
        with model_host(work) as host, suite.client() as client:
            artifacts = [_artifact(url, served[name]) for name, url in host.urls.items()]
            _add(suite, artifacts)
            for number in range(plan.rounds + 1):
                pair = _alone(suite, artifacts), *_queued(suite, client)
                if number:  # the first fills the caches
                    alone.append(pair[0])
                    queued.append(pair[1])
                    parts.append(pair[2])
                print(f"alone {pair[0]:.2f} s, through the queue {pair[1]:.2f} s: {pair[2]}", flush=True)
    finally:
        suite.remove()
        shutil.rmtree(work)
    added = [1000 * (q - a) / COUNT for q, a in zip(queued, alone, strict=True)]
    return {
        "count": COUNT,
        "size_bytes": SIZE,
        "alone_seconds": runs.median(alone),
        "queued_seconds": runs.median(queued),
        "added_ms_per_file": runs.median(added),
        "parts": {name: runs.median([part[name] for part in parts]) for name in parts[0]},
        "rounds": plan.rounds,
    }


def _make(folder: Path, number: int) -> Served:
    folder.chmod(0o755)
    return files.make(folder / f"small-{number:03}.ckpt", SIZE)


def _artifact(url: str, served: Served) -> Artifact:
    return Artifact(url, "checkpoints", served.path.name, served.size_bytes, served.sha256)


def _add(suite: RunningSuite, artifacts: Sequence[Artifact]) -> None:
    wanted = [
        {"url": a.url, "folder": a.folder, "name": a.name, "size_bytes": a.size_bytes, "sha256": a.sha256}
        for a in artifacts
    ]
    suite.add_preset({"id": PRESET, "name": "Small", "kind": "image", "description": "Many.", "files": wanted})


def _alone(suite: RunningSuite, artifacts: Sequence[Artifact]) -> float:
    """Seconds of our engine in one process, one file after the other, on the file system of the suite."""
    folder = suite.folder / "alone"
    folder.mkdir()
    os.sync()
    try:
        command, words = clients.fetching(artifacts)
        environment = clients.plain_environment() | clients.ours_environment(folder)
        return runs.measured(command, words, environment, COUNT * SIZE).seconds
    finally:
        shutil.rmtree(folder)


def _queued(suite: RunningSuite, client: httpx.Client) -> tuple[float, dict[str, float]]:
    """Seconds from the request until all is there, and where they went."""
    os.sync()
    known = len(suite.log_lines("downloads.log")) if (suite.workspace / "logs" / "downloads.log").exists() else 0
    asked_at, began = time.time(), time.monotonic()
    assert client.post(f"/api/presets/{PRESET}/install").status_code == 202
    while client.get(f"/api/presets/{PRESET}/status").json()["state"] != "installed":
        assert time.monotonic() < began + TIMEOUT_SECONDS, suite.output()
        time.sleep(POLL_SECONDS)
    seconds, there_at = time.monotonic() - began, time.time()
    assert client.delete(f"/api/presets/{PRESET}").status_code == 200
    # The log's writer is a thread behind.
    time.sleep(1)
    lines = [msgspec.json.decode(line) for line in suite.log_lines("downloads.log")[known:]]
    return seconds, parts_of(lines, asked_at, there_at)


def parts_of(lines: Sequence[Mapping[str, Any]], asked_at: float, there_at: float) -> dict[str, float]:
    """Where the time went, by what the jobs wrote down. Seconds, and milliseconds for what there is of each file.

    The workers have one job each at a time: what is not in a job, from the first to the last, is between two.
    """
    begun = {line["artifact_id"]: _seconds(line["time"]) for line in lines if line["event"] == "download_started"}
    ended = {line["artifact_id"]: _seconds(line["time"]) for line in lines if line["event"] == "download_finished"}
    assert begun.keys() == ended.keys(), "the log does not have every download"
    inside = sum(ended[id_] - begun[id_] for id_ in begun)
    workers = _most_at_once(list(begun.values()), list(ended.values()))
    first, last = min(begun.values()), max(ended.values())
    return {
        "until_the_first_seconds": first - asked_at,
        "inside_ms_per_file": 1000 * inside / len(begun),
        "between_ms_per_file": 1000 * (workers * (last - first) - inside) / len(begun),
        "after_the_last_seconds": there_at - last,
        "workers": workers,
    }


def _most_at_once(begun: Sequence[float], ended: Sequence[float]) -> int:
    now = most = 0
    for _, step in sorted([*((at, 1) for at in begun), *((at, -1) for at in ended)]):
        now += step
        most = max(most, now)
    return most


def _seconds(stamp: str) -> float:
    return datetime.fromisoformat(stamp).timestamp()
