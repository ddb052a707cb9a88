import time
from pathlib import Path

import pytest

from services.comfyui_starts import MAX_STARTS, WINDOW_SECONDS, Ledger, StartLedger


class Clock:
    now = 1_000_000.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(time, "time", lambda: made.now)
    return made


@pytest.fixture
def starts(tmp_path: Path, clock: Clock) -> StartLedger:
    (tmp_path / "comfyui").mkdir()
    return StartLedger(tmp_path)


def test_it_gives_up_at_the_fifth_start_within_ten_minutes(starts: StartLedger, clock: Clock) -> None:
    gave_up = []
    for _ in range(MAX_STARTS + 1):
        gave_up.append(starts.begin().gave_up)
        clock.now += WINDOW_SECONDS / 10
    assert gave_up == [False, False, False, False, True]
    assert starts.read().gave_up


def test_starts_that_lie_far_apart_go_on_for_ever(starts: StartLedger, clock: Clock) -> None:
    for _ in range(20):
        assert not starts.begin().gave_up
        clock.now += WINDOW_SECONDS / (MAX_STARTS - 0.5)


def test_each_start_is_counted(starts: StartLedger, clock: Clock) -> None:
    starts.begin()
    clock.now += 1
    assert starts.begin().starts == (clock.now - 1, clock.now)


def test_someone_may_ask_for_another_try(starts: StartLedger) -> None:
    for _ in range(MAX_STARTS + 1):
        starts.begin()
    starts.reset(safe_mode=False)
    assert starts.read() == Ledger()
    assert not starts.begin().gave_up


def test_safe_mode_lasts_over_restarts(starts: StartLedger) -> None:
    starts.reset(safe_mode=True)
    assert starts.begin().safe_mode
    assert starts.begin().safe_mode
    starts.reset(safe_mode=False)
    assert not starts.begin().safe_mode


def test_a_clock_that_was_set_back_does_not_count_starts_of_the_future(starts: StartLedger, clock: Clock) -> None:
    for _ in range(MAX_STARTS):
        starts.begin()
    clock.now -= 86_400
    assert not starts.begin().gave_up


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"starts": 1}', b'{"x": "\xff"}'])
def test_a_ledger_nobody_can_read_is_an_empty_one(data: bytes, starts: StartLedger, tmp_path: Path) -> None:
    (tmp_path / "comfyui" / "starts.json").write_bytes(data)
    assert starts.read() == Ledger()
    assert not starts.begin().gave_up
