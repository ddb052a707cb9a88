"""Which pod this is, and which of its processes still run: what others have to know of whoever holds a file."""

import contextlib
import os
import secrets
from pathlib import Path


def pod_id(state_dir: Path) -> str:
    """The same for every process that shares `state_dir`, which no other pod does. Raises OSError."""
    file = state_dir / "pod"
    with contextlib.suppress(FileExistsError):
        # A link is made at once, or not at all: nobody reads half a name.
        os.symlink(secrets.token_hex(8), file)
    return os.readlink(file)


def boot_id() -> str:
    """Another one whenever this machine has started (random(4)); empty where that cannot be told."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def process_mark() -> str:
    """What tells this process from any that has its number later."""
    return _mark_of(os.getpid()) or ""


def is_alive(mark: str) -> bool:
    """Whether the process of this pod that is marked so still runs."""
    pid, _, _ = mark.partition("-")
    return pid.isdecimal() and int(pid) > 0 and _mark_of(int(pid)) == mark


def _mark_of(pid: int) -> str | None:
    """None: there is no such process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # proc(5): field 3 is the state, 22 when it started, in clock ticks since boot.
    fields = text.rpartition(")")[2].split()
    # A zombie has ended; only its parent has not asked yet.
    return None if fields[0] in {"Z", "X"} else f"{pid}-{fields[19]}"
