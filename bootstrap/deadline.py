"""Work that may hang, done in a child that may be left behind."""

import contextlib
import os
import select
import signal
from collections.abc import Callable


class TimedOut(Exception):
    """The work did not end in time."""

    def __str__(self) -> str:
        return "no answer"


def run_within(seconds: float, work: Callable[[], bytes]) -> bytes:
    """What `work` returns, computed in a forked child.

    Raises TimedOut after `seconds`; the child is killed but not waited for, because a process that hangs in the
    kernel does not die before the volume's server comes back. Raises OSError when the child died.
    """
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        status = 1
        try:
            os.write(writer, work())
            status = 0
        except BaseException as error:  # noqa: BLE001 (a child must not return into the parent's code)
            with contextlib.suppress(OSError):
                os.write(2, f"bootstrap: {type(error).__name__}: {error}\n".encode())
        finally:
            os._exit(status)
    os.close(writer)
    try:
        return _collect(reader, pid, seconds)
    finally:
        os.close(reader)


def _collect(reader: int, pid: int, seconds: float) -> bytes:
    ready, _, _ = select.select([reader], [], [], seconds)
    if not ready:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        raise TimedOut
    pieces = []
    while piece := os.read(reader, 65536):
        pieces.append(piece)
    _, status = os.waitpid(pid, 0)
    if status != 0:
        raise OSError(f"the child that did the work ended with status {status}")
    return b"".join(pieces)
