"""The sha256 of a file that lies still, in pieces, so that whoever waits sees how far it is."""

import hashlib
import os
from collections.abc import Callable

PIECE_BYTES = 4 * 1024 * 1024


def sha256_of(descriptor: int, length: int, progress: Callable[[int], None]) -> str:
    """The digest of the first `length` bytes. `progress` is told how many were read, and may end it by raising.

    Raises EOFError when the file turns out to be shorter, OSError.
    """
    # One buffer for all of it. `update` lets other threads run meanwhile.
    sha256, buffer, done = hashlib.sha256(), memoryview(bytearray(min(PIECE_BYTES, max(length, 1)))), 0
    while done < length:
        got = os.preadv(descriptor, [buffer[: length - done]], done)
        if not got:
            raise EOFError("the file became shorter while it was read")
        sha256.update(buffer[:got])
        done += got
        progress(done)
    return sha256.hexdigest()
