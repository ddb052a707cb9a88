"""What the suite needs beside ComfyUI when nothing happens: proportional set sizes, so that shared pages count once."""

import re
import time
from pathlib import Path
from typing import Any

from tests.running import RunningSuite

SETTLE_SECONDS = 15


def measure() -> dict[str, Any]:
    suite = RunningSuite(COMFYUI_ARGS="--disable-api-nodes", LOG_LEVEL="info")
    try:
        suite.start().wait_until_ready()
        with suite.client() as client:
            client.get("/", headers={"Accept": "text/html"})
        time.sleep(SETTLE_SECONDS)
        comfyui = suite.pid_of("comfyui")
        megabytes: dict[str, float] = {}
        for pid in suite.pids():
            if pid != comfyui:
                name = _name(pid)
                megabytes[name] = round(megabytes.get(name, 0.0) + pss_megabytes(pid), 1)
        return {"megabytes": megabytes, "total_megabytes": round(sum(megabytes.values()), 1)}
    finally:
        suite.remove()


def pss_megabytes(pid: int) -> float:
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0.0
    found = re.search(r"^Pss:\s+(\d+) kB", text, re.MULTILINE)
    return int(found[1]) * 1024 / 1e6 if found else 0.0


def _name(pid: int) -> str:
    command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    known = {"worker.reconciler": "reconciler", "-m worker": "workers", "-m dashboard": "dashboard"}
    known |= {"supervisord": "supervisord", "nginx": "nginx", "redis": "redis"}
    return next((name for text, name in known.items() if text in command), command[:40])
