"""From exec to the first page and to ready, beside a bare ComfyUI with the same flags; alternating pairs."""

import os
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bootstrap.model_paths import content
from services.model_folders import KNOWN_FOLDERS
from services.volume import VolumeReport
from services.workspace import Workspace
from tests.running import ROOT, RunningSuite, free_ports, status_of

PAIRS = 5
TIMEOUT_SECONDS = 180.0


def measure() -> dict[str, Any]:
    pairs = []
    for number in range(PAIRS + 1):
        pair = {"bare": _bare_comfyui(), **_suite()}
        if number:  # the first fills the page cache
            pairs.append(pair)
        print(pair, flush=True)
    overheads = [pair["ready"] - pair["bare"] for pair in pairs]
    return {
        **{f"{name}_seconds": statistics.median(pair[name] for pair in pairs) for name in ("bare", "page", "ready")},
        "page_spread": [min(p["page"] for p in pairs), max(p["page"] for p in pairs)],
        "overhead_seconds": statistics.median(overheads),
        "overhead_spread": [min(overheads), max(overheads)],
        "pairs": PAIRS,
    }


def _bare_comfyui() -> float:
    folder = Path(tempfile.mkdtemp(prefix="bare-", dir="/tmp"))
    port = free_ports(1)[0]
    for name in ("user", "output", "input", "custom_nodes"):
        (folder / name).mkdir()
    report = VolumeReport("ok", str(folder), "")
    (folder / "paths.yaml").write_bytes(content(Workspace(folder), KNOWN_FOLDERS, report))
    command = [
        *(os.environ["COMFYUI_PYTHON"], "main.py", "--cpu", "--disable-api-nodes", "--disable-auto-launch"),
        *("--extra-model-paths-config", str(folder / "paths.yaml")),
        *("--listen", "127.0.0.1", "--port", str(port), "--preview-method", "auto"),
        *("--user-directory", str(folder / "user"), "--output-directory", str(folder / "output")),
        *("--input-directory", str(folder / "input"), "--temp-directory", str(folder)),
        *("--database-url", f"sqlite:///{folder}/comfyui.db"),
    ]
    started = time.monotonic()
    process = subprocess.Popen(
        command, cwd=os.environ["COMFYUI_DIR"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        return _wait(lambda: status_of(f"http://127.0.0.1:{port}/system_stats"), process) - started
    finally:
        process.terminate()
        process.wait(10)
        shutil.rmtree(folder)


def _suite() -> dict[str, float]:
    suite = RunningSuite(COMFYUI_ARGS="--disable-api-nodes", COMFYUI_DEVICE="cpu", LOG_LEVEL="info")
    environment = {**os.environ, **suite.settings}
    started = time.monotonic()
    with suite.console.open("wb") as console:
        command = [str(ROOT / ".build/venv/bin/python"), "-m", "bootstrap"]
        suite.process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=console, stderr=console, start_new_session=True
        )
    try:
        page = _wait(lambda: status_of(f"{suite.address}/login"), suite.process) - started
        ready = _wait(lambda: status_of(f"{suite.address}/readyz"), suite.process) - started
        return {"page": page, "ready": ready}
    finally:
        suite.remove()


def _wait(status: Callable[[], int | None], process: subprocess.Popen[bytes]) -> float:
    until = time.monotonic() + TIMEOUT_SECONDS
    while status() != 200:
        if process.poll() is not None or time.monotonic() > until:
            raise RuntimeError("it ended, or did not start in time")
        time.sleep(0.02)
    return time.monotonic()
