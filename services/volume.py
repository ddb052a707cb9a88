"""Is the volume there, writable, and how full? `examine` touches it and may hang: run it where that does no harm.

What bootstrap found lies in STATE_DIR, so that the dashboard knows it before its own first look.
"""

import contextlib
import os
import re
import secrets
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

from services.workspace import figures_of, is_out_of_space, write_atomic

# How the kernel writes a space, a tab, a line's end and a backslash in a path.
_OCTAL = re.compile(rb"\\([0-7]{3})")

State = Literal["ok", "read_only", "full", "hung", "missing"]


class VolumeReport(Struct, frozen=True):
    """What was found at `path`, and what to do about it. Sizes in bytes. `plain_comfyui`: services/plain_tree.py."""

    state: State
    path: str
    message: str
    remedy: str = ""
    filesystem: str | None = None
    mounted: bool = False
    free_bytes: int | None = None
    total_bytes: int | None = None
    plain_comfyui: bool = False

    @property
    def writable(self) -> bool:
        return self.state == "ok"

    @property
    def readable(self) -> bool:
        return self.state in {"ok", "read_only", "full"}


def keep_report(state_dir: Path, report: VolumeReport) -> None:
    """Raises OSError."""
    write_atomic(_report_file(state_dir), msgspec.json.encode(report))


def last_report(state_dir: Path) -> VolumeReport | None:
    """What bootstrap found at this start; None when it left nothing that can be read."""
    try:
        return msgspec.json.decode(_report_file(state_dir).read_bytes(), type=VolumeReport)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None


def _report_file(state_dir: Path) -> Path:
    return state_dir / "volume.json"


def hung(path: Path, seconds: float) -> VolumeReport:
    return VolumeReport(
        state="hung",
        path=str(path),
        message=f"{path} did not answer within {seconds:.0f} s",
        remedy="The volume's server is probably out of reach. Check it, or restart the pod; nothing was lost.",
    )


def examine(root: Path) -> VolumeReport:
    """Writes, syncs, reads back and removes a probe file, and reads the file system's figures."""
    if missing := _missing(root):
        return missing
    filesystem, mounted = _mount_of(root)
    figures = os.statvfs(root)
    free, total = figures.f_bavail * figures.f_frsize, figures.f_blocks * figures.f_frsize
    state, message, remedy = _probe(root)
    return VolumeReport(state, str(root), message, remedy, filesystem, mounted, free, total)


def _missing(root: Path) -> VolumeReport | None:
    remedy = f"Mount a volume at {root}, or set WORKSPACE to a folder that can be written."
    try:
        if root.is_dir():
            return None
        message = f"{root} is not a folder" if root.exists() else f"{root} does not exist"
    except PermissionError:
        message = f"user {os.geteuid()} may not enter {root} or a folder above it"
        remedy = f"Open the folders above {root} to other users (chmod o+x), or set WORKSPACE to a place that is open."
    return VolumeReport("missing", str(root), message, remedy)


def _probe(root: Path) -> tuple[State, str, str]:
    # What the suite writes lies below; `root` itself may well be root's.
    folder = root / "config" if (root / "config").is_dir() else root
    probe = folder / f".probe-{os.getpid()}-{secrets.token_hex(4)}"
    content = secrets.token_bytes(4096)
    try:
        with probe.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if probe.read_bytes() != content:
            return (
                "read_only",
                f"{root} gave back other bytes than were written",
                "Do not use this volume; check its server.",
            )
    except OSError as error:
        if is_out_of_space(error):
            return (
                "full",
                f"{root} is full",
                "Remove models or outputs you no longer need; downloads then go on by themselves.",
            )
        return (
            "read_only",
            f"{root} cannot be written ({error.strerror})",
            _remedy(folder, error),
        )
    finally:
        with contextlib.suppress(OSError):
            probe.unlink()
    return "ok", f"{root} is writable", ""


def _remedy(folder: Path, error: OSError) -> str:
    owner = figures_of(folder)
    if isinstance(error, PermissionError) and os.geteuid() == 0 and owner is not None and owner.st_uid != 0:
        # Without DAC_OVERRIDE, or on a server that takes root for nobody.
        return f"Start with --user {owner.st_uid}:{owner.st_gid}, whom it belongs to: here, root may not write there."
    return f"Mount it writable, or let user {os.geteuid()} write there (chown, or the volume's own settings)."


def _mount_of(root: Path) -> tuple[str | None, bool]:
    """(file system type, is `root` itself a mount point), from /proc/self/mountinfo (proc(5))."""
    real = os.path.realpath(root)
    best: tuple[int, str, str] | None = None
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/mountinfo").read_bytes().split(b"\n")[:-1]:
            before, _, after = line.partition(b" - ")
            mount_point = _unescaped(before.split(b" ")[4])
            if (real == mount_point or real.startswith(mount_point.rstrip("/") + "/")) and (
                best is None or len(mount_point) >= best[0]
            ):
                best = (len(mount_point), mount_point, os.fsdecode(after.split(b" ")[0]))
    return (None, False) if best is None else (best[2], best[1] == real)


def _unescaped(path: bytes) -> str:
    return os.fsdecode(_OCTAL.sub(lambda found: bytes([int(found[1], 8)]), path))
