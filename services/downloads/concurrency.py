"""How many lines a download uses: as many as make it faster, and no more than its host bears.

A line that alone brings what one processor can take needs no second one; a host that gives each line little gets many.
"""

MOST_LINES = 16
# What the first line brings alone, and how many there should be then. One process can take several hundred MiB a
# second: a line that brings so much needs no second one, which would only cost.
LINES_FOR_BYTES_PER_SECOND = ((200 * 1024 * 1024, 1), (100 * 1024 * 1024, 4), (0, MOST_LINES))
ENOUGH_BYTES_PER_SECOND = LINES_FOR_BYTES_PER_SECOND[0][0]
# How long the first line is looked at, and how long every change is given to show what it is worth.
FIRST_LOOK_SECONDS = 0.1
LOOK_SECONDS = 3.0
# More lines must bring at least so much more.
WORTH = 1.1
FEW_LINES = 4
STEP_LINES = 2


class Concurrency:
    """`wanted` is how many lines there should be. Times are monotonic seconds."""

    def __init__(self, most: int = MOST_LINES) -> None:
        self.wanted = 1
        self._most = most
        self._looked_at: float | None = None
        self._looked_done = 0
        self._first = True
        # What so many lines brought when they were looked at.
        self._before: tuple[int, float] | None = None

    def look(self, now: float, bytes_done: int) -> None:
        """To be called every few hundredths of a second while bytes come in."""
        if self._looked_at is None:
            self._restart(now, bytes_done)
            return
        seconds = now - self._looked_at
        if seconds < (FIRST_LOOK_SECONDS if self._first else LOOK_SECONDS) or bytes_done == self._looked_done:
            return
        rate = (bytes_done - self._looked_done) / seconds
        self._restart(now, bytes_done)
        if self._first:
            self._first = False
            self._change(next(lines for least, lines in LINES_FOR_BYTES_PER_SECOND if rate >= least), rate)
        elif self._before is not None and self._before[0] < self.wanted and rate < self._before[1] * WORTH:
            # It was the network that was slow, or we, and not the lines.
            few = 1 if rate >= ENOUGH_BYTES_PER_SECOND else FEW_LINES
            self.wanted = self._most = min(max(self._before[0], few), self._most)
            self._before = None
        elif rate < ENOUGH_BYTES_PER_SECOND:
            self._change(self.wanted + STEP_LINES, rate)

    def refused(self, now: float, bytes_done: int) -> None:
        """The host says that it is too much."""
        self.wanted = max(self.wanted // 2, 1)
        self._most = max(self._most // 2, 1)
        self._first, self._before = False, None
        self._restart(now, bytes_done)

    def _change(self, lines: int, rate: float) -> None:
        self._before = (self.wanted, rate)
        self.wanted = max(1, min(lines, self._most))

    def _restart(self, now: float, bytes_done: int) -> None:
        self._looked_at, self._looked_done = now, bytes_done
