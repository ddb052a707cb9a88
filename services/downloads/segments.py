"""Which bytes of a file are here, which are on their way, and which come next.

Segments are handed out from the front, so that the digest can follow, and become smaller towards the end, so that all
lines are done at the same time: every byte is asked for once, unless a slow line has to be helped out.
"""

import threading
from collections.abc import Iterable
from dataclasses import dataclass

from services.journal import Span

SMALLEST_BYTES = 2 * 1024 * 1024
LARGEST_BYTES = 64 * 1024 * 1024
# A file of this size is asked for in one request: asking again costs a round trip.
WHOLE_BYTES = 16 * 1024 * 1024
# Where a file ends whose length nobody told.
_SOMEWHERE = 2**62


@dataclass(eq=False)
class Segment:
    """One request's bytes: those from `position` up to `end` are still to come, the first `accepted` of them are being
    written."""

    position: int
    end: int
    accepted: int = 0

    @property
    def left(self) -> int:
        return self.end - self.position


class Segments:
    """The bytes of one file of `total` bytes, of which the spans `done` are here. May be used from several threads."""

    def __init__(self, total: int | None, done: Iterable[Span] = ()) -> None:
        self._lock = threading.Lock()
        self._total = total
        self.is_length_told = total is not None
        self._free = _gaps(done, self._end)
        self._active: list[Segment] = []
        self._done = self._end - sum(gap.left for gap in self._free)

    @property
    def total(self) -> int | None:
        return self._total

    @property
    def _end(self) -> int:
        return _SOMEWHERE if self._total is None else self._total

    @property
    def bytes_done(self) -> int:
        return self._done

    @property
    def is_complete(self) -> bool:
        return self._done == self._total

    @property
    def frontier(self) -> int:
        """Every byte before this one is here."""
        with self._lock:
            return self._frontier()

    def spans(self) -> tuple[Span, ...]:
        """What is here."""
        with self._lock:
            missing = sorted((gap.position, gap.end) for gap in (*self._free, *self._active) if gap.left)
        starts = [0, *(end for _, end in missing)]
        ends = [*(start for start, _ in missing), self._end]
        return tuple((start, end) for start, end in zip(starts, ends, strict=True) if start < end)

    def claim(self, lines: int) -> Segment | None:
        """The next bytes for one of `lines` lines to fetch; None when all are here or on their way."""
        with self._lock:
            if not self._free:
                return self._help(lines)
            gap = self._free[0]
            size = gap.left if self._total is None else self._size(lines)
            # No crumbs.
            if gap.left <= size * 3 // 2:
                self._active.append(self._free.pop(0))
                return self._active[-1]
            taken = Segment(gap.position, gap.position + size)
            gap.position = taken.end
            self._active.append(taken)
            return taken

    def accept(self, segment: Segment, count: int) -> int:
        """How many of `count` bytes that came for the segment are still its own, which they now stay: another line may
        have taken over its end. What is hashed has to be what is written."""
        with self._lock:
            segment.accepted = min(count, segment.left)
            return segment.accepted

    def advance(self, segment: Segment) -> None:
        """What was accepted is written."""
        with self._lock:
            segment.position += segment.accepted
            self._done += segment.accepted
            segment.accepted = 0

    def release(self, segment: Segment) -> None:
        """Nobody fetches `segment` any more: what is missing of it is to be claimed again."""
        with self._lock:
            segment.accepted = 0
            self._active.remove(segment)
            if segment.left:
                self._free.append(segment)
                self._free.sort(key=lambda gap: gap.position)

    def extend(self, segment: Segment) -> None:
        """`segment` gets everything behind it: its answer goes on to the end, and others help where it is slow."""
        with self._lock:
            segment.end = self._end
            self._free = [gap for gap in self._free if gap.end <= segment.position]

    def settle(self, total: int, *, is_told: bool) -> None:
        """The length is `total`: the host told it, or stopped sending there."""
        with self._lock:
            for gap in (*self._free, *self._active):
                if gap.end == self._end:
                    gap.end = total
            self._total, self.is_length_told = total, is_told
            self._free = [gap for gap in self._free if gap.left > 0]

    def _frontier(self) -> int:
        return min((gap.position for gap in (*self._free, *self._active) if gap.left), default=self._end)

    def _size(self, lines: int) -> int:
        """Half of what would be a fair share, so that there is always something left to even things out with."""
        left = self._end - self._done
        if self._end <= WHOLE_BYTES:
            return left
        return min(max(left // (2 * lines), SMALLEST_BYTES), LARGEST_BYTES)

    def _help(self, lines: int) -> Segment | None:
        """The second half of what the slowest line has before it, if that is worth a request."""
        slowest = max(self._active, key=lambda segment: segment.left - segment.accepted, default=None)
        if slowest is None or self._total is None or lines == 1:
            return None
        left = slowest.left - slowest.accepted
        if left < 4 * SMALLEST_BYTES:
            return None
        taken = Segment(slowest.end - left // 2, slowest.end)
        slowest.end = taken.position
        self._active.append(taken)
        return taken


def _gaps(done: Iterable[Span], end: int) -> list[Segment]:
    gaps, position = [], 0
    for start, stop in sorted(done):
        if position < start:
            gaps.append(Segment(position, start))
        position = max(position, stop)
    if position < end:
        gaps.append(Segment(position, end))
    return gaps
