"""`python -m worker.reconciler`: compares what was asked for with what is on disk, and enqueues what is missing.

The only one who enqueues. Install records live on the volume, so downloads go on after Redis, this container or the
whole pod was lost.
"""

import signal
import sys
import time
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

from services import installs, log, settings
from services.connections import redis_client
from services.doorbell import Doorbell
from services.errors import NotEnoughSpace, SuiteError
from services.installs import Install, Installs, View, Wanted
from services.schedule import Schedule, ScheduleRecords
from services.verified import VerifiedFiles
from services.workspace import Workspace
from worker import rotation

if TYPE_CHECKING:
    from services.jobs import DownloadQueue

# How long a change can go unnoticed that nobody announced.
INTERVAL_SECONDS = 5
# Small files come in by the dozen a second, each with a ring: one round does for all of them.
REST_SECONDS = 0.25

_log = log.get("reconciler")


class Reconciler:
    def __init__(self, config: settings.Settings) -> None:
        workspace = Workspace(config.workspace)
        self._config = config
        self._installs = Installs(workspace)
        self._schedule = ScheduleRecords(workspace)
        self._verified = VerifiedFiles(workspace)
        self._queue: DownloadQueue | None = None
        self._rotated_on = ""
        self._is_starting = bool(config.preset_download)

    def go_round(self) -> None:
        """All there is to do, once; what does not work is logged, and tried again in the next round."""
        try:
            if self._is_starting:
                self._request_at_start()
            self.reconcile()
        except (OSError, SuiteError) as error:
            _log.warning("reconcile_failed", error=str(error))
        try:
            self._rotated_on = rotation.rotate_daily(self._config.logs_dir, self._rotated_on)
        except OSError as error:
            _log.warning("rotation_failed", error=str(error))

    def reconcile(self) -> None:
        """Raises OSError when the volume, QueueUnavailable when the queue does not answer."""
        seen_at, view = time.time(), self._view()
        for install in installs.finished(view):
            self._complete(install)
        self._ensure([entry for entry in installs.wanted(view, seen_at) if self._is_free(entry, view)], seen_at)

    def _request_at_start(self) -> None:
        """Once, as soon as the volume answers. Raises OSError."""
        # The catalogue costs memory that an idle suite does not need here.
        from worker import at_start

        at_start.request(self._config)
        self._is_starting = False

    def _is_free(self, entry: Wanted, view: View) -> bool:
        """Whether nothing holds it; a hold whose time has come is released."""
        hold = view.holds.get(entry.artifact.id)
        return hold is None or self._installs.expire(entry.artifact.id, hold)

    def _complete(self, install: Install) -> None:
        seconds = round(time.time() - install.requested_at, 1)
        try:
            self._installs.complete(install)
        except NotEnoughSpace as error:
            # Its files are all there, and it can be used; the record follows when there is room.
            _log.warning("install_not_recorded", preset_id=install.preset_id, error=error.message)
        else:
            _log.info("preset_installed", preset_id=install.preset_id, seconds=seconds)

    def _view(self) -> View:
        records = {id_: install for id_, install in self._installs.all().items() if install.completed_at is None}
        artifacts = [file for install in records.values() for file in install.files]
        return View(
            installs=records,
            removed=frozenset(),
            holds=self._installs.holds() if records else {},
            verified=self._verified.holding_for(artifacts) if records else {},
            progress={},
            schedule=self._schedule.get() if records else Schedule(),
        )

    def _ensure(self, entries: list[Wanted], seen_at: float) -> None:
        """A job for each, in their order."""
        if not entries:
            return
        queue = self._connected()
        for artifact in queue.ensure_all([(entry.artifact, entry.asked_at) for entry in entries], seen_at):
            _log.info("download_enqueued", artifact_id=artifact.id, name=artifact.name)
        if queue.arrange([entry.artifact for entry in entries]):
            _log.info("queue_arranged")

    def _connected(self) -> "DownloadQueue":
        """The queue, without the workers that died with an earlier start of this container."""
        # Redis and RQ cost 20 MB and a quarter of a second: an idle suite does not need them here.
        from services.jobs import DownloadQueue

        if self._queue is None:
            queue = DownloadQueue(redis_client(self._config))
            if dead := queue.clean_up():
                _log.info("dead_workers_forgotten", workers=dead)
            self._queue = queue
        return self._queue


def main() -> NoReturn:
    config = settings.from_environment()
    log.configure("reconciler", config.logs_dir / "downloads.log", config.log_level)
    signal.signal(signal.SIGTERM, _end)
    reconciler, doorbell = Reconciler(config), Doorbell(config.doorbell_socket)
    while True:
        reconciler.go_round()
        time.sleep(REST_SECONDS)
        doorbell.wait(INTERVAL_SECONDS)


def _end(_signal: int, _frame: FrameType | None) -> NoReturn:
    sys.exit(0)


if __name__ == "__main__":
    main()
