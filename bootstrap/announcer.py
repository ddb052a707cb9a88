"""A child that outlives bootstrap for a moment: it wakes supervisord, and tells the console when all is ready.

supervisord sleeps up to a second in its first poll before it starts anything; a connection to its socket wakes it.
The programs it starts have no console of their own, so whoever waits in front of it would not learn the end.
"""

import contextlib
import ctypes
import os
import signal
import socket
import time
from pathlib import Path

from services.boot import BootRecord

# prctl(2)
_PR_SET_PDEATHSIG = 1
WAKE_SECONDS = 10.0
READY_SECONDS = 600.0


def start(state_dir: Path, supervisor_socket: Path, ready_line: str) -> None:
    """Forks it. `ready_line` has one `{}`: the seconds since the start."""
    if os.fork() == 0:
        status = 1
        try:
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
            _wake(supervisor_socket)
            _announce(BootRecord(state_dir), ready_line)
            status = 0
        finally:
            os._exit(status)


def _wake(supervisor_socket: Path) -> None:
    until = time.monotonic() + WAKE_SECONDS
    while time.monotonic() < until:
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as line:
            line.connect(str(supervisor_socket))
            return
        time.sleep(0.01)


def _announce(record: BootRecord, ready_line: str) -> None:
    until = time.monotonic() + READY_SECONDS
    while time.monotonic() < until:
        seconds = record.read().ready_seconds
        if seconds is not None:
            print(ready_line.format(f"{seconds:.1f}"), flush=True)
            return
        time.sleep(0.2)
    print("Not ready after ten minutes; the dashboard shows what is missing.", flush=True)
