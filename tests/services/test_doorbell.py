import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.doorbell import Doorbell, ring


@pytest.fixture
def path(open_folder: Path) -> Path:
    return open_folder / "reconciler.sock"


@pytest.fixture
def doorbell(path: Path) -> Iterator[Doorbell]:
    made = Doorbell(path)
    yield made
    made.close()


def seconds_waited(doorbell: Doorbell, at_most: float) -> float:
    started = time.monotonic()
    doorbell.wait(at_most)
    return time.monotonic() - started


def test_a_ring_ends_the_wait(doorbell: Doorbell, path: Path) -> None:
    caller = threading.Timer(0.1, ring, [path])
    caller.start()
    assert seconds_waited(doorbell, 30) < 20
    caller.join()


def test_a_ring_before_the_wait_counts(doorbell: Doorbell, path: Path) -> None:
    ring(path)
    assert seconds_waited(doorbell, 30) < 20


def test_many_rings_count_once(doorbell: Doorbell, path: Path) -> None:
    for _ in range(5):
        ring(path)
    assert seconds_waited(doorbell, 30) < 20
    assert seconds_waited(doorbell, 0.2) >= 0.2


def test_without_a_ring_the_wait_is_over_in_time(doorbell: Doorbell) -> None:
    assert 0.1 <= seconds_waited(doorbell, 0.1) < 10


def test_more_rings_than_anyone_can_hear_hold_nobody_up(doorbell: Doorbell, path: Path) -> None:
    started = time.monotonic()
    for _ in range(2_000):
        ring(path)
    assert time.monotonic() - started < 20
    assert seconds_waited(doorbell, 30) < 20


def test_a_ring_that_nobody_hears_is_no_error(path: Path) -> None:
    ring(path)
    ring(path / "nowhere" / ("x" * 200))


def test_a_doorbell_left_over_by_a_killed_reconciler_is_replaced(path: Path) -> None:
    Doorbell(path).close()
    assert path.exists()
    made = Doorbell(path)
    ring(path)
    assert seconds_waited(made, 30) < 20
    made.close()
