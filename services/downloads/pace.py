"""How fast bytes come, and how fast they may."""

import threading
import time
from collections.abc import Callable

# The weight of the newest quarter second in the speed that is shown.
SMOOTHING = 0.15
# A limit is kept over this time: what is not used of it by then is lost.
BURST_SECONDS = 0.25


class Speed:
    """A smoothed rate. Bytes, seconds."""

    def __init__(self) -> None:
        self.bytes_per_second = 0.0
        self._at: float | None = None
        self._done = 0

    def measure(self, bytes_done: int, now: float) -> None:
        if self._at is not None and now > self._at:
            newest = (bytes_done - self._done) / (now - self._at)
            known = self.bytes_per_second
            self.bytes_per_second = known + SMOOTHING * (newest - known) if known else newest
        self._at, self._done = now, bytes_done

    def pause(self, bytes_done: int) -> None:
        """Nothing comes for a while, and that says nothing about the line."""
        self.bytes_per_second, self._at, self._done = 0.0, None, bytes_done


class Limit:
    """Bytes per second that all lines of a download share; None: as many as come."""

    def __init__(self, wait: Callable[[float], object]) -> None:
        self.bytes_per_second: float | None = None
        self._wait = wait
        self._lock = threading.Lock()
        self._due = 0.0

    def piece(self, size: int) -> int:
        """How much of `size` may be read at once, so that no line waits long for its turn."""
        limit = self.bytes_per_second
        return size if limit is None else min(size, max(int(limit * BURST_SECONDS / 4), 4096))

    def take(self, count: int) -> None:
        """Returns when `count` bytes more are allowed."""
        limit = self.bytes_per_second
        if limit is None:
            return
        with self._lock:
            now = time.monotonic()
            self._due = max(self._due, now - BURST_SECONDS) + count / limit
            seconds = self._due - now
        if seconds > 0:
            self._wait(seconds)
