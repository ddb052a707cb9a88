from collections.abc import Iterator

import pytest
import redis

from services.connections import redis_client
from services.progress import BOARD_KEY, CHANNEL, STOP_SECONDS, FileProgress, ProgressBoard, decode, stop_key
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


def test_late_comers_find_the_last_report_of_each_file(board: ProgressBoard) -> None:
    board.publish(FileProgress("a", "downloading", 1))
    board.publish(PROGRESS)
    board.publish(FileProgress("b", "verifying"))
    assert board.all() == {"a": PROGRESS, "b": FileProgress("b", "verifying")}


def test_whoever_listens_hears_every_report(board: ProgressBoard, connection: redis.Redis) -> None:
    with connection.pubsub(ignore_subscribe_messages=True) as listener:  # type: ignore[no-untyped-call]
        listener.subscribe(CHANNEL)
        listener.get_message(timeout=1)
        board.publish(PROGRESS)
        message = listener.get_message(timeout=2)
    assert message is not None
    assert decode(message["data"]) == PROGRESS


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
