"""One writer at a time for a file that several processes, or pods, read, change and write again."""

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

# Whoever holds it longer hangs with the volume, or died on another machine: nobody waits for ever.
WAIT_SECONDS = 5.0
_RETRY_SECONDS = 0.01


@contextlib.contextmanager
def held(file: Path) -> Iterator[bool]:
    """Holds the lock of `file`; whether it is really held. Blocking, for WAIT_SECONDS at the most.

    By flock(2), on a file beside it: `file` itself is replaced by each writing. A volume that has no locks, or takes no
    file, goes on without: the last one to write counts then.
    """
    try:
        descriptor = _open(file.with_name(f".{file.name}.lock"))
    except OSError:
        yield False
        return
    try:
        yield _lock(descriptor)
    finally:
        os.close(descriptor)


def _open(path: Path) -> int:
    flags = os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        # NFS locks nothing exclusively that is only open to be read.
        return os.open(path, flags | os.O_RDWR, 0o644)
    except PermissionError:
        # Made by root, at the command line.
        return os.open(path, flags ^ os.O_CREAT | os.O_RDONLY)


def _lock(descriptor: int) -> bool:
    until = time.monotonic() + WAIT_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > until:
                return False
            time.sleep(_RETRY_SECONDS)
        except OSError:
            return False
        else:
            return True
