import threading
from typing import Any

import pytest

from services.downloads.sync import Sync


class SlowPart:
    """Syncs when it is let."""

    def __init__(self, failure: OSError | None = None) -> None:
        self.may_end = threading.Event()
        self._failure = failure

    def sync(self) -> None:
        self.may_end.wait(5)
        if self._failure is not None:
            raise self._failure


def made(part: Any) -> Sync:
    return Sync(part, ((0, 5),))


def test_what_is_being_synced_is_certain_only_when_it_is_done() -> None:
    part = SlowPart()
    sync = made(part)
    sync.start(((0, 9),))
    assert sync.is_busy
    assert sync.spans == ((0, 5),)
    part.may_end.set()
    sync.finish()
    assert sync.spans == ((0, 9),)


def test_a_sync_that_failed_makes_nothing_certain_and_is_told() -> None:
    part = SlowPart(OSError("input/output error"))
    sync = made(part)
    sync.start(((0, 9),))
    part.may_end.set()
    with pytest.raises(OSError, match="input/output"):
        sync.finish()
    assert sync.spans == ((0, 5),)


def test_nothing_is_synced_after_one_failed() -> None:
    part = SlowPart(OSError("input/output error"))
    part.may_end.set()
    sync = made(part)
    sync.start(((0, 9),))
    with pytest.raises(OSError, match="input/output"):
        sync.finish()
    with pytest.raises(OSError, match="input/output"):
        sync.start(((0, 12),))


def test_there_is_nothing_to_wait_for_before_the_first() -> None:
    made(SlowPart()).finish()
