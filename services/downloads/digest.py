"""The sha256 of a file that is still coming in: a thread of its own hashes whatever lies before the first gap.

On a slow network it costs no time, and a resumed download needs nothing special: the bytes that are here already are
read while the others come. What comes in order is handed over in memory, which saves reading it back.
"""

import collections
import contextlib
import hashlib
import os
import threading
from collections.abc import Callable, Iterator

# Small enough to stay in the processor's cache between the read and the hash.
PIECE_BYTES = 256 * 1024
# How many buffers may wait to be hashed.
DEPTH = 4
# How long it waits when everything before the gap is hashed.
WAIT_SECONDS = 0.02


class Digest:
    """`frontier` says how many bytes of `descriptor` are certain to be there; it only grows."""

    def __init__(self, descriptor: int, frontier: Callable[[], int]) -> None:
        self._descriptor = descriptor
        self._frontier = frontier
        self._sha256 = hashlib.sha256()
        self._failure: OSError | None = None
        self._is_over = False
        self._changed = threading.Condition()
        self._waiting: collections.deque[tuple[memoryview, int]] = collections.deque()
        self._spare: list[memoryview] = []
        # Behind all that is hashed, being read or handed over.
        self._next = 0
        self._thread = threading.Thread(target=self._run, name="digest", daemon=True)
        self.bytes_done = 0

    @contextlib.contextmanager
    def running(self) -> Iterator["Digest"]:
        self._thread.start()
        try:
            yield self
        finally:
            with self._changed:
                self._is_over = True
                self._changed.notify()
            self._thread.join()

    def has_reached(self, length: int) -> bool:
        """Raises OSError when the file cannot be read back."""
        if self._failure is not None:
            raise self._failure
        return self.bytes_done >= length

    def hexdigest(self) -> str:
        """Of the first `bytes_done` bytes."""
        return self._sha256.hexdigest()

    def take(self, buffer: memoryview, count: int, position: int) -> memoryview:
        """Offers the first `count` bytes of `buffer`, which belong at `position` and are written already, before the
        frontier passes them; the buffer to go on with, which is another of that size if they were wanted."""
        with self._changed:
            if position != self._next or len(self._waiting) >= DEPTH:
                return buffer
            self._next += count
            self._waiting.append((buffer, count))
            self._changed.notify()
            fitting = next((spare for spare in self._spare if len(spare) == len(buffer)), None)
            if fitting is None:
                return memoryview(bytearray(len(buffer)))
            self._spare.remove(fitting)
            return fitting

    def _run(self) -> None:
        own = memoryview(bytearray(PIECE_BYTES))
        try:
            while not self._is_over:
                handed, start, count = self._next_piece()
                if handed is not None:
                    self._hash(handed[:count])
                    self._give_back(handed)
                elif count:
                    self._read(own, start, count)
        except OSError as error:
            self._failure = error

    def _next_piece(self) -> tuple[memoryview | None, int, int]:
        """(what was handed over, where it starts, its length): nothing handed over is to be read; length 0: wait."""
        with self._changed:
            if not self._waiting and self._frontier() <= self._next and not self._is_over:
                self._changed.wait(WAIT_SECONDS)
            start = self._next
            if self._waiting:
                buffer, count = self._waiting.popleft()
                return buffer, start, count
            count = max(min(PIECE_BYTES, self._frontier() - start), 0)
            self._next += count
            return None, start, count

    def _read(self, own: memoryview, start: int, count: int) -> None:
        end = start + count
        while start < end:
            got = os.preadv(self._descriptor, [own[: end - start]], start)
            if not got:
                raise OSError("the partial file became shorter while it was read")
            self._hash(own[:got])
            start += got

    def _hash(self, data: memoryview) -> None:
        self._sha256.update(data)
        self.bytes_done += len(data)

    def _give_back(self, buffer: memoryview) -> None:
        with self._changed:
            if len(self._spare) < DEPTH:
                self._spare.append(buffer)
