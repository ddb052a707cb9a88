import pytest

from services.downloads.concurrency import ENOUGH_BYTES_PER_SECOND, FEW_LINES, LOOK_SECONDS, MOST_LINES, Concurrency

SLOW = 1_000_000.0


class Download:
    """Bytes that come at a rate that depends on how many lines there are; the clock is turned by hand."""

    def __init__(self, each: float, all_together: float = float("inf")) -> None:
        self.concurrency = Concurrency()
        self._each, self._all_together = each, all_together
        self.now, self.done = 0.0, 0.0

    def go_on(self, seconds: float) -> None:
        until = self.now + seconds
        while self.now < until:
            self.now += 0.05
            self.done += 0.05 * min(self.concurrency.wanted * self._each, self._all_together)
            self.concurrency.look(self.now, int(self.done))


def test_a_download_begins_with_one_line() -> None:
    assert Concurrency().wanted == 1


def test_slow_lines_become_many_after_a_glance() -> None:
    download = Download(SLOW)
    download.go_on(0.3)
    assert download.concurrency.wanted == MOST_LINES


def test_a_line_that_is_fast_enough_stays_alone() -> None:
    download = Download(1.5 * ENOUGH_BYTES_PER_SECOND)
    download.go_on(10 * LOOK_SECONDS)
    assert download.concurrency.wanted == 1


def test_lines_that_bring_nothing_more_are_given_up() -> None:
    download = Download(SLOW, all_together=SLOW)
    download.go_on(10 * LOOK_SECONDS)
    assert download.concurrency.wanted == FEW_LINES


def test_lines_are_added_while_they_bring_more() -> None:
    download = Download(0.2 * ENOUGH_BYTES_PER_SECOND, all_together=0.95 * ENOUGH_BYTES_PER_SECOND)
    download.go_on(0.3)
    at_first = download.concurrency.wanted
    download.go_on(2 * LOOK_SECONDS)
    assert at_first <= download.concurrency.wanted <= at_first + 4


def test_there_are_never_more_than_the_most() -> None:
    concurrency = Concurrency(most=3)
    for tick in range(1000):
        concurrency.look(tick * 0.05, tick * 1000)
        assert concurrency.wanted <= 3


def test_a_refusal_halves_the_lines_for_good() -> None:
    download = Download(SLOW)
    download.go_on(0.3)
    download.concurrency.refused(download.now, int(download.done))
    assert download.concurrency.wanted == MOST_LINES // 2
    download.go_on(10 * LOOK_SECONDS)
    assert download.concurrency.wanted == MOST_LINES // 2


def test_a_host_that_refused_is_not_asked_for_more_lines_than_it_bore() -> None:
    download = Download(SLOW, all_together=SLOW)
    for _ in range(3):
        download.concurrency.refused(0.0, 0)
    most = MOST_LINES // 8
    download.go_on(10 * LOOK_SECONDS)
    assert download.concurrency.wanted <= most


def test_one_line_is_left_after_any_number_of_refusals() -> None:
    concurrency = Concurrency()
    for _ in range(20):
        concurrency.refused(0.0, 0)
    assert concurrency.wanted == 1


@pytest.mark.parametrize("seconds", [0.0, 0.5, 100.0])
def test_a_silence_says_nothing_about_the_lines(seconds: float) -> None:
    concurrency = Concurrency()
    concurrency.look(0.0, 0)
    concurrency.look(seconds, 0)
    assert concurrency.wanted == 1
