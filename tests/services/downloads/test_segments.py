import random
import secrets
from collections.abc import Iterable

import pytest

from services.downloads.segments import LARGEST_BYTES, SMALLEST_BYTES, WHOLE_BYTES, Segment, Segments
from services.journal import Span

MIB = 1024 * 1024


def wrote(segments: Segments, segment: Segment, count: int) -> None:
    assert segments.accept(segment, count) == min(count, segment.left)
    segments.advance(segment)


class Lines:
    """Lines that do to the segments whatever chance has them do, and what of it has to hold at any time."""

    def __init__(self, segments: Segments, done: Iterable[Span], chance: random.Random) -> None:
        self._segments = segments
        self._chance = chance
        self._here = sorted(done)
        self._at_work: list[Segment] = []

    def act(self, lines: int) -> None:
        what = self._chance.random()
        if what < 0.25 and len(self._at_work) < lines:
            if taken := self._segments.claim(lines):
                self._at_work.append(taken)
        elif self._at_work:
            segment = self._chance.choice(self._at_work)
            if what < 0.3 or not segment.left:
                self._segments.release(segment)
                self._at_work.remove(segment)
            else:
                self._bring(segment)

    def _bring(self, segment: Segment) -> None:
        first, count = segment.position, min(segment.left, self._chance.randrange(1, 12 * MIB))
        wrote(self._segments, segment, count)
        assert segment.position == first + count
        self._here = merged([*self._here, (first, first + count)])

    def check(self) -> None:
        spans = self._segments.spans()
        assert list(spans) == self._here
        assert sum(end - start for start, end in spans) == self._segments.bytes_done
        assert self._segments.frontier == (spans[0][1] if spans and spans[0][0] == 0 else 0)
        merged([*spans, *((way.position, way.end) for way in self._at_work if way.left)])


def merged(spans: list[Span]) -> list[Span]:
    """What touches becomes one; no byte may be in two."""
    made: list[Span] = []
    for start, end in sorted(spans):
        assert not made or made[-1][1] <= start, "a byte twice"
        if made and made[-1][1] == start:
            made[-1] = (made[-1][0], end)
        else:
            made.append((start, end))
    return made


@pytest.mark.parametrize("round_", range(12))
def test_whatever_lines_do_each_byte_comes_once_and_the_spans_are_what_came(round_: int) -> None:
    seed = secrets.randbits(32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    total = chance.choice([1, 1000, 20 * MIB, 300 * MIB, 700 * MIB]) + chance.randrange(MIB)
    done: list[Span] = []
    if round_ % 2:
        places = sorted(chance.sample(range(1, total), 4))
        done = [(0, places[0]), (places[1], places[2])]
    segments = Segments(total, done)
    lines = Lines(segments, done, chance)
    lines.check()
    for _ in range(100_000):
        if segments.is_complete:
            break
        lines.act(chance.choice([1, 2, 4, 16]))
        lines.check()
    assert segments.is_complete
    assert segments.spans() == ((0, total),)
    assert segments.claim(16) is None


def test_a_file_of_known_length_starts_with_everything_missing() -> None:
    segments = Segments(10)
    assert (segments.bytes_done, segments.spans(), segments.frontier, segments.is_complete) == (0, (), 0, False)


def test_what_is_here_is_not_claimed() -> None:
    segments = Segments(100, [(0, 10), (20, 100)])
    taken = segments.claim(1)
    assert taken is not None
    assert (taken.position, taken.end) == (10, 20)
    assert segments.claim(1) is None


def test_spans_may_touch_and_overlap() -> None:
    segments = Segments(100, [(0, 10), (10, 30), (20, 40)])
    assert (segments.spans(), segments.bytes_done) == (((0, 40),), 40)


def test_a_small_file_is_one_request() -> None:
    segments = Segments(WHOLE_BYTES)
    taken = segments.claim(1)
    assert taken is not None
    assert taken.left == WHOLE_BYTES


def test_segments_are_no_larger_than_the_largest() -> None:
    taken = Segments(100 * LARGEST_BYTES).claim(2)
    assert taken is not None
    assert taken.left == LARGEST_BYTES


def test_segments_become_smaller_towards_the_end() -> None:
    segments = Segments(300 * MIB)
    sizes = []
    while segments.bytes_done < 300 * MIB - 4 * SMALLEST_BYTES:
        taken = segments.claim(4)
        assert taken is not None
        sizes.append(taken.left)
        wrote(segments, taken, taken.left)
        segments.release(taken)
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] > 4 * sizes[-1]


def test_what_a_line_left_is_claimed_again() -> None:
    segments = Segments(100)
    taken = segments.claim(1)
    assert taken is not None
    wrote(segments, taken, 30)
    segments.release(taken)
    again = segments.claim(1)
    assert again is not None
    assert (again.position, again.end) == (30, 100)


def test_a_slow_line_is_helped_with_the_second_half_of_what_it_has() -> None:
    segments = Segments(16 * MIB)
    slow = segments.claim(1)
    assert slow is not None
    helper = segments.claim(2)
    assert helper is not None
    assert (slow.end, helper.position, helper.end) == (8 * MIB, 8 * MIB, 16 * MIB)


def test_a_line_that_has_little_left_is_not_helped() -> None:
    segments = Segments(16 * MIB)
    slow = segments.claim(1)
    assert slow is not None
    wrote(segments, slow, 16 * MIB - 4 * SMALLEST_BYTES + 1)
    assert segments.claim(2) is None


def test_a_line_alone_helps_nobody() -> None:
    segments = Segments(16 * MIB)
    segments.claim(1)
    assert segments.claim(1) is None


def test_a_file_of_unknown_length_is_one_segment_and_is_not_divided() -> None:
    segments = Segments(None)
    taken = segments.claim(1)
    assert taken is not None
    wrote(segments, taken, 1000)
    assert segments.claim(4) is None
    assert (segments.spans(), segments.frontier, segments.is_complete) == (((0, 1000),), 1000, False)


def test_a_length_that_was_told_later_ends_the_file() -> None:
    segments = Segments(None)
    taken = segments.claim(1)
    assert taken is not None
    segments.settle(1000, is_told=True)
    assert taken.left == 1000
    wrote(segments, taken, 1000)
    assert (segments.is_complete, segments.is_length_told, segments.frontier) == (True, True, 1000)


def test_a_file_ends_where_its_host_stopped_sending() -> None:
    segments = Segments(None)
    taken = segments.claim(1)
    assert taken is not None
    wrote(segments, taken, 700)
    segments.settle(700, is_told=False)
    segments.release(taken)
    assert (segments.is_complete, segments.is_length_told, segments.total) == (True, False, 700)
    assert segments.claim(1) is None


def test_an_answer_that_goes_on_to_the_end_leaves_nothing_to_claim() -> None:
    segments = Segments(100 * MIB)
    first = segments.claim(1)
    assert first is not None
    segments.extend(first)
    assert first.end == 100 * MIB
    assert segments.claim(1) is None


def test_no_more_is_accepted_than_is_left_of_a_segment() -> None:
    segments = Segments(100)
    taken = segments.claim(1)
    assert taken is not None
    assert segments.accept(taken, 4096) == 100


def test_what_was_accepted_is_taken_over_by_nobody() -> None:
    segments = Segments(64 * MIB)
    first = segments.claim(1)
    assert first is not None
    segments.extend(first)
    accepted = segments.accept(first, 60 * MIB)
    assert segments.claim(4) is None
    segments.advance(first)
    assert first.position == accepted
