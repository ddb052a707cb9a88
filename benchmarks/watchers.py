"""Does a download get slower when dashboards watch it? 1 GiB from nginx on loopback, interleaved, medians."""

import contextlib
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.crowd import cookie_of, watching
from tests.running import RunningSuite, free_ports

SIZE = 1024**3
CROWDS = (0, 1, 10, 100, 1000)
ROUNDS = 3


def measure() -> dict[str, Any]:
    suite = RunningSuite(COMFYUI_PYTHON="/nonexistent/python", LOG_LEVEL="info")
    rates: dict[int, list[float]] = {count: [] for count in CROWDS}
    try:
        suite.start()
        with _file_server() as url, suite.client() as client:
            file = {"url": url, "folder": "checkpoints", "name": "big.ckpt", "size_bytes": SIZE}
            suite.add_preset({"id": "BIG", "name": "Big", "kind": "image", "description": "Big.", "files": [file]})
            for number in range(ROUNDS + 1):
                for count in CROWDS if number else (0,):
                    with watching(suite, cookie_of(client), count) if count else contextlib.nullcontext():
                        rate = _download(suite, client)
                    if number:
                        rates[count].append(rate)
                    print(f"{count} watchers: {rate / 2**20:.0f} MiB/s", flush=True)
        medians = {count: statistics.median(values) for count, values in rates.items()}
        return {
            "mib_per_second": {str(count): round(rate / 2**20, 1) for count, rate in medians.items()},
            "ratio": {str(count): round(rate / medians[0], 3) for count, rate in medians.items()},
            "rounds": ROUNDS,
        }
    finally:
        suite.remove()


def _download(suite: RunningSuite, client: Any) -> float:
    """Bytes per second between the worker's own first and last word on it."""
    assert client.post("/api/presets/BIG/install").status_code == 202
    suite.wait_for(lambda: client.get("/api/presets/BIG/status").json()["state"] == "installed", "the download", 120)
    assert client.delete("/api/presets/BIG").status_code == 200
    time.sleep(0.5)
    lines = [msgspec.json.decode(line) for line in suite.log_lines("downloads.log")]
    times = {line["event"]: _seconds(line["time"]) for line in lines if line["event"].startswith("download_")}
    return SIZE / (times["download_finished"] - times["download_started"])


def _seconds(stamp: str) -> float:
    return datetime.fromisoformat(stamp).timestamp()


@contextlib.contextmanager
def _file_server() -> Iterator[str]:
    folder = Path(tempfile.mkdtemp(prefix="files-", dir="/tmp"))
    folder.chmod(0o755)
    port = free_ports(1)[0]
    with (folder / "big").open("wb") as file:
        for _ in range(SIZE // 2**20):
            file.write(b"x" * 2**20)
    (folder / "nginx.conf").write_text(
        f"user root; daemon off; pid {folder}/pid; error_log stderr; worker_processes 1; events {{}}\n"
        f"http {{ access_log off; sendfile on; server {{ listen 127.0.0.1:{port}; root {folder}; }} }}\n"
    )
    process = subprocess.Popen(["nginx", "-c", str(folder / "nginx.conf")], stderr=subprocess.DEVNULL)
    try:
        yield f"http://127.0.0.1:{port}/big"
    finally:
        process.terminate()
        process.wait(10)
        shutil.rmtree(folder)
