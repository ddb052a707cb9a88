"""How often ComfyUI was started of late, so that one that keeps dying is left alone instead of started for ever.

supervisord counts only what dies within `startsecs`; a custom node that kills ComfyUI after its imports would get
past that. The ledger lies on the container's own disk.
"""

import time
from pathlib import Path

import msgspec
from msgspec import Struct

from services.workspace import write_atomic

WINDOW_SECONDS = 600.0
MAX_STARTS = 4


class Ledger(Struct, frozen=True):
    """`starts` in Unix seconds; `safe_mode`: without custom nodes from now on."""

    starts: tuple[float, ...] = ()
    gave_up: bool = False
    safe_mode: bool = False


class StartLedger:
    def __init__(self, state_dir: Path) -> None:
        self._file = state_dir / "comfyui" / "starts.json"

    def read(self) -> Ledger:
        try:
            return msgspec.json.decode(self._file.read_bytes(), type=Ledger)
        except (OSError, msgspec.DecodeError, UnicodeDecodeError):
            return Ledger()

    def last_start(self) -> float | None:
        """Unix seconds; None where it is not known, as just after `reset`."""
        return max(self.read().starts, default=None)

    def begin(self) -> Ledger:
        """Notes a start; `gave_up` in the answer says that it must not happen."""
        now = time.time()
        known = self.read()
        recent = tuple(at for at in known.starts if 0 <= now - at < WINDOW_SECONDS)
        ledger = Ledger((*recent, now), gave_up=len(recent) >= MAX_STARTS, safe_mode=known.safe_mode)
        self._write(ledger)
        return ledger

    def reset(self, *, safe_mode: bool) -> None:
        """Someone wants another try."""
        self._write(Ledger(safe_mode=safe_mode))

    def _write(self, ledger: Ledger) -> None:
        write_atomic(self._file, msgspec.json.encode(ledger), mode=0o664)
