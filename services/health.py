"""Is ComfyUI there, and if not, why? Judged from its process, its answers and how often it was started."""

import re
from pathlib import Path
from typing import Literal

from msgspec import Struct

from services.comfyui import ComfyUIInfo
from services.comfyui_starts import MAX_STARTS, Ledger
from services.processes import Process

ComfyUIState = Literal["starting", "ready", "stopped", "failed"]

LOG_TAIL_BYTES = 16_384
LOG_TAIL_LINES = 40

# What a terminal would act on (ECMA-48).
_ESCAPES = re.compile(
    r"\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)"  # strings: window titles, links
    r"|\x1b\[[0-?]*[ -/]*[@-~]"  # colours and cursor movements
    r"|\x1b[ -/]*[0-~]"  # character sets, modes
    r"|[\x00-\x08\x0b-\x1f\x7f-\x9f]"
)


class Answered(Struct, frozen=True):
    """What the process `pid` said when it answered last."""

    pid: int | None
    info: ComfyUIInfo


class ComfyUIHealth(Struct, frozen=True):
    """`message` says what is wrong, or what it is doing; `starts`: how often within the last ten minutes."""

    state: ComfyUIState
    message: str
    version: str | None = None
    python_version: str | None = None
    torch_version: str | None = None
    starts: int = 0
    safe_mode: bool = False
    uptime_seconds: float | None = None


def judge(
    process: Process | None, info: ComfyUIInfo | None, ledger: Ledger, answered: Answered | None = None
) -> ComfyUIHealth:
    """`process` None: supervisord does not answer; `info` None: ComfyUI does not, but may have `answered` before."""
    if info is not None:
        return _ready(process, info, ledger, "without custom nodes (safe mode)" if ledger.safe_mode else "")
    if process is not None and answered is not None and not ledger.gave_up and _is_still(process, answered.pid):
        return _ready(process, answered.info, ledger, "busy: it does not answer while it reads a large model")
    uptime = process.uptime_seconds if process else None
    state: ComfyUIState = "starting"
    message = "loading its libraries and custom nodes"
    if process is None:
        message = "waiting for supervisord"
    elif ledger.gave_up or process.state in {"fatal", "exited"}:
        state, message = "failed", f"ended {MAX_STARTS} times in a row and is not started again; its log says why"
        if not ledger.gave_up:
            message = "ended and is not started again; its log says why"
    elif process.state in {"stopped", "stopping"}:
        state, message = "stopped", "stopped"
    elif len(ledger.starts) > 1:
        message = f"started again after it ended, try {len(ledger.starts)} of {MAX_STARTS}"
    return ComfyUIHealth(state, message, starts=len(ledger.starts), safe_mode=ledger.safe_mode, uptime_seconds=uptime)


def _is_still(process: Process, pid: int | None) -> bool:
    return process.state in {"starting", "running"} and process.pid is not None and process.pid == pid


def _ready(process: Process | None, info: ComfyUIInfo, ledger: Ledger, message: str) -> ComfyUIHealth:
    return ComfyUIHealth(
        "ready",
        message,
        version=info.version,
        python_version=info.python_version,
        torch_version=info.torch_version,
        starts=len(ledger.starts),
        safe_mode=ledger.safe_mode,
        uptime_seconds=process.uptime_seconds if process else None,
    )


def log_tail(file: Path, lines: int = LOG_TAIL_LINES) -> list[str]:
    """The last lines of a log on the container's own disk, without what a terminal would act on."""
    try:
        with file.open("rb") as opened:
            opened.seek(0, 2)
            opened.seek(max(opened.tell() - LOG_TAIL_BYTES, 0))
            text = opened.read().decode("utf-8", errors="replace")
    except OSError:
        return []
    # A progress bar rewrites its line: what stands at the end is what a person saw last.
    shown = [_ESCAPES.sub("", line.rstrip("\r\n").rpartition("\r")[2]) for line in text.split("\n")]
    return [line for line in shown if line.strip()][-lines:]
