"""What happened at this start, step by step: for the dashboard while it is under way, for the log afterwards.

Bootstrap writes the steps of phases 1 and 2, `bootstrap.ready` those of 3 and 4, both into one file on the
container's own disk; the same lines go to `logs/startup.log` on the volume.
"""

import time
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

from services.workspace import write_atomic

StepState = Literal["ok", "warning", "failed", "running"]


class Step(Struct, frozen=True):
    name: str
    state: StepState
    seconds: float
    message: str = ""


class Boot(Struct, frozen=True):
    """`started_at` in Unix seconds; `ready_seconds` from there to the last health check, None until then."""

    started_at: float
    steps: tuple[Step, ...] = ()
    ready_seconds: float | None = None


class BootRecord:
    """Reading never fails: without a record the boot is simply unknown."""

    def __init__(self, state_dir: Path) -> None:
        self._file = state_dir / "boot.json"

    def read(self) -> Boot:
        try:
            return msgspec.json.decode(self._file.read_bytes(), type=Boot)
        except (OSError, msgspec.DecodeError, UnicodeDecodeError):
            return Boot(started_at=time.time())

    def write(self, boot: Boot) -> None:
        write_atomic(self._file, msgspec.json.encode(boot))


def log_line(step: Step, phase: str) -> bytes:
    """A line of `startup.log`, in the shape of the other logs."""
    level = {"failed": "error", "warning": "warning"}.get(step.state, "info")
    now = time.time()
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now % 1 * 1e6):06d}Z"
    fields = {"time": stamp, "level": level, "program": "bootstrap", "event": "boot_step", "phase": phase}
    return msgspec.json.encode({**fields, **msgspec.to_builtins(step)}) + b"\n"
