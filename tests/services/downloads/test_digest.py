import hashlib
import os
import random
import secrets
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.downloads import digest as digests
from services.downloads.digest import DEPTH, PIECE_BYTES, Digest
from services.downloads.segments import Segments


@pytest.fixture
def descriptor(tmp_path: Path) -> Iterator[int]:
    opened = os.open(tmp_path / "a.part", os.O_RDWR | os.O_CREAT)
    yield opened
    os.close(opened)


def wait_until_it_reaches(digest: Digest, length: int) -> None:
    until = time.monotonic() + 30
    while not digest.has_reached(length):
        assert time.monotonic() < until, f"the digest stands at {digest.bytes_done} of {length}"
        time.sleep(0.005)


def bring(segments: Segments, digest: Digest, descriptor: int, data: bytes, seed: int) -> None:
    """As a line does, in pieces of any size, and with pauses."""
    chance, buffer = random.Random(seed), memoryview(bytearray(PIECE_BYTES))
    while not segments.is_complete:
        segment = segments.claim(4)
        if segment is None:
            time.sleep(0.001)
            continue
        while segment.left:
            count = segments.accept(segment, chance.randrange(1, len(buffer) + 1))
            buffer[:count] = data[segment.position : segment.position + count]
            os.pwrite(descriptor, buffer[:count], segment.position)
            buffer = digest.take(buffer, count, segment.position)
            segments.advance(segment)
            if chance.random() < 0.02:
                break
            if chance.random() < 0.05:
                time.sleep(chance.random() * 0.01)
        segments.release(segment)


@pytest.mark.parametrize("lines", [1, 2, 4, 16])
def test_the_digest_is_that_of_the_file_in_whatever_order_it_comes(lines: int, descriptor: int) -> None:
    seed = secrets.randbits(32)
    print(f"seed {seed}")
    data = random.Random(seed).randbytes(24 * 1024 * 1024 + seed % 1000)
    segments = Segments(len(data))
    with Digest(descriptor, lambda: segments.frontier).running() as digest:
        threads = [
            threading.Thread(target=bring, args=(segments, digest, descriptor, data, seed + number))
            for number in range(lines)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        wait_until_it_reaches(digest, len(data))
        assert digest.bytes_done == len(data)
        assert digest.hexdigest() == hashlib.sha256(data).hexdigest()


def test_what_was_here_before_is_read_from_the_file(descriptor: int) -> None:
    data = random.Random(0).randbytes(3 * PIECE_BYTES + 5)
    os.pwrite(descriptor, data, 0)
    with Digest(descriptor, lambda: len(data)).running() as digest:
        wait_until_it_reaches(digest, len(data))
        assert digest.hexdigest() == hashlib.sha256(data).hexdigest()


def test_nothing_behind_the_frontier_is_hashed(descriptor: int) -> None:
    os.pwrite(descriptor, bytes(1000), 0)
    with Digest(descriptor, lambda: 400).running() as digest:
        wait_until_it_reaches(digest, 400)
        time.sleep(0.05)
        assert (digest.bytes_done, digest.hexdigest()) == (400, hashlib.sha256(bytes(400)).hexdigest())


def test_what_is_handed_over_is_not_read_back(descriptor: int) -> None:
    # Nothing is in the file: whoever reads it fails.
    with Digest(descriptor, lambda: 0).running() as digest:
        buffer = memoryview(bytearray(b"x" * 100))
        other = digest.take(buffer, 60, 0)
        assert other is not buffer
        assert len(other) == len(buffer)
        wait_until_it_reaches(digest, 60)
        assert digest.hexdigest() == hashlib.sha256(b"x" * 60).hexdigest()


def test_a_buffer_that_is_not_next_is_left_to_its_owner(descriptor: int) -> None:
    with Digest(descriptor, lambda: 0).running() as digest:
        buffer = memoryview(bytearray(100))
        assert digest.take(buffer, 100, 100) is buffer


def test_a_buffer_that_was_handed_over_comes_back_once_it_is_hashed(descriptor: int) -> None:
    with Digest(descriptor, lambda: 0).running() as digest:
        first = memoryview(bytearray(100))
        second = digest.take(first, 100, 0)
        wait_until_it_reaches(digest, 100)
        time.sleep(0.05)
        assert digest.take(second, 100, 100) is first


def test_only_so_many_buffers_wait(descriptor: int) -> None:
    waiting = Digest(descriptor, lambda: 0)
    buffers = [memoryview(bytearray(10)) for _ in range(DEPTH + 1)]
    kept = [waiting.take(buffer, 10, 10 * number) is buffer for number, buffer in enumerate(buffers)]
    assert kept == [False] * DEPTH + [True]


def test_a_file_that_became_shorter_is_an_error(descriptor: int) -> None:
    with Digest(descriptor, lambda: 1000).running() as digest, pytest.raises(OSError, match="shorter"):
        wait_until_it_reaches(digest, 1000)


def test_it_ends_at_once_with_work_left(descriptor: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digests, "WAIT_SECONDS", 60.0)
    os.ftruncate(descriptor, 2**40)
    before = set(threading.enumerate())
    started = time.monotonic()
    with Digest(descriptor, lambda: 2**40).running():
        pass
    assert time.monotonic() - started < 20
    assert set(threading.enumerate()) <= before


def test_it_ends_at_once_while_it_waits(descriptor: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digests, "WAIT_SECONDS", 60.0)
    started = time.monotonic()
    with Digest(descriptor, lambda: 0).running():
        time.sleep(0.05)
    assert time.monotonic() - started < 20
