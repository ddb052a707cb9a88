import time
from collections.abc import Iterator

import pytest
import redis
from msgspec.structs import replace

from services.connections import redis_client
from services.progress import (
    BOARD_KEY,
    CHANNEL,
    SILENT_SECONDS,
    STOP_SECONDS,
    Control,
    FileProgress,
    FileState,
    ProgressBoard,
    decode,
    stop_key,
)
from services.settings import Settings

PROGRESS = FileProgress("a", "downloading", 5, 10, 2.5, 2.0)


@pytest.fixture
def connection(settings: Settings) -> Iterator[redis.Redis]:
    client = redis_client(settings)
    yield client
    client.close()


@pytest.fixture
def board(connection: redis.Redis) -> ProgressBoard:
    return ProgressBoard(connection)


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> float:
    monkeypatch.setattr(time, "time", lambda: 1000.0)
    return 1000.0


def test_late_comers_find_the_last_report_of_each_file(board: ProgressBoard, now: float) -> None:
    board.publish(FileProgress("a", "downloading", 1))
    board.publish(PROGRESS)
    board.publish(FileProgress("b", "verifying"))
    assert board.all() == {"a": replace(PROGRESS, at=now), "b": FileProgress("b", "verifying", at=now)}


def test_whoever_listens_hears_every_report(board: ProgressBoard, connection: redis.Redis, now: float) -> None:
    with connection.pubsub(ignore_subscribe_messages=True) as listener:  # type: ignore[no-untyped-call]
        listener.subscribe(CHANNEL)
        listener.get_message(timeout=20)
        board.publish(PROGRESS)
        message = listener.get_message(timeout=20)
    assert message is not None
    assert decode(message["data"]) == replace(PROGRESS, at=now)


def test_a_file_that_is_forgotten_is_gone(board: ProgressBoard, connection: redis.Redis) -> None:
    board.publish(PROGRESS)
    board.forget("a")
    assert board.all() == {}
    assert not connection.exists(BOARD_KEY)


def test_a_stop_is_heard_until_it_is_taken_back(board: ProgressBoard, connection: redis.Redis) -> None:
    assert not board.must_stop("a")
    connection.set(stop_key("a"), b"1", ex=STOP_SECONDS)
    assert board.must_stop("a")
    assert not board.must_stop("b")
    board.allow("a")
    assert not board.must_stop("a")


def test_a_download_that_is_alone_has_everything(board: ProgressBoard) -> None:
    board.publish(PROGRESS)
    assert board.control("a") == Control(stop=False, active=1, promised_bytes=0)


def test_a_download_hears_that_it_is_to_stop(board: ProgressBoard, connection: redis.Redis) -> None:
    connection.set(stop_key("a"), b"1")
    assert board.control("a").stop
    assert not board.control("b").stop


def test_what_the_other_running_downloads_still_have_to_fetch_is_promised_to_them(board: ProgressBoard) -> None:
    board.publish(FileProgress("a", "downloading", 5, 1000))
    board.publish(FileProgress("b", "downloading", 5, 100))
    board.publish(FileProgress("c", "downloading", 5))
    assert board.control("a") == Control(stop=False, active=3, promised_bytes=95)


@pytest.mark.parametrize("state", ["present", "failed", "cancelled", "queued", "verifying"])
def test_what_fetches_nothing_is_promised_nothing(state: FileState, board: ProgressBoard) -> None:
    board.publish(FileProgress("b", state, 5, 100))
    assert board.control("a") == Control(stop=False, active=1, promised_bytes=0)


def test_a_download_that_fell_silent_is_promised_nothing(
    board: ProgressBoard, now: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    board.publish(FileProgress("b", "downloading", 5, 100))
    assert board.control("a").active == 2
    monkeypatch.setattr(time, "time", lambda: now + SILENT_SECONDS + 1)
    assert board.control("a") == Control(stop=False, active=1, promised_bytes=0)
