"""The pace of one body."""

import time

# How often a throttled body goes on, in a second: seldom enough to cost little.
_STEPS_PER_SECOND = 200
MAX_PIECE_BYTES = 128 * 1024


class Meter:
    """Lets no byte pass before its time: what was sent never exceeds the rate times the time since the first wait.

    One for each body, so that no body gets the time that another left unused.
    """

    def __init__(self) -> None:
        self._rate: float | None = None
        self._started = 0.0
        self._passed = 0

    def piece_bytes(self, rate: float | None) -> int:
        """How much to send at once."""
        return MAX_PIECE_BYTES if not rate else min(max(int(rate / _STEPS_PER_SECOND), 1), MAX_PIECE_BYTES)

    def wait(self, count: int, rate: float | None) -> None:
        """Returns when `count` more bytes may be sent. The rate may be another one each time."""
        if rate != self._rate:
            self._rate, self._started, self._passed = rate, time.monotonic(), 0
        if not rate:
            return
        self._passed += count
        delay = self._started + self._passed / rate - time.monotonic()
        if delay > 0:
            time.sleep(delay)
