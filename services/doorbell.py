"""How the reconciler is told that something changed: a datagram on a socket of its own.

It looks by itself every few seconds; ringing saves those. Nothing is lost when nobody hears.
"""

import contextlib
import select
import socket
from pathlib import Path


class Doorbell:
    """The reconciler's end."""

    def __init__(self, path: Path) -> None:
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.setblocking(False)

    def wait(self, seconds: float) -> None:
        """Until someone rings, for `seconds` at most. Rings that came meanwhile count once."""
        select.select([self._socket], [], [], seconds)
        with contextlib.suppress(BlockingIOError):
            while self._socket.recv(16):
                pass

    def close(self) -> None:
        self._socket.close()


def ring(path: Path) -> None:
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as caller:
        caller.setblocking(False)
        caller.sendto(b"ring", str(path))
