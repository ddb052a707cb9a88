"""A file of 10 GB through the whole suite: the memory and the CPU of the process that downloads it."""

import contextlib
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil

from benchmarks.downloads import files
from benchmarks.downloads.files import Served
from benchmarks.downloads.hosts import model_host
from benchmarks.downloads.metered import RATE
from benchmarks.downloads.runs import Plan
from benchmarks.memory import pss_megabytes
from tests.running import RunningSuite

SIZE = 10**10
SPARE = 2 * 10**9
WORKERS = ("worker-1", "worker-2")
SAMPLE_SECONDS = 0.2
TIMEOUT_SECONDS = 200.0


def measure(plan: Plan) -> dict[str, Any]:
    """One round, whatever the plan says."""
    work = Path(tempfile.mkdtemp(prefix="files-", dir="/tmp"))
    work.chmod(0o755)
    size = min(SIZE, (shutil.disk_usage(work).free - SPARE) // 10**9 * 10**9)
    suite = RunningSuite(COMFYUI_PYTHON="/nonexistent/python", LOG_LEVEL="info")
    try:
        served = files.make_sparse(work / "sparse.ckpt", size)
        suite.start()
        with model_host(work) as fast, model_host(work, "--throttle", str(RATE)) as metered, suite.client() as client:
            rows = {
                name: _install(suite, client, name, host.urls["sparse.ckpt"], served)
                for name, host in (("unthrottled", fast), ("metered", metered))
            }
    finally:
        suite.remove()
        shutil.rmtree(work)
    return {"rows": rows, "size_bytes": size, "wanted_bytes": SIZE}


def _install(suite: RunningSuite, client: httpx.Client, name: str, url: str, served: Served) -> dict[str, float]:
    preset = name.upper()
    file: dict[str, Any] = {"url": url, "folder": "checkpoints", "name": f"{name}.ckpt"}
    file |= {"size_bytes": served.size_bytes, "sha256": served.sha256}
    suite.add_preset({"id": preset, "name": name, "kind": "image", "description": "Large.", "files": [file]})
    watcher = _Watcher([suite.pid_of(worker) for worker in WORKERS])
    began = time.monotonic()
    with watcher.watching():
        assert client.post(f"/api/presets/{preset}/install").status_code == 202
        suite.wait_for(
            lambda: client.get(f"/api/presets/{preset}/status").json()["state"] == "installed",
            "the large file",
            TIMEOUT_SECONDS,
        )
        seconds = time.monotonic() - began
    assert client.delete(f"/api/presets/{preset}").status_code == 200
    return {
        "mib_per_second": served.size_bytes / files.MIB / seconds,
        "peak_pss_megabytes": watcher.peak_megabytes,
        "cpu_seconds_per_gb": watcher.cpu_seconds / served.size_bytes * 1e9,
        "lines": watcher.most_lines,
    }


class _Watcher:
    """Looks at the job's process, which is the child of one of `workers`, as long as there is one."""

    def __init__(self, workers: list[int]) -> None:
        self._workers = [psutil.Process(pid) for pid in workers]
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.peak_megabytes = self.cpu_seconds = 0.0
        self.most_lines = 0

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        self._thread.start()
        try:
            yield
        finally:
            self._is_over.set()
            self._thread.join()

    def _run(self) -> None:
        while not self._is_over.wait(SAMPLE_SECONDS):
            for worker in self._workers:
                for job in worker.children():
                    with contextlib.suppress(psutil.NoSuchProcess):
                        self._look(job)

    def _look(self, job: psutil.Process) -> None:
        self.peak_megabytes = max(self.peak_megabytes, pss_megabytes(job.pid))
        times = job.cpu_times()
        self.cpu_seconds = max(self.cpu_seconds, times.user + times.system)
        connections = [line for line in job.net_connections("tcp") if line.status == psutil.CONN_ESTABLISHED]
        self.most_lines = max(self.most_lines, len(connections))
