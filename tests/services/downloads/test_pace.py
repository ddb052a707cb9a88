import threading
import time

import pytest

from services.downloads.pace import BURST_SECONDS, Limit, Speed


def test_the_first_measure_is_no_speed_yet() -> None:
    speed = Speed()
    speed.measure(1000, 1.0)
    assert speed.bytes_per_second == 0


def test_a_steady_speed_is_what_it_is() -> None:
    speed = Speed()
    for tick in range(10):
        speed.measure(tick * 250, tick * 0.25)
    assert speed.bytes_per_second == pytest.approx(1000)


def test_one_odd_measure_does_not_change_the_speed_much() -> None:
    speed = Speed()
    for tick in range(10):
        speed.measure(tick * 250, tick * 0.25)
    speed.measure(9 * 250, 10 * 0.25)
    assert 800 < speed.bytes_per_second < 1000


def test_a_pause_says_nothing_about_the_speed_afterwards() -> None:
    speed = Speed()
    speed.measure(0, 0.0)
    speed.measure(1000, 1.0)
    speed.pause(1000)
    assert speed.bytes_per_second == 0
    speed.measure(1000, 100.0)
    speed.measure(2000, 101.0)
    assert speed.bytes_per_second == 1000


def test_a_clock_that_stands_still_divides_nothing_by_zero() -> None:
    speed = Speed()
    speed.measure(0, 1.0)
    speed.measure(1000, 1.0)
    assert speed.bytes_per_second == 0


def test_without_a_limit_nobody_waits() -> None:
    waits: list[float] = []
    limit = Limit(waits.append)
    limit.take(10**12)
    assert (waits, limit.piece(1_000_000)) == ([], 1_000_000)


class Clock:
    """Stands still."""

    now = 1000.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(time, "monotonic", lambda: made.now)
    return made


@pytest.mark.usefixtures("clock")
def test_all_who_take_share_one_limit() -> None:
    waits: list[float] = []
    limit = Limit(waits.append)
    limit.bytes_per_second = 1000
    for _ in range(3):
        limit.take(1000)
    assert waits == pytest.approx([1 - BURST_SECONDS, 2 - BURST_SECONDS, 3 - BURST_SECONDS])


def test_what_was_not_used_is_lost_but_for_a_moment(clock: Clock) -> None:
    waits: list[float] = []
    limit = Limit(waits.append)
    limit.bytes_per_second = 1000
    limit.take(1000)
    clock.now += 2 * BURST_SECONDS
    limit.take(1000)
    # Due after two seconds less the burst, of which two bursts are over.
    assert waits[1] == pytest.approx(2 - 3 * BURST_SECONDS)
    clock.now += 100
    limit.take(1000)
    assert waits[2] == pytest.approx(1 - BURST_SECONDS)


def test_pieces_are_small_enough_for_everyone_to_have_a_turn() -> None:
    limit = Limit(lambda _: None)
    limit.bytes_per_second = 1_000_000
    assert limit.piece(1_000_000) <= 1_000_000 * BURST_SECONDS
    limit.bytes_per_second = 1
    assert 0 < limit.piece(1_000_000) <= 4096


def test_a_limit_is_kept_by_lines_together() -> None:
    limit, over, taken = Limit(time.sleep), threading.Event(), [0] * 4
    limit.bytes_per_second = 1_000_000

    def line(number: int) -> None:
        while not over.is_set():
            limit.take(10_000)
            taken[number] += 10_000

    threads = [threading.Thread(target=line, args=(number,)) for number in range(4)]
    started = time.monotonic()
    for thread in threads:
        thread.start()
    time.sleep(1.0)
    over.set()
    for thread in threads:
        thread.join()
    most = 1_000_000 * (time.monotonic() - started + BURST_SECONDS)
    # Of a loaded machine they get little, but never more than is due.
    assert 300_000 < sum(taken) <= most + len(threads) * 10_000


def test_a_limit_never_makes_a_piece_larger() -> None:
    limit = Limit(lambda _: None)
    limit.bytes_per_second = 1000.0
    assert limit.piece(1) == 1
