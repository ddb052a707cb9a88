"""A volume that can hang, fill up, turn read-only or be slow: a FUSE file system over a folder.

`python -m tests.fakes.faulty_volume BACKING MOUNT CONTROL` serves until unmounted. The file CONTROL holds the fault:
`none`, `hang` (nothing that touches it returns), `read_only`, `full`, or `slow 0.005` (seconds per look at a file).
"""

import contextlib
import errno
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mfusepy as fuse

_WRITES = ("create", "mkdir", "rename", "rmdir", "symlink", "truncate", "unlink", "write", "chmod", "chown", "utimens")


class FaultyVolume(fuse.Operations):  # type: ignore[misc]
    """Passes everything on to `backing`, unless the fault says otherwise."""

    use_ns = True

    def __init__(self, backing: Path, control: Path) -> None:
        self._backing = str(backing)
        self._control = control

    def _at(self, path: str, operation: str) -> str:
        """Where `path` really lies; raises, or hangs, as the fault wants it for `operation`."""
        fault, _, amount = self._control.read_text().strip().partition(" ")
        while fault == "hang":
            time.sleep(0.1)
            fault = self._control.read_text().strip()
        if fault == "read_only" and operation in _WRITES:
            raise fuse.FuseOSError(errno.EROFS)
        if fault == "full" and operation in {"create", "mkdir", "write", "symlink"}:
            raise fuse.FuseOSError(errno.ENOSPC)
        if fault == "slow" and operation in {"getattr", "readdir"}:
            time.sleep(float(amount))
        return self._backing + path

    def access(self, path: str, amode: int) -> int:
        if not os.access(self._at(path, "access"), amode):
            raise fuse.FuseOSError(errno.EACCES)
        return 0

    def getattr(self, path: str, fh: int | None = None) -> dict[str, Any]:
        figures = os.lstat(self._at(path, "getattr"))
        names = ("st_mode", "st_nlink", "st_uid", "st_gid", "st_size", "st_ino", "st_blocks")
        times = {f"st_{kind}time": getattr(figures, f"st_{kind}time_ns") for kind in "amc"}
        return {**{name: getattr(figures, name) for name in names}, **times}

    def readdir(self, path: str, fh: int) -> list[str]:
        return [".", "..", *os.listdir(self._at(path, "readdir"))]

    def statfs(self, path: str) -> dict[str, int]:
        figures = os.statvfs(self._at(path, "statfs"))
        names = ("bavail", "bfree", "blocks", "bsize", "favail", "ffree", "files", "flag", "frsize", "namemax")
        return {f"f_{name}": getattr(figures, f"f_{name}") for name in names}

    def create(self, path: str, mode: int, fi: Any = None) -> int:
        return os.open(self._at(path, "create"), os.O_RDWR | os.O_CREAT, mode)

    def open(self, path: str, flags: int) -> int:
        return os.open(self._at(path, "open"), flags & ~os.O_NOFOLLOW)

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        self._at(path, "read")
        return os.pread(fh, size, offset)

    def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
        self._at(path, "write")
        return os.pwrite(fh, data, offset)

    def truncate(self, path: str, length: int, fh: int | None = None) -> int:
        os.truncate(self._at(path, "truncate"), length)
        return 0

    def fsync(self, path: str, fdatasync: int, fh: int) -> int:
        self._at(path, "fsync")
        os.fsync(fh)
        return 0

    def release(self, path: str, fh: int) -> int:
        os.close(fh)
        return 0

    def rename(self, old: str, new: str) -> int:
        os.rename(self._at(old, "rename"), self._at(new, "rename"))
        return 0

    def mkdir(self, path: str, mode: int) -> int:
        os.mkdir(self._at(path, "mkdir"), mode)
        return 0

    def rmdir(self, path: str) -> int:
        os.rmdir(self._at(path, "rmdir"))
        return 0

    def unlink(self, path: str) -> int:
        os.unlink(self._at(path, "unlink"))
        return 0

    def chmod(self, path: str, mode: int) -> int:
        os.chmod(self._at(path, "chmod"), mode)
        return 0

    def chown(self, path: str, uid: int, gid: int) -> int:
        os.lchown(self._at(path, "chown"), uid, gid)
        return 0

    def readlink(self, path: str) -> str:
        return os.readlink(self._at(path, "readlink"))

    def symlink(self, target: str, source: str) -> int:
        os.symlink(source, self._at(target, "symlink"))
        return 0

    def utimens(self, path: str, times: tuple[int, int] | None = None) -> int:
        file = self._at(path, "utimens")
        if times is None:
            os.utime(file)
        else:
            os.utime(file, ns=times)
        return 0


class MountedVolume:
    """`root` is the mounted folder; `fault` sets what is wrong with it from now on."""

    def __init__(self, root: Path, control: Path) -> None:
        self.root = root
        self._control = control

    def fault(self, text: str) -> None:
        self._control.write_text(text)


@contextlib.contextmanager
def mounted(folder: Path, fault: str = "none") -> Iterator[MountedVolume]:
    """A volume below `folder`, unmounted at the end."""
    backing, root, control = folder / "backing", folder / "volume", folder / "fault"
    backing.mkdir()
    root.mkdir()
    control.write_text("none")
    process = subprocess.Popen([sys.executable, "-m", __name__, str(backing), str(root), str(control)])
    try:
        until = time.monotonic() + 30
        while not os.path.ismount(root):
            assert process.poll() is None, "the FUSE file system ended"
            assert time.monotonic() < until, "the FUSE file system was not mounted"
            time.sleep(0.02)
        control.write_text(fault)
        yield MountedVolume(root, control)
    finally:
        control.write_text("none")
        subprocess.run(["fusermount3", "-u", "-z", str(root)], check=False)
        process.terminate()
        process.wait(10)


if __name__ == "__main__":
    backing, root, control = map(Path, sys.argv[1:])
    allow_other = {"allow_other": True} if os.geteuid() == 0 else {}
    # libfuse calls it an error when it is told to end.
    with contextlib.suppress(RuntimeError):
        fuse.FUSE(FaultyVolume(backing, control), str(root), foreground=True, max_threads=10, **allow_other)
