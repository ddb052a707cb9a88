"""The partial file of one download, held by whoever downloads it."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from services import journal
from services.downloads.lease import Lease
from services.errors import DownloadFailed
from services.journal import Journal
from services.workspace import sync_folder

_MODE = 0o664
_FLAGS = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC


class TakenOver(DownloadFailed):
    """Someone else holds the lease by now, and nothing more may be done to the file."""


class Part:
    """`descriptor` is that of the file as long as it is held, also when it starts over."""

    def __init__(self, target: Path, lease: Lease, descriptor: int) -> None:
        self.descriptor = descriptor
        self._target = target
        self._lease = lease

    def write(self, data: memoryview, position: int) -> None:
        while data:
            written = os.pwrite(self.descriptor, data, position)
            data, position = data[written:], position + written

    def checkpoint(self, entry: Journal) -> None:
        """What `entry` names was written before, and is certain from now on. Raises TakenOver, OSError."""
        os.fdatasync(self.descriptor)
        self._check_lease()
        journal.save(self._target, entry)

    def note(self, entry: Journal) -> None:
        """What `entry` names as written was. Waits for no disk. Raises DownloadFailed, OSError."""
        self._check_lease()
        journal.note(self._target, entry)

    def sync(self) -> None:
        """What was written before is certain, and what was noted before stays noted. Raises OSError."""
        journal.sync(self._target)
        os.fdatasync(self.descriptor)

    def start_over(self) -> None:
        """Forgets every byte. In a new file: someone who lost the lease without knowing may still write to the old.

        Raises TakenOver, OSError.
        """
        self._check_lease()
        journal.forget(self._target)
        file = journal.part_file(self._target)
        file.unlink(missing_ok=True)
        new = os.open(file, _FLAGS | os.O_EXCL, _MODE)
        os.dup2(new, self.descriptor, inheritable=False)
        os.close(new)

    def publish(self, length: int) -> None:
        """The first `length` bytes are the file. Raises TakenOver, OSError."""
        # Something of another version may have stood behind them.
        os.ftruncate(self.descriptor, length)
        os.fsync(self.descriptor)
        self._check_lease()
        if not os.path.samestat(os.fstat(self.descriptor), journal.part_file(self._target).lstat()):
            raise TakenOver(f"{self._target.name}: its partial file is another's by now", permanent=False)
        os.replace(journal.part_file(self._target), self._target)
        sync_folder(self._target.parent)
        journal.discard(self._target)

    def _check_lease(self) -> None:
        if not self._lease.is_ours():
            raise TakenOver(f"{self._target.name} was taken over by another pod", permanent=False)


@contextlib.contextmanager
def held(target: Path, lease: Lease) -> Iterator[Part]:
    """The partial file of `target`, made if there is none, removed if it stays empty. `lease` is taken already.

    Raises OSError.
    """
    try:
        descriptor = os.open(journal.part_file(target), _FLAGS, _MODE)
        try:
            yield Part(target, lease, descriptor)
        finally:
            if not os.fstat(descriptor).st_size and lease.is_ours():
                journal.discard(target)
            os.close(descriptor)
    finally:
        lease.release()
