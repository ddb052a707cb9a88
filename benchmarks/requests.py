"""Rates and latencies of the main endpoints through nginx, by wrk: 300 presets, 10,000 model files."""

import re
import statistics
import subprocess
import time
from pathlib import Path
from typing import Any

import httpx
import msgspec

from services.catalogue import load_shipped
from services.settings import APP_DIR
from tests.running import RunningSuite

PRESETS = 300
MODELS = 10_000
ROUNDS = 3
SECONDS = 4
PATHS = {
    "presets": "/api/presets/",
    "models": "/api/models/?limit=100",
    "status": "/api/system/status",
    "healthz": "/healthz",
}


def measure() -> dict[str, Any]:
    suite = RunningSuite(COMFYUI_ARGS="--disable-api-nodes", LOG_LEVEL="warning")
    try:
        suite.start().wait_until_ready()
        _fill(suite.workspace)
        with suite.client() as client:
            suite.wait_for(lambda: len(client.get("/api/presets/").json()["presets"]) >= PRESETS, "the presets")
            cold = _cold(suite, client)
            cookie = "; ".join(f"{name}={value}" for name, value in client.cookies.items())
        rows: dict[str, dict[str, list[float]]] = {}
        for _ in range(ROUNDS):
            for connections in (1, 32):
                for name, path in PATHS.items():
                    row = rows.setdefault(f"{name} {connections}", {"rate": [], "p50_ms": [], "p99_ms": []})
                    for key, value in _wrk(suite.address + path, connections, cookie).items():
                        row[key].append(value)
        medians = {name: {key: statistics.median(values) for key, values in row.items()} for name, row in rows.items()}
        return {"endpoints": medians, "models_cold_ms": cold, "rounds": ROUNDS, "seconds": SECONDS}
    finally:
        suite.remove()


def _fill(workspace: Path) -> None:
    presets = [
        {
            "id": f"BENCH_{number}",
            "name": f"Bench {number}",
            "kind": "image",
            "description": "One of many, with a description of ordinary length.",
            "files": [
                {
                    "url": f"https://example.com/{number}/{part}.safetensors",
                    "folder": "checkpoints",
                    "name": f"bench-{number}-{part}.safetensors",
                    "size_bytes": 10**9,
                }
                for part in range(3)
            ],
        }
        # With those that are shipped.
        for number in range(PRESETS - len(load_shipped(APP_DIR / "presets")))
    ]
    (workspace / "config" / "presets.yaml").write_bytes(msgspec.json.encode({"presets": presets}))
    for number in range(MODELS):
        folder = workspace / "models" / ("loras", "checkpoints", "vae", "controlnet")[number % 4]
        (folder / f"model-{number:05}.safetensors").write_bytes(b"x")


def _cold(suite: RunningSuite, client: httpx.Client) -> float:
    """The first listing after a restart of the dashboard, in milliseconds; the median of three."""
    times = []
    for _ in range(3):
        suite.supervisorctl("restart", "suite:dashboard")
        suite.wait_for(lambda: client.get("/healthz").status_code == 200, "the dashboard")
        started = time.monotonic()
        assert client.get(PATHS["models"]).json()["total"] == MODELS
        times.append(1000 * (time.monotonic() - started))
    return statistics.median(times)


def _wrk(url: str, connections: int, cookie: str) -> dict[str, float]:
    threads = min(connections, 2)
    command = ["wrk", f"-t{threads}", f"-c{connections}", f"-d{SECONDS}s", "--latency", "-H", f"Cookie: {cookie}", url]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "Non-2xx" not in output, output
    rate = re.search(r"Requests/sec:\s+([\d.]+)", output)
    assert rate is not None, output
    return {"rate": float(rate[1]), "p50_ms": _milliseconds(output, "50%"), "p99_ms": _milliseconds(output, "99%")}


def _milliseconds(output: str, percentile: str) -> float:
    found = re.search(rf"{percentile}\s+([\d.]+)(us|ms|s)", output)
    assert found is not None, output
    return float(found[1]) * {"us": 0.001, "ms": 1.0, "s": 1000.0}[found[2]]
