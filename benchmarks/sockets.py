"""1,000 dashboards, 4 messages a second: how late each message is, and whether any is missing."""

import statistics
import time
from typing import Any

from benchmarks.crowd import cookie_of, watching
from benchmarks.memory import pss_megabytes
from services.artifacts import model_id
from services.progress import FileProgress, ProgressBoard
from tests.running import RunningSuite

LISTENERS = 1000
MESSAGES_PER_SECOND = 4
SECONDS = 20
NAME = "bench.safetensors"


def measure() -> dict[str, Any]:
    suite = RunningSuite(COMFYUI_PYTHON="/nonexistent/python", LOG_LEVEL="warning")
    try:
        suite.start()
        _ask_for_something(suite)
        dashboard = suite.pid_of("dashboard")
        before = pss_megabytes(dashboard)
        with suite.client() as client, watching(suite, cookie_of(client), LISTENERS) as crowd:
            sent = _publish(suite)
            time.sleep(1)
            after = pss_megabytes(dashboard)
        delays = sorted(1000 * delay for part in crowd.heard for delay in part["delays"])
        heard = [count for part in crowd.heard for count in part["heard"]]
        return {
            "listeners": len(heard),
            "sent": sent,
            "least_heard": min(heard),
            "lost": sum(part["lost"] for part in crowd.heard),
            "p50_ms": statistics.median(delays),
            "p99_ms": delays[int(len(delays) * 0.99)],
            "dashboard_pss_megabytes": [round(before, 1), round(after, 1)],
        }
    finally:
        suite.remove()


def _ask_for_something(suite: RunningSuite) -> None:
    """An install whose file nobody fetches: workers and reconciler are stopped."""
    for program in ("reconciler", "worker-1", "worker-2"):
        suite.supervisorctl("stop", f"suite:{program}")
    file = {"url": "https://example.com/x", "folder": "checkpoints", "name": NAME, "size_bytes": 10**9}
    suite.add_preset({"id": "BENCH", "name": "Bench", "kind": "image", "description": "Waits.", "files": [file]})
    with suite.client() as client:
        assert client.post("/api/presets/BENCH/install").status_code == 202


def _publish(suite: RunningSuite) -> int:
    """Messages whose speed is the time they were made."""
    count = SECONDS * MESSAGES_PER_SECOND
    with suite.redis() as redis:
        board = ProgressBoard(redis)
        started = time.monotonic()
        for number in range(count):
            time.sleep(max(started + number / MESSAGES_PER_SECOND - time.monotonic(), 0))
            artifact = model_id("checkpoints", NAME)
            board.publish(FileProgress(artifact, "downloading", number, 10**9, bytes_per_second=time.time()))
    return count
