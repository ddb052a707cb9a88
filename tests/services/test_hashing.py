import hashlib
import os
from pathlib import Path

import pytest

import services.hashing
from services.hashing import sha256_of

DATA = os.urandom(2500)


@pytest.fixture
def descriptor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(services.hashing, "PIECE_BYTES", 1000)
    (tmp_path / "a").write_bytes(DATA)
    return os.open(tmp_path / "a", os.O_RDONLY)


def test_the_digest_is_that_of_the_first_bytes(descriptor: int) -> None:
    said: list[int] = []
    assert sha256_of(descriptor, 2400, said.append) == hashlib.sha256(DATA[:2400]).hexdigest()
    assert said == [1000, 2000, 2400]


def test_of_nothing_there_is_a_digest_too(descriptor: int) -> None:
    assert sha256_of(descriptor, 0, print) == hashlib.sha256(b"").hexdigest()


def test_a_file_that_is_shorter_than_it_was_has_none(descriptor: int) -> None:
    with pytest.raises(EOFError):
        sha256_of(descriptor, 2501, lambda done: None)
