"""`python -m worker.reconciler`: compares what was asked for with what is on disk, and enqueues what is missing.

The only one who enqueues. Install records live on the volume, so downloads go on after Redis, this container or the
whole pod was lost.
"""

import signal
import sys
import threading
import time
from types import FrameType
from typing import TYPE_CHECKING

from services import installs, log, settings
from services.connections import redis_client
from services.doorbell import Doorbell
from services.errors import QueueUnavailable
from services.installs import Installs, View, Wanted
from services.verified import VerifiedFiles
from services.workspace import Workspace
from worker import rotation

if TYPE_CHECKING:
    from services.jobs import DownloadQueue

# How long a change can go unnoticed that nobody announced.
INTERVAL_SECONDS = 5

_log = log.get("reconciler")


class Reconciler:
    def __init__(self, config: settings.Settings) -> None:
        workspace = Workspace(config.workspace)
        self._config = config
        self._installs = Installs(workspace)
        self._verified = VerifiedFiles(workspace)
        self._queue: DownloadQueue | None = None

    def reconcile(self) -> None:
        """Raises OSError when the volume, Unavailable when the queue does not answer."""
        view = self._view()
        for install in installs.finished(view):
            self._installs.complete(install)
            _log.info(
                "preset_installed", preset_id=install.preset_id, seconds=round(time.time() - install.requested_at, 1)
            )
        for entry in installs.wanted(view, time.time()):
            if entry.artifact.id in view.holds:
                self._installs.release(entry.artifact.id)
            if self._ensure(entry):
                _log.info("download_enqueued", artifact_id=entry.artifact.id, name=entry.artifact.name)

    def _view(self) -> View:
        records = {id_: install for id_, install in self._installs.all().items() if install.completed_at is None}
        artifacts = [file for install in records.values() for file in install.files]
        return View(
            installs=records,
            removed=frozenset(),
            holds=self._installs.holds() if records else {},
            verified=self._verified.holding_for(artifacts) if records else {},
            progress={},
        )

    def _ensure(self, entry: Wanted) -> bool:
        # Redis and RQ cost 20 MB and a quarter of a second: an idle suite does not need them here.
        from services.jobs import DownloadQueue

        if self._queue is None:
            self._queue = DownloadQueue(redis_client(self._config))
        return self._queue.ensure(entry.artifact, entry.asked_at)


def main() -> int:
    config = settings.from_environment()
    log.configure("reconciler", config.logs_dir / "downloads.log", config.log_level)
    stopping = threading.Event()

    def stop(_signal: int, _frame: FrameType | None) -> None:
        stopping.set()
        raise SystemExit(0)

    signal.signal(signal.SIGTERM, stop)
    reconciler, doorbell = Reconciler(config), Doorbell(config.doorbell_socket)
    rotated_on = ""
    while not stopping.is_set():
        try:
            reconciler.reconcile()
            rotated_on = rotation.rotate_daily(config.logs_dir, rotated_on)
        except (OSError, QueueUnavailable) as error:
            _log.warning("reconcile_failed", error=str(error))
        doorbell.wait(INTERVAL_SECONDS)
    return 0


if __name__ == "__main__":
    sys.exit(main())
