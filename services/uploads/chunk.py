"""One chunk, from a request to the disk."""

import base64
import contextlib
import hashlib
import os
import threading
from collections.abc import Iterator

from services.errors import InvalidRequest, NotEnoughSpace
from services.workspace import is_out_of_space


class Chunk:
    """One chunk on its way to the disk; it counts when `finish` returned. Blocking."""

    def __init__(self, descriptor: int, position: int, length: int, digest: bytes | None) -> None:
        self._descriptor = descriptor
        self._position = position
        self._length = self._left = length
        self._expected = digest
        self._sha256 = hashlib.sha256()
        # A volume that hangs has a thread in `write` when someone gives up and closes: the number would be another
        # file's by the time it goes on.
        self._lock = threading.Lock()

    def write(self, data: bytes | bytearray) -> None:
        """Raises InvalidRequest when that is more than the chunk has, NotEnoughSpace, OSError."""
        with self._lock, space_is_named():
            if len(data) > self._left:
                raise InvalidRequest(f"the chunk must have {self._length} bytes, and more came")
            if self._expected is not None:
                self._sha256.update(data)
            rest = memoryview(data)
            while rest:
                written = os.pwrite(self._descriptor, rest, self._position)
                rest, self._position = rest[written:], self._position + written
            self._left -= len(data)

    def finish(self) -> None:
        """Raises InvalidRequest when it is not what was announced, NotEnoughSpace, OSError."""
        with self._lock, space_is_named():
            if self._left:
                raise InvalidRequest(f"the chunk must have {self._length} bytes, {self._left} are missing")
            if self._expected not in {None, self._sha256.digest()}:
                raise InvalidRequest("the chunk's sha256 is not the one that Content-Digest names: send it again")
            os.fdatasync(self._descriptor)

    def close(self) -> None:
        with self._lock:
            os.close(self._descriptor)


def content_digest(header: str | None) -> bytes | None:
    """The sha256 that a `Content-Digest` names (RFC 9530, section 2); None: it names none. Raises InvalidRequest."""
    for entry in (header or "").split(","):
        algorithm, _, value = entry.strip().partition("=")
        if algorithm.lower() != "sha-256":
            continue
        try:
            digest = base64.b64decode(value.strip(":"), validate=True)
        except ValueError:
            digest = b""
        if len(digest) != hashlib.sha256().digest_size or not (value.startswith(":") and value.endswith(":")):
            raise InvalidRequest("Content-Digest must read sha-256=:BASE64:, with the 32 bytes of the digest")
        return digest
    return None


@contextlib.contextmanager
def space_is_named() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if is_out_of_space(error):
            raise NotEnoughSpace("no space left on the volume: free some and go on; what was sent is kept") from error
        raise
